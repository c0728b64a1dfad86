"""Means and intervals over seeds."""

import random

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import toysup
from toysup import analysis
from toysup.analysis.statistics.labels import range_of, with_range


def values(table: object) -> xr.DataArray:
    return xr.DataArray(table, dims=("seed", "feature"), name="x", attrs={"long_name": "x", "units": "1"})


def entry(*numbers: float) -> xr.DataArray:
    return xr.DataArray(list(numbers), dims="seed", name="x")


def test_a_symmetric_sample_has_students_interval() -> None:
    summary = analysis.over_seeds(entry(1, 2, 4, 6, 7))
    expected = stats.t.interval(0.95, 4, loc=4, scale=stats.sem([1, 2, 4, 6, 7]))
    np.testing.assert_allclose([summary.ci_low, summary.ci_high], expected)


def test_a_skewed_sample_has_halls_interval_with_shrunk_skewness() -> None:
    """The ends m − T s/√n solve g(T) = ±q with g(T) = T + κT²/3 + κ²T³/27 + κ/6 and κ = γ√n/(n + 5)."""
    sample = np.array([0.0, 0.5, 1, 1, 1.5, 2, 2, 3, 4, 7])
    n, s = 10, sample.std(ddof=1)
    kappa = stats.skew(sample) * np.sqrt(n) / (n + 5)
    summary = analysis.over_seeds(entry(*sample))
    T = (sample.mean() - np.array([summary.ci_low, summary.ci_high])) / (s / np.sqrt(n))
    g = T + kappa * T**2 / 3 + kappa**2 * T**3 / 27 + kappa / 6
    q = stats.t.ppf(0.975, n - 1)
    np.testing.assert_allclose(g, [q, -q])
    assert summary.ci_high - summary["mean"] > summary["mean"] - summary.ci_low, "the longer side is that of the tail"


@settings(max_examples=40)
@given(arrays(np.float64, st.integers(3, 30), elements=st.integers(1, 1000), fill=st.nothing()))
def test_an_interval_is_at_most_a_third_longer_than_students(sample: np.ndarray) -> None:
    """At few seeds the estimated skewness is mostly noise: Hall's own interval of 12, 13, 11, 13, 13 is [7.9, 13.2]."""
    sample = (sample / 1000) ** 8
    summary = analysis.over_seeds(entry(*sample))
    assume(np.isfinite(summary.ci_low))
    half = stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample)
    below, above = float(summary["mean"] - summary.ci_low) / half, float(summary.ci_high - summary["mean"]) / half
    assert max(below, above) <= 1.6 + 1e-9
    assert min(below, above) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("sample", "students"),
    [((12, 13, 11, 13, 13), (11.29, 13.51)), ((29.8, 36.4, 23.7, 35.8, 35.7), (25.5, 39.1))],
)
def test_few_seeds_have_nearly_students_interval(sample: tuple[float, ...], students: tuple[float, float]) -> None:
    summary = analysis.over_seeds(entry(*sample))
    ends = np.array([summary.ci_low, summary.ci_high])
    assert ends[1] - ends[0] <= 1.1 * (students[1] - students[0])
    np.testing.assert_allclose(ends, students, atol=0.25 * (students[1] - students[0]))


@given(arrays(np.float64, st.integers(2, 12), elements=st.floats(0, 1, width=32)))
def test_no_interval_leaves_the_range_of_its_statistic(shares: np.ndarray) -> None:
    share = with_range(entry(*shares), 0, 1)
    for summary in (analysis.over_seeds(share), analysis.over_seeds(entry(*shares), valid_range=(0, 1))):
        assume(np.isfinite(summary.ci_low))
        assert 0 <= summary.ci_low <= summary["mean"] + 1e-12
        assert summary["mean"] - 1e-12 <= summary.ci_high <= 1


def test_a_range_stays_with_a_selection_and_goes_with_arithmetic() -> None:
    W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W
    energy = analysis.quadrant_interference(W).energy
    assert range_of(energy.isel(step=-1, seed=[0, 1]).sel(subset="comedy")) == (0, np.inf)
    # xarray keeps attrs in arithmetic: a range kept there would cut off the interval of a difference at 0.
    for computed in (energy - energy, np.log(energy), energy.mean("step")):
        assert range_of(computed) == (-np.inf, np.inf)
    with pytest.raises(toysup.UsageError, match="valid_range is"):
        analysis.over_seeds(entry(0.5, 2), valid_range=(0, 1))


def test_every_statistic_declares_its_range() -> None:
    ds = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    W, shared = ds.W, analysis.shared_directions(ds.W)
    declared = {
        (0, 1): [analysis.feature_dimensionality(W)],
        (0, 10): [analysis.total_dimensionality(W)],
        (0, 20): [analysis.represented_count(W)],
        (0, 190): [analysis.shared_direction_count(shared)],
        (-1, 1): [analysis.context_selectivity(ds)],
        (0, 4692): [analysis.feature_onset(W).entry_step, analysis.merge_step(shared)],
        (0, np.inf): [
            analysis.feature_norms(W),
            analysis.feature_interference(W),
            analysis.probability_weighted_interference(ds),
            *(analysis.feature_onset(W)[name] for name in ("entries", "exits")),
        ],
    }
    for within, statistics in declared.items():
        assert [range_of(values) for values in statistics] == [within] * len(statistics)
    for name, values in analysis.quadrant_interference(W).items():
        assert range_of(values) == (0, 1 if name.endswith(("fraction", "share")) else np.inf)


samples = arrays(np.int64, st.integers(2, 40), elements=st.integers(-50, 50)).filter(lambda x: np.ptp(x) > 0)


@given(samples, st.integers(-5, 5), st.sampled_from([0.25, 2, 1e-150, 1e150]), st.randoms(use_true_random=False))
def test_intervals_move_with_the_values(sample: np.ndarray, shift: int, scale: float, random: random.Random) -> None:
    one = analysis.over_seeds(entry(*sample))
    # What counts as a mode depends on whether values are whole numbers, and on how large they are.
    assume("mode" not in one.dims and "mode" not in analysis.over_seeds(entry(*(scale * (sample + shift)))).dims)
    ends = np.array([one.ci_low, one["mean"], one.ci_high])
    assert np.isfinite(ends).all()
    assert ends[0] < ends[1] < ends[2]

    def again(values: np.ndarray) -> np.ndarray:
        summary = analysis.over_seeds(entry(*values))
        return np.array([summary.ci_low, summary["mean"], summary.ci_high])

    np.testing.assert_allclose(again(scale * (sample + shift)), scale * (ends + shift), atol=1e-12 * scale)
    np.testing.assert_allclose(again(-sample), -ends[::-1], atol=1e-12)
    np.testing.assert_allclose(again(np.array(random.sample(list(sample), len(sample)))), ends, atol=1e-12)


def test_intervals_are_wider_at_higher_confidence() -> None:
    data = values(np.random.default_rng(1).normal(size=(15, 1)))
    narrow, wide = analysis.over_seeds(data, confidence=0.5), analysis.over_seeds(data, confidence=0.99)
    assert wide.ci_low < narrow.ci_low < narrow["mean"] < narrow.ci_high < wide.ci_high
    assert wide.attrs["confidence_level"] == 0.99
    with pytest.raises(toysup.UsageError, match="between 0 and 1"):
        analysis.over_seeds(data, confidence=95)


def test_seeds_that_are_not_finite_are_left_out_and_counted() -> None:
    data = np.random.default_rng(2).normal(size=(10, 2))
    data[3, 1] = np.nan
    data[4, 1] = np.inf
    summary = analysis.over_seeds(values(data))
    kept = np.delete(data[:, 1], [3, 4])
    assert summary["mean"][1] == pytest.approx(kept.mean())
    assert summary.n_seeds.values.tolist() == [10, 8]
    assert summary.n_excluded.values.tolist() == [0, 2]
    alone = analysis.over_seeds(values(kept[:, None]))
    assert summary.ci_low[1] == pytest.approx(float(alone.ci_low[0]))


def test_one_seed_and_equal_values_have_no_interval() -> None:
    summary = analysis.over_seeds(values([[1.0, 2.0]]))
    assert summary["mean"].values.tolist() == [1, 2]
    assert np.isnan(summary.ci_low).all()
    equal = analysis.over_seeds(values([[1.0], [1.0], [1.0]]))
    assert np.isnan(equal.ci_low).all()
    assert np.isnan(equal.ci_high).all()
    nothing = analysis.over_seeds(values([[np.nan], [np.nan]]))
    assert np.isnan(nothing["mean"]).all()
    assert nothing.n_excluded.values.tolist() == [2]


def test_other_dims_and_their_coords_stay(trained: xr.DataTree) -> None:
    D = analysis.feature_dimensionality(trained["conditional-importance/fixed"].W)
    summary = analysis.over_seeds(D)
    assert summary["mean"].dims == ("step", "feature")
    assert summary.subset.values.tolist() == D.subset.values.tolist()
    assert "seed" not in summary.coords
    assert summary["mean"].attrs["long_name"] == "feature dimensionality D_i, mean over seeds"
    with pytest.raises(toysup.UsageError, match="needs the dims seed"):
        analysis.over_seeds(D.isel(seed=0))


def test_the_same_values_give_the_same_interval() -> None:
    data = values(np.random.default_rng(3).normal(size=(12, 4)))
    xr.testing.assert_identical(analysis.over_seeds(data), analysis.over_seeds(data))


@pytest.mark.parametrize(("holding", "n"), [(0, 20), (1, 20), (19, 20), (20, 20), (7, 10), (2, 2)])
def test_a_share_has_the_binomial_interval(holding: int, n: int) -> None:
    holds = xr.DataArray(np.arange(n) < holding, dims="seed", name="all represented")
    summary = analysis.proportion_over_seeds(holds, confidence=0.9)
    expected = stats.binomtest(holding, n).proportion_ci(0.9, method="exact")
    np.testing.assert_allclose([summary["mean"], summary.ci_low, summary.ci_high], [holding / n, *expected])
    assert summary.n_seeds == n
    assert summary.ci_low.attrs["long_name"] == "all represented, 90% interval, lower end"


def test_a_share_of_no_or_one_seed_has_no_interval() -> None:
    holds = values([[1.0, np.nan, 0.0], [np.nan, np.nan, 1.0], [np.nan, np.nan, np.nan]])
    summary = analysis.proportion_over_seeds(holds)
    np.testing.assert_array_equal(summary["mean"], [1, np.nan, 0.5])
    assert summary.n_seeds.values.tolist() == [1, 0, 2]
    assert summary.n_excluded.values.tolist() == [2, 3, 1]
    assert np.isnan(summary.ci_low).values.tolist() == [True, True, False]
    assert np.isnan(summary.ci_high).values.tolist() == [True, True, False]
    with pytest.raises(toysup.UsageError, match="true or false"):
        analysis.proportion_over_seeds(entry(0.5, 1))


def test_any_statistic_has_scipys_interval() -> None:
    data = np.random.default_rng(1).exponential(size=(20, 2))
    data[3, 1] = np.nan
    summary = analysis.bootstrap_over_seeds(values(data), np.median)
    for column, sample in enumerate([data[:, 0], np.delete(data[:, 1], 3)]):
        interval = stats.bootstrap(
            (sample,), np.median, n_resamples=1999, rng=np.random.default_rng(0)
        ).confidence_interval
        assert summary.estimate[column] == np.median(sample)
        assert (summary.ci_low[column], summary.ci_high[column]) == (interval.low, interval.high)
    assert summary.n_excluded.values.tolist() == [0, 1]
    none = analysis.bootstrap_over_seeds(values([[1.0, 2.0, np.nan], [np.nan, 2.0, np.nan]]), np.std)
    np.testing.assert_array_equal(none.estimate, [0, 0, np.nan])
    assert np.isnan(none.ci_low).all()


def test_of_no_seeds_there_are_no_numbers() -> None:
    none = xr.DataArray(np.empty((0, 3)), dims=("seed", "feature"))
    assert analysis.over_seeds(none)["mean"].isnull().all()
    found = analysis.difference_over_seeds(none.assign_coords(seed=[]), none.assign_coords(seed=[]), paired=True)
    assert found.sizes == {"feature": 3}
    assert found["mean"].isnull().all()
    assert (found["n_seeds"] == 0).all()
