"""The legend of a figure, above its panels and in as many columns as fit."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from toysup.analysis.figures._text import text_width, wrapped

# In units of the font size: the width of a legend entry beside its text (handle and spaces), and the height of a line.
_BESIDE = 5.5
_LINE = 1.5


def legend_above(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Write a legend above the panels, and make the figure higher by the height of the legend."""
    size, room = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points(), figure.get_figwidth() * 72
    longest = max(text_width(name, size=size) for name in names)
    columns = max(1, min(len(names), int(room / (longest + _BESIDE * size))))
    letters = int((room / columns - _BESIDE * size) / text_width("n", size=size))
    labels = [wrapped(name, width=letters) for name in names]
    rows = -(-len(names) // columns)
    high = max(sum(1 + label.count("\n") for label in labels[at : at + rows]) for at in range(0, len(names), rows))
    figure.set_figheight(figure.get_figheight() + high * _LINE * size / 72)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)
