"""Series are cut where a plain search through all cuts would cut them."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toysup.analysis.change_points import pieces


def cost(series: np.ndarray, stops: list[int], penalty: float, *, lines: bool) -> float:
    """What a cut costs, by fits of polynomials."""
    total = penalty * len(stops)
    for start, stop in pairwise([0, *stops]):
        x, y = np.arange(start, stop), series[start:stop]
        degree = 1 if lines and len(y) > 1 else 0
        total += float(np.sum((y - np.polyval(np.polyfit(x, y, degree), x)) ** 2))
    return total


def cuts(n: int, *, shortest: int, stride: int) -> list[list[int]]:
    places = range(stride, n, stride)
    all_of_them = [[*some, n] for count in range(len(places) + 1) for some in combinations(places, count)]
    return [stops for stops in all_of_them if all(b - a >= shortest for a, b in pairwise([0, *stops]))]


@given(st.data(), st.booleans(), st.integers(1, 3), st.integers(1, 3), st.integers(3, 9), st.floats(1e-4, 10))
def test_no_cut_costs_less(
    data: st.DataObject, lines: bool, shortest: int, stride: int, n: int, penalty: float
) -> None:
    values = st.integers(-20, 20).map(lambda number: number / 10)
    series = np.array(data.draw(st.lists(st.lists(values, min_size=n, max_size=n), min_size=1, max_size=3)))
    found = pieces(series, np.full(len(series), penalty), lines=lines, shortest=shortest, stride=stride)
    for own, stops in zip(series, found, strict=True):
        possible = cuts(n, shortest=shortest, stride=stride)
        assert stops in possible
        least = min(cost(own, other, penalty, lines=lines) for other in possible)
        assert cost(own, stops, penalty, lines=lines) == pytest.approx(least, abs=1e-9)


def test_levels_and_lines_are_found_to_the_value() -> None:
    levels = np.repeat([3.0, -1.0, 1e3], [4, 7, 2])
    assert pieces(levels[None], np.array([0.1]), lines=False) == [[4, 11, 13]]
    bend = np.concatenate([np.arange(6.0), 5 - 2 * np.arange(1, 8.0)])
    assert pieces(bend[None], np.array([0.1]), lines=True, shortest=3) in ([[6, 13]], [[5, 13]])
    # Each series has a penalty of its own.
    both = pieces(np.stack([levels, levels]), np.array([0.1, 1e9]), lines=False)
    assert both == [[4, 11, 13], [13]]
    # What lies far off costs no digits of the rest.
    far = np.repeat([1e10, 0.0, 1.0], [10, 20, 20])
    assert pieces(far[None], np.array([0.01]), lines=False) == [[10, 30, 50]]
