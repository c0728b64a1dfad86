"""Two features of importance 1 and I in one hidden dimension: the losses of three strategies."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.experiments.regime import FloatArray
from toysup.theory.tables import at_most_one, not_negative


class TwoFeatureLosses(NamedTuple):
    """The losses of three strategies for two features in one hidden dimension, as `two_feature_losses` returns them.

    All are importance-weighted squared errors per sample, in the broadcast shape of importance and probability.

    Parameters
    ----------
    drop_second : array (...)
        The loss if the model represents the first feature alone.
    drop_first : array (...)
        The loss if the model represents the second feature alone.
    antipodal : array (...)
        The loss if the model represents both features, as an antipodal pair.

    Examples
    --------
    >>> from toysup import theory
    >>> losses = theory.two_feature_losses(0.5, 0.2)
    >>> min(losses._asdict(), key=losses._asdict().get)
    'antipodal'
    """

    drop_second: FloatArray
    drop_first: FloatArray
    antipodal: FloatArray


def two_feature_losses(importance: npt.ArrayLike, probability: npt.ArrayLike) -> TwoFeatureLosses:
    """The losses of three strategies of y = ReLU(WᵀW x + b) with one hidden dimension and two features.

    The features have importance 1 and I and the same probability p. The strategies are

    - `drop_second`: W = (1, 0) and b = (0, p/2) have the loss I (p/3 − p²/4), I times the variance of a feature;
    - `drop_first`: W = (0, 1) and b = (p/2, 0) have the loss p/3 − p²/4;
    - `antipodal`: W = (1, −1) and b = (0, 0) have the loss (1 + I) p²/6. An error occurs only if both features are
      active. Then y_i − x_i = −min(x_i, x_j), whose mean square is 1/6.

    Parameters
    ----------
    importance : array-like (...)
        I, the importance of the second feature, finite and at least 0.
    probability : array-like (...)
        p, the probability of both features, in [0, 1].

    Returns
    -------
    TwoFeatureLosses
        Three arrays, `drop_second`, `drop_first` and `antipodal`, in the broadcast shape of the arguments:
        importance-weighted squared error per sample. No other weights that drop the same feature have a lower loss. An
        antipodal pair of another length and b can have a lower loss, so `antipodal` is an upper bound.

    Raises
    ------
    UsageError
        If an argument is out of its range.

    Source: derived, for the system of Elhage et al. (2022), "Toy Models of Superposition".

    Examples
    --------
    >>> from toysup import theory
    >>> [round(float(loss), 3) for loss in theory.two_feature_losses(0.5, 0.6)]
    [0.055, 0.11, 0.09]
    """
    importance, p = np.broadcast_arrays(not_negative("importance", importance), at_most_one("probability", probability))
    variance = p / 3 - p**2 / 4
    return TwoFeatureLosses(importance * variance, variance, (1 + importance) * p**2 / 6)


def two_feature_phase(importance: npt.ArrayLike, probability: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """The strategy with the least loss for two features in one hidden dimension.

    The strategies are those of `two_feature_losses`; if two have the same loss, the first of them is named. All three
    have the same loss at (I, p) = (1, 4/7).

    The region "antipodal" is where superposing costs less than dropping a feature. An antipodal pair of another length
    and b can cost even less, so the region in which superposing is cheaper contains this one. It is not the region in
    which training superposes: two weights that start with equal signs rarely become an antipodal pair, because one of
    them would have to change its sign.

    Parameters
    ----------
    importance : array-like (...)
        I, the importance of the second feature, finite and at least 0; that of the first is 1.
    probability : array-like (...)
        p, the probability of both features, in [0, 1].

    Returns
    -------
    array of str (...)
        "drop_second", "drop_first" or "antipodal", in the broadcast shape of the arguments.

    Raises
    ------
    UsageError
        If an argument is out of its range.

    Source: derived, for the system of Elhage et al. (2022), "Toy Models of Superposition".

    Examples
    --------
    >>> from toysup import theory
    >>> theory.two_feature_phase([0.2, 1, 5], 0.4).tolist()
    ['drop_second', 'antipodal', 'drop_first']
    """
    losses = np.stack(two_feature_losses(importance, probability))
    names: npt.NDArray[np.str_] = np.array(TwoFeatureLosses._fields)[losses.argmin(axis=0)]
    return names


def antipodal_limit(importance: npt.ArrayLike) -> FloatArray:
    """The probability below which `antipodal` has the least loss: 4I/(2 + 5I) for I ≤ 1, 4/(5 + 2I) for I ≥ 1.

    The strategies are those of `two_feature_losses`.

    Parameters
    ----------
    importance : array-like (...)
        I, the importance of the second feature, finite and at least 0; that of the first is 1.

    Returns
    -------
    array (...)
        Probability, at most 4/7, which is its value at I = 1. An antipodal pair of another length and b can cost less
        than `antipodal`, so this is a lower bound of the probability below which superposing is cheaper. Training may
        still drop a feature below it; see `two_feature_phase`.

    Raises
    ------
    UsageError
        If an importance is negative or not finite.

    Source: derived, for the system of Elhage et al. (2022), "Toy Models of Superposition".

    Examples
    --------
    >>> from toysup import theory
    >>> theory.antipodal_limit([0.5, 1, 2.5]).round(4).tolist()  # 4/9, 4/7 and 4/10
    [0.4444, 0.5714, 0.4]
    """
    importance = not_negative("importance", importance)
    less = np.minimum(importance, 1)
    limit: FloatArray = 4 * less / (2 * (1 + importance) + 3 * less)
    return limit
