"""Is interference arranged by subset at all? Quadrant statistics compared with their null.

The null is the law of a statistic if exchangeable features swap their subset labels at random.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.inference.exchangeable_features import exchangeable_classes, relabellings
from toysup.analysis.inference.relabelling import Relabelled
from toysup.analysis.inference.small_tails import two_sided_tail
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.analysis.statistics.cells import RegimeCell, regime_cells
from toysup.analysis.statistics.interference import INTERFERING_THRESHOLD, features_of_rows
from toysup.analysis.statistics.labels import numbers, require_dataset
from toysup.analysis.statistics.piecewise import by_seeds, loaded_if_small
from toysup.analysis.statistics.quadrants import QUADRANT_STATISTICS
from toysup.analysis.statistics.responses import linear_response
from toysup.errors import UsageError
from toysup.storage.schema import leading_dims, regime_axes

DRAWS = 9999
"""The number of random draws for the p-value of a mean over seeds; a draw is one relabelling of each seed."""
BAND = 0.95
# If fewer draws than this are as far as the observation, its p-value is computed another way.
_FEW = 10
_BYTES_KEPT = 2**28


# Values of a statistic that differ by less than this share of its largest value differ by rounding only.
_ROUNDING = 1e-9
_ROUNDING_OF_DRAWS = 1e-6
_LONG_NAMES = {
    "null_mean": "mean under swapped labels",
    "null_sd": "standard deviation under swapped labels",
    "z": "distance from the null mean in null standard deviations",
    "p_value": "share of relabellings at least as far from the null mean",
    "null_low": f"lower end of the central {100 * BAND:g}% of the null",
    "null_high": f"upper end of the central {100 * BAND:g}% of the null",
    "n_relabellings": "relabellings, that of the model itself included; 1 if no labels can be swapped",
}
_EACH = ("null_mean", "null_sd", "z", "p_value")
_POOLED = (*_EACH, "null_low", "null_high")


def quadrant_null(
    dataset: xr.Dataset, G: xr.DataArray | None = None, *, threshold: float = INTERFERING_THRESHOLD
) -> xr.Dataset:
    """The quadrant statistics of each model, compared with the same model under swapped subset labels.

    If training treats the subsets alike, the labels within each class of `exchangeable_features` are exchangeable, and
    each of the R relabellings is as likely as the model's own labelling. Let s_r be the value of a statistic under
    relabelling r, where r = 1 is the model's own labelling. Then z = (s_1 − mean_r s_r) / sd_r s_r, and p is the share
    of the R relabellings with |s_r − mean| ≥ |s_1 − mean|.

    If there are at most 1024 relabellings, all are used. Otherwise the model's own labelling and 1023 random
    relabellings from a fixed stream are used. A relabelling under which a statistic is undefined is excluded.

    Parameters
    ----------
    dataset : Dataset
        A trajectory with its regime, at any of its steps.
    G : DataArray (..., feature, other_feature) or (..., output, other_feature), optional
        A response matrix as `gram_quadrants` takes it, with the sweep axes along which the regime varies. The default
        is G of `linear_response`.
    threshold : float
        A pair interferes if |G_ij| exceeds the threshold; 0.1 by default.

    Returns
    -------
    Dataset (statistic, ..., subset, other_subset)
        `null_mean`, `null_sd`, `z` and `p_value`, dimensionless; and `n_relabellings` of each cell of the regime. NaN
        if no labels can be swapped, for a model that is not finite, and for a statistic that is undefined for the
        model. If all relabellings give the same value, the test has no information: z is NaN and p is 1.

    Raises
    ------
    UsageError
        If a dim is missing.

    See Also
    --------
    pooled_quadrant_null : the same for the mean over seeds.

    Source: Fisher (1935), "The Design of Experiments"; for random relabellings Phipson and Smyth (2010), "Permutation
    p-values should never be zero".

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].to_dataset()
    >>> null = toysup.analysis.quadrant_null(dataset.isel(step=-1).sel(seed=[0]))
    >>> energy = null.sel(statistic='energy', subset='comedy', other_subset='comedy')
    >>> round(float(energy.null_mean.item()), 1), round(float(energy.p_value.item()), 3)
    (4.5, 0.002)
    """
    require_dataset(dataset)
    whole = linear_response(dataset)["G"] if G is None else G
    return _null(dataset, whole, lambda cell: [whole.isel(cell)], threshold, _EACH, _each)


def pooled_quadrant_null(
    dataset: xr.Dataset,
    G: xr.DataArray | None = None,
    *,
    response: Callable[[xr.Dataset], xr.DataArray] | None = None,
    threshold: float = INTERFERING_THRESHOLD,
) -> xr.Dataset:
    """The mean over seeds of the quadrant statistics, compared with its null.

    Each seed is relabelled independently. With d_k the distance of seed k from its own null mean and v_k its null
    variance, z = Σ_k d_k / √(Σ_k v_k). The p-value comes from 9999 random draws from a fixed stream; a draw is one
    random relabelling of each seed. It is (q + 1) / (9999 + 1), where q counts the draws whose mean lies at least as
    far from the null mean as the observed mean. If q < 10, importance sampling estimates the probability of such a draw
    instead, with a relative error of a few percent. Seeds for which `quadrant_null` is NaN are excluded.

    Parameters
    ----------
    dataset : Dataset
        A trajectory with its regime, at any of its steps, with the dim `seed`.
    G : DataArray (..., seed, ..., feature, other_feature) or (..., seed, ..., output, other_feature), optional
        As in `quadrant_null`.
    response : callable, optional
        A function that computes G from a dataset of some of the seeds. The dataset is then read piece by piece. The
        default is G of `linear_response`, if G is not given either.
    threshold : float
        A pair interferes if |G_ij| exceeds the threshold; 0.1 by default.

    Returns
    -------
    Dataset (statistic, ..., subset, other_subset)
        `null_mean` and `null_sd` of the mean over seeds, `z`, `p_value`, and `null_low` and `null_high`, which enclose
        the central 95% of the null, dimensionless; and `n_relabellings` of each cell of the regime. NaN if no labels
        can be swapped or no seed is left. If all relabellings give the same value, z is NaN and p is 1.

    Raises
    ------
    UsageError
        If a dim is missing, or both G and `response` are given.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].to_dataset()
    >>> null = toysup.analysis.pooled_quadrant_null(dataset.isel(step=-1))
    >>> energy = null.sel(statistic='energy', subset='comedy', other_subset='comedy')
    >>> round(float(energy.z), 1), bool(energy.p_value < 1e-50)
    (-16.1, True)
    """
    if G is not None and response is not None:
        raise UsageError("G and response exclude one another; give only one of them, not both")
    require_dataset(dataset, () if G is not None else ("seed",))
    if G is not None:
        return _null(dataset, G, lambda cell: [G.isel(cell)], threshold, _POOLED, _pooled, over=("seed",))
    make = response or (lambda models: linear_response(models)["G"])
    first = make(dataset.isel(seed=slice(1)))
    values = math.prod(first.sizes[dim] for dim in first.dims if dim not in leading_dims(dataset))
    dataset = loaded_if_small(dataset, values=values)

    def parts(cell: Mapping[str, int]) -> Iterator[xr.DataArray]:
        return map(make, by_seeds(dataset.isel(cell), values=values))

    return _null(dataset, first, parts, threshold, _POOLED, _pooled, over=("seed",))


# G of the models of a cell, in one array (model, *over, row, column) or in several.
Models = Iterable[AnyArray]
Summary = Callable[[Models, Relabelled, float], FloatArray]


def _null(
    dataset: xr.Dataset,
    G: xr.DataArray,
    parts: Callable[[dict[str, int]], Iterable[xr.DataArray]],
    threshold: float,
    names: tuple[str, ...],
    summary: Summary,
    *,
    over: tuple[str, ...] = (),
) -> xr.Dataset:
    """Apply `summary`, whose result is (name, model, column), to the models of each cell of the regime.

    `parts` yields G of the models of one cell, some of them along the dims `over` at a time. `G` has the dims of these
    parts and the axes of the cells.
    """
    rows, axes = "output" if "output" in getattr(G, "dims", ()) else "feature", regime_axes(dataset)
    G = numbers(G, (*axes, *over, rows, "other_feature"), what="G")
    leading = [str(dim) for dim in G.dims if dim not in (*axes, *over, rows, "other_feature")]
    subsets = list(dict.fromkeys(map(str, dataset["subset"].values)))
    shape = (*(G.sizes[dim] for dim in leading), len(QUADRANT_STATISTICS), len(subsets), len(subsets))
    counts = np.ones([G.sizes[axis] for axis in axes], dtype=int)
    results = np.full((len(names), *counts.shape, *shape), np.nan)
    for cell, relabelled in _relabelled(dataset, features_of_rows(G), subsets):
        counts[cell.place] = relabelled.n_relabellings
        if relabelled.n_relabellings > 1:
            arrays = (part.transpose(*leading, *over, rows, "other_feature").values for part in parts(cell.at))
            models = (array.reshape(-1, *array.shape[len(leading) :]) for array in arrays)
            here: tuple[Any, ...] = (slice(None), *cell.place)
            results[here] = summary(models, relabelled, threshold).reshape(len(names), *shape)
    dims = (*axes, *leading, "statistic", "subset", "other_subset")
    coords: dict[Any, Any] = {name: coord for name, coord in G.coords.items() if set(coord.dims) <= {*axes, *leading}}
    coords |= {"statistic": list(QUADRANT_STATISTICS), "subset": subsets, "other_subset": subsets}
    variables = {name: (dims, values) for name, values in zip(names, results, strict=True)}
    return _described(xr.Dataset(variables | {"n_relabellings": (axes, counts)}, coords).transpose("statistic", ...))


def _relabelled(dataset: xr.Dataset, about: list[int], subsets: list[str]) -> Iterator[tuple[RegimeCell, Relabelled]]:
    """The relabellings of each cell of the regime; cells with the same classes share them."""
    by_classes: dict[object, Relabelled] = {}
    for cell in regime_cells(dataset):
        classes = tuple(exchangeable_classes(cell.regime))
        if classes not in by_classes:
            labels = relabellings([subsets.index(label) for label in cell.regime.subset], classes)
            by_classes[classes] = Relabelled(labels, about)
        yield cell, by_classes[classes]


def _described(result: xr.Dataset) -> xr.Dataset:
    for name in result.data_vars:
        result[name].attrs = {"long_name": _LONG_NAMES[str(name)], "units": "1"}
    return result


class _Null:
    """The null of the statistics of one model, by column; NaN where the model's own statistic is NaN."""

    def __init__(self, table: FloatArray) -> None:
        """`table` is (column, relabelling), the model's own labelling first; NaN where a statistic is undefined."""
        # Draws are in float32, in which a larger value would be infinite.
        self.defined = np.abs(table) <= np.finfo(np.float32).max
        self.defined &= self.defined[:, :1]
        self.count = self.defined.sum(axis=1)
        undefined = None if self.defined.all() else ~self.defined
        if undefined is not None:
            table = np.where(undefined, 0, table)
        self.mean = _ratio(table.sum(axis=1), self.count)
        self.deviations = table - self.mean[:, None]
        if undefined is not None:
            self.deviations[undefined] = 0
        furthest = np.abs(self.deviations).max(axis=1)
        self.rounding = _ROUNDING * (np.nan_to_num(np.abs(self.mean)) + furthest)
        self.deviations[furthest <= self.rounding] = 0
        self.variance = _ratio(np.einsum("cr,cr->c", self.deviations, self.deviations), self.count)

    def drawn(self, rng: np.random.Generator, draws: int) -> npt.NDArray[np.float32]:
        """Deviations (draw, column) under random relabellings.

        A column that is undefined under the drawn relabelling takes another one, under which it is defined.
        """
        chosen = rng.integers(0, self.defined.shape[1], draws)
        drawn_deviations = np.take(np.ascontiguousarray(self.deviations.astype(np.float32).T), chosen, axis=0)
        for column in np.flatnonzero((self.count > 0) & (self.count < self.defined.shape[1])):
            defined = self.defined[column]
            again = ~defined[chosen]
            drawn_deviations[again, column] = rng.choice(self.deviations[column, defined], again.sum())
        return drawn_deviations


def _each(models: Models, relabelled: Relabelled, threshold: float) -> FloatArray:
    summaries = []
    for null in map(_Null, chain.from_iterable(relabelled.statistics(array, threshold) for array in models)):
        own_deviation, sd = null.deviations[:, 0], np.sqrt(null.variance)
        as_far = null.defined & (np.abs(null.deviations) >= (np.abs(own_deviation) - null.rounding)[:, None])
        summaries.append([null.mean, sd, _ratio(own_deviation, sd), _ratio(as_far.sum(axis=1), null.count)])
    return np.array(summaries).swapaxes(0, 1)


def _pooled(models: Models, relabelled: Relabelled, threshold: float) -> FloatArray:
    pools: list[_Pool] = []
    for array in models:
        pools = pools or [_Pool(relabelled) for _ in array]
        for pool, seeds in zip(pools, array, strict=True):
            pool.add(seeds, threshold)
    return np.stack([pool.summary() for pool in pools], axis=1)


class _Pool:
    """The null of the mean over those seeds that were added."""

    def __init__(self, relabelled: Relabelled) -> None:
        self.relabelled, self.rng = relabelled, np.random.default_rng(0)
        self.count, self.mean, self.variance, self.own_deviation, self.furthest = np.zeros((5, relabelled.n_columns))
        # float32 takes half the time. The margin _ROUNDING_OF_DRAWS then counts nearly equal distances as equal.
        self.drawn = np.zeros((DRAWS, relabelled.n_columns), np.float32)
        # The deviations (column, relabelling) of each seed, NaN where undefined; None where they take too much memory.
        self.deviations: list[npt.NDArray[np.float32]] | None = []

    def add(self, seeds: AnyArray, threshold: float) -> None:
        for null in map(_Null, self.relabelled.statistics(seeds, threshold)):
            used = null.count > 0
            if not used.any():
                continue
            self.count += used
            self.mean += np.where(used, null.mean, 0)
            self.variance += np.where(used, null.variance, 0)
            self.own_deviation += null.deviations[:, 0]
            self.furthest += np.abs(null.deviations).max(axis=1)
            self.drawn += null.drawn(self.rng, DRAWS)
            self._keep(np.where(null.defined & used[:, None], null.deviations, np.nan).astype(np.float32))

    def _keep(self, deviations: npt.NDArray[np.float32]) -> None:
        if self.deviations is not None:
            self.deviations.append(deviations)
            if len(self.deviations) * deviations.nbytes > _BYTES_KEPT:
                self.deviations = None

    def summary(self) -> FloatArray:
        """The summary (name of _POOLED, column)."""
        by_size = np.sort(self.drawn.T)
        as_far = np.abs(by_size) >= (np.abs(self.own_deviation) - _ROUNDING_OF_DRAWS * self.furthest)[:, None]
        p = np.where(self.count > 0, (1 + as_far.sum(axis=1)) / (1 + DRAWS), np.nan)
        for column in np.flatnonzero((self.count > 0) & (as_far.sum(axis=1) < _FEW)):
            p[column] = self._small_p(int(column), p[column])
        mean, sd = _ratio(self.mean, self.count), np.sqrt(self.variance)
        outside = round((1 + DRAWS) * (1 - BAND) / 2)
        low, high = (mean + _ratio(by_size[:, end], self.count) for end in (outside - 1, -outside))
        return np.array([mean, _ratio(sd, self.count), _ratio(self.own_deviation, sd), p, low, high])

    def _small_p(self, column: int, drawn: float) -> float:
        """The p-value of a column of which few draws are as far; that of the draws where deviations are not kept."""
        if self.deviations is None:
            return drawn
        table = np.array([own[column] for own in self.deviations], dtype=np.float64)
        table = table[~np.isnan(table).all(axis=1)]
        distance = abs(self.own_deviation[column]) - _ROUNDING_OF_DRAWS * self.furthest[column]
        # The models' own labelling is one of all relabellings.
        least = math.exp(-np.log((~np.isnan(table)).sum(axis=1)).sum())
        return max(two_sided_tail(table, distance), least)


def _ratio(numerator: AnyArray, denominator: AnyArray) -> FloatArray:
    ratio: FloatArray = np.divide(
        numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0
    )
    return ratio
