"""The look that all figures share: sheet, page sizes, and what tells one condition from another."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import matplotlib.style

SINGLE_COLUMN = 3.4
"""Width of a figure in one column of a journal, in inches."""
DOUBLE_COLUMN = 7.0
"""Width of a figure across the page, in inches."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA3377", "#E69F00", "#56B4E9", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = ("-", "--", "-.", ":")
INK = "#222222"
FAINT = "#999999"

_SHEET = Path(__file__).with_name("toysup.mplstyle")


class Look(NamedTuple):
    """How one condition is drawn: its colour, and the marker and line that tell it apart in grey."""

    colour: str
    marker: str
    line: str


@contextmanager
def style() -> Iterator[None]:
    """Draw and save with toysup's style sheet; what was set before comes back at the end.

    Save inside the context too: how fonts are embedded is decided when the file is written. Settings made inside
    it win, so `matplotlib.rc_context({"font.sans-serif": ["Arial", "DejaVu Sans"]})` within it changes the typeface;
    DejaVu Sans then has the subscripts, which few typefaces have.
    """
    with matplotlib.style.context(_SHEET):
        yield


def looks(n_conditions: int) -> list[Look]:
    """The looks of that many conditions, by their order, so that one condition looks the same in every figure."""
    # The cycles have lengths 7, 8 and 4: looks repeat only after 56 conditions.
    return list(islice(map(Look, cycle(COLOURS), cycle(MARKERS), cycle(LINES)), n_conditions))
