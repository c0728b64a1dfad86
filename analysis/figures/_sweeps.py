"""Statistics along the axes of a sweep: lines over one axis, maps over two."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from toysup.analysis.figures._inputs import Summaries, all_summaries, by_name, same_labels, swept
from toysup.analysis.figures._legend import legend_above
from toysup.analysis.figures._marks import line
from toysup.analysis.figures._panels import blank, flow
from toysup.analysis.figures._scale import above_rounding, constant, far_apart, scale_sweep, scale_values
from toysup.analysis.figures._statistics import meanings, statistic
from toysup.analysis.figures._text import interval_of, n_of, note, text_width, wrapped
from toysup.analysis.figures.style import DOUBLE_COLUMN, INK, SINGLE_COLUMN, looks, styled

_NAMES = {
    "feature_probability": "feature probability $p$",
    "outside_probability": "outside probability λ",
    "outside_importance": "outside importance μ",
    "importance_decay": "importance decay",
    "group_correlation": "correlation ρ within a group",
}
_MOST_LINES = 3
_MOST_MAPS = 2
_CELL_SIZE = 6.0
# The width of the colour bar and the labels of a map, in inches.
_BESIDE_MAP = 0.8


@styled
def along_sweep(summaries: Summaries) -> Figure:
    """Draw the means of statistics along one sweep axis: a panel per statistic, a line per condition.

    The interval of the mean is shaded. The x axis is logarithmic if the values of the sweep are spaced by ratios. The y
    axis of a loss is logarithmic if its values lie far apart; it then ends a little below 0, where an interval that
    reaches further down is cut off.

    Parameters
    ----------
    summaries : mapping of str to Dataset (statistic, sweep axis), or one such Dataset
        For each condition, the summary over seeds that `toysup.analysis.over_seeds` returns, in the units of the
        statistics. The labels of `statistic`, such as "loss" or "represented", name the y axes. `statistic` may be a
        scalar coord. The sweep axis is the one other dim, such as `feature_probability`.

    Returns
    -------
    Figure
        One panel per statistic, at most three in a row.

    Raises
    ------
    UsageError
        If there are no conditions, a condition has no sweep axis or several, conditions differ in their sweep axis or
        statistics, or a summary lacks a variable.

    Examples
    --------
    >>> from xarray import DataArray
    >>> from toysup.analysis import figures, over_seeds
    >>> count = DataArray([[9, 8, 6], [9, 7, 6]], {"statistic": "represented", "p": [0.1, 0.2, 0.4]}, ["seed", "p"])
    >>> with figures.style():
    ...     figures.along_sweep({"fixed": over_seeds(count)}).axes[0].get_ylabel()
    'represented features'
    """
    summaries = by_name(summaries, what="summaries")
    first = next(iter(summaries), None)
    (axis,) = swept(summaries[first], 1, what=f"summary of {first!r}") if first is not None else ("",)
    summaries = all_summaries(summaries, "statistic", axis)
    names = same_labels(summaries, "statistic")
    columns = min(len(names), _MOST_LINES)
    rows, width = -(-len(names) // columns), SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN
    figure = blank(width, 0.5 + rows * (2.2 if columns == 1 else 1.7))
    axes = flow(figure, len(names), columns=columns, sharey=False)
    for ax, name in zip(axes, names, strict=True):
        _lines(ax, {key: data.sel(statistic=name) for key, data in summaries.items()}, axis)
        scale_sweep(ax, np.concatenate([data[axis].values for data in summaries.values()]))
        drawn = [data.sel(statistic=name)[part].values for data in summaries.values() for part in ("mean", "ci_low")]
        scale_values(ax, np.concatenate(drawn), along="y", log=statistic(name).log)
        ax.set(xlabel=_axis_name(axis), ylabel=wrapped(statistic(name).label, width=32))
    legend_above(figure, *axes[0].get_legend_handles_labels())
    shaded = interval_of(summaries.values(), drawn_as="Shaded")
    note(figure, f"{meanings(names)} Lines: mean over seeds.{shaded}".strip())
    return figure


@styled
def sweep_map(summaries: Summaries) -> Figure:
    """Draw the means of statistics over two sweep axes: a map per condition and statistic, a cell per pair of values.

    The mean is written in its cell if all numbers of the map fit. Losses that lie far apart have a logarithmic colour
    scale, on which a loss of 0 up to rounding has the darkest colour. A cell whose mean is NaN is grey. Means that
    differ only by rounding have one colour.

    Parameters
    ----------
    summaries : mapping of str to Dataset (statistic, sweep axis, another sweep axis), or one such Dataset
        For each condition, the summary over seeds that `toysup.analysis.over_seeds` returns, in the units of the
        statistics. The labels of `statistic` name the colour bars; `statistic` may be a scalar coord. The first sweep
        axis is drawn along x, the second along y.

    Returns
    -------
    Figure
        One map and one colour bar per condition and statistic, at most two maps in a row.

    Raises
    ------
    UsageError
        If there are no conditions, a summary lacks a variable or does not have two sweep axes, or conditions differ in
        their sweep axes or statistics.

    Examples
    --------
    >>> from xarray import DataArray
    >>> from toysup.analysis import figures, over_seeds
    >>> count = DataArray([[[9, 8], [7, 6]], [[9, 9], [7, 5]]], {"statistic": "represented"}, ["seed", "p", "decay"])
    >>> with figures.style():
    ...     figures.sweep_map({"fixed": over_seeds(count)}).axes[0].get_xlabel()
    'p'
    """
    summaries = by_name(summaries, what="summaries")
    first = next(iter(summaries), None)
    x, y = swept(summaries[first], 2, what=f"summary of {first!r}") if first is not None else ("", "")
    summaries = all_summaries(summaries, "statistic", y, x)
    names = same_labels(summaries, "statistic")
    maps = [(condition, name) for condition in summaries for name in names]
    columns = min(len(maps), _MOST_MAPS)
    rows, width = -(-len(maps) // columns), SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN
    high = float(np.clip(0.24 * max(data.sizes[y] for data in summaries.values()), 0.9, 2.4))
    figure = blank(width, 0.35 + rows * (0.5 + high + 0.2 * (len(summaries) > 1)))
    for at, (ax, (condition, name)) in enumerate(zip(flow(figure, len(maps), columns=columns), maps, strict=True)):
        data = summaries[condition].sel(statistic=name)
        room = (width / columns - _BESIDE_MAP) * 72 / data.sizes[x]
        tall = high * 72 / data.sizes[y]
        means = np.asarray(data["mean"].values, dtype=float)
        picture = _map(ax, means, log=statistic(name).log)
        _number_cells(ax, means, picture, room=room if tall > 1.2 * _CELL_SIZE else 0)
        bar = figure.colorbar(picture, ax=ax, aspect=12, pad=0.02)
        bar.set_label(wrapped(statistic(name).label, width=int(high * 72 / 4.2) + 8))
        bar.outline.set_linewidth(0.6)
        _name_cells(ax, data[x].values, data[y].values, room=room, tall=tall)
        ax.set(xlabel=_axis_name(x), ylabel=_axis_name(y) if at % columns == 0 else "")
        if len(summaries) > 1:
            ax.set_title(wrapped(condition, width=40 if columns > 1 else 44))
    counts = " and ".join(dict.fromkeys(map(n_of, summaries.values())))
    in_modes = any("mode" in data.sizes for data in summaries.values())
    grey = " Grey: seeds lie in several modes, and have no common mean." if in_modes else ""
    note(figure, f"{meanings(names)} Means over seeds ({counts}).{grey}".strip())
    return figure


def _axis_name(key: str) -> str:
    return _NAMES.get(key, key.replace("_", " "))


def _lines(ax: Axes, summaries: Mapping[str, xr.Dataset], axis: str) -> None:
    for (name, data), look in zip(summaries.items(), looks(len(summaries)), strict=True):
        rising = data.sortby(axis)
        line(ax, rising[axis].values, rising, look=look, label=f"{name} ({n_of(data)})".strip())
    ax.grid(axis="y")


def _map(ax: Axes, means: NDArray[Any], *, log: bool) -> AxesImage:
    known = means[np.isfinite(means)]
    above = above_rounding(known)
    if log and far_apart(above):
        norm: Normalize = LogNorm(float(above.min()), float(above.max()), clip=True)
    else:
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        # Values that differ only by rounding have one colour.
        norm = Normalize(low, high) if high > low and not constant(known) else Normalize(low, low + max(1.0, abs(low)))
    ax.set_facecolor("#dddddd")
    ax.spines[["top", "right"]].set_visible(True)
    return ax.imshow(np.ma.masked_invalid(means), cmap="viridis", norm=norm, origin="lower", aspect="auto")


def _number_cells(ax: Axes, means: NDArray[Any], picture: AxesImage, *, room: float) -> None:
    """Write the number of each cell, with the most digits (up to 3) that fit in every cell; none if not even 1 fits."""
    known = np.isfinite(means)
    cells = np.argwhere(known)
    for digits in (3, 2, 1):
        texts = _texts(means[known], digits, log=isinstance(picture.norm, LogNorm))
        if all(text_width(text, size=_CELL_SIZE) + 2 <= room for text in texts):
            break
    else:
        return
    for (row, column), text in zip(cells, texts, strict=True):
        red, green, blue, _ = picture.to_rgba(means[row : row + 1, column])[0]
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        ax.text(column, row, text, size=_CELL_SIZE, ha="center", va="center", color="white" if dark else INK)


def _texts(values: NDArray[Any], digits: int, *, log: bool) -> list[str]:
    """Numbers with `digits` significant digits each on a log scale; else all with the decimals of the largest."""
    if not log:
        largest = float(np.abs(values).max(initial=0)) or 1.0
        places = digits - 1 - int(np.floor(np.log10(largest)))
        return [f"{round(value, places):.{max(0, places)}f}" for value in values.tolist()]
    smallest = float(above_rounding(values).min())
    return ["0" if value < smallest else _short(value, digits) for value in values.tolist()]


def _short(value: float, digits: int) -> str:
    text = f"{value:#.{digits}g}".rstrip(".")
    if value >= 1e-3 and "e" not in text:
        return text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _name_cells(ax: Axes, x: NDArray[Any], y: NDArray[Any], *, room: float, tall: float) -> None:
    """Label the cells, of `room` × `tall` points, with the sweep's values; skip some if there is no room for all."""
    along_x, along_y = ([f"{value:.3g}" for value in values] for values in (x, y))
    widest = max(text_width(label + " ", size=7) for label in along_x)
    for labels, size, cell, name in ((along_x, widest, room, ax.set_xticks), (along_y, 9, tall, ax.set_yticks)):
        every = int(np.ceil(size / cell))
        name(range(0, len(labels), every), labels[::every])
    ax.tick_params(length=0)
