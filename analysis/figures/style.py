"""The look that all figures share: the style sheet, the widths, and the colour, marker and line of each condition."""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

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
_WITHIN: ContextVar[bool] = ContextVar("within", default=False)

P = ParamSpec("P")
Drawing = TypeVar("Drawing")


class Look(NamedTuple):
    """How one condition is drawn. The marker and the line style tell conditions apart in a greyscale print too."""

    colour: str
    marker: str
    line: str


@contextmanager
def style() -> Iterator[None]:
    """A context in which matplotlib uses toysup's style sheet and no other setting of yours.

    The previous settings return at its end. The functions of `toysup.analysis.figures` draw in this style by
    themselves, and a figure keeps the settings with which it was drawn. Use the context to change them: settings that
    you make inside it override the style sheet. For example, `matplotlib.rc_context({"font.sans-serif": ["Arial",
    "DejaVu Sans"]})` inside it changes the typeface to Arial, with the subscripts, which Arial lacks, from DejaVu Sans.

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
    with _settings_of_a_style(lambda: matplotlib.style.context(_SHEET, after_reset=True)):
        yield


def styled(draw: Callable[P, Drawing]) -> Callable[P, Drawing]:
    """`draw`, which draws within `style()` wherever it is called."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Drawing:
        with within_style(style):
            return draw(*args, **kwargs)

    return drawn


@contextmanager
def within_style(settings: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """A context with these settings; within `style()` it changes nothing, as the user may have changed settings."""
    if _WITHIN.get():
        yield
        return
    with _settings_of_a_style(settings):
        yield


@contextmanager
def _settings_of_a_style(settings: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    before = _WITHIN.set(True)
    try:
        with settings():
            yield
    finally:
        _WITHIN.reset(before)


def looks(n_conditions: int) -> list[Look]:
    """One look for each condition, by position, so that a condition looks the same in every figure."""
    # The cycles have lengths 7, 8 and 4: looks repeat only after 56 conditions.
    return list(islice(map(Look, cycle(COLOURS), cycle(MARKERS), cycle(LINES)), n_conditions))
