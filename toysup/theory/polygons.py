"""Regular polygons in two hidden dimensions, the critical points of the one-hot loss."""

import numpy as np

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray


def polygon(k: int, length: float = 1.0, *, n_features: int | None = None) -> FloatArray:
    """W with column i at length·(cos 2πi/k, sin 2πi/k) for the first k features, 0 for the others.

    Parameters
    ----------
    k : int
        Number of corners, at least 1.
    length : float
        Distance of the corners from 0.
    n_features : int, optional
        Number of features, at least k; k if not given.

    Returns
    -------
    array (2, feature)
        Weights; dimensionless.

    Raises
    ------
    UsageError
        If k < 1 or n_features < k.

    Source: Chen et al. (2023), "Dynamical versus Bayesian Phase Transitions in a Toy Model of Superposition".
    """
    n = k if n_features is None else n_features
    if not 1 <= k <= n:
        raise UsageError(f"a polygon needs at least one corner, and a feature for each; not k={k}, n_features={n}")
    turn = 2 * np.pi * np.arange(k) / k
    W = np.zeros((2, n))
    W[:, :k] = length * np.stack([np.cos(turn), np.sin(turn)])
    return W
