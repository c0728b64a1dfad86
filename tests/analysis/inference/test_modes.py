"""Seeds in several modes."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from toysup import analysis
from toysup.analysis.inference.modes import modes_of


def labels(*values: float) -> list[int]:
    table = np.array([values], dtype=float)
    found: list[int] = modes_of(table, np.isfinite(table))[0].tolist()
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Half of the seeds are stuck, in any order; a seed that is not finite has no mode.
        ([0.50, 1.00, 0.51, 0.99, np.nan, 0.52, 1.01], [0, 1, 0, 1, -1, 0, 1]),
        # One seed lies far away, and one still further.
        ([0.01, 0.02, 0.03, 0.02, 0.01, 0.03, 0.02, 9.0], [0] * 7 + [1]),
        ([*np.linspace(0, 0.01, 10), 1.0, 100.0], [0] * 10 + [1, 2]),
        # Counts of which a whole level is missing on both sides of none are one mode.
        ([12, 13, 11, 13, 13], [0] * 5),
        ([20] * 19 + [19], [0] * 20),
        ([20] * 19 + [12], [1] * 19 + [0]),
        # Two neighbours on a lattice that is not of whole numbers.
        ([4 / 90] * 12 + [2 / 90] * 8, [0] * 20),
        # Two seeds are always as far apart as they can be, and no gap divides equal values.
        ([1, 5], [0, 0]),
        # Four seeds are too few to tell of modes.
        ([1, 1.001, 1.002, 5000], [0] * 4),
        ([3.0] * 6, [0] * 6),
        ([np.nan, np.inf, 2], [-1, -1, 0]),
        # Differences within 0.1% of the values are not worth two modes.
        ([9.9999] * 18 + [9.9950, 9.9951], [0] * 20),
        ([29.8, 36.4, 23.7, 35.8, 35.7], [0] * 5),
    ],
)
def test_modes_are_the_groups_between_wide_gaps(values: list[float], expected: list[int]) -> None:
    assert labels(*values) == expected


def plain(values: np.ndarray) -> list[int]:
    """The rule as docs/inference.md states it, seed by seed."""
    values = np.sort(values)
    magnitude = np.abs(values).max()

    def divided(part: np.ndarray) -> list[np.ndarray]:
        n, best, rarest = len(part), 0, 0.005
        for at in range(1, n if n >= 5 else 0):
            gap = part[at] - part[at - 1]
            width = max(part[at - 1] - part[0] + part[-1] - part[at], 1e-3 * magnitude)
            j = min(at, n - at)
            k = np.delete(np.arange(1, n), j - 1)
            probability = np.prod(k / (k + j * gap / width))
            if gap > 2 * width and probability <= rarest:
                best, rarest = at, probability
        return [*divided(part[:best]), *divided(part[best:])] if best else [part]

    return [number for number, part in enumerate(divided(values)) for _ in part]


@given(st.integers(2, 30), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 10.0, 100.0]))
def test_the_fast_rule_is_the_plain_one(n: int, seed: int, apart: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n) + apart * rng.integers(0, 3, n)
    assert labels(*np.sort(values)) == plain(values)


@pytest.mark.parametrize("law", ["normal", "uniform", "exponential"])
@pytest.mark.parametrize("n", [3, 5, 10, 20, 50])
def test_one_group_is_hardly_ever_divided(law: str, n: int) -> None:
    table = getattr(np.random.default_rng(1), law)(size=(4000, n))
    assert (modes_of(table, np.isfinite(table)).max(axis=1) > 0).mean() < 0.015


@pytest.mark.parametrize("j", [1, 2, 5])
def test_exponential_values_have_the_stated_gaps(j: int) -> None:
    """P(the gap below the j largest of n > r times all other gaps together) = Π_{k≠j} k/(k + jr)."""
    x = np.sort(np.random.default_rng(2).exponential(size=(200_000, 7)))
    gap = x[:, -j] - x[:, -j - 1]
    ratio = gap / (x[:, -1] - x[:, 0] - gap)
    for r in (0.2, 0.5):
        k = np.delete(np.arange(1, 7), j - 1)
        assert (ratio > r).mean() == pytest.approx(np.prod(k / (k + j * r)), rel=0.05)


def test_a_summary_gives_modes_in_place_of_a_mean() -> None:
    stuck = [0.5, 0.51, 0.49, 0.5, 0.52]
    values = xr.DataArray([[*stuck, *np.linspace(1, 1.02, 15)], np.linspace(0, 1, 20)], dims=("feature", "seed"))
    summary = analysis.over_seeds(values)
    assert np.isnan(summary[["mean", "ci_low", "ci_high"]].isel(feature=0).to_dataarray()).all()
    first = summary.isel(feature=0)
    assert first["n_seeds"] == 20
    assert first["mode_n_seeds"].values.tolist() == [5, 15]
    np.testing.assert_allclose(first["mode_share"], [0.25, 0.75])
    exact = stats.binomtest(5, 20).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose([first["mode_share_low"][0], first["mode_share_high"][0]], exact)
    np.testing.assert_allclose(first["mode_mean"], [np.mean(stuck), 1.01])
    alone = analysis.over_seeds(xr.DataArray(stuck, dims="seed"))
    np.testing.assert_allclose([first["mode_low"][0], first["mode_high"][0]], [alone["ci_low"], alone["ci_high"]])
    second = summary.isel(feature=1)
    assert second["mean"] == pytest.approx(0.5)
    assert second["mode_n_seeds"].values.tolist() == [0, 0]
    assert np.isnan(second["mode_mean"]).all()
    assert "mode" not in analysis.over_seeds(values.isel(feature=1)).dims


def test_a_difference_between_modes_has_a_test_but_no_mean() -> None:
    seeds = {"seed": np.arange(10)}
    stuck = xr.DataArray([0.5, 0.51, 0.49, 0.5, 0.52, 1.0, 1.01, 1.0, 0.99, 1.0], dims="seed", coords=seeds)
    other = xr.DataArray(np.linspace(3, 3.05, 10), dims="seed", coords=seeds)
    for a, b in ((stuck, other), (other, stuck)):
        difference = analysis.difference_over_seeds(a, b)
        assert difference["p_value"] < 0.001
        for name in ("mean", "ci_low", "ci_high", "effect_size"):
            assert np.isnan(difference[name])
    # Differences between pairs can lie in one mode although both sides lie in two.
    paired = analysis.difference_over_seeds(stuck + np.linspace(0, 0.1, 10), stuck, paired=True)
    assert paired["mean"] == pytest.approx(0.05)
    assert not analysis.equivalence_over_seeds(stuck, other, margin=100)["equivalent"]


def test_modes_closer_than_the_other_side_spreads_leave_a_difference_its_mean() -> None:
    """Losses of 10⁻⁶ and 10⁻⁴ are two modes, but both are nothing beside losses of 0.014 ± 0.001."""
    small = xr.DataArray([1e-6, 1.1e-6, 0.9e-6, 1e-6, 1e-4, 1.01e-4], dims="seed")
    large = xr.DataArray(np.linspace(0.013, 0.015, 8), dims="seed")
    assert "mode" in analysis.over_seeds(small).dims
    for a, b, expected in ((large, small, 0.01397), (small, large, -0.01397)):
        difference = analysis.difference_over_seeds(a, b)
        assert difference["mean"] == pytest.approx(expected, abs=1e-5)
        assert np.isfinite(difference["ci_low"])
