"""Interference between subsets, in panels that are laid out like the quadrants of the Gram matrix."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toysup.analysis.figures._conditions import condition_line, frame_lines, key, lines_high, name_lines, null_band
from toysup.analysis.figures._features import features_by_condition
from toysup.analysis.figures._inputs import all_summaries, all_values, arranged, same_conditions
from toysup.analysis.figures._panels import TALLEST, blank, grid
from toysup.analysis.figures._scale import from_zero
from toysup.analysis.figures._statistics import statistic as named
from toysup.analysis.figures._subsets import labels_of
from toysup.analysis.figures._text import interval_of, note
from toysup.analysis.figures.style import DOUBLE_COLUMN, SINGLE_COLUMN, looks, styled

_NULL = (
    " Grey: null, the central 95% of means if exchangeable features swap their subsets at random."
    " Tick: mean of the null."
)
_NO_NULL = " Conditions without grey have no exact null."


@styled
def quadrant_interference(
    values: Mapping[str, xr.DataArray],
    summaries: Mapping[str, xr.Dataset],
    nulls: Mapping[str, xr.Dataset] | None = None,
    *,
    statistic: str,
) -> Figure:
    """Draw a statistic of the quadrants of G: a dot per seed, the mean with its interval.

    Panels are laid out like G: rows are the subset of output i, columns the subset of input j. All panels share their
    axes. In each panel each condition has a horizontal line, which is empty if the condition lacks the quadrant.

    Parameters
    ----------
    values : mapping of str to DataArray (seed, subset, other_subset)
        For each condition, the statistic of each seed, dimensionless, as `toysup.analysis.quadrant_interference`
        computes it.
    summaries : mapping of str to Dataset (subset, other_subset)
        For the same conditions, the summaries over seeds that `toysup.analysis.over_seeds` returns.
    nulls : mapping of str to Dataset (subset, other_subset), optional
        For some of the conditions, the null of the mean over seeds, as `toysup.analysis.pooled_quadrant_null` returns
        it. A grey band behind the dots reaches from `null_low` to `null_high`, with a tick at `null_mean`. There is no
        band if these are NaN. By default there are no nulls.
    statistic : str
        The name of the statistic, such as "energy" or "interfering_fraction", which names the axis.

    Returns
    -------
    Figure
        One panel per quadrant.

    Raises
    ------
    UsageError
        If there are no conditions, `values` and `summaries` differ in their conditions, a dim is missing or not drawn,
        or a summary lacks a variable.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> W = open_example("conditional-importance")["conditional-importance/anticorrelated"]["W"].isel(step=-1)
    >>> energy = analysis.quadrant_interference(W)["energy"]
    >>> summary = analysis.over_seeds(energy)
    >>> len(analysis.figures.quadrant_interference({"anti": energy}, {"anti": summary}, statistic="energy").axes)
    4
    """
    same_conditions(values, summaries)
    nulls = {name: arranged(data, "subset", "other_subset", what="null") for name, data in (nulls or {}).items()}
    values = all_values(values, "seed", "subset", "other_subset")
    summaries = all_summaries(summaries, "subset", "other_subset")
    rows, columns = (_union(values, dim) for dim in ("subset", "other_subset"))
    width = SINGLE_COLUMN if len(columns) == 1 else DOUBLE_COLUMN
    figure = blank(width, min(TALLEST, 0.65 + len(rows) * (0.28 + lines_high(summaries))))
    axes = grid(figure, len(rows), len(columns))
    for row, subset in zip(axes, rows, strict=True):
        for ax, other in zip(row, columns, strict=True):
            _quadrant(ax, values, summaries, nulls, subset, other)
            if len(rows) * len(columns) > 1:
                ax.set_title(_quadrant_name(subset, other, letters=84 // len(columns)))
    name_lines(axes[0][0], summaries)
    _label_axis(axes, statistic)
    known = [bool(np.isfinite(data["null_mean"]).any()) for data in nulls.values()]
    note(figure, key(summaries) + _NULL * any(known) + _NO_NULL * (any(known) and not all(known)))
    return figure


@styled
def feature_interference(values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the interference that every feature meets: a dot per seed, the mean with its interval.

    Each condition has a panel. Features are grouped by subset, with a line between subsets.

    Parameters
    ----------
    values : mapping of str to DataArray (seed, feature)
        For each condition, the interference of each seed, dimensionless, as `toysup.analysis.feature_interference`
        computes it. Features are in one subset if there is no coord `subset(feature)`.
    summaries : mapping of str to Dataset (feature)
        For the same conditions, the summaries over seeds that `toysup.analysis.over_seeds` returns.

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
    >>> met = analysis.feature_interference(W)
    >>> with analysis.figures.style():
    ...     len(analysis.figures.feature_interference({"fixed": met}, {"fixed": analysis.over_seeds(met)}).axes)
    1
    """
    label = "interference met by feature i"
    figure = features_by_condition(values, summaries, label=label, frame=lambda ax, _: ax.grid(axis="y"))
    from_zero(figure.axes[0], along="y")
    bars = interval_of(summaries.values(), drawn_as="Bars")
    note(figure, f"Interference: Σ (Ŵᵢ·Wⱼ)² over j ≠ i, dimensionless. Dots: seeds. Markers: mean over seeds.{bars}")
    return figure


def _union(values: Mapping[str, xr.DataArray], dim: str) -> list[str]:
    return list(dict.fromkeys(str(label) for array in values.values() for label in labels_of(array, dim)))


def _quadrant_name(subset: str, other: str, *, letters: int) -> str:
    between = " " if len(subset + other) + 12 <= letters else "\n"
    return f"i in {subset},{between}j in {other}"


def _quadrant(
    ax: Axes,
    values: Mapping[str, xr.DataArray],
    summaries: Mapping[str, xr.Dataset],
    nulls: Mapping[str, xr.Dataset],
    subset: str,
    other: str,
) -> None:
    cell = {"subset": subset, "other_subset": other}
    for at, (name, look) in enumerate(zip(values, looks(len(values)), strict=True)):
        if all(label in values[name][dim].values for dim, label in cell.items()):
            if name in nulls:
                null_band(ax, at, nulls[name].sel(cell))
            condition_line(ax, at, values[name].sel(cell), summaries[name].sel(cell), look)
    frame_lines(ax)


def _label_axis(axes: list[list[Axes]], statistic: str) -> None:
    """Start the x axis at 0 if no value is negative. Name the statistic once, or under both of two columns."""
    if all(ax.dataLim.x0 >= 0 for row in axes for ax in row):
        from_zero(axes[0][0], along="x")
    last = axes[-1]
    for ax in last if len(last) < 3 else [last[len(last) // 2]]:
        ax.set_xlabel(named(statistic).label)
