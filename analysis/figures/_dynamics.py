"""Dynamics: statistics along training with a line per seed, and when features enter and merge."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from toysup.analysis.figures._inputs import all_summaries, all_values, arranged, same_conditions, same_labels
from toysup.analysis.figures._marks import line, seed_dots
from toysup.analysis.figures._panels import blank, grid
from toysup.analysis.figures._scale import scale_values, show_constant
from toysup.analysis.figures._statistics import statistic
from toysup.analysis.figures._subsets import labels_of
from toysup.analysis.figures._text import interval_of, n_of, note, wrapped
from toysup.analysis.figures._time import Scale, scale_of, scale_time, time_axis
from toysup.analysis.figures.style import DOUBLE_COLUMN, INK, SINGLE_COLUMN, Look, looks, styled
from toysup.errors import UsageError

PLATEAU = "plateau"
# Drawn with a statistic instead of in a row of their own: what chance would make of it.
CHANCES = {"sharing_pairs": "sharing_pairs_chance"}
# For each event of a feature that is drawn, the name of the share of seeds in which it happens.
EVENTS = {"entry_step": "represented", "merge_step": "merged"}

_EVENTS_MEANING = (
    "A feature enters at the step from which it is represented until the end. It merges at the step from which it "
    "shares a direction with another feature until the end."
)
_EVENTS_MARKS = "Dots: seeds. Markers: median over the seeds in which this happens. Right: percentage of these seeds."
_SHADE = "#ececec"
_SMALL = 5.5


@styled
def course_of_training(
    values: Mapping[str, xr.DataArray],
    summaries: Mapping[str, xr.Dataset],
    *,
    first: int = 0,
    time_scale: Scale | None = None,
) -> Figure:
    """Draw statistics along training: a column per condition, a row per statistic.

    Thick lines are means over seeds, with the interval shaded. Thin lines are single seeds, because a mean smooths
    their jumps away. Steps at which at least half of the seeds are on a plateau of the loss are grey.

    Parameters
    ----------
    values : mapping of str to DataArray (statistic, seed, step)
        For each condition, the statistics of the seeds that get a thin line, in the units of the statistics. The labels
        of `statistic` name the rows; "plateau" and "sharing_pairs_chance" have no row. `statistic` may be a scalar
        coord.
    summaries : mapping of str to Dataset (statistic, step)
        For the same conditions, the summaries over all seeds that `toysup.analysis.over_seeds` returns. If there is a
        statistic "plateau", its mean is the share of seeds that are on a plateau. "sharing_pairs_chance" is dashed, in
        the row of "sharing_pairs". The x axis is the coord `epoch(step)` if all conditions have it, else `step`.
    first : int, default 0
        How many looks (colours and markers) to skip. If several figures share the conditions of an experiment, give the
        number of conditions in the figures before this one, so that no two conditions look the same.
    time_scale : "linear" or "log", optional
        The scale of the x axis. The default is "log" if the snapshots of any condition are spaced by ratios, and
        "linear" otherwise.

    Returns
    -------
    Figure
        One panel per statistic and condition.

    Raises
    ------
    UsageError
        If there are no conditions, the arguments differ in their conditions, a dim is missing or not drawn, a summary
        lacks a variable, or the scale is unknown.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> loss = open_example("conditional-importance")["conditional-importance/fixed"]["train_loss"]
    >>> loss = loss.assign_coords(statistic="train_loss")
    >>> with analysis.figures.style():
    ...     len(analysis.figures.course_of_training({"fixed": loss[:5]}, {"fixed": analysis.over_seeds(loss)}).axes)
    1
    """
    same_conditions(values, summaries)
    values, summaries = all_values(values, "statistic", "seed", "step"), all_summaries(summaries, "statistic", "step")
    names = [name for name in same_labels(summaries, "statistic") if name not in (PLATEAU, *CHANCES.values())]
    time = time_axis(summaries)
    figure = blank(_width(len(values)), 0.7 + 1.05 * len(names))
    axes = grid(figure, len(names), len(values), sharex="col", sharey=False)
    for at, ((name, data), look) in enumerate(zip(summaries.items(), _looks(len(values), first), strict=True)):
        column = [row[at] for row in axes]
        for ax, what in zip(column, names, strict=True):
            _one_course(ax, time.at[name], values[name].sel(statistic=what), data.sel(statistic=what), look)
            _shade_plateaus(ax, time.at[name], data)
            if (chance := CHANCES.get(what)) in data["statistic"]:
                mean = data["mean"].sel(statistic=chance).values
                ax.plot(time.at[name], mean, color=INK, linestyle=(0, (2, 2)), linewidth=0.8, zorder=3, gid="chance")
        column[0].set_title(wrapped(f"{name} ({n_of(data.sel(statistic=names))})", width=_letters(len(values))))
        scale_time(column[-1], time, scale=time_scale or scale_of(time))
    for row, what in zip(axes, names, strict=True):
        _scale_statistic(row, what, [data.sel(statistic=what) for data in summaries.values()])
    figure.align_ylabels([row[0] for row in axes])
    note(figure, _course_note(values, summaries))
    return figure


@styled
def feature_events(
    values: Mapping[str, xr.Dataset],
    summaries: Mapping[str, xr.Dataset],
    *,
    first: int = 0,
    time_scale: Scale | None = None,
) -> Figure:
    """Draw when each feature enters (top) and merges (bottom): a column per condition, a horizontal line per feature.

    A feature enters at the step from which it is represented until the end. It merges at the step from which it shares
    a direction with another feature until the end. Dots are seeds. A marker is the median over the seeds in which the
    event happens, and the number at the right is the percentage of these seeds.

    Parameters
    ----------
    values : mapping of str to Dataset (seed, feature)
        For each condition, the variables `entry_step` and `merge_step` of each seed, NaN if the event does not happen.
        The coord `step` has all recorded steps. The x axis is the coord `epoch(step)` if all conditions have it, else
        `step`. Features are drawn in the given order.
    summaries : mapping of str to Dataset (feature)
        For the same conditions, the medians over seeds `entry_step` and `merge_step`; the shares of seeds in which the
        events happen, `represented` and `merged`, from 0 to 1; and the counts of seeds used and excluded, `n_seeds` and
        `n_excluded`.
    first : int, default 0
        How many looks (colours and markers) to skip. If several figures share the conditions of an experiment, give the
        number of conditions in the figures before this one, so that no two conditions look the same.
    time_scale : "linear" or "log", optional
        The scale of the x axis. The default is "log" if the snapshots of any condition are spaced by ratios, and
        "linear" otherwise.

    Returns
    -------
    Figure
        Two panels per condition.

    Raises
    ------
    UsageError
        If there are no conditions, the arguments differ in their conditions, a dim is missing or not drawn, or the
        scale is unknown.

    Examples
    --------
    >>> from xarray import Dataset
    >>> from toysup.analysis import figures
    >>> steps = {name: (["seed", "feature"], [[0.0, 390.0]]) for name in ("entry_step", "merge_step")}
    >>> values, n = {"fixed": Dataset(steps, {"step": [0, 390, 780]})}, {"n_seeds": 1, "n_excluded": 0}
    >>> len(figures.feature_events(values, {"fixed": values["fixed"].median("seed").assign(n)}).axes)
    2
    """
    same_conditions(values, summaries)
    if not values:
        raise UsageError("no conditions were given: there is nothing to draw")
    time = time_axis(values)
    most = max(data.sizes["feature"] for data in values.values())
    figure = blank(_width(len(values)), 0.75 + 2 * float(np.clip(0.115 * most, 1.25, 3.4)))
    # Room between the percentages of one column and the feature names of the next.
    figure.get_layout_engine().set(w_pad=0.07)  # type: ignore[union-attr, call-arg]
    axes = grid(figure, len(EVENTS), len(values), sharex="col", sharey=False)
    for at, ((name, data), look) in enumerate(zip(values.items(), _looks(len(values), first), strict=True)):
        steps = np.asarray(data["step"].values, dtype=float)
        for row, (event, share) in zip(axes, EVENTS.items(), strict=True):
            dots = arranged(data[event], "seed", "feature", what=f"{event} of {name!r}")
            # np.interp keeps NaN, and matplotlib draws no dot for it.
            on_axis = dots.copy(data=np.interp(dots.values, steps, time.at[name]))
            medians = np.interp(summaries[name][event].values, steps, time.at[name])
            _feature_lines(row[at], on_axis, medians, look)
            if data.sizes["seed"] > 1:
                _percentages(row[at], summaries[name][share].values)
        title = wrapped(f"{name} ({n_of(summaries[name])})", width=_letters(len(values)))
        axes[0][at].set_title(title, pad=9)
        # The x axis shows the whole training, even if no event happens late in it.
        axes[-1][at].set_xlim(*(time.at[name][[0, -1]] + np.array([-0.04, 0.04]) * np.ptp(time.at[name])))
        scale_time(axes[-1][at], time, scale=time_scale or scale_of(time))
    _name_features(axes, [labels_of(data, "feature") for data in values.values()])
    for row, verb in zip(axes, ("enters", "merges"), strict=True):
        row[0].set_ylabel(f"feature that {verb}")
    several = max(data.sizes["seed"] for data in values.values()) > 1
    note(figure, f"{_EVENTS_MEANING} {_EVENTS_MARKS if several else 'One seed.'}")
    return figure


def _width(columns: int) -> float:
    return SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN


def _letters(columns: int) -> int:
    return 44 if columns == 1 else 100 // columns


def _looks(count: int, first: int) -> list[Look]:
    return looks(first + count)[first:]


def _one_course(ax: Axes, at: NDArray[np.float64], seeds: xr.DataArray, summary: xr.Dataset, look: Look) -> None:
    positive = statistic(str(seeds["statistic"].item())).log
    shown = seeds.where(seeds > 0) if positive else seeds
    ax.plot(at, shown.values.T, color=look.colour, linewidth=0.5, alpha=0.45, zorder=2, gid="seeds")
    # On a log axis, an interval that reaches below 0 is cut off at the lower end of the axis.
    drawn = summary.where(~(summary["mean"] <= 0)) if positive else summary
    line(ax, at, drawn, look=look._replace(line="-"), label="mean", every=max(1, len(at) // 12))


def _shade_plateaus(ax: Axes, at: NDArray[np.float64], data: xr.Dataset) -> None:
    if PLATEAU not in data["statistic"]:
        return
    still = data["mean"].sel(statistic=PLATEAU).values >= 0.5
    for on, members in groupby(range(len(at)), key=lambda place: bool(still[place])):
        places = list(members)
        if on and len(places) > 1:
            ax.axvspan(at[places[0]], at[places[-1]], color=_SHADE, linewidth=0, zorder=0, gid=PLATEAU)


def _scale_statistic(row: list[Axes], name: str, summaries: list[xr.Dataset]) -> None:
    """Scale the y axes of a row. Counts share one axis; each loss has its own, so that its course fills the panel."""
    row[0].set_ylabel(wrapped(statistic(name).label, width=20))
    for ax, data in zip(row, summaries, strict=True):
        if statistic(name).log:
            means = data["mean"].values
            scale_values(ax, means[means > 0], along="y", log=True)
        elif ax is not row[0]:
            ax.sharey(row[0])
            ax.tick_params(labelleft=False)
    if not statistic(name).log:
        row[0].autoscale(axis="y")
        drawn = np.concatenate([np.ravel(data[part].values) for data in summaries for part in ("mean", "ci_low")])
        show_constant(row[0], drawn[np.isfinite(drawn)], along="y")
        row[0].yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _course_note(values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> str:
    count = max(array.sizes["seed"] for array in values.values())
    shaded = interval_of(summaries.values(), drawn_as="Shaded")
    several = f"Thick lines: mean over seeds.{shaded} Thin lines: the first {count} seeds."
    lines = several if count > 1 else "Lines: one seed."
    still = any(
        PLATEAU in data["statistic"] and (data["mean"].sel(statistic=PLATEAU) >= 0.5).any()
        for data in summaries.values()
    )
    if any(set(CHANCES.values()) & set(data["statistic"].values.tolist()) for data in summaries.values()):
        lines += " Dashed: pairs that as many random directions would share."
    whose = "at least half of the seeds are" if count > 1 else "the seed is"
    return f"{lines} Grey: steps at which {whose} on a plateau of the loss." if still else lines


def _feature_lines(ax: Axes, seeds: xr.DataArray, medians: NDArray[np.float64], look: Look) -> None:
    """Draw a horizontal line per feature: a dot per seed, and a marker at the median."""
    n = seeds.sizes["feature"]
    seed_dots(ax, seeds.values, range(n), look=look, along="x", width=0.7)
    style: dict[str, Any] = {
        "color": look.colour,
        "marker": look.marker,
        "edgecolors": INK,
        "linewidths": 0.5,
        "gid": "medians",
    }
    ax.scatter(medians, range(n), s=9, zorder=4, **style)
    ax.tick_params(axis="y", length=0, labelsize=_SMALL)
    ax.set_ylim(n - 0.4, -0.6)
    ax.grid(axis="x")


def _named_lines(n: int) -> range:
    """The positions of the features whose names are written: all, or one at each regular distance."""
    return range(0, n, next(step for step in (1, 2, 5, 10, 20, 50, 100, n) if n <= 24 * step))


def _percentages(ax: Axes, shares: NDArray[np.float64]) -> None:
    place: dict[str, Any] = {
        "xytext": (2, 0),
        "textcoords": "offset points",
        "size": _SMALL,
        "color": INK,
        "va": "center",
    }
    for at in _named_lines(len(shares)):
        if np.isfinite(shares[at]):
            ax.annotate(f"{100 * shares[at]:.0f}", (1, at), xycoords=ax.get_yaxis_transform(), **place)
    ax.annotate("%", (1, 1), xycoords="axes fraction", **{**place, "xytext": (2, 2), "va": "bottom"})


def _name_features(axes: list[list[Axes]], labels: list[list[object]]) -> None:
    """Write the names of the features at the left of a column, unless the column before it has the same names."""
    for at, names in enumerate(labels):
        shown = _named_lines(len(names))
        for row in axes:
            row[at].set_yticks(shown, [str(names[place]) for place in shown])
            row[at].tick_params(labelleft=at == 0 or names != labels[at - 1])
