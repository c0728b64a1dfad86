"""The arguments of the formulas: numbers in their range, and the tables of a regime."""

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray, Regime


def one_context(probability: npt.ArrayLike, importance: npt.ArrayLike) -> Regime:
    """The regime of one context, in which feature i has probability p_i and importance I_i.

    Parameters
    ----------
    probability, importance : array-like (feature,)
        Dimensionless; one number stands for all features.

    Returns
    -------
    Regime
        One context, "all"; one subset, "all".

    Raises
    ------
    UsageError
        If a probability is not in [0, 1], an importance is negative, or the numbers of features differ.
    """
    p, importance = at_most_one("probability", probability), not_negative("importance", importance)
    if p.ndim > 1 or importance.ndim > 1 or len({array.size for array in (p, importance) if array.ndim}) > 1:
        raise UsageError(
            f"probability {p.shape} and importance {importance.shape} must be one number for each feature or for all"
        )
    p, importance = np.broadcast_arrays(np.atleast_2d(p), np.atleast_2d(importance))
    return Regime(("all",), ("all",) * p.shape[1], np.ones(1), p, importance)


def require_independent(regime: Regime, *, values: str = "uniform") -> None:
    """UsageError unless the regime has these values, features independent given the context, and the target x."""
    if reason := no_formula(regime, values=values):
        raise UsageError(f"no formula for this regime: {reason}; sample its loss instead")


def no_formula(regime: Regime, *, values: str = "uniform") -> str | None:
    """Why the formulas of `theory` do not hold for a regime, such as `its target is z, not x`; None where they do."""
    obstacles = {
        f"values are {regime.values}, not {values}": regime.values != values,
        "features are in groups": any(regime.group),
        "context follows from x": regime.rule is not None,
        f"target is {regime.target}, not x": regime.target != "x",
    }
    return next((f"its {words}" for words, holds in obstacles.items() if holds), None)


def at_most_one(name: str, value: npt.ArrayLike) -> FloatArray:
    """`value` as float64; UsageError unless all of it is in [0, 1]."""
    return _checked(name, value, 0, 1, "in [0, 1]")


def not_negative(name: str, value: npt.ArrayLike) -> FloatArray:
    """`value` as float64; UsageError unless all of it is finite and at least 0."""
    return _checked(name, value, 0, np.finfo(np.float64).max, "finite and at least 0")


def _checked(name: str, value: npt.ArrayLike, low: float, high: float, right: str) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    # Written so that a NaN is wrong too.
    wrong = ~((array >= low) & (array <= high))
    if wrong.any():
        raise UsageError(f"{name} must be {right}, not {array[wrong].flat[0]:g}")
    return array
