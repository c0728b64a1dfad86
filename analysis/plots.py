"""The figures that each command of toysup-analyze makes of the selected conditions, by name."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toysup.analysis import figures
from toysup.analysis.dimensionality import feature_dimensionality
from toysup.analysis.gram import gram
from toysup.analysis.interference import quadrant_interference
from toysup.analysis.measures import Losses, total_loss
from toysup.analysis.seeds import over_seeds
from toysup.analysis.selection import Selected, by_cell

GRAM_SEEDS = 3
# The most conditions (or cells of a sweep) that one figure shows side by side.
MAX_SERIES = 12

Figures = Iterator[tuple[str, Figure]]


def series(group: Sequence[Selected]) -> Iterator[tuple[str, dict[str, Selected]]]:
    """What is drawn together: an experiment's conditions and the cells of their sweeps, as long as they are few.

    Gives a suffix for the figures' names, and each condition or cell under its label.
    """
    together = {_label(item, len(group)): item for condition in group for item in condition.cells()}
    swept = any(item.cell for item in together.values())
    if len(together) <= MAX_SERIES or not swept:
        yield "", together
        return
    for cell, items in by_cell(group):
        yield f"-{_in_a_name(cell)}", {item.condition: item for item in items}


def _label(item: Selected, n_conditions: int) -> str:
    # repr is the shortest text that no other number has.
    at = [f"{axis} = {value!r}" for axis, value in item.cell.items()]
    return ", ".join([item.condition] * (n_conditions > 1 or not at) + at)


def _in_a_name(cell: Mapping[str, float]) -> str:
    return "-".join(f"{axis}={value!r}" for axis, value in cell.items())


def gram_figures(group: Sequence[Selected]) -> Figures:
    """A grid for each condition: the first seeds, at initialisation, a third of the way and at the chosen step."""
    for _, items in series(group):
        for label, item in items.items():
            steps = item.dataset["step"].values[: item.index + 1]
            third = int(np.abs(steps - steps[-1] / 3).argmin())
            phases = sorted({0, third, item.index})
            W = item.dataset["W"].isel(step=phases, seed=slice(GRAM_SEEDS))
            name = "-".join(filter(None, ["gram", item.condition, _in_a_name(item.cell)]))
            yield name, figures.gram_grid(gram(W), title=label)


def dimensionality_figures(group: Sequence[Selected]) -> Figures:
    """D of each feature at the chosen step, and along training."""
    for suffix, items in series(group):
        values = {label: feature_dimensionality(item.at_step["W"]) for label, item in items.items()}
        yield f"dimensionality{suffix}", figures.feature_dimensionality(values, _summaries(values))
        along = {label: over_seeds(feature_dimensionality(item.dataset["W"])) for label, item in items.items()}
        yield f"dimensionality-over-training{suffix}", figures.dimensionality_over_training(along)


def interference_figures(group: Sequence[Selected], *, statistics: Sequence[str] = ("energy",)) -> Figures:
    """These statistics of each quadrant, one figure each."""
    for suffix, items in series(group):
        quadrants = {label: quadrant_interference(item.at_step["W"]) for label, item in items.items()}
        for statistic in statistics:
            values = {label: dataset[statistic] for label, dataset in quadrants.items()}
            drawn = figures.quadrant_interference(values, _summaries(values), statistic=statistic)
            yield f"interference-{statistic.replace('_', '-')}{suffix}", drawn


def loss_figures(group: Sequence[Selected], parts: Losses) -> Figures:
    """Training loss, the loss of each condition on itself, and the matrix of trained on × evaluated on."""
    for suffix, items in series(group):
        curves = {label: over_seeds(item.dataset["train_loss"]) for label, item in items.items()}
        yield f"loss-curves{suffix}", figures.loss_curves(curves)
        own = {label: _at(total_loss(parts[_pair(item, item)]), item) for label, item in items.items()}
        yield f"loss-comparison{suffix}", figures.loss_comparison(own, _summaries(own))
    if len(group) > 1:
        for cell, members in by_cell(group):
            name = "-".join(filter(None, ["loss-matrix", _in_a_name(cell)]))
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


def _summaries(values: Mapping[str, xr.DataArray]) -> dict[str, xr.Dataset]:
    return {label: over_seeds(array) for label, array in values.items()}
