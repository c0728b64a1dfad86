"""An upper bound of the loss from samples with three or more active features, by exact second moments.

Let D = G − 1, and let u⁺ and u⁻ be the positive and the negative part of u. The error y_i − x_i is at most
b_i⁺ + Σ_j D_ij⁺ x_j; it is at least −x_i, and at least −(b_i⁻ + Σ_j D_ij⁻ x_j). The expected squares of these three
bounds follow from the moments E[x_j] and E[x_j x_k] over samples with three or more active features.
"""

import numpy as np

from toysup.experiments.regime import FloatArray, Regime


def more_active_bound(G: FloatArray, b: FloatArray, regime: Regime) -> FloatArray:
    """An upper bound of the loss that samples with three or more active features contribute: (..., feature)."""
    second = _moments_of_more(regime.activation_probability)
    square = np.diagonal(second, axis1=1, axis2=2)[:, 1:]
    weights = regime.context_probability[:, None] * regime.importance
    affine = np.concatenate([b[..., None], G - np.eye(len(regime.subset))], axis=-1)

    def expected_squares(coefficients: FloatArray) -> FloatArray:
        """E[(k·(1, x))²; three or more] for each row k of coefficients, by context: (..., context, feature)."""
        squares: FloatArray = np.einsum("...ij,cjk,...ik->...ci", coefficients, second, coefficients, optimize=True)
        return squares

    above = expected_squares(np.maximum(affine, 0))
    below = np.minimum(expected_squares(np.maximum(-affine, 0)), square)
    bound: FloatArray = (weights * (above + below)).sum(axis=-2)
    return bound


def _moments_of_more(p: FloatArray) -> FloatArray:
    """E[(1, x)(1, x)ᵀ; three or more features are active] in each context: (context, 1 + feature, 1 + feature)."""
    contexts, n = p.shape
    own = np.eye(n + 1, dtype=bool)
    own[0, 0] = False
    named = own[:, None] | own[None, :]
    # For each entry of the matrix: the probabilities of 0, 1, 2 and at least 3 active features, if the one or two
    # features of the entry are active. Adding one feature after another sums positive numbers; 1 − P(at most 2) would
    # lose digits to cancellation.
    counts = np.repeat(np.eye(4)[named.sum(axis=-1)][None], contexts, axis=0)
    for feature in range(n):
        arrives = np.where(named[..., 1 + feature], 0, p[:, feature, None, None])[..., None]
        more = counts * arrives
        counts *= 1 - arrives
        counts[..., 1:] += more[..., :-1]
        counts[..., 3] += more[..., 3]
    chance, value = np.pad(p, ((0, 0), (1, 0)), constant_values=1), np.r_[1, np.full(n, 1 / 2)]
    product = chance[:, :, None] * chance[:, None] * np.outer(value, value)
    moments: FloatArray = np.where(own, chance[:, None] / 3, product) * counts[..., 3]
    return moments
