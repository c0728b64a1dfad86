"""Series are cut where a plain search through all cuts would cut them."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toysup.analysis.statistics.change_points import levels, lines


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


def plain_levels(series: np.ndarray, penalty: float) -> float:
    """What the best cut into levels costs, by comparing all starts for every end."""
    least = [0.0]
    for stop in range(1, len(series) + 1):
        spread = [float(np.sum((series[start:stop] - series[start:stop].mean()) ** 2)) for start in range(stop)]
        least.append(min(before + own + penalty for before, own in zip(least, spread, strict=True)))
    return least[-1]


tenths = st.integers(-20, 20).map(lambda number: number / 10)


@settings(max_examples=40)
@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(3, 9), st.floats(1e-4, 10))
def test_no_cut_costs_less(data: st.DataObject, shortest: int, stride: int, n: int, penalty: float) -> None:
    series = np.array(data.draw(st.lists(st.lists(tenths, min_size=n, max_size=n), min_size=1, max_size=3)))
    penalties = np.full(len(series), penalty)
    found = lines(series, penalties, shortest=shortest, stride=stride)
    for own, of_lines, of_levels in zip(series, found, levels(series, penalties), strict=True):
        for stops, is_line, possible in (
            (of_lines, True, cuts(n, shortest=shortest, stride=stride)),
            (of_levels, False, cuts(n, shortest=1, stride=1)),
        ):
            assert stops in possible
            least = min(cost(own, other, penalty, lines=is_line) for other in possible)
            assert cost(own, stops, penalty, lines=is_line) == pytest.approx(least, abs=1e-9)


@settings(max_examples=40)
@given(st.data(), st.integers(10, 120), st.floats(1e-3, 30), st.floats(-1, 1))
def test_levels_of_long_series_cost_what_a_plain_search_finds(
    data: st.DataObject, n: int, penalty: float, slope: float
) -> None:
    noise = np.random.default_rng(data.draw(st.integers(0, 2**32))).normal(size=n)
    places = np.array(data.draw(st.lists(st.integers(0, n), max_size=5)), dtype=int)
    steps = 3.0 * (np.arange(n)[:, None] >= places).sum(axis=1)
    series = steps + slope * np.arange(n) + data.draw(st.sampled_from([0.0, 0.01, 1.0])) * noise
    (stops,) = levels(series[None], np.array([penalty]))
    assert cost(series, stops, penalty, lines=False) == pytest.approx(plain_levels(series, penalty), rel=1e-9)


def test_levels_and_lines_are_found_to_the_value() -> None:
    steps = np.repeat([3.0, -1.0, 1e3], [4, 7, 2])
    assert levels(steps[None], np.array([0.1])) == [[4, 11, 13]]
    bend = np.concatenate([np.arange(6.0), 5 - 2 * np.arange(1, 8.0)])
    assert lines(bend[None], np.array([0.1]), shortest=3) in ([[6, 13]], [[5, 13]])
    # Each series has a penalty of its own.
    assert levels(np.stack([steps, steps]), np.array([0.1, 1e9])) == [[4, 11, 13], [13]]
    # What lies far off costs no digits of the rest.
    far = np.repeat([1e10, 0.0, 1.0], [10, 20, 20])
    assert levels(far[None], np.array([0.01])) == [[10, 30, 50]]
    # Nor is there a cut between values whose squares are beyond all numbers.
    assert levels(np.array([[1e300, -1e300, 1e300]]), np.array([0.01]))[0][-1] == 3
