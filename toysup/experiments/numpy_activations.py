"""The built-in activations for NumPy arrays of float32 or float64: torch's definitions, in the dtype of the array."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# SciPy's functions are imported where they are used, because they are slow to load and most models need none.


def _gelu(a: Array) -> Array:
    from scipy.special import ndtr

    return a * ndtr(a)


def _sigmoid(a: Array) -> Array:
    from scipy.special import expit

    probability: Array = expit(a)
    return probability


def _softplus(a: Array) -> Array:
    """log(1 + e^a); above 20, torch returns a."""
    return np.where(a > 20, a, np.logaddexp(0, a, dtype=a.dtype))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda a: np.maximum(a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "gelu": _gelu,
    "silu": lambda a: a * _sigmoid(a),
    "softplus": _softplus,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "abs": np.abs,
    "identity": lambda a: a,
}
