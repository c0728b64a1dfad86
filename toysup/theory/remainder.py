"""What three or more active features can cost: a bound from second moments, which are exact.

With D = G − 1 the error y_i − x_i is at most b_i⁺ + Σ_j D_ij⁺ x_j, and at least −(b_i⁻ + Σ_j D_ij⁻ x_j) and −x_i, where
u⁺ and u⁻ are the positive and the negative part of u. The expected squares of these need only E[x_j x_k].
"""

import numpy as np

from toysup.experiments.regime import FloatArray, Regime


def more_active_bound(G: FloatArray, b: FloatArray, regime: Regime) -> FloatArray:
    """What samples with three or more active features contribute at most, from above: (..., feature)."""
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
    # Given that the features of an entry are active, the chance of 0, 1, 2 and more active ones, feature by feature:
    # sums of positive numbers, where one minus the chance of the others would cancel.
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
