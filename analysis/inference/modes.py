"""Modes: groups of seeds so far apart that the mean of all of them describes no model."""

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from toysup.analysis.inference.intervals import mean_interval, shares
from toysup.analysis.statistics.arrays import FloatArray, Mask

SIGNIFICANCE = 0.005
"""How rare a gap must be among seeds with an exponential tail to divide them into two modes."""
LEAST_RATIO = 2.0
"""How much wider than the ranges of the two groups together a gap must be to divide them."""
RESOLUTION = 1e-3
"""Values closer than this share of the largest magnitude count as equal."""
LEAST_SEEDS = 5
"""Fewer seeds are not divided, and a mode of fewer has no interval, which would be wider than the gap beside it."""

Labels = npt.NDArray[np.int64]


def modes_of(table: FloatArray, finite: Mask, *, blur: FloatArray | None = None) -> Labels:
    """The mode of each seed, (entry, seed): 0, 1, … by increasing value, and −1 for seeds that are not finite.

    A gap between neighbouring values divides five or more seeds of an entry into two groups if two things hold. It is
    more than twice as wide as the ranges of both groups together. And a gap of r such widths would be rare, with a
    probability of at most 0.005, if the values were exponential: with n seeds, of which j are in the smaller group, the
    probability is Π_{k≠j} k / (k + jr) over k = 1 … n−1 (by Rényi's representation, the k-th gap from the top is
    exponential with the rate k). Each group is then divided in the same way.

    Values that differ by less than 0.1% of the largest magnitude count as equal, as do neighbours on a lattice: whole
    numbers, or values of which at most half are distinct. With `blur`, (entry,), each value is known up to a range of
    this width, which adds to the ranges of the groups.
    """
    if table.shape[1] == 0:
        return np.empty(table.shape, dtype=np.int64)
    order = np.argsort(np.where(finite, table, np.inf), axis=1, kind="stable")
    by_value = np.take_along_axis(table, order, axis=1)
    count = finite.sum(axis=1)
    starts = np.zeros(table.shape, dtype=bool)
    equal = _equal_within(by_value, count)
    blur = np.zeros(len(table)) if blur is None else blur
    # Each segment is part of an entry: its row, its first seed by value, and the seed after its last one.
    row, first, end = np.arange(len(table)), np.zeros(len(table), dtype=int), count
    while len(row):
        row, first, end = (each[end - first >= LEAST_SEEDS] for each in (row, first, end))
        border = _border(by_value[row], first, end, equal[row], blur[row])
        row, first, end, border = (each[border > 0] for each in (row, first, end, border))
        starts[row, border] = True
        row, first, end = np.tile(row, 2), np.concatenate([first, border]), np.concatenate([border, end])
    labels = np.empty(table.shape, dtype=np.int64)
    np.put_along_axis(labels, order, np.cumsum(starts, axis=1), axis=1)
    return np.where(finite, labels, -1)


def _equal_within(by_value: FloatArray, count: Labels) -> FloatArray:
    """The difference up to which the values of an entry count as equal: of those that are finite, the first `count`."""
    seeds = by_value.shape[1]
    known = np.arange(seeds) < count[:, None]
    values = np.where(known, by_value, 0)
    rounding = RESOLUTION * np.abs(values).max(axis=1, initial=0)
    gaps = np.diff(values, axis=1)
    distinct = (gaps > 0) & known[:, 1:]
    whole = (values == np.round(values)).all(axis=1)
    spacing = np.min(gaps, axis=1, initial=np.inf, where=distinct)
    ties = 2 * (distinct.sum(axis=1) + 1) <= count
    lattice = np.where(whole, 1.0, np.where(ties & np.isfinite(spacing), spacing, 0.0))
    return np.asarray(np.maximum(rounding, lattice))


def widest_mode(table: FloatArray, labels: Labels) -> FloatArray:
    """The largest range of the seeds in one mode: (entry,)."""
    widest = np.zeros(len(table))
    for mode in range(labels.max(initial=-1) + 1):
        own = labels == mode
        highest = np.max(table, axis=1, initial=-np.inf, where=own)
        lowest = np.min(table, axis=1, initial=np.inf, where=own)
        widest = np.maximum(widest, np.where(own.any(axis=1), highest - lowest, 0))
    return widest


def _border(by_value: FloatArray, first: Labels, end: Labels, equal: FloatArray, blur: FloatArray) -> Labels:
    """The seed (by value) at which each segment is divided into two modes; 0 where it is not."""
    seed = np.arange(1, by_value.shape[1])
    inside = (seed > first[:, None]) & (seed < end[:, None])
    with np.errstate(invalid="ignore"):
        gap = np.where(inside, np.diff(by_value, axis=1), 0)
        lowest, highest = (np.take_along_axis(by_value, at[:, None], axis=1) for at in (first, np.maximum(end, 1) - 1))
        ranges = by_value[:, :-1] - lowest + highest - by_value[:, 1:] + blur[:, None]
        ratio = gap / np.maximum(ranges, np.maximum(equal, np.finfo(float).tiny)[:, None])
    # Most segments have no gap that is wide enough, so the probability is worked out for the others only.
    wide = np.where(inside, ratio, 0) > LEAST_RATIO
    border = np.zeros(len(by_value), dtype=np.int64)
    some = np.flatnonzero(wide.any(axis=1))
    if len(some):
        probability = _if_exponential(ratio[some], seed - first[some, None], (end - first)[some, None])
        rarest = np.where(wide[some], probability, 1).argmin(axis=1)
        rare = np.take_along_axis(probability, rarest[:, None], axis=1)[:, 0] <= SIGNIFICANCE
        border[some[rare]] = rarest[rare] + 1
    return border


def _if_exponential(ratio: FloatArray, below: Labels, n: Labels) -> FloatArray:
    """Π_{k≠j} k / (k + jr) over k = 1 … n−1, with j the smaller of the numbers of seeds below and above the gap."""
    j = np.clip(np.minimum(below, n - below), 1, None)
    with np.errstate(invalid="ignore", over="ignore"):
        # The product over all k is a beta function; the factor of k = j, which is 1/(1 + r), is taken out again.
        log = special.gammaln(n) + special.gammaln(1 + j * ratio) - special.gammaln(n + j * ratio) + np.log1p(ratio)
        return np.asarray(np.exp(np.minimum(log, 0)))


# The variables that describe the modes of an entry, and their long names. Those of the second group have the units of
# the statistic.
_SHARES = {
    "mode_share": "share of the seeds in the mode",
    "mode_share_low": "exact binomial interval of the share, lower end",
    "mode_share_high": "exact binomial interval of the share, upper end",
}
_MEANS = {
    "mode_mean": "mean over the seeds of the mode",
    "mode_low": "interval of the mean over the seeds of the mode, lower end",
    "mode_high": "interval of the mean over the seeds of the mode, upper end",
}
_NAMES = (*_SHARES, *_MEANS, "mode_n_seeds")


def numbers_of_modes(table: FloatArray, labels: Labels, within: tuple[float, float], confidence: float) -> FloatArray:
    """The variables of modes, (variable, entry, mode), NaN where an entry has no such mode; no modes if none has."""
    count = labels.max(axis=1, initial=-1) + 1
    rows = np.flatnonzero(count > 1)
    found = np.full((len(_NAMES), len(table), int(count[rows].max(initial=0))), np.nan)
    for mode in range(found.shape[2]):
        there = rows[count[rows] > mode]
        own = labels[there] == mode
        k, n = own.sum(axis=1), (labels[there] >= 0).sum(axis=1)
        means = mean_interval(table[there], own, within, confidence)
        means[1:, k < LEAST_SEEDS] = np.nan
        found[:, there, mode] = [*shares(k, n, confidence), *means, k]
    return found


def with_modes(summary: xr.Dataset, tables: list[FloatArray]) -> xr.Dataset:
    """The summary with the variables of modes along `mode`; without them if no entry lies in several modes."""
    modes = max(table.shape[2] for table in tables)
    if modes == 0:
        return summary
    padded = [np.pad(table, ((0, 0), (0, 0), (0, modes - table.shape[2])), constant_values=np.nan) for table in tables]
    dims, shape = (*summary["mean"].dims, "mode"), (*summary["mean"].shape, modes)
    columns = zip(_NAMES, np.concatenate(padded, axis=1), strict=True)
    summary = summary.assign({name: (dims, column.reshape(shape)) for name, column in columns})
    summary["mode_n_seeds"] = summary["mode_n_seeds"].fillna(0).astype(np.int64)
    for name in _NAMES:
        units = summary["mean"].attrs["units"] if name in _MEANS else "1"
        long_name = {**_SHARES, **_MEANS}.get(name, "seeds in the mode")
        summary[name].attrs = {"long_name": long_name, "units": units}
    return summary.assign_coords(mode=np.arange(1, modes + 1))
