"""Change points: series are cut into the levels, or the straight lines, that fit them at the least cost."""

import numpy as np
import numpy.typing as npt
from numba import njit

from toysup.analysis.statistics.arrays import FloatArray


def levels(series: FloatArray, penalties: FloatArray) -> list[list[int]]:
    """Where the pieces of each series stop, its end last, if each piece is a level.

    Of all cuts this is one with the least Σ_pieces (min_y Σ_t (x_t − y)² + penalty), found exactly: for every level y
    that the last piece may have, the start that is best for it is known, and few starts are best anywhere. So a series
    takes little more than its length, where the square of it is what comparing all starts takes.

    Parameters
    ----------
    series : array (series, n)
        Finite.
    penalties : array (series,)
        What a piece costs, in the units of the squared series.

    Source: Maidstone et al. (2017), "On optimal multiple changepoint algorithms for large data".
    """
    return [
        _stops(_levels_start(np.ascontiguousarray(values, np.float64), float(penalty)))
        for values, penalty in zip(series, penalties, strict=True)
    ]


def lines(series: FloatArray, penalties: FloatArray, *, shortest: int = 1, stride: int = 1) -> list[list[int]]:
    """The same if each piece is a straight line: Σ_pieces (min_{y,z} Σ_t (x_t − y − z t)² + penalty).

    Pieces start at multiples of the stride and have `shortest` values at least; n is no less. It is found exactly, from
    F(t) = min_s F(s) + cost(s, t) + penalty, where F(s) is that of what lies before s.

    Source: Jackson et al. (2005), "An algorithm for optimal partitioning of data on an interval".
    """
    return [
        _stops(_lines_start(np.ascontiguousarray(values, np.float64), float(penalty), shortest, stride))
        for values, penalty in zip(series, penalties, strict=True)
    ]


def _stops(before: npt.NDArray[np.int64]) -> list[int]:
    """From where the last piece starts in the best cut of what lies before each place."""
    stops, place = [], len(before) - 1
    while place > 0:
        stops.append(place)
        place = int(before[place])
    return stops[::-1]


@njit(cache=True, error_model="numpy")
def _levels_start(series, penalty):
    """For each place where the last piece starts in the best cut of what lies before it."""
    n = len(series)
    before = np.zeros(n + 1, np.int64)
    # The axis of levels in intervals, from their lower edges to the next one's. In each the last piece starts best at
    # one place, and the cut costs `size` · (level − `mean`)² + `cost`, by the values since then (Welford). Two such
    # parabolas cross twice at most, so there are fewer than 2 n intervals.
    most = 2 * n
    EDGE, SIZE, MEAN, COST = 0, 1, 2, 3
    now, new = np.zeros((most + 1, 4)), np.zeros((most + 1, 4))
    starts, new_starts = np.zeros(most + 1, np.int64), np.zeros(most + 1, np.int64)
    now[0, EDGE], now[1, EDGE], count = -np.inf, np.inf, 1
    for stop in range(1, n + 1):
        least = np.inf
        for k in range(count):
            now[k, SIZE] += 1
            distance = series[stop - 1] - now[k, MEAN]
            now[k, MEAN] += distance / now[k, SIZE]
            now[k, COST] += distance * (series[stop - 1] - now[k, MEAN])
            level = min(max(now[k, MEAN], now[k, EDGE]), now[k + 1, EDGE])
            total = now[k, COST] + now[k, SIZE] * (level - now[k, MEAN]) ** 2
            if total < least:
                least, before[stop] = total, starts[k]
        # At levels at which a start costs more than to start a piece here, it always will.
        kept, fresh = 0, False
        for k in range(count):
            reach = np.sqrt(max(least + penalty - now[k, COST], 0) / now[k, SIZE])
            low = min(max(now[k, EDGE], now[k, MEAN] - reach), now[k + 1, EDGE])
            high = max(min(now[k + 1, EDGE], now[k, MEAN] + reach), low)
            for edge, end, stays in ((now[k, EDGE], low, False), (low, high, True), (high, now[k + 1, EDGE], False)):
                if edge < end and kept < most and (stays or not fresh):
                    new[kept, EDGE], new_starts[kept] = edge, starts[k] if stays else stop
                    new[kept, SIZE], new[kept, MEAN] = (now[k, SIZE], now[k, MEAN]) if stays else (0.0, 0.0)
                    new[kept, COST] = now[k, COST] if stays else least + penalty
                    kept, fresh = kept + 1, not stays
        new[kept, EDGE], count = np.inf, kept
        now, new, starts, new_starts = new, now, new_starts, starts
    return before


@njit(cache=True, error_model="numpy")
def _lines_start(series, penalty, shortest, stride):
    """The same, of lines."""
    n = len(series)
    least, before = np.full(n + 1, np.inf), np.zeros(n + 1, np.int64)
    least[0] = 0.0
    # Of the pieces that start at each multiple of the stride: their means, sums of squares about these, and of products
    # with the distances from the mean place, value by value (Welford).
    moments = np.zeros((3, n))
    mean, square, product = moments[0], moments[1], moments[2]
    for stop in range(1, n + 1):
        value, count = series[stop - 1], (stop - 1) // stride + 1
        for k in range(count):
            size = stop - k * stride
            distance = value - mean[k]
            mean[k] += distance / size
            rest = value - mean[k]
            square[k] += distance * rest
            product[k] += size / 2 * rest
        if stop % stride != 0 and stop < n:
            continue
        for k in range(count):
            size = stop - k * stride
            if size < shortest:
                break
            line = product[k] ** 2 / (size * (size * size - 1) / 12) if size > 1 else 0.0
            total = least[k * stride] + max(square[k] - line, 0.0) + penalty
            if total < least[stop]:
                least[stop], before[stop] = total, k * stride
    return before
