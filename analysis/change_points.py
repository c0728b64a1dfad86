"""Change points: series are cut into the levels, or the straight lines, that fit them at the least cost."""

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]


def pieces(series: Series, penalties: Series, *, lines: bool, shortest: int = 1, stride: int = 1) -> list[list[int]]:
    """Where the pieces of each series stop, its end last.

    Of all cuts into pieces that start at multiples of the stride, this is one with the least
    Σ_pieces (min_θ Σ_t (y_t − θ_t)² + penalty), in which θ is constant in a piece, or a straight `lines`. It is found
    for all series at once, exactly: F(t) = min_s F(s) + cost(s, t) + penalty, where F(s) is that of what lies before s.

    Parameters
    ----------
    series : array (series, n)
        Finite.
    penalties : array (series,)
        What a piece costs, in the units of the squared series.
    shortest : int
        How many values a piece has at least; n is no less.

    Source: Jackson et al. (2005), "An algorithm for optimal partitioning of data on an interval".
    """
    n = series.shape[1]
    places = np.append(np.arange(0, n, stride), n)
    costs = _Costs(series, lines=lines)
    least = np.full((len(series), len(places)), np.inf)
    least[:, 0] = 0
    before = np.zeros(least.shape, np.intp)
    for k, place in enumerate(places):
        starts = np.flatnonzero(place - places >= shortest)
        if len(starts):
            total = least[:, starts] + costs.of(places[starts], int(place))
            best = total.argmin(axis=1)
            least[:, k] = total[np.arange(len(series)), best] + penalties
            before[:, k] = starts[best]
    return [_stops(own, places) for own in before]


def _stops(before: npt.NDArray[np.intp], places: npt.NDArray[np.int64]) -> list[int]:
    """Back from the end, from piece to piece."""
    stops, k = [], len(before) - 1
    while k > 0:
        stops.append(int(places[k]))
        k = before[k]
    return stops[::-1]


class _Costs:
    """The squared distances of pieces from their mean or line, from sums over all that lies before a place."""

    def __init__(self, series: Series, *, lines: bool) -> None:
        # Around zero, so that differences of sums lose little.
        y = series - series.mean(axis=1, keepdims=True)
        x = np.arange(y.shape[1]) - (y.shape[1] - 1) / 2
        self.y, self.yy = _summed(y), _summed(y * y)
        self.x, self.xx, self.xy = _summed(x), _summed(x * x), _summed(x * y)
        self.lines = lines

    def of(self, starts: npt.NDArray[np.int64], stop: int) -> Series:
        """(series, start)"""
        count = stop - starts

        def within(sums: Series) -> Series:
            found: Series = sums[..., [stop]] - sums[..., starts]
            return found

        y = within(self.y)
        cost: Series = within(self.yy) - y * y / count
        if self.lines:
            x = within(self.x)
            spread, slope = within(self.xx) - x * x / count, within(self.xy) - x * y / count
            cost = cost - slope * slope / np.where(count > 1, spread, np.inf)
        # Rounding makes it less than nothing.
        return np.maximum(cost, 0)


def _summed(values: Series) -> Series:
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(axis=-1)], axis=-1)
