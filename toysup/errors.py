"""What toysup raises when an input or the work itself is wrong: one line that a user can act on."""

from collections.abc import Iterable
from difflib import get_close_matches


class ToysupError(Exception):
    """The work or the data failed; the message is one line. Commands print it and exit with 1."""

    exit_code = 1


class UsageError(ToysupError, ValueError):
    """The caller asked for something that cannot be; the message says what would be right. Commands exit with 2.

    It is a ValueError too, as wrong arguments raise everywhere else. Within a validator of pydantic it is one of its
    complaints, so whatever catches ValueError around calls of toysup's own has to let it through.
    """

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is not known: the nearest ones, or else all of them."""
    known = sorted(known)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known) or 'none'}"
