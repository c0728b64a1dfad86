"""The losses of a condition under others: each regime evaluated once, and all that are asked for together."""

import functools
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.inference.sampling_noise import widened
from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.loss.evaluation import comparable
from toysup.analysis.loss.expected_loss import (
    expected_losses,
    mean_over_batches,
    sampling_error,
    summed,
    values_held,
)
from toysup.analysis.report.selection import Selected, by_experiment, computed_once
from toysup.analysis.statistics.arrays import AnyArray
from toysup.analysis.statistics.labels import with_range
from toysup.storage.schema import ADDED_NUMBERS, DEFAULT_ADDITIONS, TABLES, regime_axes

SPLITS = ("feature", "context")
"""The dims by which losses under other conditions are split."""


class Under(NamedTuple):
    """Several conditions under which models were evaluated, and the summary of the losses (evaluated_on, ...).

    `totals` (evaluated_on, ..., batch) are the losses of each model. They are None for the parts of a split, which are
    summarised where they are computed.
    """

    conditions: list[Selected]
    summary: xr.Dataset
    totals: xr.DataArray | None


class _Block:
    """Losses that were evaluated together, stacked along `evaluated_on`."""

    def __init__(self, stacked: xr.DataArray, *, totals: bool) -> None:
        self.totals = stacked if totals else None
        if not totals:
            self.summary = summary(stacked)

    @functools.cached_property
    def summary(self) -> xr.Dataset:
        assert self.totals is not None
        return summary(self.totals)

    def of(self, conditions: list[Selected], places: list[int]) -> Under:
        names = {"evaluated_on": [other.condition for other in conditions]}
        totals = None if self.totals is None else self.totals.isel(evaluated_on=places).assign_coords(names)
        return Under(conditions, self.summary.isel(evaluated_on=places).assign_coords(names), totals)


def others_of(selected: Sequence[Selected], *, own: bool = False) -> Iterator[tuple[Selected, list[Selected]]]:
    """Each condition, with those of its experiment that have the same inputs; with `own`, with itself alone."""
    groups = by_experiment(selected)
    for item in selected:
        group = groups[item.experiment]
        yield item, [item] if own else [other for other in group if same_inputs(item.dataset, other.dataset)]


def same_inputs(trained: xr.Dataset, under: xr.Dataset) -> bool:
    """Whether models of one can be evaluated under the regime of the other: inputs, target and sweep cells agree."""
    return comparable(trained, under) and all(
        axis in trained.coords and trained[axis].equals(under[axis]) for axis in regime_axes(under)
    )


def total_under(item: Selected, other: Selected) -> xr.DataArray:
    """The loss of each model of a condition under another condition, or its own, for each batch of samples."""
    evaluate(item, [other], (None,))
    block, place = _known(item, other, None)
    assert block.totals is not None
    return block.totals.isel(evaluated_on=place)


def losses_under(item: Selected, others: Sequence[Selected], by: str | None = None) -> Iterator[Under]:
    """The losses of a condition's models under others, in their order: the total, or by feature or context."""
    evaluate(item, others, (by,))
    known = [(other, *_known(item, other, by)) for other in others]
    for _, together in groupby(known, key=lambda found: id(found[1])):
        conditions, blocks, places = zip(*together, strict=True)
        yield blocks[0].of(list(conditions), list(places))


def evaluate(item: Selected, others: Sequence[Selected], splits: Sequence[str | None]) -> None:
    """Evaluate the models of a condition under others, unless that was done before: one pass over the models."""
    missing = {
        regime_key(other): other
        for other in others
        if any(("loss under", regime_key(other), by) not in item.computed for by in splits)
    }
    if not missing:
        return
    names = {(number, by): f"{number} by {by}" for by in splits for number in range(len(missing))}

    def of(models: xr.Dataset) -> xr.Dataset:
        found = {}
        unders = [_tables(other).sel(_cells(models, other)) for other in missing.values()]
        for number, loss in enumerate(expected_losses(models, unders, by_batch=True)):
            for by in splits:
                part = summed(loss, keep=[by] if by else [])
                # Contexts of two conditions may differ, and are not aligned.
                found[names[number, by]] = part.rename(context=f"context {number}") if by == "context" else part
        return xr.Dataset(found)

    held = values_held(item.dataset, len(missing))
    losses = item.each(of, values=held)
    for by in splits:
        arrays = [losses[names[number, by]] for number in range(len(missing))]
        if by == "context":
            arrays = [array.rename({f"context {number}": "context"}) for number, array in enumerate(arrays)]
        _keep(item, list(missing), arrays, by)


def _keep(item: Selected, keys: Sequence[tuple[object, ...]], arrays: Sequence[xr.DataArray], by: str | None) -> None:
    """Stack the losses that have equal labels, and remember where each of them is."""
    labels = [tuple(array["context"].values.tolist()) if by == "context" else () for array in arrays]
    for label in dict.fromkeys(labels):
        numbers = [number for number, own in enumerate(labels) if own == label]
        first = arrays[numbers[0]]
        values = np.stack([arrays[number].values for number in numbers])
        stacked = xr.DataArray(values, first.coords, ("evaluated_on", *first.dims), first.name, first.attrs)
        block = _Block(stacked, totals=by is None)
        for place, number in enumerate(numbers):
            item.computed["loss under", keys[number], by] = block, place


def _known(item: Selected, other: Selected, by: str | None) -> tuple[_Block, int]:
    known: tuple[_Block, int] = item.computed["loss under", regime_key(other), by]
    return known


def _cells(models: xr.Dataset, other: Selected) -> dict[str, AnyArray]:
    """The values of the other's sweep that these models, a part of a condition, have."""
    return {axis: models[axis].values for axis in regime_axes(other.dataset) if axis in models.dims}


@computed_once
def _tables(item: Selected) -> xr.Dataset:
    """The regime of a condition, without its models."""
    tables = item.dataset.drop_vars([name for name in item.dataset.data_vars if name not in (*TABLES, *ADDED_NUMBERS)])
    return tables.load()


def regime_key(item: Selected) -> tuple[object, ...]:
    """What a regime consists of, as a key: equal regimes of several conditions have equal keys."""
    if (_key,) not in item.computed:
        item.computed[_key,] = _key(_tables(item))
    key: tuple[object, ...] = item.computed[_key,]
    return key


def _key(dataset: xr.Dataset) -> tuple[object, ...]:
    tables = [name for name in (*TABLES, *ADDED_NUMBERS) if name in dataset]
    labels = [name for name in ("context", "subset", "group", *regime_axes(dataset)) if name in dataset.coords]
    arrays = [(name, dataset[name].dims, dataset[name].values.tobytes()) for name in (*tables, *labels)]
    return (*arrays, *(dataset.attrs.get(name) for name in DEFAULT_ADDITIONS))


def summary(values: xr.DataArray) -> xr.Dataset:
    """Over seeds, with the standard errors over samples: of the mean of finite seeds, and the largest of one model."""
    means = mean_over_batches(values)
    finite = values.where(abs(means) < np.inf)
    error, largest = sampling_error(finite.mean("seed")), sampling_error(finite).max("seed")
    # A part can be negative, as it is what the loss loses when something is left out.
    bounded = means if "part" in means.dims else with_range(means, 0)
    return widened(over_seeds(bounded), error).assign(sampling_error=error, model_sampling_error=largest)


def interval(values: xr.DataArray) -> xr.Dataset:
    """The same without the standard errors, as figures show it."""
    return without_errors(summary(values))


def without_errors(of_losses: xr.Dataset) -> xr.Dataset:
    return of_losses.drop_vars(["sampling_error", "model_sampling_error"])
