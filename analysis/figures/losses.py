"""Losses: along training, of conditions side by side, and of models under other conditions than their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from toysup.analysis.figures._conditions import condition_lines, key, lines_high, name_lines
from toysup.analysis.figures._inputs import all_summaries, all_values, arranged, same_conditions, summary_arranged
from toysup.analysis.figures._legend import legend_above
from toysup.analysis.figures._marks import line, reference_mark, reference_name
from toysup.analysis.figures._panels import blank
from toysup.analysis.figures._scale import scale_values
from toysup.analysis.figures._statistics import statistic
from toysup.analysis.figures._subsets import labels_of
from toysup.analysis.figures._text import interval_of, n_of, note, number, wrapped
from toysup.analysis.figures._time import Scale, scale_of, scale_time, time_axis
from toysup.analysis.figures.conditions import by_condition
from toysup.analysis.figures.style import DOUBLE_COLUMN, INK, SINGLE_COLUMN, looks

_LOSS, _MEANING, _ = statistic("loss")
_MOST_INTERVALS = 8


def loss_curves(summaries: Mapping[str, xr.Dataset], *, time_scale: Scale | None = None) -> Figure:
    """Draw the training loss along training, one line per condition, with the interval of the mean shaded.

    Parameters
    ----------
    summaries : mapping of Dataset (step)
        Per condition a summary of the training loss over seeds: importance-weighted squared error per sample,
        dimensionless, on a log axis; what is not a positive number, such as step 0, has no place on it. The x axis is
        `epoch(step)` where all conditions have it, else `step`.
    time_scale : "linear" or "log", optional
        "linear" or "log"; if not given, log where steps are spaced so.

    Raises
    ------
    UsageError
        If there are no conditions, other dims, or an unknown scale.
    """
    summaries = all_summaries(summaries, "step")
    time = time_axis(summaries)
    figure = blank(SINGLE_COLUMN, 2.3)
    ax = figure.subplots()
    for (name, data), look in zip(summaries.items(), looks(len(summaries)), strict=True):
        # A log axis cuts an interval that reaches below it off at its lower end.
        positive = data[["mean", "ci_low", "ci_high"]].where(data["mean"] > 0)
        label = f"{name} ({n_of(data)})"
        line(ax, time.at[name], positive, look=look, label=label, every=max(1, data.sizes["step"] // 12))
    if any((data["mean"] > 0).any() for data in summaries.values()):
        ax.set_yscale("log")
    ax.set_ylabel("training loss per sample")
    scale_time(ax, time, scale=time_scale or scale_of(time))
    legend_above(figure, *ax.get_legend_handles_labels())
    note(figure, f"{_MEANING} Lines: mean over seeds.{interval_of(summaries.values(), drawn_as='Shaded')}")
    return figure


def loss_comparison(
    values: Mapping[str, xr.DataArray],
    summaries: Mapping[str, xr.Dataset],
    references: Mapping[str, xr.Dataset] | None = None,
) -> Figure:
    """Draw the loss of each condition on its own data: a dot per seed, the mean with its interval, on a log axis.

    A loss of exactly 0 is drawn on the line marked 0, left of a linear stretch that ends at the smallest decade;
    the axis ends a little below 0, where an interval that reaches further is cut off.

    Parameters
    ----------
    values : mapping of DataArray (seed)
        The loss per condition: importance-weighted squared error per sample, dimensionless.
    summaries : mapping of Dataset
        The same conditions' summaries over seeds, without dims.
    references : mapping of Dataset (reference), optional
        What simple predictors lose, per condition: `loss` and `kind`, as grey marks on its line. One that is NaN is
        not drawn, and one whose kind is "bound" is said to be an upper bound.

    Raises
    ------
    UsageError
        If there are no conditions, different ones in the arguments, or other dims.
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
    note(figure, f"{_MEANING} {key(summaries)} Grey: what simple predictors lose.{_bounds(references)}")
    return figure


def _name_references(figure: Figure, ax: Axes, names: Sequence[str]) -> None:
    """A legend of those that are drawn, in their order."""
    found = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    labels = [label for label in map(reference_name, names) if label in found]
    legend_above(figure, [found[label] for label in labels], labels)


def _bounds(references: Mapping[str, xr.Dataset]) -> str:
    """Which of the references are upper bounds, as a sentence."""
    found = dict.fromkeys(
        reference_name(name)
        for data in references.values()
        for name, kind in zip(data["reference"].values.tolist(), data["kind"].values.tolist(), strict=True)
        if kind == "bound"
    )
    return f" Numerical upper bound: {', '.join(found)}." if found else ""


def loss_matrix(summary: xr.Dataset) -> Figure:
    """Draw the losses of models (rows) under the conditions they are evaluated on (columns), with intervals.

    A cell without a number, whose conditions cannot be compared, is hatched and marked by a dash. Beyond 8 columns
    there is no room for intervals, and means stand alone.

    Parameters
    ----------
    summary : Dataset (trained_on, evaluated_on)
        A summary of the loss over seeds: importance-weighted squared error per sample, dimensionless. Shades are
        logarithmic, and shared.

    Raises
    ------
    UsageError
        If there are other dims, or a Dataset that is no summary.
    """
    import seaborn as sns  # its import takes as long as all the rest, and only this figure needs it

    summary = summary_arranged(summary, "trained_on", "evaluated_on", what="summary")
    trained, evaluated = ([str(name) for name in labels_of(summary, dim)] for dim in ("trained_on", "evaluated_on"))
    mean = np.asarray(summary["mean"].values, dtype=float)
    width = SINGLE_COLUMN if len(evaluated) == 1 else DOUBLE_COLUMN
    figure = blank(width, max(1.9, 1.1 + 0.46 * len(trained)))
    ax = figure.subplots()
    sns.heatmap(
        mean,
        ax=ax,
        mask=~np.isfinite(mean),
        annot=_cells(summary, columns=len(evaluated)),
        fmt="",
        annot_kws={"size": 6.5 if len(evaluated) <= _MOST_INTERVALS else 5, "color": INK},
        cmap=sns.light_palette("#6fa3d2", as_cmap=True),
        norm=_shades(mean),
        linewidths=1.0,
        cbar_kws={"label": _LOSS, "aspect": 15},
        xticklabels=[wrapped(name, width=14 if len(evaluated) <= _MOST_INTERVALS else 20) for name in evaluated],
        yticklabels=[wrapped(name, width=20) for name in trained],
    )
    _mark_missing(ax, mean)
    ax.set(xlabel="evaluated on", ylabel="trained on")
    ax.tick_params(axis="x", length=0, rotation=0 if len(evaluated) <= _MOST_INTERVALS else 90)
    ax.tick_params(axis="y", length=0, rotation=0)
    brackets = interval_of([summary], drawn_as="Brackets") if len(evaluated) <= _MOST_INTERVALS else ""
    missing = "" if np.isfinite(mean).all() else " Hatched: not comparable."
    if (summary["n_seeds"] == 0).any():
        missing = " Hatched: not comparable, or no seed is finite."
    note(figure, f"{_MEANING} Mean over seeds ({n_of(summary)}).{brackets}{missing}")
    return figure


def _shades(mean: NDArray[Any]) -> Normalize:
    positive = mean[np.isfinite(mean) & (mean > 0)]
    if not positive.size:
        return Normalize(0, 1)
    low, high = float(positive.min()), float(positive.max())
    # One value, or several that are nearly equal, still get a scale with two ends.
    return LogNorm(low, high, clip=True) if high > 1.01 * low else LogNorm(low / 2, high * 2, clip=True)


def _cells(summary: xr.Dataset, *, columns: int) -> NDArray[Any]:
    """The text of each cell: the mean, below it the interval where there is one."""
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
        cells[at] = number(float(mean), 3 if columns <= _MOST_INTERVALS else 2) + interval
    return cells


def _mark_missing(ax: Axes, mean: NDArray[Any]) -> None:
    for i, j in np.argwhere(~np.isfinite(mean)):
        ax.add_patch(
            Rectangle(
                (j + 0.01, i + 0.01), 0.98, 0.98, facecolor="#f2f2f2", edgecolor="#c4c4c4", hatch="////", linewidth=0
            )
        )
        ax.text(j + 0.5, i + 0.5, "–", ha="center", va="center", color=INK)
