"""Intervals, p-values and equivalences that include the sampling error of a loss."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from toysup import analysis
from toysup.analysis.inference.sampling_noise import error_of_difference

SEEDS = {"seed": np.arange(6)}
A = xr.DataArray([3.0, 4.0, 5.0, 4.5, 3.5, 4.2], dims="seed", coords=SEEDS)
B = A - xr.DataArray([1.0, 1.2, 0.9, 1.1, 1.05, 0.8], dims="seed", coords=SEEDS)


def test_an_interval_grows_in_quadrature() -> None:
    summary = analysis.over_seeds(A)
    wider = analysis.widened(summary, xr.DataArray(0.7))
    reach = stats.t.ppf(0.975, 15) * 0.7
    assert float(wider.ci_high) == pytest.approx(
        float(summary["mean"]) + np.hypot(float(summary.ci_high - summary["mean"]), reach)
    )
    assert float(wider["mean"]) == float(summary["mean"])
    assert analysis.widened(summary, xr.DataArray(0.0)).identical(summary)
    # A loss is at least 0, and so is its interval.
    assert float(analysis.widened(summary, xr.DataArray(50.0)).ci_low) == 0


def test_without_an_interval_there_is_still_none() -> None:
    summary = analysis.over_seeds(A.isel(seed=[0]))
    assert np.isnan(analysis.widened(summary, xr.DataArray(0.7)).ci_low)


def test_a_difference_is_told_from_samples_too() -> None:
    found = analysis.difference_over_seeds(A, B, paired=True)
    wider = analysis.widened(found, xr.DataArray(1.0))
    assert float(wider.p_value) == pytest.approx(2 * stats.t.sf(float(found["mean"]), 15))
    assert float(analysis.widened(found, xr.DataArray(1e-3)).p_value) == float(found.p_value)


def test_an_equivalence_may_end() -> None:
    found = analysis.equivalence_over_seeds(A, B, margin=1.5, paired=True)
    assert bool(found.equivalent)
    assert not bool(analysis.widened(found, xr.DataArray(1.0), confidence=0.9).equivalent)


def test_what_samples_share_cancels_in_a_difference() -> None:
    rng = np.random.default_rng(0)
    common = xr.DataArray(rng.normal(size=16), dims="batch")
    a, b = A + common, B + common
    assert float(error_of_difference(a, b, paired=True)) == pytest.approx(0, abs=1e-12)
    assert float(analysis.sampling_error(a.mean("seed"))) > 0.1
    # A seed that is not finite does not count.
    lost = b.copy()
    lost[2, 3] = np.nan
    assert np.isfinite(error_of_difference(a, lost, paired=True))
