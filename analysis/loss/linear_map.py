"""The loss of the best linear map of a given rank, computed from second moments alone."""

import numpy as np

from toysup.analysis.loss.moments import Moments
from toysup.analysis.statistics.arrays import FloatArray

_STARTS = 4
_EQUAL = 1e-9


def linear_loss(moments: Moments, rank: int) -> tuple[float, bool]:
    """The least Σ_o E[w_o(c) (y_o − t_o)²] of y = A x + b with rank A ≤ `rank`, and whether it is exact.

    The problem is weighted reduced-rank regression if weighting the contexts by w gives the same second moments of u
    for every output. This is so if importance does not depend on the context, or if x does not. The closed form then
    keeps the largest singular values of D^½ C S^-½, where C = Cov(t, x), S = Cov(x), and D has the mean weights.
    Otherwise L-BFGS searches over the row space of A from four starts. Its result is the loss of an actual map, and
    therefore an upper bound.
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
    """Whether moments of u are equal under weights of the contexts with these differences (context, output)."""
    distinct = np.unique(difference.round(12), axis=1)
    left = np.einsum("co,cuv->ouv", distinct, inputs)
    return bool(np.abs(left).max() <= _EQUAL * np.abs(inputs).max())


def _reduced_rank(moments: Moments, pooled: FloatArray, mean: FloatArray, rank: int) -> tuple[float, FloatArray]:
    """The loss and the directions (rank, input) of the best map, if u has the pooled moments for all outputs."""
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
    """The least loss that a search over the row space (rank, input) of A finds.

    For given rows of A the best outputs are solved for, one by one.
    """
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
    """The loss of the best outputs for the hidden state V x, and its derivative with respect to V."""
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
