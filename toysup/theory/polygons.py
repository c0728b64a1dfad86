"""Regular polygons in two hidden dimensions, which are critical points of the one-hot loss."""

import numpy as np

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray


def polygon(k: int, length: float = 1.0, *, n_features: int | None = None) -> FloatArray:
    """Weights W with the first k features at the corners of a regular polygon, and the other features at 0.

    Column i is length · (cos 2πi/k, sin 2πi/k) for i = 0, …, k − 1.

    Parameters
    ----------
    k : int
        Number of corners, at least 1.
    length : float, default 1
        Distance of the corners from 0, dimensionless.
    n_features : int, optional
        Number of features, at least k. The default is k.

    Returns
    -------
    array (hidden, feature)
        Weights with two hidden dimensions, dimensionless.

    Raises
    ------
    UsageError
        If k is less than 1 or greater than n_features.

    Source: Chen et al. (2023), "Dynamical versus Bayesian Phase Transitions in a Toy Model of Superposition".

    Examples
    --------
    >>> from toysup import theory
    >>> theory.polygon(4, n_features=5).round(2) + 0.0
    array([[ 1.,  0., -1.,  0.,  0.],
           [ 0.,  1.,  0., -1.,  0.]])
    """
    n = k if n_features is None else n_features
    if not 1 <= k <= n:
        raise UsageError(f"a polygon needs 1 ≤ k ≤ n_features, got k={k}, n_features={n}")
    turn = 2 * np.pi * np.arange(k) / k
    W = np.zeros((2, n))
    W[:, :k] = length * np.stack([np.cos(turn), np.sin(turn)])
    return W
