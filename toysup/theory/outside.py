"""The cost of sharing a direction if features keep a share λ of p and a share μ of I outside their own context."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray
from toysup.theory.tables import at_most_one, not_negative


class OutsideCosts(NamedTuple):
    """The losses of two features that share a direction and of a dropped feature, as `outside_costs` returns them.

    All are squared errors per sample in units of the importance I.

    Parameters
    ----------
    across : array (...)
        The loss of two features of different subsets that share a direction.
    within : array (...)
        The loss of two features of the same subset that share a direction.
    dropping : array (...)
        The loss of a feature that is dropped.

    Examples
    --------
    >>> from toysup import theory
    >>> costs = theory.outside_costs(0.3, 0, 1)
    >>> costs.across.round(4).tolist(), costs.within.round(4).tolist(), costs.dropping.round(4).tolist()
    (0.0, 0.015, 0.0444)
    """

    across: FloatArray
    within: FloatArray
    dropping: FloatArray


class OutsideLimits(NamedTuple):
    """The feature probabilities below which sharing costs less than dropping, as `outside_limits` returns them.

    If a limit is above 1, sharing costs less than dropping at every feature probability.

    Parameters
    ----------
    across : array (...)
        The limit for two features of different subsets.
    within : array (...)
        The limit for two features of the same subset.

    Examples
    --------
    >>> from toysup import theory
    >>> limits = theory.outside_limits([0, 0.5, 1], 0)
    >>> limits.across.round(3).tolist(), limits.within.round(3).tolist()
    ([1.333, 0.8, 0.571], [0.571, 0.571, 0.571])
    """

    across: FloatArray
    within: FloatArray


def outside_costs(
    probability: npt.ArrayLike,
    outside_probability: npt.ArrayLike,
    outside_importance: npt.ArrayLike,
    *,
    n_contexts: int = 2,
) -> OutsideCosts:
    """`sharing_cost` and `dropping_cost` for features of equal p and I, K equally likely contexts and K subsets.

    Each context has one subset. Outside its own context a feature keeps a share λ of its probability p and a share μ of
    its importance I. Let s = 1 + (K−1)λμ and t = 1 + (K−1)μ. The losses in units of I are

    - `across` = p² (2λ(1 + μ) + 2(K−2)λ²μ) / 6K for two features of different subsets that share a direction,
    - `within` = p² (2 + 2(K−1)λ²μ) / 6K for two features of the same subset that share a direction,
    - `dropping` = (s p/3 − s² p²/4t) / K for a feature that is dropped.

    For K = 2 the ratio across/within is λ(1 + μ) / (1 + λ²μ). It is 0 for λ = 0. For λ = 1 it is 1 for every μ:
    conditional importance alone changes nothing.

    Parameters
    ----------
    probability : array-like (...)
        p, the probability of a feature in its own context, in [0, 1].
    outside_probability : array-like (...)
        λ, the share of p outside the feature's own context, in [0, 1].
    outside_importance : array-like (...)
        μ, the share of I outside the feature's own context, at least 0.
    n_contexts : int, default 2
        K, the number of contexts, at least 2.

    Returns
    -------
    OutsideCosts
        Three arrays, `across`, `within` and `dropping`, in the broadcast shape of the arguments: squared error per
        sample in units of I.

    Raises
    ------
    UsageError
        If an argument is out of its range.

    Source: derived.

    Examples
    --------
    >>> from toysup import theory
    >>> costs = theory.outside_costs(0.15, [0, 0.5, 1], 0)
    >>> (costs.across / costs.within).tolist()
    [0.0, 0.5, 1.0]
    """
    p = at_most_one("probability", probability)
    across, within, s, t = _sums(outside_probability, outside_importance, n_contexts)
    totals = p**2 * across / 6, p**2 * within / 6, s * p / 3 - s**2 * p**2 / (4 * t)
    return OutsideCosts(*(total / n_contexts for total in np.broadcast_arrays(*totals)))


def outside_limits(
    outside_probability: npt.ArrayLike, outside_importance: npt.ArrayLike, *, n_contexts: int = 2
) -> OutsideLimits:
    """The feature probability p below which sharing a direction costs less than dropping one of the two features.

    With K, s and t as in `outside_costs` it is 4st / (2t·a + 3s²). Here a is 2λ(1 + μ) + 2(K−2)λ²μ for two features of
    different subsets (`across`), and 2 + 2(K−1)λ²μ for two features of the same subset (`within`). For μ = 0 and K = 2
    the limit across is 4/(3 + 4λ), so sharing costs less for λ < 1/p − 3/4; the limit within is 4/7. For λ = 1 both
    limits are 4/7 for every μ.

    Parameters
    ----------
    outside_probability : array-like (...)
        λ, the share of p outside the feature's own context, in [0, 1].
    outside_importance : array-like (...)
        μ, the share of I outside the feature's own context, at least 0.
    n_contexts : int, default 2
        K, the number of contexts, at least 2; each has one subset.

    Returns
    -------
    OutsideLimits
        Two arrays, `across` and `within`, in the broadcast shape of the arguments: probabilities, or numbers above 1 if
        sharing always costs less. A trained pair can also change its length and b, so for trained pairs they are lower
        bounds.

    Raises
    ------
    UsageError
        If an argument is out of its range.

    Source: derived.

    Examples
    --------
    >>> from toysup import theory
    >>> theory.outside_limits([0, 0.5, 1], 0).across.round(4).tolist()  # 4/3, 4/5 and 4/7
    [1.3333, 0.8, 0.5714]
    """
    across, within, s, t = _sums(outside_probability, outside_importance, n_contexts)
    limits = [4 * s * t / (2 * t * shared + 3 * s**2) for shared in (across, within)]
    return OutsideLimits(*np.broadcast_arrays(*limits))


def _sums(
    outside_probability: npt.ArrayLike, outside_importance: npt.ArrayLike, n_contexts: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Sums over the contexts for p = I = 1: p_i p_j (I_i + I_j) across and within subsets, then p_i I_i, then I_i."""
    share = at_most_one("outside_probability", outside_probability)
    importance = not_negative("outside_importance", outside_importance)
    if n_contexts < 2:
        raise UsageError(f"n_contexts must be at least 2, not {n_contexts}")
    others = n_contexts - 1
    across = 2 * share * (1 + importance) + (others - 1) * 2 * share**2 * importance
    within = 2 + others * 2 * share**2 * importance
    return across, within, 1 + others * share * importance, 1 + others * importance
