"""The loss of each condition's models under every condition with the same inputs, and where their own comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis import figures
from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.loss.decomposition import no_parts
from toysup.analysis.loss.expected_loss import expected_loss, sampling_error, summed
from toysup.analysis.loss.references import loss_references
from toysup.analysis.report.panels import MAX_SERIES, Figures, in_a_name, over_sweep, series, summaries_of
from toysup.analysis.report.selection import Selected, by_cell, by_experiment, same_inputs
from toysup.analysis.report.tidy_rows import joined, rows_of
from toysup.errors import UsageError
from toysup.storage.schema import regime_axes

SPLITS = ("feature", "context", "part", "active", "reference")
MEANING = (
    "Importance-weighted squared error per sample, of all models on common samples; the sampling error is the "
    "standard error that the samples leave."
)


@dataclass(frozen=True)
class Loss:
    """The loss of the models of one condition under one condition.

    `total` has each model's, by batch of samples; `parts` summaries over seeds by feature and by context.
    """

    total: xr.DataArray
    parts: Mapping[str, xr.Dataset]


# By (experiment, trained on, evaluated on).
Losses = dict[tuple[str, str, str], Loss]
_PARTS = ("feature", "context")


def cross_losses(selected: Sequence[Selected]) -> Losses:
    """The losses, in their parts, of the models of each condition under every condition that has the same inputs."""
    return {
        (experiment, item.condition, other.condition): _loss(item, other)
        for experiment, group in by_experiment(selected).items()
        for item in group
        for other in group
        if same_inputs(item.dataset, other.dataset)
    }


def _loss(item: Selected, other: Selected) -> Loss:
    def of(models: xr.Dataset) -> xr.Dataset:
        under = other.at_step.sel({axis: models[axis] for axis in regime_axes(other.dataset) if axis in models.dims})
        found = expected_loss(models, under, by_batch=True)
        return xr.Dataset({"total": summed(found)} | {f"by {by}": summed(found, keep=[by]) for by in _PARTS})

    found = item.each_loss(of)
    return Loss(found["total"], {by: _summary(found[f"by {by}"]) for by in _PARTS})


def rows(selected: Sequence[Selected], parts: Losses, *, by: str | None = None) -> pd.DataFrame:
    """The loss, or its parts by feature or context, of each condition's models under each comparable condition.

    By `part`, by `active` (how many features are) or by `reference`: under its own condition alone.
    """
    if by in ("part", "active", "reference"):
        return joined([_own_rows(item, by) for item in _with(selected, by)])
    about = [by] if by else []
    items = {(item.experiment, item.condition): item for item in selected}
    frames = []
    for (experiment, trained, evaluated), loss in parts.items():
        labels = {"trained_on": trained, "evaluated_on": evaluated}
        summary = loss.parts[by] if by else _summary(loss.total)
        frames.append(rows_of(items[experiment, trained], "loss", summary, about, **labels))
    return joined(frames)


def own_loss(item: Selected, parts: Losses) -> dict[str, xr.DataArray]:
    """The loss of a condition's models under that condition."""
    return {"loss": total_loss(parts[_pair(item, item)])}


def _own_rows(item: Selected, by: str) -> pd.DataFrame:
    if by == "part":
        summary = _summary(item.loss_parts)
    elif by == "active":
        summary = _summary(item.loss_by_active["loss"])
        summary = summary.assign(probability=item.loss_by_active["probability"].sum("context"))
    else:
        summary = _of_no_seeds(loss_references(item.at_step))
    # A sweep that changes no regime changes none of its references either.
    summary = summary.expand_dims({a: item.dataset[a].values for a in item.sweeps if a not in summary.dims})
    return rows_of(item, "loss", summary, [by], trained_on=item.condition, evaluated_on=item.condition)


def have(selected: Sequence[Selected], by: str) -> bool:
    """Whether the loss of any of these can be split so: not all models have parts."""
    return by != "part" or any(no_parts(item.dataset) is None for item in selected)


def _with(selected: Sequence[Selected], by: str) -> list[Selected]:
    """The conditions whose loss has parts; UsageError with the reason where none has."""
    reasons = [no_parts(item.dataset) if by == "part" else None for item in selected]
    if all(reasons):
        raise UsageError(f"the loss of {selected[0].condition} has no parts: {reasons[0]}")
    return [item for item, reason in zip(selected, reasons, strict=True) if reason is None]


def _over_batches(values: xr.DataArray) -> xr.DataArray:
    return values.mean("batch", skipna=False, keep_attrs=True)


def total_loss(loss: Loss) -> xr.DataArray:
    """The loss of each model."""
    return _over_batches(loss.total)


def totals(parts: Losses) -> dict[tuple[str, str, str], xr.DataArray]:
    """The loss of each model of each pair of conditions."""
    return {pair: total_loss(loss) for pair, loss in parts.items()}


def _summary(values: xr.DataArray) -> xr.Dataset:
    """Over seeds, with the standard error over samples of the mean of those that are finite."""
    means = _over_batches(values)
    error = sampling_error(values.where(abs(means) < np.inf).mean("seed"))
    return over_seeds(means).assign(sampling_error=error)


def _of_no_seeds(references: xr.Dataset) -> xr.Dataset:
    """References as a summary: no seed has anything to do with them."""
    none, count = xr.full_like(references["loss"], np.nan), xr.zeros_like(references["loss"], dtype=int)
    numbers = {"mean": references["loss"], "ci_low": none, "ci_high": none, "n_seeds": count, "n_excluded": count}
    return xr.Dataset(numbers | {"sampling_error": none} | {name: references[name] for name in ("kind", "reason")})


def drawn(group: Sequence[Selected], parts: Losses) -> Figures:
    """Training loss, each condition on itself with references, where its loss comes from, trained on × evaluated on."""
    whole = {item.condition: item for item in group}
    for suffix, items in series(group):
        curves = {label: over_seeds(item.dataset["train_loss"]) for label, item in items.items()}
        yield f"loss-curves{suffix}", figures.loss_curves(curves)
        own = {label: _at(total_loss(parts[_pair(item, item)]), item) for label, item in items.items()}
        references = {label: loss_references(item.at_step) for label, item in items.items()}
        yield f"loss-comparison{suffix}", figures.loss_comparison(own, summaries_of(own), references)
        split = {
            label: _at(_over_batches(whole[item.condition].loss_parts), item)
            for label, item in items.items()
            if no_parts(item.dataset) is None
        }
        if split:
            yield f"loss-parts{suffix}", figures.loss_parts(split, summaries_of(split))
        active = {label: whole[item.condition].loss_by_active for label, item in items.items()}
        losses_of = {label: _at(_over_batches(active[label]["loss"]), item) for label, item in items.items()}
        often = {label: _at(active[label]["probability"].sum("context"), item) for label, item in items.items()}
        yield f"loss-by-active{suffix}", figures.loss_by_active(summaries_of(losses_of), often)
    yield from over_sweep(group, "loss", partial(own_loss, parts=parts))
    cells = list(by_cell(group))
    # Of more conditions the rows tell what a matrix could not show.
    if 1 < len(group) <= MAX_SERIES and len(cells) <= MAX_SERIES:
        for cell, members in cells:
            name = "-".join(filter(None, ["loss-matrix", in_a_name(cell)]))
            yield name, figures.loss_matrix(_matrix(members, parts))


def _pair(item: Selected, other: Selected) -> tuple[str, str, str]:
    return item.experiment, item.condition, other.condition


def _at(values: xr.DataArray, item: Selected) -> xr.DataArray:
    """The cell of `item` out of the values of its whole condition."""
    return values.sel({axis: value for axis, value in item.cell.items() if axis in values.dims})


def _matrix(members: Sequence[Selected], parts: Losses) -> xr.Dataset:
    """Summaries of the loss over (trained_on, evaluated_on), NaN where the inputs differ."""
    names = [item.condition for item in members]
    cells = {
        (item.condition, other.condition): over_seeds(_at(total_loss(parts[_pair(item, other)]), item))
        for item in members
        for other in members
        if _pair(item, other) in parts
    }
    bare = {pair: cell.drop_vars(list(cell.coords)) for pair, cell in cells.items()}
    empty = next(iter(bare.values())) * np.nan
    rows = [xr.concat([bare.get((name, other), empty) for other in names], dim="evaluated_on") for name in names]
    matrix = xr.concat(rows, dim="trained_on").assign_coords(trained_on=names, evaluated_on=names)
    return matrix.assign_attrs(next(iter(cells.values())).attrs)
