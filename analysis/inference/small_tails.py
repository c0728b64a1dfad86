"""Small tail probabilities of a sum of independent values, which random draws alone would hardly ever reach.

Let S = Σ_k X_k, where each X_k has one of finitely many values with equal probability. To estimate P(S ≥ s), values are
drawn from the tilted law, in which x has a probability proportional to exp(t x), with t such that the mean of S is s.
Each draw then counts with the weight exp(K(t) − t S), where K(t) = Σ_k log mean exp(t x). The estimate is unbiased, and
its relative error is a few percent, however small the probability.

Source: Siegmund (1976), "Importance sampling in the Monte Carlo study of sequential tests".
"""

import numpy as np

from toysup.analysis.statistics.arrays import FloatArray, Mask

_DRAWS = 2000
# Any t gives an unbiased estimate; a t that is only nearly right makes it little worse.
_BISECTIONS = 10


def two_sided_tail(values: FloatArray, distance: float) -> float:
    """P(|S| ≥ distance), where S is the sum of one value of each row (NaN is no value), all of a row equally likely."""
    scale = float(np.nanmax(np.abs(values))) or 1.0
    return min(1.0, sum(_upper_tail(sign * values / scale, distance / scale) for sign in (1, -1)))


def _upper_tail(values: FloatArray, least: float) -> float:
    largest = np.nanmax(values, axis=1, keepdims=True)
    if largest.sum() < least:
        return 0.0
    known = ~np.isnan(values)
    # Rows below their maximum, so that no exponential overflows.
    below = np.where(known, values - largest, -np.inf)
    tilt = _tilt(below, known, float(largest.sum()) - least)
    bounds = np.cumsum(np.exp(tilt * below), axis=1)
    log_means = np.log(bounds[:, -1] / known.sum(axis=1))
    rng = np.random.default_rng(0)
    total = np.zeros(_DRAWS)
    for row, ends in zip(below, bounds, strict=True):
        total += row[np.searchsorted(ends, rng.random(_DRAWS) * ends[-1], side="right").clip(max=len(row) - 1)]
    weights = np.exp(np.minimum(log_means.sum() - tilt * total, 700))
    return float(np.where(total >= least - largest.sum(), weights, 0).mean())


def _tilt(below: FloatArray, known: Mask, gap: float) -> float:
    """The t at which the mean of S lies `gap` below its maximum, or large where the gap is nearly 0."""
    finite = np.where(known, below, 0)

    def mean_gap(tilt: float) -> float:
        weights = np.exp(tilt * below)
        return -float((np.einsum("kr,kr->k", weights, finite) / weights.sum(axis=1)).sum())

    low, high = 0.0, 1.0
    while mean_gap(high) > gap and high < 2**20:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_gap(middle) > gap else (low, middle)
    return high
