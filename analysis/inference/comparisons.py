"""Differences between conditions over their seeds: intervals, tests, effect sizes, equivalence, many comparisons."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from toysup.analysis.inference.intervals import CONFIDENCE, inside, mean_and_shape, refuse_confidence, skewed_t
from toysup.analysis.inference.modes import modes_of, widest_mode
from toysup.analysis.inference.permutations import relabelling_p, sign_flip_p
from toysup.analysis.inference.seeds import by_seed, summary_of
from toysup.analysis.statistics.arrays import FloatArray, Mask
from toysup.analysis.statistics.labels import numbers, range_of
from toysup.errors import UsageError

# Two one-sided tests at 5% are an interval at 90%.
EQUIVALENCE_CONFIDENCE = 0.9


def difference_over_seeds(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    paired: bool = False,
    confidence: float = CONFIDENCE,
    comparisons: int | None = None,
) -> xr.Dataset:
    """The mean over seeds of `a` minus the mean of `b`, with its interval, a permutation test and an effect size.

    Paired conditions (see `paired_by_seed`) are compared by the differences d between shared seeds. The interval is
    that of `over_seeds` for d, the test flips the signs of d, and the effect size is J(n−1) mean(d) / sd(d).

    Unpaired conditions are compared as independent samples. The interval is m_a − m_b ± q √(s_a²/n_a + s_b²/n_b) with
    Welch's degrees of freedom, corrected for skewness as in `over_seeds`. The test permutes which seed belongs to which
    condition; its statistic is Welch's t. The effect size is Hedges' g = J(n_a+n_b−2) (m_a − m_b) / s with the pooled
    variance s². The factor J(ν) = Γ(ν/2) / (√(ν/2) Γ((ν−1)/2)) removes the bias for few seeds.

    No end leaves the range that two statistics leave to their difference: the share of a minus that of b lies between
    −1 and 1.

    Without spread there is no interval, no effect size and no p-value; all are NaN. This is so if a side has one seed,
    if all paired differences are equal, or if the seeds of each side all agree. If the differences between seeds lie in
    several modes, there is a p-value alone, as their mean describes no pair of models.

    Parameters
    ----------
    a, b : DataArray (..., seed, ...)
        One number per seed and entry, with the same entries in both. If one side lacks a dim, its values are repeated
        along that dim.
    paired : bool
        Compare seed by seed. Seeds that only one side has are then excluded. By default the sides are independent.
    confidence : float
        Coverage of the interval, between 0 and 1; 0.95 by default.
    comparisons : int, optional
        The number of comparisons that the p-values will be adjusted for; the number of entries by default. With more
        than 100, up to 100 permutations for each are drawn for the entries with the smallest p-values, at most 999,999.

    Returns
    -------
    Dataset (dims of `a` and `b` without `seed`)
        `mean`, `ci_low` and `ci_high`, in the units of `a`; `n_seeds`, the number of pairs, or of seeds of both sides
        together if unpaired; `n_excluded`, the number of seeds that are not finite or not shared; `effect_size`, in
        standard deviations; `p_value`, two-sided. The attrs `paired` and `method` name the method.

    Raises
    ------
    UsageError
        If there is no dim `seed`, the entries differ, `paired` is given without coordinates `seed`, or the confidence
        is not between 0 and 1.

    See Also
    --------
    equivalence_over_seeds : whether two conditions agree up to a margin.
    holm_adjusted : adjust the p-values of several comparisons.

    Sources: Hall (1992) and Zhou and Dinh (2005), "Nonparametric confidence intervals for the one- and two-sample
    problems", for the interval; Hedges (1981), "Distribution theory for Glass's estimator of effect size".

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example('conditional-importance')['conditional-importance']
    >>> a, b = (toysup.analysis.represented_count(runs[name].W.isel(step=-1)) for name in ('fixed', 'conditional'))
    >>> difference = toysup.analysis.difference_over_seeds(a, b, paired=True)
    >>> round(float(difference['mean']), 2), bool(difference['p_value'] < 0.05)
    (0.0, False)
    """
    refuse_confidence(confidence)
    seeds = _seeds(a, b, paired)
    estimate = seeds.estimate()
    summary = seeds.summary(estimate, confidence)
    # The unit of an effect size is the spread of single seeds, not the spread of their mean.
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = _unbiased(estimate.spread_degrees) * estimate.mean / estimate.spread
    has_interval = np.isfinite(summary["ci_low"].values)
    p = seeds.p_values(np.isfinite(estimate.skewness), comparisons or has_interval.size)
    summary["effect_size"] = summary["mean"].copy(
        data=np.where(has_interval, effect.reshape(has_interval.shape), np.nan)
    )
    summary["p_value"] = summary["mean"].copy(data=p.reshape(has_interval.shape))
    summary["effect_size"].attrs = {"long_name": "effect size, in standard deviations", "units": "1"}
    summary["p_value"].attrs = {"long_name": "permutation test, two-sided p", "units": "1"}
    return summary


def equivalence_over_seeds(a: xr.DataArray, b: xr.DataArray, margin: float, *, paired: bool = False) -> xr.Dataset:
    """Whether two conditions agree up to a margin.

    They agree if the 90% interval of their difference lies between −margin and margin. This is the same as two
    one-sided tests at 5% (TOST).

    Parameters
    ----------
    a, b : DataArray (..., seed, ...)
        One number per seed and entry, with the same entries in both.
    margin : float
        The largest difference that does not matter, in the units of `a`.
    paired : bool
        Compare seed by seed, as in `difference_over_seeds`.

    Returns
    -------
    Dataset (dims of `a` and `b` without `seed`)
        `mean`, `ci_low`, `ci_high`, `n_seeds` and `n_excluded` as in `difference_over_seeds` at confidence 0.9, and
        `equivalent`, bool. Without an interval `equivalent` is False, from which nothing follows.

    Raises
    ------
    UsageError
        If the margin is not positive and finite, or as in `difference_over_seeds`.

    Source: Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach".

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example('conditional-importance')['conditional-importance']
    >>> a, b = (toysup.analysis.represented_count(runs[name].W.isel(step=-1)) for name in ('fixed', 'conditional'))
    >>> bool(toysup.analysis.equivalence_over_seeds(a, b, margin=1, paired=True)['equivalent'])
    True
    """
    if not 0 < margin < np.inf:
        raise UsageError(f"margin must be positive and finite, got {margin}")
    seeds = _seeds(a, b, paired)
    summary = seeds.summary(seeds.estimate(), EQUIVALENCE_CONFIDENCE)
    summary["equivalent"] = (summary["ci_low"] > -margin) & (summary["ci_high"] < margin)
    summary["equivalent"].attrs = {"long_name": "equal up to the margin, at 5%", "units": "1"}
    summary.attrs["margin"] = margin
    return summary


def holm_adjusted(p_values: xr.DataArray, *, dim: str | None = None) -> xr.DataArray:
    """p-values adjusted for multiple comparisons by Holm's step-down method.

    With p_(1) ≤ … ≤ p_(m), the adjusted p_(i) is the maximum over j ≤ i of (m − j + 1) p_(j), and at most 1. If all
    comparisons with an adjusted value of at most α are rejected, the probability of any false rejection is at most α,
    however the tests depend on one another.

    Parameters
    ----------
    p_values : DataArray
        Between 0 and 1, any dims. NaN stays NaN and does not count as a comparison.
    dim : str, optional
        The dim along which comparisons are counted; all entries are one family by default.

    Returns
    -------
    DataArray
        With the dims of `p_values`.

    Raises
    ------
    UsageError
        If `p_values` is not a DataArray, or has no such dim.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> import toysup, xarray as xr
    >>> toysup.analysis.holm_adjusted(xr.DataArray([0.01, 0.04, 0.03], dims='test')).values.round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = numbers(p_values, () if dim is None else (dim,), what="p_values")
    if dim is None:
        adjusted = _holm(p_values.values.reshape(1, -1).astype(float)).reshape(p_values.shape)
        return p_values.copy(data=adjusted)
    last = p_values.transpose(..., dim)
    table = last.values.reshape(-1, last.sizes[dim]).astype(float)
    return last.copy(data=_holm(table).reshape(last.shape)).transpose(*p_values.dims)


def _holm(table: FloatArray) -> FloatArray:
    order = np.argsort(table, axis=1)
    # How many comparisons have a p-value at least as large; argsort puts NaN last.
    left = np.isfinite(table).sum(axis=1, keepdims=True) - np.arange(table.shape[1])
    stepped = np.maximum.accumulate(np.take_along_axis(table, order, axis=1) * left, axis=1)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1), axis=1)
    return adjusted


class _Estimate(NamedTuple):
    """For each entry: the estimated mean, the variance and the skewness of this estimate, and its degrees of freedom.

    `spread` is the standard deviation of single seeds, which has `spread_degrees` degrees of freedom.
    """

    mean: FloatArray
    variance: FloatArray
    skewness: FloatArray
    degrees: FloatArray
    spread: FloatArray
    spread_degrees: FloatArray


class _Seeds(NamedTuple):
    """The values that are compared, along `seed`.

    If paired, these are the differences between pairs, and `n_first` is None. Otherwise they are the `n_first` seeds of
    a, then the seeds of b. `within` is the range of a difference. `unshared` counts the seeds that pairs leave out.
    """

    values: xr.DataArray
    n_first: int | None
    within: tuple[float, float]
    unshared: int = 0

    def estimate(self) -> _Estimate:
        table, finite = by_seed(self.values)
        if self.n_first is None:
            n = finite.sum(axis=1)
            mean, variance, skewness = mean_and_shape(table, finite)
            return _Estimate(mean, variance, skewness, n - 1, np.sqrt(variance * n), n - 1)
        a, b = np.s_[:, : self.n_first], np.s_[:, self.n_first :]
        return _of_two(_side(table[a], finite[a]), _side(table[b], finite[b]))

    def summary(self, estimate: _Estimate, confidence: float) -> xr.Dataset:
        error = np.sqrt(estimate.variance)
        low, high = (estimate.mean - error * t for t in skewed_t(estimate.skewness, estimate.degrees, confidence))
        columns = dict(
            zip(("mean", "ci_low", "ci_high"), (estimate.mean, *inside(self.within, low, high)), strict=True)
        )
        in_modes = self.in_modes()
        columns = {name: np.where(in_modes, np.nan, column) for name, column in columns.items()}
        how = (
            "difference of the means over seeds"
            if self.n_first is not None
            else "mean over seeds of paired differences"
        )
        method = f"{how}, skewness-corrected t interval (Hall)"
        summary = summary_of(self.values, columns, by_seed(self.values)[1].sum(axis=1), method, confidence)
        summary["n_excluded"] += self.unshared
        summary.attrs["paired"] = self.n_first is None
        return summary

    def in_modes(self) -> Mask:
        """Whether the differences of an entry between seeds lie in several modes.

        Unpaired, each seed of a side is compared with all seeds of the other. Their differences lie in several modes if
        the modes of one side are further apart than the seeds within a mode of the other side.
        """
        table, finite = by_seed(self.values)
        if self.n_first is None:
            return np.asarray(modes_of(table, finite).max(axis=1, initial=-1) > 0)
        sides = [np.s_[:, : self.n_first], np.s_[:, self.n_first :]]
        widest = [widest_mode(table[side], modes_of(table[side], finite[side])) for side in sides]
        labels = [
            modes_of(table[side], finite[side], blur=other) for side, other in zip(sides, reversed(widest), strict=True)
        ]
        return np.asarray(np.any([each.max(axis=1, initial=-1) > 0 for each in labels], axis=0))

    def p_values(self, wanted: Mask, comparisons: int) -> FloatArray:
        """The p-value of each entry, NaN unless `wanted`; entries with the same finite seeds share one call."""
        table, finite = by_seed(self.values)
        p = np.full(len(table), np.nan)
        patterns, which = np.unique(finite, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero((which.reshape(-1) == number) & wanted)
            entries = table[np.ix_(rows, pattern)]
            if len(rows) and self.n_first is None:
                p[rows] = sign_flip_p(entries, comparisons)
            elif len(rows):
                p[rows] = relabelling_p(entries, pattern[: self.n_first].sum(), comparisons)
        return p


def _seeds(a: xr.DataArray, b: xr.DataArray, paired: bool) -> _Seeds:
    a, b = (numbers(values, ("seed",), what=name) for name, values in (("a", a), ("b", b)))
    # From here on arithmetic drops the declared ranges.
    (a_low, a_high), (b_low, b_high) = range_of(a), range_of(b)
    labelled = ["seed" in values.indexes for values in (a, b)]
    if paired and not all(labelled):
        raise UsageError("paired=True needs the coordinate seed on both sides")
    unshared = 0
    if paired:
        total = a.sizes["seed"] + b.sizes["seed"]
        shared = a.indexes["seed"].intersection(b.indexes["seed"])
        a, b, unshared = a.sel(seed=shared), b.sel(seed=shared), total - 2 * len(shared)
    try:
        a, b = xr.align(a, b, join="exact", exclude=["seed"])
    except ValueError:
        raise UsageError("the two sides have different entries; select the entries that both have") from None
    a, b = (side.transpose(..., "seed").astype(np.float64) for side in xr.broadcast(a, b, exclude=["seed"]))
    b = b.transpose(*a.dims)
    coords = {name: coord for name, coord in a.coords.items() if "seed" not in coord.dims}
    what = {
        "long_name": f"difference of {a.attrs.get('long_name', a.name or 'value')}",
        "units": a.attrs.get("units", "1"),
    }
    joined = a.values - b.values if paired else np.concatenate([a.values, b.values], axis=-1)
    values = xr.DataArray(joined, dims=a.dims, coords=coords, attrs=what)
    return _Seeds(values, None if paired else a.sizes["seed"], (a_low - b_high, a_high - b_low), unshared)


class _Side(NamedTuple):
    n: FloatArray
    mean: FloatArray
    variance: FloatArray
    third: FloatArray


def _side(table: FloatArray, finite: Mask) -> _Side:
    """One condition: its mean, and the variance and third cumulant of the mean, which are 0 if its seeds agree."""
    n = finite.sum(axis=1).astype(float)
    mean, variance, skewness = mean_and_shape(table, finite)
    variance, skewness = (np.where(n > 1, np.nan_to_num(values), np.nan) for values in (variance, skewness))
    return _Side(n, mean, variance, skewness * variance**1.5)


def _of_two(a: _Side, b: _Side) -> _Estimate:
    variance = a.variance + b.variance
    pooled_degrees = a.n + b.n - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        skewness = (a.third - b.third) / variance**1.5
        # Welch and Satterthwaite.
        degrees = variance**2 / (a.variance**2 / (a.n - 1) + b.variance**2 / (b.n - 1))
        pooled = (a.variance * a.n * (a.n - 1) + b.variance * b.n * (b.n - 1)) / pooled_degrees
    return _Estimate(a.mean - b.mean, variance, skewness, degrees, np.sqrt(pooled), pooled_degrees)


def _unbiased(degrees: FloatArray) -> FloatArray:
    """J(ν), which removes the bias of a mean over a standard deviation with ν degrees of freedom; NaN for ν < 2."""
    nu = np.where(degrees > 1, degrees, np.nan)
    return np.asarray(np.exp(special.gammaln(nu / 2) - special.gammaln((nu - 1) / 2)) / np.sqrt(nu / 2))
