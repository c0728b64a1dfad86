"""The look that all figures share: the style sheet, the widths, and the colour, marker and line of each condition."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import matplotlib.style

SINGLE_COLUMN = 3.4
"""The width of a figure in one column of a journal, in inches."""
DOUBLE_COLUMN = 7.0
"""The width of a figure across the page, in inches."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA3377", "#E69F00", "#56B4E9", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = ("-", "--", "-.", ":")
INK = "#222222"
FAINT = "#999999"

_SHEET = Path(__file__).with_name("toysup.mplstyle")


class Look(NamedTuple):
    """How one condition is drawn. The marker and the line style tell conditions apart in a greyscale print too."""

    colour: str
    marker: str
    line: str


@contextmanager
def style() -> Iterator[None]:
    """A context in which matplotlib uses toysup's style sheet; the previous settings return at its end.

    Draw and save a figure inside the context: matplotlib embeds fonts when it writes the file. Settings that you make
    inside the context override the style sheet. For example, `matplotlib.rc_context({"font.sans-serif": ["Arial",
    "DejaVu Sans"]})` changes the typeface to Arial, with the subscripts, which Arial lacks, from DejaVu Sans.

    Returns
    -------
    context manager
        For a `with` statement; it yields nothing.

    Examples
    --------
    >>> import matplotlib as mpl
    >>> from toysup.analysis import figures
    >>> with figures.style():
    ...     mpl.rcParams["pdf.fonttype"]  # text in a PDF stays text
    42
    """
    with matplotlib.style.context(_SHEET):
        yield


def looks(n_conditions: int) -> list[Look]:
    """One look for each condition, by position, so that a condition looks the same in every figure."""
    # The cycles have lengths 7, 8 and 4: looks repeat only after 56 conditions.
    return list(islice(map(Look, cycle(COLOURS), cycle(MARKERS), cycle(LINES)), n_conditions))
