"""The figures that each command of toysup-analyze makes of the selected conditions, by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toysup.analysis import figures
from toysup.analysis.dimensionality import feature_dimensionality, represented_count, total_dimensionality
from toysup.analysis.interference import gram_quadrants
from toysup.analysis.measures import Losses, total_loss
from toysup.analysis.responses import response
from toysup.analysis.seeds import over_seeds
from toysup.analysis.selection import Selected, by_cell, counting

GRAM_SEEDS = 3
# The most conditions (or cells of a sweep) that one figure shows side by side.
MAX_SERIES = 12

Figures = Iterator[tuple[str, Figure]]


def series(group: Sequence[Selected]) -> Iterator[tuple[str, dict[str, Selected]]]:
    """What is drawn side by side: an experiment's conditions and the cells of their sweeps, so many at a time.

    Gives a suffix for the figures' names, and each condition or cell under its label. Where sweeps have more cells,
    only what is not swept stands side by side: `_over_sweep` draws the rest.
    """
    together = [(_label(item, len(group)), item) for condition in group for item in condition.cells()]
    if len(together) > MAX_SERIES and any(item.cell for _, item in together):
        together = [(label, item) for label, item in together if not item.cell]
    if not together:
        return
    count = -(-len(together) // MAX_SERIES)
    size = -(-len(together) // count)
    for number in range(count):
        yield f"-{number + 1}" if count > 1 else "", dict(together[number * size : (number + 1) * size])


def _over_sweep(
    group: Sequence[Selected], name: str, statistics: Callable[[Selected], Mapping[str, xr.DataArray]]
) -> Figures:
    """Statistics, each (sweep axes..., seed), over the axes of a sweep: lines over one axis, a map over two.

    Conditions that sweep the same one axis share a figure; of further axes than two, each value has a map of its own.
    """
    lines: dict[str, dict[str, xr.Dataset]] = {}
    for item in group:
        if not item.sweeps:
            continue
        for label, values in _by_context({item.condition: _stacked(statistics(item))}).items():
            summary = over_seeds(values)
            if len(item.sweeps) == 1:
                lines.setdefault(item.sweeps[0], {})[label] = summary
                continue
            rest = item.sweeps[2:]
            for cell in product(*(summary[axis].values.tolist() for axis in rest)):
                at = dict(zip(rest, cell, strict=True))
                suffix = "-".join(filter(None, [label.replace(", ", "-"), _in_a_name(at)]))
                yield f"{name}-map-{suffix}", figures.sweep_map(summary.sel(at))
    for axis, summaries in lines.items():
        yield f"{name}-over-{axis.replace('_', '-')}", figures.along_sweep(summaries)


def _stacked(statistics: Mapping[str, xr.DataArray]) -> xr.DataArray:
    return xr.Dataset({name: values.drop_attrs() for name, values in statistics.items()}).to_dataarray("statistic")


def _counts(item: Selected) -> dict[str, xr.DataArray]:
    H = item.directions
    return {"represented": represented_count(H), "total_dimensionality": total_dimensionality(H)}


def _quadrants(item: Selected, *, statistic: str) -> dict[str, xr.DataArray]:
    """One statistic of the quadrants within subsets and of those across, energies summed and all else averaged."""
    values = gram_quadrants(item.responses)[statistic]
    same = values["subset"] == values["other_subset"]
    if values.sizes["subset"] == 1:
        return {statistic: values.isel(subset=0, other_subset=0, drop=True)}
    dims = ["subset", "other_subset"]
    summed, name = statistic.startswith("energy"), statistic.removesuffix("_fraction")
    # A model that is not finite stays NaN in a sum, in which what is left out counts as 0.
    return {
        f"{name}_{where}": values.where(own, 0).sum(dims, skipna=False) if summed else values.where(own).mean(dims)
        for where, own in (("within", same), ("across", ~same))
    }


def _label(item: Selected, n_conditions: int) -> str:
    # repr is the shortest text that no other number has.
    at = [f"{axis} = {value!r}" for axis, value in item.cell.items()]
    return ", ".join([item.condition] * (n_conditions > 1 or not at) + at)


def _in_a_name(cell: Mapping[str, float]) -> str:
    return "-".join(f"{axis}={value!r}" for axis, value in cell.items())


def gram_figures(group: Sequence[Selected]) -> Figures:
    """A grid for each condition: the first seeds, at initialisation, a third of the way and at the chosen step.

    Of a sweep with many cells, those at the corners.
    """
    cells = [item for condition in group for item in condition.cells()]
    shown = cells if len(cells) <= MAX_SERIES else [item for item in cells if _at_a_corner(item, group)]
    for item in shown:
        label = _label(item, len(group))
        steps = item.dataset["step"].values[: item.index + 1]
        third = int(np.abs(steps - steps[-1] / 3).argmin())
        phases = sorted({0, third, item.index})
        early = item.dataset.isel(step=phases, seed=slice(GRAM_SEEDS)).load()
        G = counting(response(early)["G"], early)
        for title, own in _by_context({label: _with_features(G)}).items():
            context = title.removeprefix(label).strip(", ")
            name = "-".join(filter(None, ["gram", item.condition, _in_a_name(item.cell), context]))
            yield name, figures.gram_grid(own, limit=_limit(own), title=title)


def _limit(G: xr.DataArray) -> float | None:
    """An end of the colour scale where a few large entries would leave all others pale."""
    size = np.abs(G.values[np.isfinite(G.values)])
    usual = float(np.quantile(size, 0.99)) if size.size else 0.0
    return usual if 0 < 2 * usual < size.max(initial=0) else None


def _at_a_corner(item: Selected, group: Sequence[Selected]) -> bool:
    whole = next(other for other in group if other.condition == item.condition)
    return all(value in whole.dataset[axis].values[[0, -1]] for axis, value in item.cell.items())


def _with_features(G: xr.DataArray) -> xr.DataArray:
    """G of z with its outputs in the place of features, the context that they are about in that of the subset."""
    if "output" not in G.dims:
        return G
    plain = G.drop_vars(["output_feature", "output_context"]).rename(output="feature")
    return plain.assign_coords(subset=("feature", G["output_context"].values))


def _by_context(values: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Values that depend on the context as one entry for each; all others as they are."""
    entries: dict[str, xr.DataArray] = {}
    for label, array in values.items():
        if "context" not in array.dims:
            entries[label] = array
            continue
        for context in array["context"].values.tolist():
            entries[f"{label}, {context}"] = array.sel(context=context, drop=True)
    return entries


def dimensionality_figures(group: Sequence[Selected]) -> Figures:
    """D of each feature at the chosen step, and along training."""
    for suffix, items in series(group):
        values = _by_context({label: feature_dimensionality(item.directions) for label, item in items.items()})
        yield f"dimensionality{suffix}", figures.feature_dimensionality(values, _summaries(values))
        whole = {label: feature_dimensionality(response(item.dataset)["H"]) for label, item in items.items()}
        along = _summaries(_by_context(whole))
        yield f"dimensionality-over-training{suffix}", figures.dimensionality_over_training(along)
    yield from _over_sweep(group, "dimensionality", _counts)


def interference_figures(group: Sequence[Selected], *, statistics: Sequence[str] = ("energy",)) -> Figures:
    """These statistics of each quadrant, one figure each."""
    for suffix, items in series(group):
        quadrants = {label: gram_quadrants(item.responses) for label, item in items.items()}
        for statistic in statistics:
            values = _by_context({label: dataset[statistic] for label, dataset in quadrants.items()})
            drawn = figures.quadrant_interference(values, _summaries(values), statistic=statistic)
            yield f"interference-{statistic.replace('_', '-')}{suffix}", drawn
    for statistic in statistics:
        name = f"interference-{statistic.replace('_', '-')}"
        yield from _over_sweep(group, name, partial(_quadrants, statistic=statistic))


def loss_figures(group: Sequence[Selected], parts: Losses) -> Figures:
    """Training loss, the loss of each condition on itself, and the matrix of trained on × evaluated on."""
    for suffix, items in series(group):
        curves = {label: over_seeds(item.dataset["train_loss"]) for label, item in items.items()}
        yield f"loss-curves{suffix}", figures.loss_curves(curves)
        own = {label: _at(total_loss(parts[_pair(item, item)]), item) for label, item in items.items()}
        yield f"loss-comparison{suffix}", figures.loss_comparison(own, _summaries(own))
    yield from _over_sweep(group, "loss", lambda item: {"loss": total_loss(parts[_pair(item, item)])})
    cells = list(by_cell(group))
    # Of more conditions the rows tell what a matrix could not show.
    if 1 < len(group) <= MAX_SERIES and len(cells) <= MAX_SERIES:
        for cell, members in cells:
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
