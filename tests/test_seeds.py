"""Means and intervals over seeds."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import toysup
from toysup import analysis


def values(table: object) -> xr.DataArray:
    return xr.DataArray(table, dims=("seed", "feature"), name="x", attrs={"long_name": "x", "units": "1"})


def test_mean_and_interval_are_scipys() -> None:
    data = np.random.default_rng(1).exponential(size=(20, 3))
    summary = analysis.over_seeds(values(data))
    np.testing.assert_allclose(summary["mean"], data.mean(axis=0))
    assert summary.n_seeds.values.tolist() == [20] * 3
    for column in range(3):
        interval = stats.bootstrap(
            (data[:, column],), np.mean, n_resamples=1999, rng=np.random.default_rng(0)
        ).confidence_interval
        assert summary.ci_low[column] == pytest.approx(interval.low)
        assert summary.ci_high[column] == pytest.approx(interval.high)


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
