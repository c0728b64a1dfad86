"""The best linear map of given rank, from second moments alone."""

from typing import NamedTuple

import numpy as np

from toysup.analysis.statistics.arrays import FloatArray

_STARTS = 4
_EQUAL = 1e-9


class Moments(NamedTuple):
    """Of u = (1, what the model sees) and of the target t, with the context's indicator 1{c}.

    `inputs` (context, input, input) E[1{c} u uᵀ], `cross` (context, output, input) E[1{c} t uᵀ], `square` (context,
    output) E[1{c} t²]; and `weight` (context, output), the importance.
    """

    inputs: FloatArray
    cross: FloatArray
    square: FloatArray
    weight: FloatArray


def linear_loss(moments: Moments, rank: int) -> tuple[float, bool]:
    """The least Σ_o E[w_o(c) (y_o − t_o)²] of y = A x + b with rank A ≤ m, and whether it is exact.

    Where u has the same second moments for every output, however it weighs the contexts (importance does not depend
    on the context, or x does not), this is weighted reduced-rank regression, which has a closed form: with C and S the
    covariances of t with x and of x, and weights D, the m largest singular values of D^½ C S^-½ are kept. Elsewhere
    it is the least that L-BFGS finds over the row space of A from four starts, the loss of a map that there is: an
    upper bound.
    """
    used = moments.weight.T @ moments.inputs[:, 0, 0] > 0
    moments = moments._replace(
        cross=moments.cross[:, used], square=moments.square[:, used], weight=moments.weight[:, used]
    )
    if not used.any():
        return 0.0, True
    mean = moments.weight.T @ moments.inputs[:, 0, 0]
    share = moments.weight / mean
    together = np.einsum("co,o->c", share, mean / mean.sum())
    pooled = np.einsum("c,cuv->uv", together, moments.inputs)
    least, directions = _reduced_rank(moments, pooled, mean, rank)
    if _same_moments(share - together[:, None], moments.inputs):
        return least, True
    return _searched(moments, directions), False


def _same_moments(difference: FloatArray, inputs: FloatArray) -> bool:
    """Whether weights that differ like this (context, output) see the same moments nevertheless."""
    distinct = np.unique(difference.round(12), axis=1)
    left = np.einsum("co,cuv->ouv", distinct, inputs)
    return bool(np.abs(left).max() <= _EQUAL * np.abs(inputs).max())


def _reduced_rank(moments: Moments, pooled: FloatArray, mean: FloatArray, rank: int) -> tuple[float, FloatArray]:
    """The loss, and the directions (rank, input) that are kept, if all outputs see the pooled moments of u."""
    centre = pooled[0, 1:]
    cross = np.einsum("co,cou->ou", moments.weight, moments.cross) / mean[:, None]
    offset = cross[:, 0]
    covariance = cross[:, 1:] - offset[:, None] * centre
    variance = np.einsum("co,co->o", moments.weight, moments.square) / mean - offset**2
    values, vectors = np.linalg.eigh(pooled[1:, 1:] - np.outer(centre, centre))
    there = values > 1e-12 * max(values.max(), np.finfo(float).tiny)
    whitened = vectors[:, there] / np.sqrt(values[there])
    _, singular, kept = np.linalg.svd(np.sqrt(mean)[:, None] * covariance @ whitened, full_matrices=False)
    least = float(mean @ variance - (singular[:rank] ** 2).sum())
    directions = np.zeros((rank, len(centre)))
    directions[: min(rank, len(kept))] = (kept @ whitened.T)[:rank]
    return max(least, 0.0), directions


def _searched(moments: Moments, start: FloatArray) -> float:
    """The least loss found over the row space (rank, input) of A; its outputs are solved for, one by one."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    scale = np.abs(start).max() or 1.0
    starts = [start, *(scale * rng.normal(size=start.shape) for _ in range(_STARTS - 1))]

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        return _loss_and_slope(flat.reshape(start.shape), moments)

    least = np.inf
    for first in starts:
        optimum = minimize(
            objective,
            first.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 500, "ftol": 1e-10, "gtol": 1e-12},
        )
        least = min(least, float(optimum.fun))
    return max(0.0, least)


def _loss_and_slope(rows: FloatArray, moments: Moments) -> tuple[float, FloatArray]:
    """The loss of the best outputs of the hidden state V x, and its derivative by V."""
    inputs, cross, square, weight = moments
    V = np.zeros((len(rows) + 1, rows.shape[1] + 1))
    V[0, 0], V[1:, 1:] = 1, rows
    normal = np.einsum("co,cij->oij", weight, V @ inputs @ V.T)
    right = np.einsum("co,coi->oi", weight, cross @ V.T)
    out = np.einsum("oij,oj->oi", np.linalg.pinv(normal, hermitian=True), right)
    A = out @ V
    each = np.einsum("cov,ov->co", A @ inputs - 2 * cross, A) + square
    slope = 2 * np.einsum("co,cov->ov", weight, A @ inputs - cross)
    return float((weight * each).sum()), (out.T @ slope)[1:, 1:].ravel()
