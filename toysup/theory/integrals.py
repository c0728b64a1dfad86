"""E[(y_i − x_i)²] given which features are active, for one or two active features: exact integrals.

Output i of the tied model is y_i = ReLU(a) with a = b_i + Σ_j G_ij x_j. With one or two active features, (y_i − x_i)²
is a quadratic on each side of the line a = 0. The outer integral is cut where this line meets an edge of the unit
square. Between the cuts the inner integral is a cubic in the outer value, and the two-point Gauss–Legendre rule
integrates a cubic exactly.

The integrals are sums of squares with positive weights. So no digits are lost to cancellation, even if a slope is tiny.
Rounding can displace a cut, but this changes little, because ReLU is continuous.

Each output of each model is one row: a row of G (row, feature), a bias (row,), and a row of `own` (row, feature), which
is 1 at the output's own feature and 0 elsewhere.
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
    # The outer integral is cut where the line b + g x + h z = 0 meets the edges z = 0 and z = 1.
    x, weight_x = _nodes(_kink(b, g), _kink(b + h, g))
    at_x = b[..., None] + g[..., None] * x
    z, weight_z = _nodes(_kink(at_x, h[..., None]))
    output = np.maximum(at_x[..., None] + h[..., None, None] * z, 0)
    target = own[:, first, None, None] * x[..., None] + own[:, second, None, None] * z
    return _integral(_integral((output - target) ** 2, weight_z), weight_x)


def _kink(b: FloatArray, slope: FloatArray) -> FloatArray:
    """The x at which b + slope·x changes its sign, clipped to [0, 1]; 0 if the slope is 0."""
    with np.errstate(over="ignore"):
        kink = np.divide(-b, slope, out=np.zeros(np.broadcast_shapes(b.shape, slope.shape)), where=slope != 0)
    return np.clip(kink, 0, 1)


def _nodes(*kinks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Quadrature points of [0, 1] and their weights (..., node), exact for a cubic on each piece between the kinks."""
    edges = np.sort(np.stack([np.zeros_like(kinks[0]), *kinks, np.ones_like(kinks[0])], axis=-1), axis=-1)
    half = np.diff(edges) / 2
    middle = edges[..., :-1] + half
    offset = half / np.sqrt(3)
    return np.concatenate([middle - offset, middle + offset], axis=-1), np.concatenate([half, half], axis=-1)


def _integral(values: FloatArray, weight: FloatArray) -> FloatArray:
    integral: FloatArray = np.einsum("...n,...n->...", values, weight)
    return integral
