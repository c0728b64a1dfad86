"""What sharing a direction costs where features keep shares λ of p and μ of I outside their context."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray
from toysup.theory.tables import at_most_one, not_negative


class OutsideCosts(NamedTuple):
    """Losses in units of the importance I, in the broadcast shape of the arguments."""

    across: FloatArray
    within: FloatArray
    dropping: FloatArray


class OutsideLimits(NamedTuple):
    """Feature probabilities below which sharing costs less than dropping; above 1, at every probability."""

    across: FloatArray
    within: FloatArray


def outside_costs(
    probability: npt.ArrayLike,
    outside_probability: npt.ArrayLike,
    outside_importance: npt.ArrayLike,
    *,
    n_contexts: int = 2,
) -> OutsideCosts:
    """`sharing_cost` and `dropping_cost` of features of equal p and I with K equally likely contexts and subsets.

    With shares λ of p and μ of I outside a feature's context, s = 1 + (K−1)λμ and t = 1 + (K−1)μ:
    two features of different subsets cost `across` = p² (2λ(1 + μ) + 2(K−2)λ²μ) / 6K, two of the same subset
    `within` = p² (2 + 2(K−1)λ²μ) / 6K, and a feature that is dropped `dropping` = (s p/3 − s² p²/4t) / K. For K = 2
    the ratio across/within is λ(1 + μ) / (1 + λ²μ): 0 for λ = 0, and for λ = 1 it is 1 whatever μ is, so importance
    alone changes nothing.

    Parameters
    ----------
    probability : array-like (...)
        p, of a feature in its own context.
    outside_probability, outside_importance : array-like (...)
        λ in [0, 1] and μ ≥ 0; all broadcast.
    n_contexts : int
        K, at least 2, each context with a subset of its own.

    Returns
    -------
    OutsideCosts of arrays (...)
        Squared error per sample, in units of I.

    Raises
    ------
    UsageError
        If a share, a probability or the number of contexts is not what is said above.

    Source: derived.
    """
    p = at_most_one("probability", probability)
    across, within, s, t = _sums(outside_probability, outside_importance, n_contexts)
    totals = p**2 * across / 6, p**2 * within / 6, s * p / 3 - s**2 * p**2 / (4 * t)
    return OutsideCosts(*(total / n_contexts for total in np.broadcast_arrays(*totals)))


def outside_limits(
    outside_probability: npt.ArrayLike, outside_importance: npt.ArrayLike, *, n_contexts: int = 2
) -> OutsideLimits:
    """The feature probability p below which sharing a direction costs less than dropping one of the two features.

    With s and t as in `outside_costs` this is 4st / (2t·a + 3s²), where a is λ(2 + 2μ) + 2(K−2)λ²μ across subsets and
    2 + 2(K−1)λ²μ within one. For μ = 0 and K = 2 it is 4/(3 + 4λ) across, so sharing pays for λ < 1/p − 3/4; it is
    4/7 within, and for λ = 1 it is 4/7 both ways whatever μ is.

    Parameters
    ----------
    outside_probability, outside_importance : array-like (...)
        λ in [0, 1] and μ ≥ 0; they broadcast.
    n_contexts : int
        K, at least 2, each context with a subset of its own.

    Returns
    -------
    OutsideLimits of arrays (...)
        Probabilities; a lower bound for trained pairs, whose b and length may move too.

    Raises
    ------
    UsageError
        If a share or the number of contexts is not what is said above.

    Source: derived.
    """
    across, within, s, t = _sums(outside_probability, outside_importance, n_contexts)
    limits = [4 * s * t / (2 * t * shared + 3 * s**2) for shared in (across, within)]
    return OutsideLimits(*np.broadcast_arrays(*limits))


def _sums(
    outside_probability: npt.ArrayLike, outside_importance: npt.ArrayLike, n_contexts: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Sums over the contexts for p = I = 1: p_i p_j (I_i + I_j) across subsets and within one, p_i I_i, and I_i."""
    share = at_most_one("outside_probability", outside_probability)
    importance = not_negative("outside_importance", outside_importance)
    if n_contexts < 2:
        raise UsageError(f"n_contexts must be at least 2, not {n_contexts}")
    others = n_contexts - 1
    across = 2 * share * (1 + importance) + (others - 1) * 2 * share**2 * importance
    within = 2 + others * 2 * share**2 * importance
    return across, within, 1 + others * share * importance, 1 + others * importance
