"""Feature dimensionality: of each feature at one step, and along training."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from toysup.analysis.figures._inputs import all_summaries, all_values, same_conditions
from toysup.analysis.figures._marks import means, seed_dots
from toysup.analysis.figures._panels import blank, flow, grid
from toysup.analysis.figures._subsets import Block, by_subset, labels_of
from toysup.analysis.figures._text import fitted, interval_of, n_of, note, wrapped
from toysup.analysis.figures._time import Scale, scale_of, scale_time, time_axis
from toysup.analysis.figures.style import DOUBLE_COLUMN, FAINT, INK, SINGLE_COLUMN, looks

FIRST_LAST = LinearSegmentedColormap.from_list("toysup_first_last", colormaps["viridis"](np.linspace(0, 0.9, 256)))
"""From the first feature of a subset (dark) to its last (light), so that a greyscale print keeps the order."""

_SMALL = 6.5
_LABEL = "dimensionality Dᵢ"
_MEANING = "Dᵢ: dimensionality of feature i, dimensionless."


def feature_dimensionality(values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the dimensionality D_i of every feature: a dot per seed, the mean with its interval.

    Each condition has a panel. Features are grouped by subset, with a line between subsets.

    Parameters
    ----------
    values : mapping of str to DataArray (seed, feature)
        For each condition, D of each seed, dimensionless, from 0 to 1. Features are in one subset if there is no coord
        `subset(feature)`.
    summaries : mapping of str to Dataset (feature)
        For the same conditions, the summaries over seeds that `toysup.analysis.over_seeds` returns.

    Returns
    -------
    Figure
        One panel per condition, two in a row, or one if a condition has more than 50 features.

    Raises
    ------
    UsageError
        If there are no conditions, the arguments differ in their conditions, a dim is missing or not drawn, or a
        summary lacks a variable.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> W = open_example("conditional-importance")["conditional-importance/fixed"]["W"].isel(step=-1)
    >>> D = analysis.feature_dimensionality(W)
    >>> with analysis.figures.style():
    ...     len(analysis.figures.feature_dimensionality({"fixed": D}, {"fixed": analysis.over_seeds(D)}).axes)
    1
    """
    same_conditions(values, summaries)
    values, summaries = all_values(values, "seed", "feature"), all_summaries(summaries, "feature")
    figure, axes = _condition_panels(len(values), most=max(array.sizes["feature"] for array in values.values()))
    for ax, (name, array), look in zip(axes, values.items(), looks(len(values)), strict=True):
        order, blocks = _blocks(array)
        x = np.concatenate([np.arange(b.start, b.stop) + gap for gap, b in enumerate(blocks)]).astype(float)
        for position, at in zip(x, order, strict=True):
            seed_dots(ax, array.values[:, at], position, look=look, along="y", width=0.5)
        size = float(np.clip(250 / len(order), 3, 12))
        means(ax, summaries[name].isel(feature=order), x, look=look, along="y", size=size)
        _name_features(ax, x, [labels_of(array, "feature")[at] for at in order])
        _frame(ax, f"{name} ({n_of(summaries[name])})", pad=11 if len(blocks) > 1 else None)
        _name_subsets(ax, blocks, points=figure.get_figwidth() * 72 / min(len(axes), 2) - 30)
    figure.supylabel(_LABEL)
    note(figure, f"{_MEANING} Dots: seeds. Markers: mean over seeds.{interval_of(summaries.values(), drawn_as='Bars')}")
    return figure


def dimensionality_over_training(summaries: Mapping[str, xr.Dataset], *, time_scale: Scale | None = None) -> Figure:
    """Draw the mean dimensionality D_i of every feature along training, with its interval shaded.

    Each condition has a row of panels, one panel for each of its subsets. The colour of a line is the position of the
    feature within its subset.

    Parameters
    ----------
    summaries : mapping of str to Dataset (step, feature)
        For each condition, the summary of D over seeds that `toysup.analysis.over_seeds` returns; dimensionless. The x
        axis is the coord `epoch(step)` if all conditions have it, else `step`. Features are in one subset if there is
        no coord `subset(feature)`.
    time_scale : "linear" or "log", optional
        The scale of the x axis. The default is "log" if the snapshots of any condition are spaced by ratios, and
        "linear" otherwise.

    Returns
    -------
    Figure
        One panel per condition and subset, and a colour bar.

    Raises
    ------
    UsageError
        If there are no conditions, a dim is missing or not drawn, a summary lacks a variable, or the scale is unknown.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> W = open_example("conditional-importance")["conditional-importance/fixed"]["W"]
    >>> D = analysis.over_seeds(analysis.feature_dimensionality(W))
    >>> with analysis.figures.style():
    ...     len(analysis.figures.dimensionality_over_training({"fixed": D}).axes)  # two subsets and a colour bar
    3
    """
    summaries = all_summaries(summaries, "step", "feature")
    time = time_axis(summaries)
    blocks = {name: _blocks(data) for name, data in summaries.items()}
    columns = max(len(of_one) for _, of_one in blocks.values())
    most = max(block.stop - block.start for _, of_one in blocks.values() for block in of_one)
    colours = ScalarMappable(Normalize(1, max(most, 2)), FIRST_LAST)
    figure = blank(
        SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN,
        0.5 + len(summaries) * float(np.clip(8.7 / len(summaries), 0.8, 1.3)),
    )
    axes = grid(figure, len(summaries), columns)
    for row, (name, data) in zip(axes, summaries.items(), strict=True):
        order, of_one = blocks[name]
        for ax, block in zip(row, of_one, strict=False):
            features = data.isel(feature=order[block.start : block.stop])
            _trajectories(ax, time.at[name], features, colours)
            subset = f": {block.subset}" if len(of_one) > 1 else ""
            _frame(ax, f"{name} ({n_of(data)}){subset}", letters=90 // max(columns, 2))
        for ax in row[len(of_one) :]:
            ax.set_axis_off()
    for ax in axes[-1]:
        scale_time(ax, time, scale=time_scale or scale_of(time))
    figure.supylabel(_LABEL)
    bar = figure.colorbar(
        colours, ax=[ax for row in axes for ax in row], aspect=14 * len(axes), label="position in the subset"
    )
    bar.ax.invert_yaxis()
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    note(figure, f"{_MEANING} Lines: mean over seeds.{interval_of(summaries.values(), drawn_as='Shaded')}")
    return figure


def _condition_panels(count: int, *, most: int) -> tuple[Figure, list[Axes]]:
    columns = 1 if count == 1 or most > 50 else 2
    width = SINGLE_COLUMN if count == 1 and most <= 20 else DOUBLE_COLUMN
    figure = blank(width, 0.5 + 1.55 * -(-count // columns))
    return figure, flow(figure, count, columns=columns)


def _frame(ax: Axes, title: str, *, letters: int = 44, pad: float | None = None) -> None:
    ax.set_title(wrapped(title, width=letters), loc="left", pad=pad)
    # Features of an antipodal pair have D = 1/2, so a tick there shows which features share a dimension.
    ax.set_yticks([0, 0.5, 1])
    ax.grid(axis="y")
    ax.set_ylim(-0.06, 1.06)


def _blocks(data: xr.DataArray | xr.Dataset) -> tuple[NDArray[np.intp], list[Block]]:
    return by_subset(data, dim="feature", coord="subset")


def _name_features(ax: Axes, x: NDArray[np.float64], labels: list[object]) -> None:
    step = next(step for step in (1, 5, 10, 20, 50, 100, len(x)) if len(x) <= 12 * step)
    shown = [at for at in range(len(x)) if at == 0 or (at + 1) % step == 0]
    ax.set_xticks(x[shown], [str(labels[at]) for at in shown])
    ax.set_xlim(x[0] - 0.8, x[-1] + 0.8)
    ax.set_xlabel("feature")


def _name_subsets(ax: Axes, blocks: list[Block], *, points: float) -> None:
    """Draw a line between subsets, and write the name of each above its features, cut to the room there is."""
    for gap, block in enumerate(blocks if len(blocks) > 1 else []):
        if gap:
            ax.axvline(block.start + gap - 1, color=FAINT, linewidth=0.6, gid="boundary")
        room = points * (block.stop - block.start) / (blocks[-1].stop + len(blocks))
        ax.annotate(
            fitted(block.subset, room=room, size=_SMALL),
            ((block.start + block.stop - 1) / 2 + gap, 1),
            xytext=(0, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=_SMALL,
            color=INK,
        )


def _trajectories(ax: Axes, time: NDArray[np.float64], features: xr.Dataset, colours: ScalarMappable) -> None:
    # The first features matter most in the sources' regimes: they are drawn last, on top.
    for place in reversed(range(features.sizes["feature"])):
        one = features.isel(feature=place)
        colour = colours.to_rgba(np.asarray(place + 1.0))
        ax.plot(time, one["mean"].values, color=colour, linewidth=0.9)
        ax.fill_between(time, one["ci_low"].values, one["ci_high"].values, color=colour, alpha=0.15, linewidth=0)
