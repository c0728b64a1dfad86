"""Conditions as horizontal lines of a panel, one below the other, so that their names are horizontal too."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from toysup.analysis.figures._marks import means, seed_dots
from toysup.analysis.figures._text import interval_of, n_of, wrapped
from toysup.analysis.figures.style import FAINT, Look, looks

LINE_HEIGHT = 0.24
"""The height of one condition's line, in inches."""

_NAME_WIDTH = 24
_BAND = 0.8


def condition_lines(ax: Axes, values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> None:
    """Draw each condition on its own line, the first at the top."""
    for at, (name, look) in enumerate(zip(values, looks(len(values)), strict=True)):
        condition_line(ax, at, values[name], summaries[name], look)
    frame_lines(ax)


def condition_line(ax: Axes, at: int, values: xr.DataArray, summary: xr.Dataset, look: Look) -> None:
    """Draw one condition's dots, mean and interval along x, at the height `at`."""
    seed_dots(ax, values.values, at, look=look, along="x", width=0.55)
    means(ax, summary, at, look=look, along="x")


def null_band(ax: Axes, at: int, null: xr.Dataset) -> None:
    """Draw one condition's null behind its line: a band from `null_low` to `null_high`, a tick at `null_mean`."""
    mean, low, high = (float(null[name]) for name in ("null_mean", "null_low", "null_high"))
    if np.isfinite([mean, low, high]).all():
        ends = at - _BAND / 2, at + _BAND / 2
        ax.fill_betweenx(ends, low, high, color="#DDDDDD", linewidth=0, zorder=1, gid="null")
        ax.vlines(mean, *ends, color=FAINT, linewidth=0.9, zorder=1.5, gid="null mean")


def frame_lines(ax: Axes) -> None:
    """Draw guides across the value axis, and no tick marks at the names."""
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)


def name_lines(ax: Axes, summaries: Mapping[str, xr.Dataset]) -> None:
    """Write the conditions' names on the y axis, the first at the top; with n if conditions differ in n."""
    names = _names(summaries)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def lines_high(summaries: Mapping[str, xr.Dataset]) -> float:
    """The height of all lines in inches. All have the same height, that of the name with the most lines of text."""
    most = max(1 + name.count("\n") for name in _names(summaries))
    return len(summaries) * max(LINE_HEIGHT, 0.13 * most + 0.05)


def _names(summaries: Mapping[str, xr.Dataset]) -> list[str]:
    same = _same_n(summaries)
    names = [name if same else f"{name} ({n_of(data)})" for name, data in summaries.items()]
    return [wrapped(name, width=_NAME_WIDTH) for name in names]


def key(summaries: Mapping[str, xr.Dataset]) -> str:
    """The caption of dots, markers and bars; with n if all conditions have the same n."""
    same = _same_n(summaries)
    each = f"{same} per condition. " if same else ""
    return f"{each}Dots: seeds. Markers: mean over seeds.{interval_of(summaries.values(), drawn_as='Bars')}"


def _same_n(summaries: Mapping[str, xr.Dataset]) -> str | None:
    counts = {n_of(data) for data in summaries.values()}
    return counts.pop() if len(counts) == 1 else None
