"""The exact expected squared errors of y = φ(A x + a), where features are independent given the context.

An output depends on its own feature v and on the sum s = Σ_j A_j x_j of the other features. Let h(s) be its squared
error, averaged over v. The law of s is known by its characteristic function ψ(u) = Π_j E[exp(i u A_j x_j)], a product
of closed forms. A cosine series h(s) = Σ_k c_k cos(u_k (s − low)) on the interval that holds s then gives

    E[h(s)] = Σ_k c_k Re[ψ(u_k) exp(−i u_k low)],   u_k = π k / length,

the method of Fang and Oosterlee (2008), "A novel pricing method for European options based on Fourier-cosine series
expansions". Two terms are split off, so that the series converges fast. The chance that all other features are
inactive gives an atom at s = 0, which ψ keeps at all frequencies. And a quadratic with the slopes of h at both ends,
whose mean follows from the mean and variance of s, leaves a remainder with continuous slopes; for ReLU all that is left
of its kinks is a jump of the second derivative. Losses are accurate to about 1e-5 of themselves.

Each output of each model is a row: a row of A (row, feature), an entry of a (row,), and its own feature (row,).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from toysup.analysis.loss.active_counts import most_active
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.experiments.feature_values import uniform_moments
from toysup.experiments.numpy_activations import FUNCTIONS

# Terms of the series, and the points at which its coefficients are computed.
TERMS = 256
_POINTS = 2 * TERMS
# How many rows are computed at once: of TERMS complex numbers each, 1 MiB.
ROWS = 256
# Activations that are linear on each side of 0. `identity` is linear everywhere.
_KINKED = ("relu", "leaky_relu", "abs")
_SMOOTH_NODES = 16
# Entries of A below this are 0: they change no loss by more than rounding does.
_TINY = 1e-9
# The slopes at the ends of the interval are taken over this part of it.
_GAP = 1e-3

Function = Callable[[FloatArray], FloatArray]


class Law(NamedTuple):
    """The law of features in a context, and the target of outputs.

    `probability` (feature,) is the chance that each feature is active. Its value is then uniform from `low` to `high`.
    The target of an output is its own feature, or the absolute value of that.
    """

    probability: FloatArray
    low: float
    high: float
    absolute: bool

    @property
    def moments(self) -> tuple[float, float]:
        """The mean and the mean square of the value of an active feature."""
        return uniform_moments(self.low, self.high)


class Rows(NamedTuple):
    """Outputs of models: A (row, feature), a (row,), the own feature (row,), and 1 if it is the target, else 0 (row,).

    If the own feature is not the target, the target is 0, as it is for the outputs of z about another context.
    """

    A: FloatArray
    a: FloatArray
    own: AnyArray
    wanted: FloatArray


def expected_errors(rows: Rows, law: Law, activation: str) -> FloatArray:
    """E[(y − t)²] of each output: (row,)."""
    error, p = _Error(rows, law, activation), law.probability[rows.own][:, None]
    return _Others(rows, law).mean(lambda s: (1 - p) * error.inactive(s) + p * error.active(s))


def errors_by_active(rows: Rows, law: Law, activation: str, most: int) -> FloatArray:
    """E[(y − t)² 1{k features are active}] for k = 0 … most − 1, then for `most` and more: (1 + most, row)."""
    others, error, p = _Others(rows, law), _Error(rows, law, activation), law.probability[rows.own]
    inactive, active = others.means_by_active((error.inactive, error.active), most)
    exactly = (1 - p) * inactive
    exactly[1:] += p * active[:-1]
    rest = expected_errors(rows, law, activation) - exactly.sum(axis=0)
    return np.concatenate([exactly, np.maximum(rest, 0)[None]])


class _Error:
    """The squared error of outputs as a function of s (row, point): while the own feature is inactive, and active."""

    def __init__(self, rows: Rows, law: Law, activation: str) -> None:
        self.a, self.wanted, self.law, self.name = rows.a, rows.wanted, law, activation
        self.activation = FUNCTIONS[activation]
        self.gain = rows.A[np.arange(len(rows.A)), rows.own]

    def inactive(self, s: FloatArray) -> FloatArray:
        return np.square(self.activation(self.a[:, None] + s))

    def active(self, s: FloatArray) -> FloatArray:
        """The mean over the values v of the own feature, with a rule that is exact between the kinks."""
        c, g = (self.a[:, None] + s)[..., None], self.gain[:, None, None]
        v, weight = self._nodes(c, g)
        target = self.wanted[:, None, None] * (np.abs(v) if self.law.absolute else v)
        error = self.activation(c + g * v) - target
        mean: FloatArray = (weight * np.square(error, out=error)).sum(axis=-1)
        return mean

    def _nodes(self, c: FloatArray, g: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values of the own feature and their weights: (row, point, node)."""
        _, low, high, absolute = self.law
        if low == high:
            return np.full((1, 1, 1), low), np.ones((1, 1, 1))
        cuts = [np.zeros((1, 1, 1))] if absolute and low < 0 < high else []
        if self.name in _KINKED:
            kink = np.divide(-c, g, out=np.full(c.shape, low), where=g != 0)
            cuts = [np.clip(kink, low, high), *[np.broadcast_to(cut, c.shape) for cut in cuts]]
        shape = cuts[0].shape if cuts else (1, 1, 1)
        edges = np.sort(np.concatenate([np.full(shape, low), *cuts, np.full(shape, high)], axis=-1), axis=-1)
        polynomial = self.name in (*_KINKED, "identity")
        node, weight = np.polynomial.legendre.leggauss(2 if polynomial else _SMOOTH_NODES)
        half = np.diff(edges)[..., None] / 2
        v = edges[..., :-1, None] + half + half * node
        return v.reshape(*shape[:2], -1), (half * weight / (high - low)).reshape(*shape[:2], -1)


class _Others:
    """The law of s, the sum over all features of a row but its own."""

    def __init__(self, rows: Rows, law: Law) -> None:
        own = np.arange(len(law.probability)) == rows.own[:, None]
        self.law = law
        # The own feature is none of the others.
        self.p = np.where(own, 0, law.probability)
        self.G = np.where((self.p == 0) | (np.abs(rows.A) < _TINY), 0, rows.A)
        ends = np.stack([np.zeros_like(self.G), self.G * law.low, self.G * law.high])
        # Where few features are ever active at once, s lies in a part of the interval that all of them span.
        most = most_active(law.probability)
        self.start = np.sort(ends.min(axis=0), axis=1)[:, :most].sum(axis=1)
        stop = -np.sort(-ends.max(axis=0), axis=1)[:, :most].sum(axis=1)
        self.length = np.where(stop == self.start, 1, stop - self.start)

    def mean(self, h: Function) -> FloatArray:
        """E[h(s)]: (row,)."""
        series, (value, square) = _Series(h, self.start, self.length), self.law.moments
        p = np.where(self.G == 0, 0, self.p)
        mean = (p * self.G).sum(axis=1) * value
        variance = (p * self.G**2 * (square - p * value**2)).sum(axis=1)
        whole = np.ones((len(p), TERMS), dtype=complex)
        for j in np.flatnonzero(p.any(axis=0)).tolist():
            whole *= 1 + p[:, j, None] * (self._transform(j) - 1)
        return series.mean(whole, (1 - p).prod(axis=1), mean, variance + mean**2)

    def means_by_active(self, functions: Sequence[Function], most: int) -> list[FloatArray]:
        """E[h(s) 1{k other features are active}] of each function h, for k = 0 … most − 1: (most, row)."""
        value, square = self.law.moments
        # Restricted to k active features: the characteristic function of s, P(s = 0), P, E[s] and E[s²].
        whole = np.zeros((most, len(self.p), TERMS), dtype=complex)
        atom, chance, mean, squared = np.zeros((4, most, len(self.p)))
        whole[0], atom[0], chance[0] = 1, 1, 1
        for j in range(self.p.shape[1]):
            p, g = self.p[:, j], self.G[:, j]
            with_j = self._transform(j) * _one_more(whole)
            squared += p * (_one_more(squared + 2 * g * value * mean + g * g * square * chance) - squared)
            mean += p * (_one_more(mean + g * value * chance) - mean)
            chance += p * (_one_more(chance) - chance)
            atom += p * ((g == 0) * _one_more(atom) - atom)
            whole += p[:, None] * (with_j - whole)
        laws = list(zip(whole, atom, mean, squared, strict=True))
        series = [_Series(h, self.start, self.length) for h in functions]
        return [np.stack([each.mean(*law) for law in laws]) for each in series]

    def _transform(self, j: int) -> AnyArray:
        """E[exp(i u_k G_j x_j) | j active]: (row, term)."""
        low, high = self.law.low, self.law.high
        step = np.pi / self.length * self.G[:, j]
        turned = _powers(np.exp(0.5j * step * (low + high)))
        half = 0.5 * step * (high - low)
        if low == high:
            return turned
        # sin(k half) / (k half); if low is 0, the rotation above is by the same angle.
        sine = turned.imag if low == 0 else _powers(np.exp(1j * half)).imag
        scale = np.divide(1, half, out=np.zeros_like(half), where=half != 0)
        transform = turned * (sine * _RECIPROCAL * scale[:, None])
        transform[:, 0] = 1
        transform[half == 0] = 1
        return transform


_RECIPROCAL = 1 / np.maximum(np.arange(TERMS), 1)


def _one_more(by_active: AnyArray) -> AnyArray:
    """The entry of k active features at k + 1; that of 0 is 0."""
    return np.concatenate([np.zeros_like(by_active[:1]), by_active[:-1]])


def _powers(z: AnyArray) -> AnyArray:
    """z^k (row, term) for k = 0 … TERMS − 1: by products, which are faster than exponentials."""
    powers = np.empty((len(z), TERMS), dtype=complex)
    powers[:, 0] = 1
    count = 1
    while count < TERMS:
        np.multiply(powers[:, :count], z[:, None], out=powers[:, count : 2 * count])
        z, count = z * z, 2 * count
    return powers


class _Series:
    """h(s) = first·s + second·s² + a cosine series on [start, start + length], for each row."""

    def __init__(self, h: Function, start: FloatArray, length: FloatArray) -> None:
        from scipy.fft import dct

        inner = start[:, None] + length[:, None] * (np.arange(_POINTS) + 0.5) / _POINTS
        # Three points at each end give the slope there: exactly, if h is a quadratic near it.
        ends = start[:, None] + length[:, None] * np.array([0, _GAP, 2 * _GAP, 1 - 2 * _GAP, 1 - _GAP, 1])
        values = h(np.concatenate([inner, ends, np.zeros((len(start), 1))], axis=1))
        e = values[:, _POINTS:]
        at_start = (-3 * e[:, 0] + 4 * e[:, 1] - e[:, 2]) / (2 * _GAP * length)
        at_stop = (e[:, 3] - 4 * e[:, 4] + 3 * e[:, 5]) / (2 * _GAP * length)
        self.second = (at_stop - at_start) / (2 * length)
        self.first = at_start - 2 * self.second * start
        self.at_0 = e[:, 6]
        remainder = values[:, :_POINTS] - (self.first[:, None] + self.second[:, None] * inner) * inner
        self.coefficients = dct(remainder, axis=1)[:, :TERMS] / _POINTS
        self.coefficients[:, 0] /= 2
        self.phase = _powers(np.exp(-1j * np.pi * start / length))

    def mean(self, transform: AnyArray, atom: FloatArray, mean: FloatArray, square: FloatArray) -> FloatArray:
        """E[h(s)] for a law of s with this transform (row, term), P(s = 0), E[s] and E[s²]: (row,)."""
        cosines = ((transform - atom[:, None]) * self.phase).real
        series: FloatArray = (self.coefficients * cosines).sum(axis=1)
        return self.first * mean + self.second * square + atom * self.at_0 + series
