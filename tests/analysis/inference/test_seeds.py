"""Means and intervals over seeds."""

import random

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import toysup
from toysup import analysis


def values(table: object) -> xr.DataArray:
    return xr.DataArray(table, dims=("seed", "feature"), name="x", attrs={"long_name": "x", "units": "1"})


def entry(*numbers: float) -> xr.DataArray:
    return xr.DataArray(list(numbers), dims="seed", name="x")


def test_a_symmetric_sample_has_students_interval() -> None:
    summary = analysis.over_seeds(entry(1, 2, 4, 6, 7))
    expected = stats.t.interval(0.95, 4, loc=4, scale=stats.sem([1, 2, 4, 6, 7]))
    np.testing.assert_allclose([summary.ci_low, summary.ci_high], expected)


def test_a_skewed_sample_has_halls_interval() -> None:
    """The ends m − T s/√n solve g(T) = ±q with g(T) = T + γT²/(3√n) + γ²T³/(27n) + γ/(6√n)."""
    sample = np.array([0.0, 0, 1, 1, 2, 9])
    n, s = 6, sample.std(ddof=1)
    gamma = stats.skew(sample)
    summary = analysis.over_seeds(entry(*sample))
    T = (sample.mean() - np.array([summary.ci_low, summary.ci_high])) / (s / np.sqrt(n))
    g = T + gamma * T**2 / (3 * np.sqrt(n)) + gamma**2 * T**3 / (27 * n) + gamma / (6 * np.sqrt(n))
    q = stats.t.ppf(0.975, n - 1)
    np.testing.assert_allclose(g, [q, -q])
    assert summary.ci_high - summary["mean"] > summary["mean"] - summary.ci_low, "the longer side is that of the tail"


samples = arrays(np.int64, st.integers(2, 40), elements=st.integers(-50, 50)).filter(lambda x: np.ptp(x) > 0)


@given(samples, st.integers(-5, 5), st.sampled_from([0.25, 2, 1e-150, 1e150]), st.randoms(use_true_random=False))
def test_intervals_move_with_the_values(sample: np.ndarray, shift: int, scale: float, random: random.Random) -> None:
    one = analysis.over_seeds(entry(*sample))
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
