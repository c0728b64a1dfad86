"""The text of a figure: names, counts of seeds, numbers, and the caption below the panels."""

import textwrap
from collections.abc import Iterable

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toysup.analysis.figures.style import INK

# The mean width of a letter of DejaVu Sans, in font sizes. Text is wrapped before its true width is known.
_LETTER = 0.6


def text_width(text: str, *, size: float) -> float:
    """The approximate width of a line of text, in the unit of `size`."""
    return len(text) * _LETTER * size


def fitted(text: str, *, room: float, size: float) -> str:
    """The text; if there is no room for all of it, its beginning and an ellipsis."""
    letters = int(room / (_LETTER * size))
    return text if len(text) <= letters else text[: letters - 1] + "…" if letters > 1 else ""


def wrapped(text: str, *, width: int) -> str:
    """The text in lines of at most `width` letters, broken at spaces, but not around `=`.

    What is longer than a line is broken after `=`; if it still is, such as a long name, after `-` and `_`.
    """
    words = text.replace(" = ", "\u00a0=\u00a0").split(" ")
    lines = textwrap.wrap(" ".join(_parts(word, width) for word in words), width, break_on_hyphens=False)
    return "\n".join(lines).replace("\u200b ", "").replace("\u200b", "").replace("\u00a0", " ")


def _parts(word: str, width: int) -> str:
    """The word, with a mark at each place where it may be broken if it is longer than a line."""
    if len(word) <= width:
        return word
    if "=\u00a0" in word:
        return " ".join(_parts(part, width) for part in word.replace("=\u00a0", "= ").split(" "))
    return word.replace("-", "-\u200b ").replace("_", "_\u200b ")


def n_of(summary: xr.Dataset) -> str:
    """The number of seeds of a summary, as "n = 20", and the number that is excluded, as "n = 19, 1 excluded"."""
    # Entries without any seed are not drawn: the training loss of step 0, conditions that cannot be compared.
    used = summary["n_seeds"].values > 0
    if not used.any():
        return "n = 0"
    counts, excluded = summary["n_seeds"].values[used], int(summary["n_excluded"].values[used].max())
    low, high = int(counts.min()), int(counts.max())
    count = f"n = {low}" if low == high else f"n = {low}–{high}"
    return f"{count}, {excluded} excluded" if excluded else count


def interval_of(summaries: Iterable[xr.Dataset], *, drawn_as: str) -> str:
    """The caption of the bars or bands, as a sentence; empty if no summary has an interval.

    It has the confidence level if all summaries have the same attr `confidence_level`. A second sentence follows if
    seeds lie in several modes.
    """
    summaries = list(summaries)
    known = [data for data in summaries if bool(np.isfinite(data["ci_low"]).any())]
    levels = {data.attrs.get("confidence_level") for data in known}
    level = levels.pop() if len(levels) == 1 else None
    name = "confidence interval" if level is None else f"{100 * float(level):g}% confidence interval"
    return (f" {drawn_as}: {name}." if known else "") + _modes(summaries, in_bands=drawn_as == "Shaded")


def _modes(summaries: Iterable[xr.Dataset], *, in_bands: bool) -> str:
    if not any("mode" in data.sizes for data in summaries):
        return ""
    mark = "dot" if in_bands else "marker"
    return f" Where seeds lie in several modes: a {mark} at the mean of each, its area the share of seeds."


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits; below 1e-3 and from 1e4 on, with a power of ten."""
    if value == 0:
        return "0"
    if not np.isfinite(value) or 1e-3 <= abs(value) < 1e4:
        text = f"{value:#.{digits}g}".rstrip(".")
        return f"{float(text):.0f}" if "e" in text else text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return rf"${mantissa}{{\times}}10^{{{int(exponent)}}}$"


def note(figure: Figure, text: str) -> None:
    """Write a caption under the figure, as wide as the figure is when it is drawn."""
    figure.supxlabel(text, fontsize=6.5, color=INK, x=0.01, ha="left", wrap=True)
