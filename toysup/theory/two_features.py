"""Two features of importance 1 and I in one hidden dimension: which of three strategies is best."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.experiments.regime import FloatArray
from toysup.theory.tables import at_most_one, not_negative


class TwoFeatureLosses(NamedTuple):
    """The loss of each strategy, in the broadcast shape of importance and probability."""

    drop_second: FloatArray
    drop_first: FloatArray
    antipodal: FloatArray


def two_feature_losses(importance: npt.ArrayLike, probability: npt.ArrayLike) -> TwoFeatureLosses:
    """The losses of y = ReLU(WᵀW x + b) with one hidden dimension and features of importance 1 and I.

    `drop_second`, W = (1, 0), b = (0, p/2): I (p/3 − p²/4), the variance of the second feature. `drop_first`: the
    same without I. `antipodal`, W = (1, −1), b = 0: (1 + I) p²/6, since where both are active an output is
    ReLU(x_i − x_j), and E[min(x_i, x_j)²] = 1/6.

    Parameters
    ----------
    importance : array-like (...)
        I, of the second feature.
    probability : array-like (...)
        p, of both features; broadcasts against I.

    Returns
    -------
    TwoFeatureLosses of arrays (...)
        Importance-weighted squared error per sample. The first two are the least that dropping a feature can cost;
        an antipodal pair whose scale and b may move costs at most the third.

    Raises
    ------
    UsageError
        If I is negative or p is not in [0, 1].

    Source: derived; the system is that of Elhage et al. (2022), "Toy Models of Superposition".
    """
    importance, p = np.broadcast_arrays(not_negative("importance", importance), at_most_one("probability", probability))
    variance = p / 3 - p**2 / 4
    return TwoFeatureLosses(importance * variance, variance, (1 + importance) * p**2 / 6)


def two_feature_phase(importance: npt.ArrayLike, probability: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """The name of the strategy with the least loss, in `two_feature_losses`; of equals the first.

    Parameters
    ----------
    importance, probability : array-like (...)
        I of the second feature and p of both; they broadcast.

    Returns
    -------
    array of str (...)
        "drop_second", "drop_first" or "antipodal". The three meet at (I, p) = (1, 4/7). The antipodal region is at
        least as large when b and the scale may move, so it bounds from below what training finds.

    Raises
    ------
    UsageError
        If I is negative or p is not in [0, 1].
    """
    losses = np.stack(two_feature_losses(importance, probability))
    names: npt.NDArray[np.str_] = np.array(TwoFeatureLosses._fields)[losses.argmin(axis=0)]
    return names


def antipodal_limit(importance: npt.ArrayLike) -> FloatArray:
    """The probability below which antipodal is best: 4I/(2 + 5I) for I ≤ 1, 4/(5 + 2I) for I ≥ 1.

    Parameters
    ----------
    importance : array-like (...)
        I, of the second feature.

    Returns
    -------
    array (...)
        Probability; at I = 1 it is 4/7, the largest. A lower bound of where training stops superposing.

    Raises
    ------
    UsageError
        If I is negative.
    """
    importance = not_negative("importance", importance)
    less = np.minimum(importance, 1)
    limit: FloatArray = 4 * less / (2 * (1 + importance) + 3 * less)
    return limit
