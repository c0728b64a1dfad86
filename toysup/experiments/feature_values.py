"""The law of the value of an active feature: its interval and its moments."""

import numpy as np


def value_range(values: str | float) -> tuple[float, float]:
    """The interval [low, high] of a law of values: "uniform", "signed", "binary" (always 1) or a constant.

    A constant is rounded to float32, as samples hold it, so that a rule on x recognises its ties.
    """
    named = {"uniform": (0.0, 1.0), "signed": (-1.0, 1.0), "binary": (1.0, 1.0)}
    return named[values] if isinstance(values, str) else (float(np.float32(values)),) * 2


def uniform_moments(low: float, high: float) -> tuple[float, float]:
    """The mean and the mean square of a value that is uniform on [low, high]."""
    return (low + high) / 2, (low**2 + low * high + high**2) / 3
