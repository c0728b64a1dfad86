"""Change points: a series is cut into the levels, or the straight lines, that fit it at the least cost."""

import numpy as np
import numpy.typing as npt

from toysup.analysis.statistics.arrays import FloatArray
from toysup.engines.compiled_code import kept_njit


def levels(series: FloatArray, penalties: FloatArray) -> list[list[int]]:
    """Where the pieces of each series stop if each piece is a constant level; the last stop is the end of the series.

    The pieces minimise Σ_pieces (min_y Σ_t (x_t − y)² + penalty) exactly. The method keeps, for every level y that the
    last piece may have, the best start of that piece. Only a few starts are best for any level, so the time is close to
    linear in the length of a series, whereas comparing all starts would take the square of the length.

    Parameters
    ----------
    series : array (series, n)
        Finite.
    penalties : array (series,)
        The cost of each piece, in the units of the squared series.

    Returns
    -------
    list of list of int
        For each series, the index after the last value of each piece.

    Source: Maidstone et al. (2017), "On optimal multiple changepoint algorithms for large data".
    """
    return [
        _stops(_levels_start(np.ascontiguousarray(values, np.float64), float(penalty)))
        for values, penalty in zip(series, penalties, strict=True)
    ]


def lines(series: FloatArray, penalties: FloatArray, *, shortest: int = 1, stride: int = 1) -> list[list[int]]:
    """Where the pieces of each series stop if each piece is a straight line; the last stop is the end of the series.

    The pieces minimise Σ_pieces (min_{y,z} Σ_t (x_t − y − z t)² + penalty) exactly. The minimum F(t) for the first t
    values follows from F(t) = min_s F(s) + cost(s, t) + penalty. A piece starts at a multiple of `stride` and has at
    least `shortest` values; a series must not be shorter than that. See `levels` for the parameters and the result.

    Source: Jackson et al. (2005), "An algorithm for optimal partitioning of data on an interval".
    """
    return [
        _stops(_lines_start(np.ascontiguousarray(values, np.float64), float(penalty), shortest, stride))
        for values, penalty in zip(series, penalties, strict=True)
    ]


def _stops(before: npt.NDArray[np.int64]) -> list[int]:
    """The stops of all pieces; `before` has, for each length, where the last piece of the best cut starts."""
    stops, place = [], len(before) - 1
    while place > 0:
        stops.append(place)
        place = int(before[place])
    return stops[::-1]


@kept_njit(error_model="numpy")
def _levels_start(series, penalty):
    """For each length t, where the last piece starts in the best cut of the first t values into levels."""
    n = len(series)
    before = np.zeros(n + 1, np.int64)
    # The axis of levels is divided into intervals, each stored by its lower edge. In each interval one start of the
    # last piece is best, and the cut costs `size` · (level − `mean`)² + `cost`, computed from the values since that
    # start (Welford). Two such parabolas cross at most twice, so there are fewer than 2 n intervals.
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
        # Where an old start costs more than a piece that starts here, it will cost more at every later length too.
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


@kept_njit(error_model="numpy")
def _lines_start(series, penalty, shortest, stride):
    """For each length t, where the last piece starts in the best cut of the first t values into straight lines."""
    n = len(series)
    least, before = np.full(n + 1, np.inf), np.zeros(n + 1, np.int64)
    least[0] = 0.0
    # For the piece that starts at each multiple of the stride: its mean, its sum of squares about the mean, and its sum
    # of products with the distance from the mean place, updated value by value (Welford).
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
