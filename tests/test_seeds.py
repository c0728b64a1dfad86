"""Means and intervals over seeds."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
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


@given(
    st.tuples(st.integers(1, 4), st.integers(2, 12)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.integers(-8, 8).map(lambda k: k / 4))
    ),
    st.sampled_from([0.5, 0.95]),
)
@settings(max_examples=60, deadline=None)
def test_intervals_are_scipys_also_where_means_are_tied(table: np.ndarray, confidence: float) -> None:
    # Quarters have exact sums, so that resampled means equal to the mean, which count half, are the same for both.
    summary = analysis.over_seeds(xr.DataArray(table, dims=("feature", "seed")), confidence=confidence)
    for row, (low, high) in zip(table, np.c_[summary.ci_low, summary.ci_high], strict=True):
        if np.ptp(row) == 0:
            assert np.isnan([low, high]).all()
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = stats.bootstrap(
                (row.astype(float),),
                np.mean,
                n_resamples=1999,
                confidence_level=confidence,
                rng=np.random.default_rng(0),
            ).confidence_interval
        np.testing.assert_allclose([low, high], expected, rtol=1e-9, atol=1e-12)


def test_intervals_do_not_depend_on_how_much_is_resampled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = values(np.random.default_rng(4).normal(size=(9, 5)))
    whole = analysis.over_seeds(data)
    monkeypatch.setattr("toysup.analysis.seeds._BATCH_VALUES", 4000)
    # Two rows, and 444 resamples of 9 seeds, at once.
    xr.testing.assert_allclose(analysis.over_seeds(data), whole, rtol=1e-12)


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
