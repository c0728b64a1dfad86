"""The loss of each condition's models under every condition with the same inputs."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis import figures
from toysup.analysis.losses import losses
from toysup.analysis.rows import joined, rows_of
from toysup.analysis.seeds import over_seeds
from toysup.analysis.selection import Selected, by_cell, by_experiment, same_inputs
from toysup.analysis.series import MAX_SERIES, Figures, in_a_name, over_sweep, series, summaries_of

# (experiment, trained on, evaluated on) → the parts of the loss, as `losses` gives them.
Losses = dict[tuple[str, str, str], xr.DataArray]


def cross_losses(selected: Sequence[Selected]) -> Losses:
    """The losses, in their parts, of the models of each condition under every condition that has the same inputs."""
    return {
        (experiment, item.condition, other.condition): losses(item.at_step, other.at_step)
        for experiment, group in by_experiment(selected).items()
        for item in group
        for other in group
        if same_inputs(item.dataset, other.dataset)
    }


def rows(selected: Sequence[Selected], parts: Losses, *, by: str | None = None) -> pd.DataFrame:
    """The loss, or its parts by feature or context, of each condition's models under each comparable condition."""
    about = [by] if by else []
    items = {(item.experiment, item.condition): item for item in selected}
    frames = []
    for (experiment, trained, evaluated), part in parts.items():
        labels = {"trained_on": trained, "evaluated_on": evaluated}
        summary = over_seeds(total_loss(part, keep=about))
        frames.append(rows_of(items[experiment, trained], "loss", summary, about, **labels))
    return joined(frames)


def own_loss(item: Selected, parts: Losses) -> dict[str, xr.DataArray]:
    """The loss of a condition's models under that condition."""
    return {"loss": total_loss(parts[_pair(item, item)])}


def total_loss(parts: xr.DataArray, *, keep: Sequence[str] = ()) -> xr.DataArray:
    """The parts of a loss summed over context and feature, but what is to be kept."""
    total = parts.sum([dim for dim in ("context", "feature") if dim not in keep], skipna=False)
    total.attrs = {key: parts.attrs[key] for key in ("long_name", "units")}
    return total


def drawn(group: Sequence[Selected], parts: Losses) -> Figures:
    """Training loss, the loss of each condition on itself, and the matrix of trained on × evaluated on."""
    for suffix, items in series(group):
        curves = {label: over_seeds(item.dataset["train_loss"]) for label, item in items.items()}
        yield f"loss-curves{suffix}", figures.loss_curves(curves)
        own = {label: _at(total_loss(parts[_pair(item, item)]), item) for label, item in items.items()}
        yield f"loss-comparison{suffix}", figures.loss_comparison(own, summaries_of(own))
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
    return values.sel({axis: item.dataset[axis].item() for axis in values.dims if axis != "seed"})


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
