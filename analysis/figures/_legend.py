"""The legend of a figure, above its panels and in as many columns as fit."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from toysup.analysis.figures._text import text_width, wrapped
from toysup.analysis.figures.style import DOUBLE_COLUMN, SINGLE_COLUMN

# In units of the font size: the width of a legend entry beside its text (handle and spaces), and the height of a line.
_BESIDE = 5.5
_LINE = 1.5
# Names that may stand below one another above the panels, and the letters in a line of a legend beside them.
_MOST_ABOVE = 4
_LETTERS_BESIDE = 34


def legend_above(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Write a legend above the panels, and make the figure higher by the height of the legend.

    If more than four names would stand below one another in a single column, the legend is at the right of the panels
    instead, and the figure is as wide as two columns.
    """
    size, room = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points(), figure.get_figwidth() * 72
    longest = max(text_width(name, size=size) for name in names)
    columns = max(1, min(len(names), int(room / (longest + _BESIDE * size))))
    if columns == 1 and len(names) > _MOST_ABOVE and figure.get_figwidth() <= SINGLE_COLUMN:
        _legend_beside(figure, handles, names, line=_LINE * size / 72)
        return
    letters = int((room / columns - _BESIDE * size) / text_width("n", size=size))
    labels = [wrapped(name, width=letters) for name in names]
    rows = -(-len(names) // columns)
    high = max(sum(1 + label.count("\n") for label in labels[at : at + rows]) for at in range(0, len(names), rows))
    figure.set_figheight(figure.get_figheight() + high * _LINE * size / 72)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def _legend_beside(figure: Figure, handles: Sequence[Artist], names: Sequence[str], *, line: float) -> None:
    labels = [wrapped(name, width=_LETTERS_BESIDE) for name in names]
    high = line * sum(1 + label.count("\n") for label in labels)
    # The caption and the axis label lie below the panels, where the legend has no room.
    figure.set_size_inches(DOUBLE_COLUMN, max(figure.get_figheight(), high + 0.5))
    figure.legend(handles, labels, loc="outside right upper")
