"""Figures made of equal panels. They do not use pyplot, which would keep figures open and choose a backend."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toysup.analysis.figures._styled_figure import StyledFigure

TALLEST = 8.5
"""The height of a page, in inches; more panels than fit stand side by side, or are less high."""

Share = bool | Literal["none", "all", "row", "col"]


def blank(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, with a layout that keeps labels apart and inside the figure."""
    return StyledFigure(figsize=(width, height), layout="constrained")


def grid(figure: Figure, rows: int, columns: int, *, sharex: Share = True, sharey: Share = True) -> list[list[Axes]]:
    """Axes in rows and columns."""
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    return [list(row) for row in axes]


def flow(figure: Figure, count: int, *, columns: int, sharey: Share = True) -> list[Axes]:
    """`count` axes, row by row; the remaining places of the last row stay empty."""
    rows = -(-count // columns)
    axes = [ax for row in grid(figure, rows, columns, sharex=False, sharey=sharey) for ax in row]
    for ax in axes[count:]:
        ax.remove()
    return axes[:count]
