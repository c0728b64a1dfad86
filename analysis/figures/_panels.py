"""Figures made of equal panels, without pyplot, so that nothing stays open and no backend is chosen."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Share = bool | Literal["none", "all", "row", "col"]


def blank(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, whose layout keeps labels apart and inside."""
    return Figure(figsize=(width, height), layout="constrained")


def grid(figure: Figure, rows: int, columns: int, *, sharex: Share = True, sharey: Share = True) -> list[list[Axes]]:
    """Axes in rows and columns."""
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    return [list(row) for row in axes]


def flow(figure: Figure, count: int, *, columns: int, sharey: Share = True) -> list[Axes]:
    """That many axes, row by row; what remains of the last row stays empty."""
    rows = -(-count // columns)
    axes = [ax for row in grid(figure, rows, columns, sharex=False, sharey=sharey) for ax in row]
    for ax in axes[count:]:
        ax.remove()
    return axes[:count]
