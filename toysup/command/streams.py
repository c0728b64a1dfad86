"""Standard output and error of the commands: any encoding, and readers that leave early.

A stream whose encoding lacks a letter gets the nearest text in ASCII. A stream that nobody reads any more, such as that
of `toysup-analyze … | head`, takes what is still written to it, so that the command finishes its work.
"""

import codecs
import io
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

import click

_PLAIN = "toysup-plain"
# What has no decomposition into ASCII letters, or one that is read as something else.
_TEXT = {
    "─": "-",
    "━": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "×": "x",
    "·": "*",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "→": "->",
    "∞": "inf",
    "∫": "integral ",
    "‖": "||",
    "√": "sqrt ",
    "Σ": "sum",
    "∈": " in ",
    "ᵀ": "^T",
    "²": "^2",
    "³": "^3",
    "°": " degrees",
    "±": "+-",
    "“": '"',
    "”": '"',
    "’": "'",
    "α": "alpha",
    "β": "beta",
    "ε": "epsilon",
    "λ": "lambda",
    "μ": "mu",
    "ρ": "rho",
    "φ": "phi",
    "Ŵ": "W^",
}


class AnyOutput:
    """Mixed into a click Command: its output suits any encoding, and a reader may leave early."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command, as click does."""
        with _patient_streams():
            return super().main(*args, **kwargs)  # type: ignore[misc]


class Command(AnyOutput, click.Command):
    """A click Command with `AnyOutput`."""


class Group(AnyOutput, click.Group):
    """A click Group with `AnyOutput`."""


def plain_text(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for a letter that an encoding lacks: an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter, end = error.object[error.start], error.start + 1
    if 0xDC80 <= ord(letter) <= 0xDCFF:
        # A byte of a file name that is not text in the file system's encoding.
        return bytes([ord(letter) - 0xDC00]), end
    text = _TEXT.get(letter, "")
    if not text and unicodedata.decomposition(letter).startswith("<"):
        # A subscript, say. An accent would be lost in this way, and with it perhaps the difference between two names.
        text = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return text or letter.encode("ascii", "backslashreplace").decode(), end


codecs.register_error(_PLAIN, plain_text)


@contextmanager
def _patient_streams() -> Iterator[None]:
    """Standard output and error that neither an encoding nor an absent reader can make fail; restored at the end."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_patient(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _patient(stream: Any) -> TextIO:
    buffer = getattr(stream, "buffer", None)
    # Python's own streams have a file below a buffer, or no buffer if they are unbuffered.
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.RawIOBase):
        # Not a stream of the process, but one that a test or a notebook put in its place.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAIN)
        return cast(TextIO, stream)
    stream.flush()
    at_once = stream.line_buffering or raw is buffer
    buffer = io.BufferedWriter(_Patient(raw))
    if codecs.lookup(stream.encoding).name == "ascii":
        return _Ascii(buffer, encoding="utf-8", errors="surrogateescape", line_buffering=at_once)
    return io.TextIOWrapper(buffer, encoding=stream.encoding, errors=_PLAIN, line_buffering=at_once)


class _Ascii(io.TextIOWrapper):
    """ASCII under the name of UTF-8: click would write UTF-8 to a stream that calls itself ASCII."""

    def write(self, text: str) -> int:
        return super().write(text.encode("ascii", _PLAIN).decode("ascii", "surrogateescape"))


class _Patient(io.RawIOBase):
    """Bytes to a file; once nobody reads them any more they are dropped."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.raw.fileno()

    def isatty(self) -> bool:
        return self.raw.isatty()

    def write(self, data: Any) -> int | None:
        try:
            return self.raw.write(data)
        except BrokenPipeError:
            return len(data)
