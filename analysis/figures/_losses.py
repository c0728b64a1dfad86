"""Losses: along training, by condition, and of models under the conditions on which they were not trained."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from toysup.analysis.figures._by_condition import by_condition
from toysup.analysis.figures._conditions import condition_lines, key, lines_high, name_lines
from toysup.analysis.figures._inputs import all_summaries, all_values, arranged, same_conditions, summary_arranged
from toysup.analysis.figures._legend import legend_above
from toysup.analysis.figures._marks import line, means, reference_mark, reference_name
from toysup.analysis.figures._panels import TALLEST, blank, flow
from toysup.analysis.figures._scale import from_zero, scale_values
from toysup.analysis.figures._statistics import statistic
from toysup.analysis.figures._subsets import labels_of
from toysup.analysis.figures._text import interval_of, n_of, note, number, wrapped
from toysup.analysis.figures._time import Scale, scale_of, scale_time, time_axis
from toysup.analysis.figures.style import DOUBLE_COLUMN, INK, SINGLE_COLUMN, looks, styled

_LOSS, _MEANING, _ = statistic("loss")
LIGHT_DARK = LinearSegmentedColormap.from_list("toysup_light_dark", ["#f0f1f2", "#6fa3d2"])
"""From a small loss to a large one, never so dark that the numbers on it cannot be read."""

_MOST_INTERVALS = 8


@styled
def loss_curves(summaries: Mapping[str, xr.Dataset], *, time_scale: Scale | None = None) -> Figure:
    """Draw the mean training loss along training, a line per condition, with its interval shaded.

    The y axis is logarithmic. Means that are not positive are not drawn; the mean at step 0 is NaN.

    Parameters
    ----------
    summaries : mapping of str to Dataset (step)
        For each condition, the summary of `train_loss` over seeds that `toysup.analysis.over_seeds` returns:
        importance-weighted squared error per sample. The x axis is the coord `epoch(step)` if all conditions have it,
        else `step`.
    time_scale : "linear" or "log", optional
        The scale of the x axis. The default is "log" if the snapshots of any condition are spaced by ratios, and
        "linear" otherwise.

    Returns
    -------
    Figure
        One panel.

    Raises
    ------
    UsageError
        If there are no conditions, a dim is missing or not drawn, a summary lacks a variable, or the scale is unknown.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> loss = open_example("conditional-importance")["conditional-importance/fixed"]["train_loss"]
    >>> with analysis.figures.style():
    ...     analysis.figures.loss_curves({"fixed": analysis.over_seeds(loss)}).axes[0].get_yscale()
    'log'
    """
    summaries = all_summaries(summaries, "step")
    time = time_axis(summaries)
    figure = blank(SINGLE_COLUMN, 2.3)
    ax = figure.subplots()
    for (name, data), look in zip(summaries.items(), looks(len(summaries)), strict=True):
        # On a log axis, an interval that reaches below 0 is cut off at the lower end of the axis.
        positive = data.where(~(data["mean"] <= 0))
        label = f"{name} ({n_of(data)})"
        line(ax, time.at[name], positive, look=look, label=label, every=max(1, data.sizes["step"] // 12))
    if any((data["mean"] > 0).any() for data in summaries.values()):
        ax.set_yscale("log")
    ax.set_ylabel("training loss per sample")
    scale_time(ax, time, scale=time_scale or scale_of(time))
    legend_above(figure, *ax.get_legend_handles_labels())
    note(figure, f"{_MEANING} Lines: mean over seeds.{interval_of(summaries.values(), drawn_as='Shaded')}")
    return figure


@styled
def loss_comparison(
    values: Mapping[str, xr.DataArray],
    summaries: Mapping[str, xr.Dataset],
    references: Mapping[str, xr.Dataset] | None = None,
) -> Figure:
    """Draw the loss of each condition: a dot per seed, the mean with its interval, and losses of simple predictors.

    Each condition has a horizontal line, the first at the top. The losses of simple predictors are grey marks on it.
    Losses that lie far apart have a log axis, with a linear stretch from 0 to the smallest decade, so that a loss of
    exactly 0 has a place. The axis ends a little below 0; an interval that reaches further down is cut off there.

    Parameters
    ----------
    values : mapping of str to DataArray (seed)
        For each condition, the loss of each seed: importance-weighted squared error per sample.
    summaries : mapping of str to Dataset
        For the same conditions, the summaries over seeds that `toysup.analysis.over_seeds` returns, without dims.
    references : mapping of str to Dataset (reference), optional
        For the same conditions, the losses of simple predictors that `toysup.analysis.loss_references` returns, with
        the variables `loss` and `kind`. A reference that is NaN is not drawn. The caption names the references whose
        kind is "bound". By default there are no references.

    Returns
    -------
    Figure
        One panel.

    Raises
    ------
    UsageError
        If there are no conditions, the arguments differ in their conditions, a dim is missing or not drawn, or a
        summary lacks a variable.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> loss = open_example("conditional-importance")["conditional-importance/fixed"]["train_loss"].isel(step=-1)
    >>> with analysis.figures.style():
    ...     len(analysis.figures.loss_comparison({"fixed": loss}, {"fixed": analysis.over_seeds(loss)}).axes)
    1
    """
    if references is None:
        return by_condition(
            {name: array.assign_coords(statistic="loss") for name, array in values.items()},
            {name: data.assign_coords(statistic="loss") for name, data in summaries.items()},
        )
    same_conditions(values, summaries)
    same_conditions(values, references)
    values, summaries = all_values(values, "seed"), all_summaries(summaries)
    references = {name: arranged(references[name], "reference", what=f"references of {name!r}") for name in values}
    names = list(dict.fromkeys(name for data in references.values() for name in data["reference"].values.tolist()))
    figure = blank(SINGLE_COLUMN, 0.75 + lines_high(summaries))
    ax = figure.subplots()
    condition_lines(ax, values, summaries)
    for at, data in enumerate(references.values()):
        for name, loss in zip(data["reference"].values.tolist(), data["loss"].values.tolist(), strict=True):
            reference_mark(ax, loss, at, name=name)
    drawn = [data[part] for data in summaries.values() for part in ("mean", "ci_low")]
    drawn += [*values.values(), *(data["loss"] for data in references.values())]
    scale_values(ax, np.concatenate([np.ravel(part) for part in drawn]), along="x", log=True)
    ax.set_xlabel(_LOSS)
    name_lines(ax, summaries)
    _name_references(figure, ax, names)
    note(figure, f"{_MEANING} {key(summaries)} Grey: losses of simple predictors.{_bounds(references)}")
    return figure


def _name_references(figure: Figure, ax: Axes, names: Sequence[str]) -> None:
    """Write a legend of the references that are drawn, in the order of `names`."""
    found = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    labels = [label for label in map(reference_name, names) if label in found]
    legend_above(figure, [found[label] for label in labels], labels)


def _bounds(references: Mapping[str, xr.Dataset]) -> str:
    """A sentence that names the references that are upper bounds; empty if none is."""
    found = dict.fromkeys(
        reference_name(name)
        for data in references.values()
        for name, kind in zip(data["reference"].values.tolist(), data["kind"].values.tolist(), strict=True)
        if kind == "bound"
    )
    return f" Numerical upper bound: {', '.join(found)}." if found else ""


@styled
def loss_by_entry(summaries: Mapping[str, xr.Dataset], *, by: str) -> Figure:
    """Draw how much each feature, or each context, contributes to the loss: a panel per condition.

    All panels share their y axis.

    Parameters
    ----------
    summaries : mapping of str to Dataset (by)
        For each condition, the summary over seeds of the contributions, which `toysup.analysis.over_seeds` returns:
        importance-weighted squared error per sample. They sum to the loss.
    by : str
        The dim of the entries, "feature" or "context".

    Returns
    -------
    Figure
        One panel per condition, at most three in a row.

    Raises
    ------
    UsageError
        If there are no conditions, a dim is missing or not drawn, or a summary lacks a variable.

    Examples
    --------
    >>> from xarray import DataArray
    >>> from toysup.analysis import figures, over_seeds
    >>> loss = DataArray([[0.1, 0.2], [0.3, 0.2]], {"feature": [1, 2]}, ["seed", "feature"])
    >>> len(figures.loss_by_entry({"fixed": over_seeds(loss)}, by="feature").axes)
    1
    """
    summaries = all_summaries(summaries, by)
    columns = min(len(summaries), 3)
    rows = -(-len(summaries) // columns)
    figure = blank(SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN, 0.6 + rows * min(1.7, (TALLEST - 0.6) / rows))
    for ax, (name, data), look in zip(
        flow(figure, len(summaries), columns=columns), summaries.items(), looks(len(summaries)), strict=True
    ):
        at, labels = np.arange(data.sizes[by]), labels_of(data, by)
        means(ax, data, at, look=look, along="y", size=float(np.clip(250 / len(at), 3, 12)))
        every = -(-len(at) // 8)
        ax.set_xticks(at[::every], [str(label) for label in labels[::every]])
        ax.set_xlim(-0.6, len(at) - 0.4)
        ax.set_title(wrapped(f"{name} ({n_of(data)})", width=84 // max(columns, 2)), loc="left")
        ax.set_xlabel(by)
        ax.grid(axis="y")
    from_zero(figure.axes[0], along="y")
    figure.supylabel(_LOSS)
    bars = interval_of(summaries.values(), drawn_as="Bars")
    note(figure, f"{_MEANING} Each {by}'s share of it; markers: mean over seeds.{bars}")
    return figure


@styled
def loss_matrix(summary: xr.Dataset) -> Figure:
    """Draw the mean loss of the models of each condition (rows) under each condition (columns), with its interval.

    Colours have a logarithmic scale. A cell whose mean is not finite is hatched and has a dash. With more than 8
    columns there is no room for intervals, and only means are written.

    Parameters
    ----------
    summary : Dataset (trained_on, evaluated_on)
        The summary of the loss over seeds that `toysup.analysis.over_seeds` returns: importance-weighted squared error
        per sample; NaN if the models of one condition cannot be evaluated under the other.

    Returns
    -------
    Figure
        The matrix and a colour bar.

    Raises
    ------
    UsageError
        If a dim is missing or not drawn, or the summary lacks a variable.

    Examples
    --------
    >>> from xarray import DataArray
    >>> from toysup.analysis import figures, over_seeds
    >>> loss = DataArray([[[2, 4], [3, 1]], [[2, 5], [3, 2]]], dims=["seed", "trained_on", "evaluated_on"])
    >>> with figures.style():
    ...     len(figures.loss_matrix(over_seeds(loss)).axes)
    2
    """
    summary = summary_arranged(summary, "trained_on", "evaluated_on", what="summary")
    trained, evaluated = ([str(name) for name in labels_of(summary, dim)] for dim in ("trained_on", "evaluated_on"))
    mean = np.asarray(summary["mean"].values, dtype=float)
    width = SINGLE_COLUMN if len(evaluated) == 1 else DOUBLE_COLUMN
    figure = blank(width, max(1.9, 1.1 + 0.46 * len(trained)))
    ax = figure.subplots()
    few = len(evaluated) <= _MOST_INTERVALS
    picture = ax.pcolormesh(
        np.ma.masked_invalid(mean), cmap=LIGHT_DARK, norm=_shades(mean), edgecolors="white", linewidth=1.0
    )
    _write_cells(ax, _cells(summary, columns=len(evaluated)), size=6.5 if few else 5)
    _mark_missing(ax, mean, summary["n_seeds"].values)
    ax.set_xticks(np.arange(len(evaluated)) + 0.5, [wrapped(name, width=14 if few else 20) for name in evaluated])
    ax.set_yticks(np.arange(len(trained)) + 0.5, [wrapped(name, width=20) for name in trained])
    ax.set(xlabel="evaluated on", ylabel="trained on")
    ax.tick_params(axis="x", length=0, rotation=0 if few else 90)
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    ax.invert_yaxis()
    figure.colorbar(picture, ax=ax, label=_LOSS, aspect=15).outline.set_visible(False)
    brackets = interval_of([summary], drawn_as="Brackets") if len(evaluated) <= _MOST_INTERVALS else ""
    in_modes = ~np.isfinite(mean) & (summary["n_seeds"].values > 0)
    missing = "" if (np.isfinite(mean) | in_modes).all() else " Hatched: conditions that are not comparable."
    if (summary["n_seeds"] == 0).any():
        missing = " Hatched: conditions that are not comparable, or without a finite seed."
    missing += " Modes: seeds lie in several modes, and have no common mean." if in_modes.any() else ""
    note(figure, f"{_MEANING} Mean over seeds ({n_of(summary)}).{brackets}{missing}")
    return figure


def _shades(mean: NDArray[Any]) -> Normalize:
    positive = mean[np.isfinite(mean) & (mean > 0)]
    if not positive.size:
        return Normalize(0, 1)
    low, high = float(positive.min()), float(positive.max())
    # If all values are nearly equal, the scale still needs two different ends.
    return LogNorm(low, high, clip=True) if high > 1.01 * low else LogNorm(low / 2, high * 2, clip=True)


def _cells(summary: xr.Dataset, *, columns: int) -> NDArray[Any]:
    """The text of each cell: the mean, and below it the interval if it has one."""
    between = ",\n" if columns > 4 else ", "
    parts = [np.asarray(summary[name].values, dtype=float) for name in ("mean", "ci_low", "ci_high")]
    cells = np.empty(parts[0].shape, dtype=object)
    for at in np.ndindex(cells.shape):
        mean, low, high = (part[at] for part in parts)
        interval = (
            f"\n[{number(float(low))}{between}{number(float(high))}]"
            if np.isfinite([low, high]).all() and columns <= _MOST_INTERVALS
            else ""
        )
        cells[at] = (
            "" if not np.isfinite(mean) else number(float(mean), 3 if columns <= _MOST_INTERVALS else 2) + interval
        )
    return cells


def _write_cells(ax: Axes, cells: NDArray[Any], *, size: float) -> None:
    for (i, j), text in np.ndenumerate(cells):
        if text:
            ax.text(j + 0.5, i + 0.5, text, size=size, ha="center", va="center", color=INK)


def _mark_missing(ax: Axes, mean: NDArray[Any], n_seeds: NDArray[Any]) -> None:
    for i, j in np.argwhere(~np.isfinite(mean)):
        if n_seeds[i, j] > 0:
            ax.text(j + 0.5, i + 0.5, "modes", ha="center", va="center", fontsize=6.5, color=INK)
            continue
        ax.add_patch(
            Rectangle(
                (j + 0.01, i + 0.01), 0.98, 0.98, facecolor="#f2f2f2", edgecolor="#c4c4c4", hatch="////", linewidth=0
            )
        )
        ax.text(j + 0.5, i + 0.5, "–", ha="center", va="center", color=INK)
