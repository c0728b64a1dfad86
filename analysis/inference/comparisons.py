"""Differences between conditions over their seeds: intervals, tests, effect sizes, equivalence, many comparisons."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from toysup.analysis.inference.permutations import relabelling_p, sign_flip_p
from toysup.analysis.inference.seeds import CONFIDENCE, by_seed, mean_and_shape, refuse_confidence, skewed_t, summary_of
from toysup.analysis.statistics.arrays import FloatArray, Mask
from toysup.analysis.statistics.labels import require_dims
from toysup.errors import UsageError
from toysup.storage.schema import leading_dims

# Two one-sided tests at 5% are an interval at 90%.
EQUIVALENCE_CONFIDENCE = 0.9


def difference_over_seeds(
    a: xr.DataArray, b: xr.DataArray, *, paired: bool = False, confidence: float = CONFIDENCE
) -> xr.Dataset:
    """The mean over seeds of `a` less that of `b`, with its interval, a permutation test and an effect size.

    Paired, for conditions whose seeds start from equal weights and see equal samples (`paired_by_seed`): of the
    differences d of shared seeds, the interval is that of `over_seeds`, the test flips signs, and the effect size is
    J(n−1) mean(d) / sd(d). Unpaired: the interval is m_a − m_b ± q √(s_a²/n_a + s_b²/n_b) with Welch's degrees of
    freedom, corrected for skewness in the same way; the test permutes the labels of Welch's t; and the effect size is
    Hedges' g = J(n_a+n_b−2) (m_a − m_b) / s, with s² the pooled variance. J(ν) = Γ(ν/2) / (√(ν/2) Γ((ν−1)/2)) takes the
    bias of small samples away.

    There is no interval, no effect size and no p-value (NaN) where no spread was seen to hold the difference against:
    with one seed on a side, where all paired differences are equal, and where each side's seeds agree.

    Parameters
    ----------
    a, b : DataArray (..., seed, ...)
        One number per seed and entry, the same entries in both (a dim that one lacks is the same for all of it).
    paired : bool
        Compare seed by seed; then seeds that only one side has count as excluded.
    confidence : float
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    Dataset (dims of `a` and `b` without `seed`)
        `mean`, `ci_low`, `ci_high` in the units of `a`; `n_seeds`, pairs if paired, else those of both sides together;
        `n_excluded`, those not finite or not shared; `effect_size`; `p_value`, two-sided. Attrs `paired`, `method`.

    Raises
    ------
    UsageError
        If there is no dim `seed`, entries differ, or the confidence is not between 0 and 1.

    Sources: Hall (1992) and Zhou and Dinh (2005), "Nonparametric confidence intervals for the one- and two-sample
    problems", for the interval; Hedges (1981), "Distribution theory for Glass's estimator of effect size".

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example('conditional-importance')['conditional-importance']
    >>> a, b = (toysup.analysis.represented_count(runs[name].W.isel(step=-1)) for name in ('fixed', 'conditional'))
    >>> found = toysup.analysis.difference_over_seeds(a, b, paired=True)
    >>> round(float(found['mean']), 2), bool(found['p_value'] < 0.05)
    (0.0, False)
    """
    refuse_confidence(confidence)
    seeds = _seeds(a, b, paired)
    estimate = seeds.estimate()
    summary = seeds.summary(estimate, confidence)
    # An effect is measured in the spread of single seeds, as an interval in that of the mean.
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = _unbiased(estimate.spread_degrees) * estimate.mean / estimate.spread
    has_interval = np.isfinite(summary["ci_low"].values)
    p = seeds.p_values(has_interval.reshape(-1))
    summary["effect_size"] = summary["mean"].copy(
        data=np.where(has_interval, effect.reshape(has_interval.shape), np.nan)
    )
    summary["p_value"] = summary["mean"].copy(data=p.reshape(has_interval.shape))
    summary["effect_size"].attrs = {"long_name": "effect size, in standard deviations", "units": "1"}
    summary["p_value"].attrs = {"long_name": "permutation test, two-sided p", "units": "1"}
    return summary


def equivalence_over_seeds(a: xr.DataArray, b: xr.DataArray, margin: float, *, paired: bool = False) -> xr.Dataset:
    """Whether two conditions agree up to a margin: two one-sided tests at 5% (TOST) as one interval at 90%.

    Parameters
    ----------
    a, b : DataArray (..., seed, ...)
        One number per seed and entry, the same entries in both.
    paired : bool
        Compare seed by seed, as in `difference_over_seeds`.
    margin : float
        The largest difference that does not matter, in the units of `a`.

    Returns
    -------
    Dataset (dims of `a` and `b` without `seed`)
        `mean`, `ci_low`, `ci_high`, `n_seeds`, `n_excluded` as of `difference_over_seeds` at confidence 0.9, and
        `equivalent`: the interval lies between −margin and margin. False also where there is no interval, of which
        nothing follows.

    Raises
    ------
    UsageError
        If the margin is not above 0, or as of `difference_over_seeds`.

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
        raise UsageError(f"a margin of equivalence must be above 0, not {margin}")
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
        If there is no such dim.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> import toysup, xarray as xr
    >>> toysup.analysis.holm_adjusted(xr.DataArray([0.01, 0.04, 0.03], dims='test')).values.round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    if dim is None:
        adjusted = _holm(p_values.values.reshape(1, -1).astype(float)).reshape(p_values.shape)
        return p_values.copy(data=adjusted)
    require_dims(p_values, (dim,), what="p_values")
    last = p_values.transpose(..., dim)
    table = last.values.reshape(-1, last.sizes[dim]).astype(float)
    return last.copy(data=_holm(table).reshape(last.shape)).transpose(*p_values.dims)


def _holm(table: FloatArray) -> FloatArray:
    order = np.argsort(table, axis=1)
    # NaN is last in order.
    left = np.isfinite(table).sum(axis=1, keepdims=True) - np.arange(table.shape[1])
    stepped = np.maximum.accumulate(np.take_along_axis(table, order, axis=1) * left, axis=1)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1), axis=1)
    return adjusted


def paired_by_seed(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether a seed of one condition is paired with the same seed of the other.

    Two models with the same seed are paired if three things hold. They start from equal weights: their parameters have
    equal shapes. They see equal samples: the regimes have the same law of context and features (probabilities, values,
    groups and rule), while importance and target may differ. And both conditions share more than half of the seeds of
    the side that has fewer, since pairs would otherwise leave out most of the models.

    Parameters
    ----------
    one, other : Dataset
        Trajectories, or a step of them.

    Returns
    -------
    bool

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example('conditional-importance')['conditional-importance']
    >>> fixed, conditional, anticorrelated = (runs[name].to_dataset() for name in list(runs)[:3])
    >>> toysup.analysis.paired_by_seed(fixed, conditional), toysup.analysis.paired_by_seed(fixed, anticorrelated)
    (True, False)
    """
    if _shapes(one) != _shapes(other) or _labels(one) != _labels(other) or not _share_seeds(one, other):
        return False
    tables = ("context_probability", "activation_probability", "group_correlation", "rule_threshold", "rule_tie")
    return all(_equal(one.get(name), other.get(name)) for name in tables)


def _share_seeds(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether most seeds of the side that has fewer are shared; so at least two are, where it has two or more."""
    seeds = [set(np.ravel(dataset["seed"].values).tolist()) for dataset in (one, other)]
    return 2 * len(set.intersection(*seeds)) > min(map(len, seeds))


def _shapes(dataset: xr.Dataset) -> dict[str, tuple[int, ...]]:
    """The own shape of each parameter, without sweep axes, seeds and steps."""
    leading = {*leading_dims(dataset), "step"}
    tables = {"context_probability", "activation_probability", "importance"}
    names = [str(name) for name, v in dataset.data_vars.items() if "seed" in v.dims and name not in tables]
    return {
        name: tuple(size for dim, size in dataset[name].sizes.items() if dim not in leading)
        for name in names
        if set(map(str, dataset[name].dims)) - leading
    }


def _labels(dataset: xr.Dataset) -> tuple[object, ...]:
    group = tuple(map(str, dataset["group"].values)) if "group" in dataset.coords else ()
    return dataset.attrs.get("values", "uniform"), dataset.attrs.get("context_rule"), group


def _equal(one: xr.DataArray | None, other: xr.DataArray | None) -> bool:
    """Equal in all cells of a sweep, whatever the subsets are called."""
    if one is None or other is None:
        return one is other
    bare = [table.reset_coords(drop=True) for table in (one, other)]
    return bool(bare[0].broadcast_equals(bare[1]))


class _Estimate(NamedTuple):
    """Of each entry, the mean, the variance and skewness of that mean, and the degrees of freedom it is known with.

    `spread` is the standard deviation of single seeds, known with `spread_degrees` degrees of freedom.
    """

    mean: FloatArray
    variance: FloatArray
    skewness: FloatArray
    degrees: FloatArray
    spread: FloatArray
    spread_degrees: FloatArray


class _Seeds(NamedTuple):
    """What is compared: the differences of pairs, or the seeds of a, of which there are `n_first`, then those of b."""

    values: xr.DataArray
    n_first: int | None
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
        columns = {"mean": estimate.mean, "ci_low": low, "ci_high": high}
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

    def p_values(self, wanted: Mask) -> FloatArray:
        """Of the entries that are wanted; those that share their finite seeds are permuted in one call."""
        table, finite = by_seed(self.values)
        p = np.full(len(table), np.nan)
        patterns, which = np.unique(finite, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero((which.reshape(-1) == number) & wanted)
            entries = table[np.ix_(rows, pattern)]
            if len(rows) and self.n_first is None:
                p[rows] = sign_flip_p(entries)
            elif len(rows):
                p[rows] = relabelling_p(entries, pattern[: self.n_first].sum())
        return p


def _seeds(a: xr.DataArray, b: xr.DataArray, paired: bool) -> _Seeds:
    for name, values in (("a", a), ("b", b)):
        require_dims(values, ("seed",), what=name)
    labelled = ["seed" in values.indexes for values in (a, b)]
    if paired and not all(labelled):
        raise UsageError("to be paired, both sides need a coordinate seed")
    unshared = 0
    if paired:
        total = a.sizes["seed"] + b.sizes["seed"]
        shared = a.indexes["seed"].intersection(b.indexes["seed"])
        a, b, unshared = a.sel(seed=shared), b.sel(seed=shared), total - 2 * len(shared)
    try:
        a, b = xr.align(a, b, join="exact", exclude=["seed"])
    except ValueError:
        raise UsageError("the two sides have other entries; select those that both have") from None
    a, b = (side.transpose(..., "seed").astype(np.float64) for side in xr.broadcast(a, b, exclude=["seed"]))
    b = b.transpose(*a.dims)
    coords = {name: coord for name, coord in a.coords.items() if "seed" not in coord.dims}
    what = {
        "long_name": f"difference of {a.attrs.get('long_name', a.name or 'value')}",
        "units": a.attrs.get("units", "1"),
    }
    joined = a.values - b.values if paired else np.concatenate([a.values, b.values], axis=-1)
    values = xr.DataArray(joined, dims=a.dims, coords=coords, attrs=what)
    return _Seeds(values, None if paired else a.sizes["seed"], unshared)


class _Side(NamedTuple):
    n: FloatArray
    mean: FloatArray
    variance: FloatArray
    third: FloatArray


def _side(table: FloatArray, finite: Mask) -> _Side:
    """One condition: its mean, with the variance and third cumulant of that; 0 where its seeds agree."""
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
    """J(ν), by which a mean over a standard deviation with ν degrees of freedom is too large; NaN below two."""
    nu = np.where(degrees > 1, degrees, np.nan)
    return np.asarray(np.exp(special.gammaln(nu / 2) - special.gammaln((nu - 1) / 2)) / np.sqrt(nu / 2))
