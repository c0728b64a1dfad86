"""The exact expected squared errors of y = φ(A x + a), where features are independent given the context.

An output depends on its own feature v and on the sum s = Σ_j A_j x_j of the other features. Let h(s) be its squared
error, averaged over v. The law of s is known by its characteristic function ψ(u) = Π_j E[exp(i u A_j x_j)], a product
of closed forms. A cosine series h(s) = Σ_k c_k cos(u_k (s − low)) on the interval that holds s then gives

    E[h(s)] = Σ_k c_k Re[ψ(u_k) exp(−i u_k low)],   u_k = π k / length,

the method of Fang and Oosterlee (2008), "A novel pricing method for European options based on Fourier-cosine series
expansions". The coefficients c_k are sums over equidistant points of s, so that a cosine transform of the right-hand
factors gives each point a weight. Two terms are split off, so that the series converges fast. The chance that all other
features are inactive gives an atom at s = 0, which ψ keeps at all frequencies. And a quadratic with the slopes of h at
both ends, whose mean follows from the mean and variance of s, leaves a remainder with continuous slopes; for ReLU all
that is left of its kinks is a jump of the second derivative. Losses are accurate to about 1e-5 of themselves.

Each output of each model is a row: a row of A (row, feature), an entry of a (row,), its own feature (row,), and the
index of its law (row,). The loops over features and points are compiled (`toysup.analysis.loss.compiled.sums`).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from toysup.analysis.loss.active_counts import most_active
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.experiments.numpy_activations import FUNCTIONS

# Terms of the series, and the points at which its coefficients are computed.
TERMS = 256
_POINTS = 2 * TERMS
# How many rows are computed at once: of a few thousand numbers each, a few MiB.
ROWS = 64
# Activations that are linear on each side of 0, and their slopes there.
_SLOPES = {"relu": (0.0, 1.0), "leaky_relu": (0.01, 1.0), "abs": (-1.0, 1.0), "identity": (1.0, 1.0)}
_SMOOTH_NODES = 16
# Entries of A below this are 0: they change no loss by more than rounding does.
_TINY = 1e-9
# The slopes at the ends of the interval are taken over this part of it.
_GAP = 1e-3


class Laws(NamedTuple):
    """The laws of features, and the target of outputs.

    `probability` (law, feature) is the chance that each feature is active. Its value is then uniform from `low` to
    `high`. The target of an output is its own feature, or the absolute value of that.
    """

    probability: FloatArray
    low: float
    high: float
    absolute: bool


class Rows(NamedTuple):
    """Outputs of models: A (row, feature), a (row,), and for each row its own feature, `wanted` and its law.

    `wanted` is 1 if the own feature is the target. Else it is 0, and so is the target, as for the outputs of z about
    another context.
    """

    A: FloatArray
    a: FloatArray
    own: AnyArray
    wanted: FloatArray
    law: AnyArray

    def parts(self) -> "Iterator[Rows]":
        """The same rows, some at a time."""
        for start in range(0, len(self.a), ROWS):
            yield Rows(*(each[start : start + ROWS] for each in self))


def expected_errors(rows: Rows, laws: Laws, activation: str) -> FloatArray:
    """E[(y − t)²] of each output: (row,)."""
    return np.concatenate([_errors(part, laws, activation, 0)[0] for part in rows.parts()])


def errors_by_active(rows: Rows, laws: Laws, activation: str, most: int) -> FloatArray:
    """E[(y − t)² 1{k features are active}] for k = 0 … most − 1, then for `most` and more: (1 + most, row)."""
    return np.concatenate([_errors(part, laws, activation, most) for part in rows.parts()], axis=1)


def _errors(rows: Rows, laws: Laws, activation: str, most: int) -> FloatArray:
    """As `errors_by_active` of rows that are computed at once."""
    p = laws.probability[rows.law, rows.own]
    means = _means(rows, laws, activation, 1 + most)
    inactive, active = (1 - p)[:, None] * means[:, :, 0], p[:, None] * means[:, :, 1]
    whole = inactive[:, 0] + active[:, 0]
    # The own feature is one of the active ones.
    exactly = inactive[:, 1:]
    exactly[:, 1:] += active[:, 1:-1]
    rest = whole - exactly.sum(axis=1)
    return np.concatenate([exactly.T, (np.maximum(rest, 0) if most else whole)[None]])


def _means(rows: Rows, laws: Laws, activation: str, n_laws: int) -> FloatArray:
    """The means of the squared error while the own feature is inactive, and active: (row, law, 2).

    The first law is that of the other features; law 1 + k is that in which k of them are active.
    """
    from scipy.fft import dct

    from toysup.analysis.loss.compiled import sums

    G, p, start, length = _others(rows, laws)
    cosines, moments = np.empty((len(G), n_laws, TERMS)), np.empty((len(G), n_laws, 3))
    sums.laws_of_sums(G, p, laws.low, laws.high, start, length, cosines, moments)
    weights = dct(cosines, type=3, n=_POINTS, axis=2) / _POINTS
    # Three points at each end give the slope there: exactly, if h is a quadratic near it.
    ends = np.array([0, _GAP, 2 * _GAP, 1 - 2 * _GAP, 1 - _GAP, 1])
    place = np.concatenate([(np.arange(_POINTS) + 0.5) / _POINTS, ends])
    s = np.zeros((len(G), len(place) + 1))
    s[:, :-1] = start[:, None] + length[:, None] * place
    means = np.empty((len(G), n_laws, 2))
    sums.means(_squared(rows, laws, activation, s), weights, moments, start, length, place, _GAP, means)
    return means


def _squared(rows: Rows, laws: Laws, activation: str, s: FloatArray) -> FloatArray:
    """The squared error at s (row, point) while the own feature is inactive, and its mean while it is active.

    The mean is over the values of the own feature, with a rule that is exact between kinks: (row, 2, point).
    """
    from toysup.analysis.loss.compiled import sums

    c, gain = rows.a[:, None] + s, rows.A[np.arange(len(s)), rows.own]
    h = np.empty((len(s), 2, s.shape[1]))
    if activation in _SLOPES and laws.low < laws.high:
        sums.kinked_errors(c, gain, rows.wanted, laws.low, laws.high, laws.absolute, *_SLOPES[activation], 3**-0.5, h)
        return h
    v, share = _values(*laws[1:])
    # Without the own feature its value is 0.
    at = np.concatenate([np.zeros(1), v])
    y = FUNCTIONS[activation](c[:, None] + (gain[:, None] * at)[:, :, None])
    sums.smooth_errors(y, rows.wanted, np.abs(v) if laws.absolute else v, share, h)
    return h


@lru_cache(maxsize=8)
def _values(low: float, high: float, absolute: bool) -> tuple[FloatArray, FloatArray]:
    """Values of an active feature, and the probabilities that they stand for."""
    if low == high:
        return np.full(1, low), np.ones(1)
    edges = np.array([low, 0, high] if absolute and low < 0 < high else [low, high])
    node, weight = np.polynomial.legendre.leggauss(_SMOOTH_NODES)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half + half * node).ravel(), (half * weight / (high - low)).ravel()


def _others(rows: Rows, laws: Laws) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """All features of a row but its own: their entries of A, their chances, and the interval that holds their sum."""
    own = np.arange(rows.A.shape[1]) == rows.own[:, None]
    # The own feature is none of the others.
    p = np.where(own, 0, laws.probability[rows.law])
    G = np.where((p == 0) | (np.abs(rows.A) < _TINY), 0, rows.A)
    ends = np.stack([np.zeros_like(G), G * laws.low, G * laws.high])
    # Where few features are ever active at once, s lies in a part of the interval that all of them span.
    used, place = np.unique(rows.law, return_inverse=True)
    most = np.array([most_active(laws.probability[law]) for law in used])[place]
    start = _sums_of_first(np.sort(ends.min(axis=0), axis=1), most)
    stop = -_sums_of_first(np.sort(-ends.max(axis=0), axis=1), most)
    return G, p, start, np.where(stop == start, 1, stop - start)


def _sums_of_first(values: FloatArray, count: AnyArray) -> FloatArray:
    """The sum of the first numbers of each row, as many as `count` (row,) says."""
    kept = np.arange(values.shape[1]) < count[:, None]
    sums: FloatArray = np.where(kept, values, 0).sum(axis=1)
    return sums
