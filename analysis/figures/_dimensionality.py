"""Feature dimensionality: of each feature at one step, and along training."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from toysup.analysis.figures._features import features_by_condition
from toysup.analysis.figures._inputs import all_summaries
from toysup.analysis.figures._panels import TALLEST, blank, grid
from toysup.analysis.figures._subsets import Block, by_subset
from toysup.analysis.figures._text import interval_of, n_of, note, wrapped
from toysup.analysis.figures._time import Scale, Time, scale_of, scale_time, time_axis
from toysup.analysis.figures.style import DOUBLE_COLUMN, SINGLE_COLUMN, styled

FIRST_LAST = LinearSegmentedColormap.from_list("toysup_first_last", colormaps["viridis"](np.linspace(0, 0.9, 256)))
"""From the first feature of a subset (dark) to its last (light), so that a greyscale print keeps the order."""

# Conditions with a row of their own, and panels that fit side by side.
_MOST_ROWS = 4
_MOST_PANELS = 4
_LABEL = "dimensionality Dᵢ"
_MEANING = "Dᵢ: dimensionality of feature i, dimensionless."
_SORTED = " Features with equal tables are sorted in each seed: the k-th has the k-th largest Dᵢ of that seed."


@styled
def feature_dimensionality(
    values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset], *, ranked: Collection[str] = ()
) -> Figure:
    """Draw the dimensionality D_i of every feature: a dot per seed, the mean with its interval.

    Each condition has a panel. Features are grouped by subset, with a line between subsets.

    Parameters
    ----------
    values : mapping of str to DataArray (seed, feature)
        For each condition, D of each seed, dimensionless, from 0 to 1. Features are in one subset if there is no coord
        `subset(feature)`.
    summaries : mapping of str to Dataset (feature)
        For the same conditions, the summaries over seeds that `toysup.analysis.over_seeds` returns.
    ranked : collection of str
        The conditions in which features with equal tables are sorted within each seed by falling D; the caption says
        so. None by default.

    Returns
    -------
    Figure
        One panel per condition, two in a row, or one if a condition has more than 50 features and there are at most 5.

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

    def frame(ax: Axes, name: str) -> None:
        if name in ranked:
            ax.set_xlabel("feature, sorted by Dᵢ in each seed")
        _dimensionality_axis(ax)

    figure = features_by_condition(values, summaries, label=_LABEL, frame=frame)
    bars = interval_of(summaries.values(), drawn_as="Bars")
    note(figure, f"{_MEANING}{_SORTED * bool(ranked)} Dots: seeds. Markers: mean over seeds.{bars}")
    return figure


@styled
def dimensionality_over_training(
    summaries: Mapping[str, xr.Dataset], *, ranked: Collection[str] = (), time_scale: Scale | None = None
) -> Figure:
    """Draw the mean dimensionality D_i of every feature along training, with its interval shaded.

    Each condition has one panel for each of its subsets. Up to four conditions have a row each; of more conditions,
    several share a row. The colour of a line is the position of the feature within its subset.

    Parameters
    ----------
    summaries : mapping of str to Dataset (step, feature)
        For each condition, the summary of D over seeds that `toysup.analysis.over_seeds` returns; dimensionless. The x
        axis is the coord `epoch(step)` if all conditions have it, else `step`. Features are in one subset if there is
        no coord `subset(feature)`.
    ranked : collection of str
        The conditions in which features with equal tables are sorted within each seed by falling D; the caption says
        so. None by default.
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
    beside = 1 if len(summaries) <= _MOST_ROWS else max(1, _MOST_PANELS // columns)
    figure, axes = _rows(-(-len(summaries) // beside), beside * columns, room=bool(ranked))
    most = max(block.stop - block.start for _, of_one in blocks.values() for block in of_one)
    colours = ScalarMappable(Normalize(1, max(most, 2)), FIRST_LAST)
    places = [row[at * columns : (at + 1) * columns] for row in axes for at in range(beside)]
    for place, (name, data) in zip(places, summaries.items(), strict=False):
        order, of_one = blocks[name]
        for ax, block in zip(place, of_one, strict=False):
            _trajectories(ax, time.at[name], data.isel(feature=order[block.start : block.stop]), colours)
            subset = f": {block.subset}" if len(of_one) > 1 else ""
            title = wrapped(f"{name} ({n_of(data)}){subset}", width=90 // max(beside * columns, 2))
            ax.set_title(title, loc="left")
            _dimensionality_axis(ax)
    _finish_grid(axes, time, time_scale or scale_of(time))
    figure.supylabel(_LABEL)
    label = "rank" if set(ranked) >= set(summaries) else "position or rank" if ranked else "position in the subset"
    _feature_bar(figure, axes, colours, label=label)
    shaded = interval_of(summaries.values(), drawn_as="Shaded")
    note(figure, f"{_MEANING}{_SORTED * bool(ranked)} Lines: mean over seeds.{shaded}")
    return figure


def _rows(rows: int, columns: int, *, room: bool) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of low panels, with room for a longer caption if wanted."""
    longer = (0.35 if columns == 1 else 0.1) * room
    high = rows * float(np.clip((TALLEST - 0.7) / rows, 0.6, 1.3))
    figure = blank(SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN, 0.5 + longer + high)
    return figure, grid(figure, rows, columns)


def _finish_grid(axes: Sequence[Sequence[Axes]], time: Time, scale: Scale) -> None:
    """Hide the panels in which nothing is drawn, and label the time below the lowest panel of each column."""
    for ax in (ax for row in axes for ax in row if not ax.lines):
        ax.set_axis_off()
    for column in zip(*axes, strict=True):
        # Those above share its axis and its tick labels.
        for ax in [ax for ax in column if ax.axison][-1:]:
            scale_time(ax, time, scale=scale)
            ax.tick_params(labelbottom=True)


def _feature_bar(figure: Figure, axes: Sequence[Sequence[Axes]], colours: ScalarMappable, *, label: str) -> None:
    bar = figure.colorbar(colours, ax=[ax for row in axes for ax in row], aspect=14 * len(axes), label=label)
    bar.ax.invert_yaxis()
    bar.ax.yaxis.set_major_locator(MaxNLocator(6 if len(axes) == 1 else "auto", integer=True, min_n_ticks=1))


def _dimensionality_axis(ax: Axes) -> None:
    # Features of an antipodal pair have D = 1/2, so a tick there shows which features share a dimension.
    ax.set_yticks([0, 0.5, 1])
    ax.grid(axis="y")
    ax.set_ylim(-0.06, 1.06)


def _blocks(data: xr.DataArray | xr.Dataset) -> tuple[NDArray[np.intp], list[Block]]:
    return by_subset(data, dim="feature", coord="subset")


def _trajectories(ax: Axes, time: NDArray[np.float64], features: xr.Dataset, colours: ScalarMappable) -> None:
    # The first features matter most in the sources' regimes: they are drawn last, on top.
    for place in reversed(range(features.sizes["feature"])):
        one = features.isel(feature=place)
        colour = colours.to_rgba(np.asarray(place + 1.0))
        ax.plot(time, one["mean"].values, color=colour, linewidth=0.9)
        ax.fill_between(time, one["ci_low"].values, one["ci_high"].values, color=colour, alpha=0.15, linewidth=0)
