"""Arguments of the formulas: a regime of one context, and checks of regimes and numbers."""

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray, Regime


def one_context(probability: npt.ArrayLike, importance: npt.ArrayLike) -> Regime:
    """A regime with one context, in which feature i has probability p_i and importance I_i.

    Active values are uniform on [0, 1], features are independent, and the target is x.

    Parameters
    ----------
    probability : array-like (feature,)
        p_i, in [0, 1]; one number stands for all features.
    importance : array-like (feature,)
        I_i, finite and at least 0; one number stands for all features.

    Returns
    -------
    Regime
        Its only context and its only subset are called "all". It has one feature if both arguments are single numbers.

    Raises
    ------
    UsageError
        If an argument is out of its range, or the arguments differ in the number of features.

    Examples
    --------
    >>> from toysup import theory
    >>> regime = theory.one_context(0.1, [1, 0.5])
    >>> regime.activation_probability.tolist(), regime.importance.tolist()
    ([[0.1, 0.1]], [[1.0, 0.5]])
    """
    p, importance = at_most_one("probability", probability), not_negative("importance", importance)
    if p.ndim > 1 or importance.ndim > 1 or len({array.size for array in (p, importance) if array.ndim}) > 1:
        raise UsageError(
            f"probability {p.shape} and importance {importance.shape} must each be one number, or one for each feature"
        )
    p, importance = np.broadcast_arrays(np.atleast_2d(p), np.atleast_2d(importance))
    return Regime(("all",), ("all",) * p.shape[1], np.ones(1), p, importance)


def require_independent(regime: Regime, *, values: str = "uniform") -> None:
    """Raise UsageError if the formulas of `theory` do not hold for the regime; see `no_formula`."""
    if reason := no_formula(regime, values=values):
        raise UsageError(f"no formula for this regime: {reason}; estimate the loss from samples instead")


def no_formula(regime: Regime, *, values: str = "uniform") -> str | None:
    """Why the formulas of `theory` do not hold for a regime, such as "its target is z, not x"; None if they hold."""
    obstacles = {
        f"values are {regime.values}, not {values}": regime.values != values,
        "features are in groups": any(regime.group),
        "context follows from x": regime.rule is not None,
        f"target is {regime.target}, not x": regime.target != "x",
    }
    return next((f"its {words}" for words, holds in obstacles.items() if holds), None)


def at_most_one(name: str, value: npt.ArrayLike) -> FloatArray:
    """`value` as float64. Raise UsageError if an entry is not in [0, 1]."""
    return _checked(name, value, 0, 1, "in [0, 1]")


def not_negative(name: str, value: npt.ArrayLike) -> FloatArray:
    """`value` as float64. Raise UsageError if an entry is negative or not finite."""
    return _checked(name, value, 0, np.finfo(np.float64).max, "finite and at least 0")


def _checked(name: str, value: npt.ArrayLike, low: float, high: float, right: str) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    # Comparisons with NaN are false, so a NaN is wrong too.
    wrong = ~((array >= low) & (array <= high))
    if wrong.any():
        raise UsageError(f"{name} must be {right}, not {array[wrong].flat[0]:g}")
    return array
