"""Statistics over seeds, the unit of replication: means, proportions and other statistics, with intervals."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.inference.intervals import CONFIDENCE, mean_interval, refuse_confidence, shares
from toysup.analysis.inference.modes import modes_of, numbers_of_modes, with_modes
from toysup.analysis.statistics.arrays import FloatArray, Mask
from toysup.analysis.statistics.labels import range_of, require_dims
from toysup.errors import UsageError

RESAMPLES = 1999
# How many values are summarised at once; it bounds memory and does not change the result.
_VALUES = 2**21


def over_seeds(
    values: xr.DataArray,
    *,
    confidence: float = CONFIDENCE,
    valid_range: tuple[float, float] | None = None,
    modes: bool = True,
) -> xr.Dataset:
    """The mean over seeds with a skewness-corrected t interval, or the modes of the seeds, for each entry.

    For n seeds with mean m, standard deviation s and sample skewness γ, the ends of the interval are m − T s/√n. At
    confidence 1 − α, T solves T + κT²/3 + κ²T³/27 + κ/6 = ±q, where q is Student's quantile at 1 − α/2 and
    κ = γ√n/(n + 5). This is Hall's interval with a skewness that is shrunk for few seeds. The longer arm is at most
    1.6 q s/√n and the shorter one at most q s/√n. For a symmetric sample this is Student's interval m ± q s/√n.

    No end leaves the range of the statistic. Statistics of this package declare their range; `valid_range` states
    another one.

    If the seeds of an entry lie in several modes, so far apart that their mean describes no model, the entry has no
    mean and no interval. The result then has the dim `mode`, with the share of the seeds in each mode, and the mean of
    these seeds. See docs/inference.md for what counts as a mode.

    Seeds whose value is not finite are excluded from an entry, and counted. There is no interval for one seed or for
    equal values. If n seeds all agree, events that occur in fewer than about 3/n of all seeds may still be missed.

    Parameters
    ----------
    values : DataArray (..., seed, ...)
        One number per seed and entry; any other dims.
    confidence : float
        Coverage of the interval, between 0 and 1; 0.95 by default.
    valid_range : tuple of float, optional
        The least and the greatest possible value, in the units of `values`; infinite where there is none. By default
        the range that the statistic declares, if nothing was computed from it since.
    modes : bool
        Look for modes; by default. Without, every entry has a mean, whatever it describes.

    Returns
    -------
    Dataset (dims of `values` without `seed`)
        `mean`, `ci_low` and `ci_high`, float64, in the units of `values`; the counts `n_seeds` (used) and `n_excluded`.
        `mean` is NaN if no seed is finite, and both ends are NaN if there is no interval. All three are NaN for an
        entry in several modes. If there is such an entry, there are also the variables of dims (..., mode):
        `mode_share`, `mode_share_low` and `mode_share_high`, the share of the seeds with its exact binomial interval;
        `mode_mean`, `mode_low` and `mode_high`, the mean of these seeds with its interval, if there are at least five;
        and `mode_n_seeds`. They are NaN, and `mode_n_seeds` is 0, for other entries.

    Raises
    ------
    UsageError
        If there is no dim `seed`, the confidence is not between 0 and 1, or a value lies outside of `valid_range`.

    See Also
    --------
    proportion_over_seeds : the share of seeds for which a statement holds.
    bootstrap_over_seeds : other statistics than the mean.
    difference_over_seeds : the difference between two conditions.

    Source: Hall (1992), "On the removal of skewness by transformation", with quantiles of t for those of the normal.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W.isel(step=-1)
    >>> summary = toysup.analysis.over_seeds(toysup.analysis.represented_count(W))
    >>> [round(float(summary[name]), 1) for name in ('mean', 'ci_low', 'ci_high')]
    [16.9, 16.6, 17.2]
    """
    refuse_confidence(confidence)
    declared = valid_range is None
    within = range_of(values) if valid_range is None else valid_range
    blocks, of_modes = [], []
    for table, finite in _by_entries(values):
        _refuse_outside(table[finite], within, declared)
        labels = modes_of(table, finite) if modes else np.where(finite, 0, -1)
        blocks.append(
            (
                finite.sum(axis=1),
                mean_interval(table, finite & (labels.max(axis=1, keepdims=True, initial=0) < 1), within, confidence),
            )
        )
        of_modes.append(numbers_of_modes(table, labels, within, confidence))
    used = np.concatenate([count for count, _ in blocks])
    mean, low, high = np.concatenate([ends for _, ends in blocks], axis=1)
    columns = {"mean": mean, "ci_low": low, "ci_high": high}
    summary = summary_of(values, columns, used, "mean over seeds, skewness-corrected t interval (Hall)", confidence)
    return with_modes(summary, of_modes)


def _refuse_outside(values: FloatArray, within: tuple[float, float], declared: bool) -> None:
    # A declared range holds up to rounding; one that the caller states has to be right, up to rounding too.
    slack = 1e-6 * max([1.0, *(abs(end) for end in within if np.isfinite(end))])
    if not declared and values.size and not (within[0] - slack <= values.min() and values.max() <= within[1] + slack):
        raise UsageError(f"valid_range is {within}, but values reach from {values.min():g} to {values.max():g}")


def proportion_over_seeds(holds: xr.DataArray, *, confidence: float = CONFIDENCE) -> xr.Dataset:
    """The share of seeds for which a statement holds, with its exact binomial interval (Clopper-Pearson).

    The coverage of the interval is at least the nominal confidence. The interval also exists if all n > 1 seeds agree:
    if the statement holds for all of them, the lower end is (α/2)^(1/n) at confidence 1 − α, which is 0.83 for 20 seeds
    at 95%. There is no interval for one seed.

    Parameters
    ----------
    holds : DataArray of bool (..., seed, ...)
        Whether the statement holds, as bool or as 0 and 1. A seed with NaN is excluded, and counted.
    confidence : float
        Least coverage of the interval, between 0 and 1; 0.95 by default.

    Returns
    -------
    Dataset (dims of `holds` without `seed`)
        `mean`, the share, with `ci_low` and `ci_high`, between 0 and 1; the counts `n_seeds` (used) and `n_excluded`.
        `mean` is NaN if no seed is left, and both ends are NaN if there is no interval.

    Raises
    ------
    UsageError
        If there is no dim `seed`, a value is neither 0 nor 1, or the confidence is not between 0 and 1.

    Source: Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
    binomial".

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W.isel(step=-1)
    >>> all_of_them = toysup.analysis.represented(W).all('feature')
    >>> share = toysup.analysis.proportion_over_seeds(all_of_them)
    >>> [round(float(share[name]), 2) for name in ('mean', 'ci_low', 'ci_high')]
    [0.0, 0.0, 0.12]
    """
    refuse_confidence(confidence)
    counts = []
    for table, finite in _by_entries(holds):
        if not np.isin(table[finite], (0, 1)).all():
            raise UsageError("proportion_over_seeds needs values that are true or false (0 or 1)")
        counts.append((finite.sum(axis=1), np.where(finite, table, 0).sum(axis=1)))
    n, k = (np.concatenate(each) for each in zip(*counts, strict=True))
    columns = dict(zip(("mean", "ci_low", "ci_high"), shares(k, n, confidence), strict=True))
    return summary_of(holds, columns, n, "share of seeds, exact binomial interval (Clopper-Pearson)", confidence)


def bootstrap_over_seeds(
    values: xr.DataArray,
    statistic: Callable[..., Any],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> xr.Dataset:
    """Any statistic over seeds with its bootstrap interval (BCa, from SciPy), for each entry of the other dims.

    For a mean use `over_seeds`, whose interval has better coverage and needs no resamples. Resamples are drawn from a
    fixed stream, so the same values give the same interval. They are drawn entry by entry, in about 10 ms per entry.

    Parameters
    ----------
    values : DataArray (..., seed, ...)
        One number per seed and entry; any other dims.
    statistic : callable
        A function of an array and the keyword `axis` that gives the statistic along that axis, such as `np.median`.
    confidence : float
        Coverage of the interval, between 0 and 1; 0.95 by default.
    resamples : int
        The number of bootstrap resamples of the seeds; 1999 by default.

    Returns
    -------
    Dataset (dims of `values` without `seed`)
        `estimate`, `ci_low` and `ci_high` in the units of the statistic; the counts `n_seeds` (used) and `n_excluded`.
        `estimate` is NaN if no seed is finite. Both ends are NaN for one seed and for equal values, and if BCa is
        undefined because no resample, or every resample, lies below the estimate.

    Raises
    ------
    UsageError
        If there is no dim `seed`, or the confidence is not between 0 and 1.

    Source: Efron (1987), "Better bootstrap confidence intervals".

    Examples
    --------
    >>> import numpy as np, toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W.isel(step=-1)
    >>> energy = toysup.analysis.quadrant_interference(W)['energy'].sum(['subset', 'other_subset'])
    >>> median = toysup.analysis.bootstrap_over_seeds(energy, np.median)
    >>> [round(float(median[name]), 1) for name in ('estimate', 'ci_low', 'ci_high')]
    [13.6, 13.3, 13.9]
    """
    refuse_confidence(confidence)
    table, finite = by_seed(values)
    estimate, low, high = np.full((3, len(table)), np.nan)
    for row, (entry, used) in enumerate(zip(table, finite, strict=True)):
        if used.any():
            estimate[row] = statistic(entry[used], axis=-1)
        if used.any() and np.ptp(entry[used]) > 0:
            low[row], high[row] = _bootstrapped(entry[used], statistic, confidence, resamples)
    columns = {"estimate": estimate, "ci_low": low, "ci_high": high}
    return summary_of(values, columns, finite.sum(axis=1), "bootstrap over seeds (BCa)", confidence)


def _bootstrapped(
    sample: FloatArray, statistic: Callable[..., Any], confidence: float, resamples: int
) -> tuple[float, float]:
    # scipy.stats takes long to import, and few commands need it.
    from scipy import stats

    with warnings.catch_warnings():
        # If BCa is undefined, the interval is NaN, so SciPy's warning adds nothing.
        warnings.simplefilter("ignore")
        interval = stats.bootstrap(
            (sample,), statistic, n_resamples=resamples, confidence_level=confidence, rng=np.random.default_rng(0)
        ).confidence_interval
    return interval.low, interval.high


def by_seed(values: xr.DataArray) -> tuple[FloatArray, Mask]:
    """The values as an array (entry, seed), and which of them are finite."""
    require_dims(values, ("seed",), what="values")
    table = _table(values).astype(np.float64)
    return table, np.isfinite(table)


def _table(values: xr.DataArray) -> FloatArray:
    last = values.transpose(..., "seed").values
    # Not reshape(-1, …): without seeds NumPy could not infer the number of entries.
    table: FloatArray = last.reshape(math.prod(last.shape[:-1]), last.shape[-1])
    return table


def _by_entries(values: xr.DataArray) -> Iterator[tuple[FloatArray, Mask]]:
    """The same as `by_seed`, for a limited number of entries at a time, so that temporaries take tens of megabytes."""
    require_dims(values, ("seed",), what="values")
    table = _table(values)
    size = max(1, _VALUES // max(1, table.shape[1]))
    for start in range(0, max(1, len(table)), size):
        # A contiguous copy, so that the rounding of sums does not depend on the layout of the values in memory.
        block = np.ascontiguousarray(table[start : start + size], dtype=np.float64)
        yield block, np.isfinite(block)


def summary_of(
    values: xr.DataArray,
    columns: dict[str, FloatArray],
    used: npt.NDArray[np.int64],
    method: str,
    confidence: float,
) -> xr.Dataset:
    """The columns and the counts of seeds as a Dataset with the dims and coords of `values` without `seed`."""
    dims = tuple(dim for dim in values.dims if dim != "seed")
    shape = [values.sizes[dim] for dim in dims]
    counts = {"n_seeds": used, "n_excluded": values.sizes["seed"] - used}
    summary = xr.Dataset({name: (dims, column.reshape(shape)) for name, column in (columns | counts).items()})
    summary = summary.assign_coords({name: c for name, c in values.coords.items() if "seed" not in c.dims})
    what, units = values.attrs.get("long_name", values.name or "value"), values.attrs.get("units", "1")
    words = {
        "ci_low": f"{100 * confidence:g}% interval, lower end",
        "ci_high": f"{100 * confidence:g}% interval, upper end",
    }
    for name in columns:
        summary[name].attrs = {"long_name": f"{what}, {words.get(name, f'{name} over seeds')}", "units": units}
    summary["n_seeds"].attrs = {"long_name": "seeds used", "units": "1"}
    summary["n_excluded"].attrs = {"long_name": "seeds left out because they are not finite", "units": "1"}
    summary.attrs = {"method": method, "confidence_level": confidence}
    return summary
