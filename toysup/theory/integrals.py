"""E[(y_i − x_i)²] given exactly which features are active: integrals of quadratics that are cut by one straight line.

For output i of the tied model, y_i = ReLU(a) with a = b_i + Σ_j G_ij x_j. With one or two active features, (y_i − x_i)²
is a quadratic on each side of a = 0. Between the places where the line a = 0 meets an edge of the unit square, its
integral over one value is a cubic in the other, and the two-point Gauss–Legendre rule integrates a cubic exactly. So
these integrals are exact; and since they are sums of squares with positive weights, nothing cancels, however small a
slope is or wherever its kink lies. A kink that rounding displaces does no harm, as ReLU is continuous.

Here an output is a row: its row of G (row, feature), its bias (row,), and `own` (row, feature), 1 at its own feature.
"""

import numpy as np

from toysup.experiments.regime import FloatArray


def one_active(G: FloatArray, bias: FloatArray, own: FloatArray) -> FloatArray:
    """∫₀¹ (ReLU(b + g x) − own·x)² dx for each active feature: (row, feature)."""
    b = bias[:, None]
    x, weight = _nodes(_kink(b, G))
    output = np.maximum(b[..., None] + G[..., None] * x, 0)
    return _integral((output - own[..., None] * x) ** 2, weight)


def two_active(G: FloatArray, bias: FloatArray, own: FloatArray, pairs: tuple[np.ndarray, np.ndarray]) -> FloatArray:
    """∫₀¹∫₀¹ (ReLU(b + g x + h z) − own·(x, z))² dz dx for each pair of active features: (row, pair)."""
    first, second = pairs
    g, h = G[:, first], G[:, second]
    b = np.broadcast_to(bias[:, None], g.shape)
    # Where the line b + g x + h z = 0 meets the edges z = 0 and z = 1.
    x, weight_x = _nodes(_kink(b, g), _kink(b + h, g))
    at_x = b[..., None] + g[..., None] * x
    z, weight_z = _nodes(_kink(at_x, h[..., None]))
    output = np.maximum(at_x[..., None] + h[..., None, None] * z, 0)
    target = own[:, first, None, None] * x[..., None] + own[:, second, None, None] * z
    return _integral(_integral((output - target) ** 2, weight_z), weight_x)


def _kink(b: FloatArray, slope: FloatArray) -> FloatArray:
    """Where b + slope·x changes its sign, moved into [0, 1]; anywhere if the slope is 0."""
    with np.errstate(over="ignore"):
        kink = np.divide(-b, slope, out=np.zeros(np.broadcast_shapes(b.shape, slope.shape)), where=slope != 0)
    return np.clip(kink, 0, 1)


def _nodes(*kinks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points of [0, 1] and their weights (..., node), exact for what is cubic between 0, the kinks and 1."""
    edges = np.sort(np.stack([np.zeros_like(kinks[0]), *kinks, np.ones_like(kinks[0])], axis=-1), axis=-1)
    half = np.diff(edges) / 2
    middle = edges[..., :-1] + half
    offset = half / np.sqrt(3)
    return np.concatenate([middle - offset, middle + offset], axis=-1), np.concatenate([half, half], axis=-1)


def _integral(values: FloatArray, weight: FloatArray) -> FloatArray:
    integral: FloatArray = np.einsum("...n,...n->...", values, weight)
    return integral
