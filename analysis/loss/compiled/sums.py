"""The laws of sums of features, and means of squared errors over them: see `toysup.analysis.loss.characteristic`.

Loops go row by row, and nothing that is computed of a row depends on the other rows.
"""

from typing import Any

import numpy as np

from toysup.engines.compiled_code import kept_njit

# Sums may be taken in another order, but NaN stays NaN.
_OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}


@kept_njit(**_OPTIONS)
def powers(angle, real, imaginary):
    """exp(i angle k) for k = 0, 1, …: by products, which are faster than sines."""
    real[0], imaginary[0] = 1.0, 0.0
    count, c, s = 1, np.cos(angle), np.sin(angle)
    while count < len(real):
        for k in range(min(count, len(real) - count)):
            real[count + k] = real[k] * c - imaginary[k] * s
            imaginary[count + k] = real[k] * s + imaginary[k] * c
        c, s, count = c * c - s * s, 2 * c * s, 2 * count


@kept_njit(**_OPTIONS)
def one_feature(step, low, high, real, imaginary, sine):
    """E[exp(i k step x)] for k = 0, 1, … of the value x of an active feature, uniform from `low` to `high`."""
    half = 0.5 * step * (high - low)
    if low + high != 0:
        powers(0.5 * step * (low + high), real, imaginary)
        if low == 0:
            for k in range(len(sine)):
                sine[k] = imaginary[k]
    if low != 0 and half != 0:
        powers(half, real, sine)
        if low + high != 0:
            powers(0.5 * step * (low + high), real, imaginary)
    for k in range(len(real) if low + high == 0 else 0):
        real[k], imaginary[k] = 1.0, 0.0
    scale = 1 / half
    for k in range(1, len(real) if half != 0 else 0):
        factor = sine[k] * scale / k
        real[k] *= factor
        imaginary[k] *= factor


@kept_njit(**_OPTIONS)
def multiply(q, re, im, real, imaginary):
    """Multiply a characteristic function by 1 + q (E[exp(i u x)] − 1), that of a feature with probability q."""
    for k in range(len(re)):
        a, b = 1 + q * (re[k] - 1), q * im[k]
        x, y = real[k], imaginary[k]
        real[k], imaginary[k] = x * a - y * b, x * b + y * a


@kept_njit(**_OPTIONS)
def count(q, g, mean, square, re, im, real, imaginary, moments, chance):
    """Take a feature into the laws of exactly k active features, with probability q, and moments of g x if active.

    Either it is not active, or it is and one feature less of those before it.
    """
    for law in range(len(chance) - 1, 0, -1):
        below = law - 1 if law > 1 else 0
        with_it = q if law > 1 else 0.0
        first = moments[below, 1] + mean * chance[below]
        second = moments[below, 2] + 2 * mean * moments[below, 1] + square * chance[below]
        moments[law, 0] += with_it * moments[below, 0] * (g == 0) - q * moments[law, 0]
        moments[law, 1] += with_it * first - q * moments[law, 1]
        moments[law, 2] += with_it * second - q * moments[law, 2]
        chance[law] += with_it * chance[below] - q * chance[law]
        for k in range(len(re)):
            x, y = real[below, k], imaginary[below, k]
            real[law, k] += with_it * (re[k] * x - im[k] * y) - q * real[law, k]
            imaginary[law, k] += with_it * (re[k] * y + im[k] * x) - q * imaginary[law, k]


@kept_njit(**_OPTIONS)
def laws_of_sums(G, p, low, high, start, length, cosines, moments):
    """The law of s = Σ_j G_j x_j of each row, where x_j is active with probability p_j.

    Law 0 is that of s. Law 1 + k is the part of it in which exactly k features are active. `cosines` (row, law, term)
    becomes E[cos(u_k (s − start)); s ≠ 0], and `moments` (row, law, 3) becomes P(s = 0), E[s] and E[s²].
    """
    rows, laws, terms = cosines.shape
    value, square = (low + high) / 2, (low * low + low * high + high * high) / 3
    real, imaginary, chance = np.empty((laws, terms)), np.empty((laws, terms)), np.empty(laws)
    re, im, sine = np.empty(terms), np.empty(terms), np.empty(terms)
    for r in range(rows):
        variance = 0.0
        for law in range(laws):
            whole = 1.0 if law < 2 else 0.0
            chance[law], moments[r, law, 0], moments[r, law, 1], moments[r, law, 2] = whole, whole, 0.0, 0.0
            for k in range(terms):
                real[law, k], imaginary[law, k] = whole, 0.0
        for j in range(G.shape[1]):
            g, q = G[r, j], p[r, j]
            if q == 0 or (g == 0 and laws == 1):
                continue
            one_feature(np.pi / length[r] * g, low, high, re, im, sine)
            if g != 0:
                moments[r, 0, 0] *= 1 - q
                moments[r, 0, 1] += q * g * value
                variance += q * g * g * (square - q * value * value)
                multiply(q, re, im, real[0], imaginary[0])
            count(q, g, g * value, g * g * square, re, im, real, imaginary, moments[r], chance)
        moments[r, 0, 2] = variance + moments[r, 0, 1] ** 2
        powers(-np.pi * start[r] / length[r], re, im)
        for law in range(laws):
            atom = moments[r, law, 0]
            for k in range(terms):
                cosines[r, law, k] = (real[law, k] - atom) * re[k] - imaginary[law, k] * im[k]


@kept_njit(**_OPTIONS)
def kinked_errors(c, gain, wanted, low, high, absolute, slope_below, slope_above, node, h):
    """Squared errors h (row, 2, point) at c = a + s of φ with these slopes on both sides of 0.

    The first is that while the own feature is inactive, the second its mean over the values of the own feature: by two
    nodes of Gauss and Legendre, `node` and its negative, on each of three pieces, between which nothing bends.
    """
    cut = min(max(0.0, low), high) if absolute else low
    width = high - low
    for r in range(len(c)):
        g = gain[r]
        per_gain = -1 / g if g != 0 else 0.0
        for j in range(c.shape[1]):
            x = c[r, j]
            inactive = x * (slope_above if x > 0 else slope_below)
            kink = min(max(x * per_gain, low), high)
            first, second = min(kink, cut), max(kink, cut)
            active = 0.0
            for piece in range(3):
                begin = low if piece == 0 else first if piece == 1 else second
                half = ((first if piece == 0 else second if piece == 1 else high) - begin) / 2
                for sign in range(2):
                    v = begin + half * (1 + node if sign == 0 else 1 - node)
                    y = x + g * v
                    error = y * (slope_above if y > 0 else slope_below) - wanted[r] * (abs(v) if absolute else v)
                    active += half / width * error * error
            h[r, 0, j], h[r, 1, j] = inactive * inactive, active


@kept_njit(**_OPTIONS)
def smooth_errors(y, wanted, target, share, h):
    """The same from outputs y (row, 1 + node, point): without the own feature, and for each of its values.

    `target` and `share` (node,) are what the output should be then, and the probability that a value stands for.
    """
    for r in range(len(y)):
        for j in range(y.shape[2]):
            h[r, 0, j], h[r, 1, j] = y[r, 0, j] * y[r, 0, j], 0.0
        for k in range(len(target)):
            t = wanted[r] * target[k]
            for j in range(y.shape[2]):
                error = y[r, 1 + k, j] - t
                h[r, 1, j] += share[k] * error * error


@kept_njit(**_OPTIONS)
def means(h, weights, moments, start, length, place, gap, out):
    """E[h(s)] of each row and law for both functions h (row, 2, point): (row, law, 2).

    h is a quadratic with the slopes of h at both ends, plus a cosine series, plus an atom at s = 0. `weights` (row,
    law, point) are those of the series. Three points at each end and s = 0 follow the points of the series, which
    divide the interval at `place`.
    """
    points = weights.shape[2]
    for r in range(len(h)):
        for law in range(weights.shape[1]):
            atom, mean, square = moments[r, law]
            for j in range(points):
                s = start[r] + length[r] * place[j]
                mean -= weights[r, law, j] * s
                square -= weights[r, law, j] * s * s
            for f in range(2):
                total, end = atom * h[r, f, points + 6], h[r, f, points : points + 6]
                for j in range(points):
                    total += weights[r, law, j] * h[r, f, j]
                at_start = (-3 * end[0] + 4 * end[1] - end[2]) / (2 * gap * length[r])
                at_stop = (end[3] - 4 * end[4] + 3 * end[5]) / (2 * gap * length[r])
                bend = (at_stop - at_start) / (2 * length[r])
                out[r, law, f] = total + (at_start - 2 * bend * start[r]) * mean + bend * square
