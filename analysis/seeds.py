"""Statistics over seeds: the mean and its bootstrap interval, seeds being the unit of replication."""

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from toysup.analysis.labels import require_dims
from toysup.errors import UsageError

CONFIDENCE = 0.95
RESAMPLES = 1999
# Resampled means, or draws of seeds, held at once; bounds memory, not the result.
_BATCH_VALUES = 4_000_000

Array = npt.NDArray[np.float64]


def over_seeds(values: xr.DataArray, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES) -> xr.Dataset:
    """The mean over seeds with its bootstrap interval (BCa), for each entry of the other dims.

    Seeds that are not finite are left out of an entry and counted. One seed, or equal values, give no interval: NaN.
    The resamples are drawn from a fixed stream, so the same values give the same interval.

    Parameters
    ----------
    values : DataArray (..., seed, ...)
        One number per seed and entry.
    confidence : float
        Coverage of the interval, between 0 and 1.
    resamples : int
        Bootstrap resamples of the seeds.

    Returns
    -------
    Dataset (dims of `values` without `seed`)
        `mean`, `ci_low`, `ci_high` in the units of `values`; counts `n_seeds` (used) and `n_excluded`.

    Raises
    ------
    UsageError
        If there is no dim `seed`, or the confidence is not between 0 and 1.

    Source: Efron (1987), "Better bootstrap confidence intervals".
    """
    require_dims(values, ("seed",), what="values")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, not {confidence}")
    last = values.transpose(..., "seed").astype(np.float64)
    table = last.values.reshape(-1, last.sizes["seed"])
    finite = np.isfinite(table)
    count = finite.sum(axis=1)
    total = np.where(finite, table, 0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(table), np.nan), where=count > 0)
    low, high = _intervals(table, finite, confidence, resamples)
    shape, dims = last.shape[:-1], last.dims[:-1]
    columns = {"mean": mean, "ci_low": low, "ci_high": high, "n_seeds": count, "n_excluded": last.shape[-1] - count}
    summary = xr.Dataset({name: (dims, column.reshape(shape)) for name, column in columns.items()})
    summary = summary.assign_coords({name: coord for name, coord in last.coords.items() if "seed" not in coord.dims})
    return _described(summary, values, confidence)


def _intervals(table: Array, finite: npt.NDArray[np.bool_], confidence: float, resamples: int) -> tuple[Array, Array]:
    """Entries that share their finite seeds are resampled in one call."""
    low, high = np.full(len(table), np.nan), np.full(len(table), np.nan)
    patterns, which = np.unique(finite, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(which.reshape(-1) == number)
        rows = rows[np.ptp(table[np.ix_(rows, pattern)], axis=1) > 0] if pattern.sum() > 1 else rows[:0]
        if len(rows):
            low[rows], high[rows] = _bca(table[np.ix_(rows, pattern)], confidence, resamples)
    return low, high


def _bca(samples: Array, confidence: float, resamples: int) -> tuple[Array, Array]:
    """The ends of the interval of each row's mean; NaN where no resample, or every one, lies below the mean itself."""
    low, high = np.empty(len(samples)), np.empty(len(samples))
    size = max(1, _BATCH_VALUES // resamples)
    for start in range(0, len(samples), size):
        rows = slice(start, start + size)
        means = _resampled_means(samples[rows], resamples)
        for ends, share in zip((low, high), _shares(samples[rows], means, confidence), strict=True):
            ends[rows] = _quantiles(means, share)
    return low, high


def _resampled_means(samples: Array, resamples: int) -> Array:
    """The mean of each row over each resample of its seeds, in order: (row, resample). Rows share their resamples."""
    rng = np.random.default_rng(0)
    n = samples.shape[1]
    means = np.empty((len(samples), resamples))
    size = max(1, _BATCH_VALUES // n)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = rng.integers(0, n, (count, n))
        # How often each resample draws each seed, so that sums over resamples are sums over seeds. Not by `@`, whose
        # threads wait for one another on a busy machine, and whose sums would depend on their number.
        places = drawn * count + np.arange(count)[:, None]
        drawn_times = np.bincount(places.ravel(), minlength=n * count).reshape(n, count).astype(np.float64)
        means[:, start : start + count] = np.einsum("rn,nb->rb", samples, drawn_times) / n
    means.sort(axis=1)
    return means


def _shares(samples: Array, means: Array, confidence: float) -> tuple[Array, Array]:
    """The share of resampled means below each end of the interval: Efron's α₁ and α₂, for each row."""
    mean = samples.mean(axis=1, keepdims=True)
    below = ((means < mean).mean(axis=1) + (means <= mean).mean(axis=1)) / 2
    bias = special.ndtri(below)
    # Of a mean, the jackknife's influence of a seed is its deviation.
    deviation = samples - mean
    acceleration = (deviation**3).sum(axis=1) / (6 * (deviation**2).sum(axis=1) ** 1.5)
    tail = special.ndtri((1 - confidence) / 2)
    # A row whose bias is infinite comes out as NaN.
    with np.errstate(invalid="ignore"):
        low, high = (special.ndtr(bias + z / (1 - acceleration * z)) for z in (bias + tail, bias - tail))
    return low, high


def _quantiles(ordered: Array, share: Array) -> Array:
    """The quantile of each row at a share of its own, linear between two values; NaN where the share is."""
    last = ordered.shape[1] - 1
    place = np.nan_to_num(share) * last
    below = place.astype(int)
    one, other = (np.take_along_axis(ordered, at[:, None], axis=1)[:, 0] for at in (below, np.minimum(below + 1, last)))
    return np.where(np.isnan(share), np.nan, one + (other - one) * (place - below))


def _described(summary: xr.Dataset, values: xr.DataArray, confidence: float) -> xr.Dataset:
    what, units = values.attrs.get("long_name", values.name or "value"), values.attrs.get("units", "1")
    percent = f"{100 * confidence:g}%"
    summary["mean"].attrs = {"long_name": f"{what}, mean over seeds", "units": units}
    summary["ci_low"].attrs = {"long_name": f"{what}, {percent} interval, lower end", "units": units}
    summary["ci_high"].attrs = {"long_name": f"{what}, {percent} interval, upper end", "units": units}
    summary["n_seeds"].attrs = {"long_name": "seeds used", "units": "1"}
    summary["n_excluded"].attrs = {"long_name": "seeds left out because they are not finite", "units": "1"}
    summary.attrs = {"method": "bootstrap over seeds, BCa", "confidence_level": confidence}
    return summary
