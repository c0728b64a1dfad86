"""Losses: along training, of conditions side by side, and of models under other conditions than their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ._conditions import condition_line, key, lines_high, name_lines
from ._inputs import all_summaries, all_values, same_conditions, summary_arranged
from ._panels import blank
from ._subsets import labels_of
from ._text import interval_of, n_of, note, number, wrapped
from ._time import Scale, scale_time, time_axis
from .style import DOUBLE_COLUMN, INK, SINGLE_COLUMN, looks

_LOSS = "loss per sample"
_MOST_INTERVALS = 8
_MEANING = "Loss: importance-weighted squared error, dimensionless."


def loss_curves(summaries: Mapping[str, xr.Dataset], *, time_scale: Scale = "linear") -> Figure:
    """Draw the training loss along training, one line per condition, with the interval of the mean shaded.

    Parameters
    ----------
    summaries
        Per condition a summary of the training loss over seeds, dims (step,): importance-weighted squared error per
        sample, dimensionless, on a log axis; what is not a positive number, such as step 0, has no place on it. The
        x axis is ``epoch(step)`` where all conditions have it, else ``step``.
    time_scale
        "linear", or "log" for snapshots that were taken at log-spaced steps.

    Raises
    ------
    ValueError
        For no conditions, other dims, or an unknown scale.
    """
    summaries = all_summaries(summaries, "step")
    time = time_axis(summaries)
    figure = blank(SINGLE_COLUMN, 2.3 + 0.14 * len(summaries))
    ax = figure.subplots()
    for (name, data), look in zip(summaries.items(), looks(len(summaries)), strict=True):
        mean, low, high = (_positive(data[part]) for part in ("mean", "ci_low", "ci_high"))
        every = max(1, len(mean) // 12)
        label = wrapped(f"{name} ({n_of(data)})", width=44)
        ax.plot(time.at[name], mean, color=look.colour, linestyle=look.line, marker=look.marker, markevery=every,
                label=label)  # fmt: skip
        ax.fill_between(time.at[name], low, high, color=look.colour, alpha=0.2, linewidth=0)
    if any((data["mean"] > 0).any() for data in summaries.values()):
        ax.set_yscale("log")
    ax.set_ylabel("training loss per sample")
    scale_time(ax, time, scale=time_scale)
    figure.legend(loc="outside upper left", ncols=1)
    note(figure, f"{_MEANING} Lines: mean over seeds.{interval_of(summaries.values(), drawn_as='Shaded')}")
    return figure


def loss_comparison(values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the loss of each condition on its own data: a dot per seed, the mean with its interval, on a log axis.

    A loss of exactly 0 is drawn on the line marked 0, left of a linear stretch that ends at the smallest decade.

    Parameters
    ----------
    values
        The loss per condition, dims (seed,): importance-weighted squared error per sample, dimensionless.
    summaries
        The same conditions' summaries over seeds, without dims.

    Raises
    ------
    ValueError
        For no conditions, different ones in the two arguments, or other dims.
    """
    same_conditions(values, summaries)
    values, summaries = all_values(values, "seed"), all_summaries(summaries)
    figure = blank(SINGLE_COLUMN, 0.75 + lines_high(summaries))
    ax = figure.subplots()
    for at, (name, look) in enumerate(zip(values, looks(len(values)), strict=True)):
        condition_line(ax, at, values[name], summaries[name], look)
    drawn = [part.values.ravel() for name in values for part in (values[name], summaries[name]["ci_low"])]
    _scale_losses(ax, np.concatenate(drawn))
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(_LOSS)
    name_lines(ax, summaries)
    note(figure, f"{_MEANING} {key(summaries)}")
    return figure


def loss_matrix(summary: xr.Dataset) -> Figure:
    """Draw the losses of models (rows) under the conditions they are evaluated on (columns), with intervals.

    A cell without a number, whose conditions cannot be compared, is hatched and marked by a dash. Beyond 8 columns
    there is no room for intervals, and means stand alone.

    Parameters
    ----------
    summary
        A summary of the loss over seeds, dims (trained_on, evaluated_on): importance-weighted squared error per
        sample, dimensionless. Shades are logarithmic, and shared.

    Raises
    ------
    ValueError
        For other dims, or a Dataset that is no summary.
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
    note(figure, f"{_MEANING} Mean over seeds ({n_of(summary)}).{brackets}{missing}")
    return figure


def _positive(part: xr.DataArray) -> NDArray[Any]:
    values = np.asarray(part.values, dtype=float)
    return np.where(values > 0, values, np.nan)


def _scale_losses(ax: Axes, drawn: NDArray[np.float64]) -> None:
    """Log where losses lie far apart, else linear from 0; log with a place for 0 where some are."""
    positive = drawn[np.isfinite(drawn) & (drawn > 0)]
    spread = positive.max() / positive.min() if positive.size else 1.0
    if positive.size and (drawn <= 0).any():
        ax.set_xscale("symlog", linthresh=10.0 ** np.floor(np.log10(positive.min())), linscale=0.5)
    elif spread < 5:
        # A log axis this short would have one tick or none.
        high = ax.get_xlim()[1]
        ax.set_xlim(-0.02 * high, high)
        ax.xaxis.set_major_locator(MaxNLocator(5))
    else:
        ax.set_xscale("log")
        if spread < 100:
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
            ax.xaxis.set_minor_formatter(NullFormatter())


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
