"""Change points: series are cut into the levels, or the straight lines, that fit them at the least cost."""

import numpy as np
import numpy.typing as npt
from numba import njit

Series = npt.NDArray[np.float64]


def pieces(series: Series, penalties: Series, *, lines: bool, shortest: int = 1, stride: int = 1) -> list[list[int]]:
    """Where the pieces of each series stop, its end last.

    Of all cuts into pieces that start at multiples of the stride, this is one with the least
    Σ_pieces (min_θ Σ_t (y_t − θ_t)² + penalty), in which θ is constant in a piece, or a straight `lines`. It is found
    exactly: F(t) = min_s F(s) + cost(s, t) + penalty, where F(s) is that of what lies before s.

    Parameters
    ----------
    series : array (series, n)
        Finite.
    penalties : array (series,)
        What a piece costs, in the units of the squared series.
    shortest : int
        How many values a piece has at least; n is no less.

    Source: Jackson et al. (2005), "An algorithm for optimal partitioning of data on an interval"; Killick et al. (2012)
    for the starts that need not be looked at again.
    """
    found = []
    for own, penalty in zip(np.asarray(series, np.float64), penalties.tolist(), strict=True):
        before = _starts_before(np.ascontiguousarray(own), float(penalty), lines, shortest, stride).tolist()
        stops, place = [], len(before) - 1
        while place > 0:
            stops.append(place)
            place = before[place]
        found.append(stops[::-1])
    return found


@njit(cache=True)
def _starts_before(series, penalty, lines, shortest, stride):
    """For each place where the last piece starts in the best cut of what lies before it."""
    n = len(series)
    least, before = np.full(n + 1, np.inf), np.zeros(n + 1, np.int64)
    least[0] = 0.0
    # Of the pieces that may have started at some places: their means, sums of squares about these, and of products with
    # the distances from the mean place, value by value (Welford); and what a cut with the piece for its last costs.
    starts, known = np.empty(n, np.int64), np.zeros((4, n))
    mean, square, product, total = known[0], known[1], known[2], known[3]
    count = 0
    for stop in range(1, n + 1):
        if (stop - 1) % stride == 0:
            starts[count], mean[count], square[count], product[count] = stop - 1, 0.0, 0.0, 0.0
            count += 1
        for k in range(count):
            size = stop - starts[k]
            distance = series[stop - 1] - mean[k]
            mean[k] += distance / size
            rest = series[stop - 1] - mean[k]
            square[k] += distance * rest
            product[k] += size / 2 * rest
        if stop % stride != 0 and stop < n:
            continue
        for k in range(count):
            size = stop - starts[k]
            if size < shortest:
                break
            cost = square[k]
            if lines and size > 1:
                cost = max(cost - product[k] ** 2 / (size * (size * size - 1) / 12), 0.0)
            total[k] = least[starts[k]] + cost
            if total[k] + penalty < least[stop]:
                least[stop], before[stop] = total[k] + penalty, starts[k]
        if shortest == 1:
            # What costs more than a cut at this place never will cost less.
            kept = 0
            for k in range(count):
                if total[k] < least[stop]:
                    starts[kept], mean[kept] = starts[k], mean[k]
                    square[kept], product[kept] = square[k], product[k]
                    kept += 1
            count = kept
    return before
