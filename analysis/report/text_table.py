"""A table of text that fits a terminal: letters of any width in columns, and columns that are too many below."""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_GAP = "   "


class Column(NamedTuple):
    """A column: its name, its cells, and whether they are numbers, which stand at the right."""

    name: str
    cells: Sequence[str]
    numbers: bool = False

    @property
    def width(self) -> int:
        return max(map(text_width, (self.name, *self.cells)))


def text_table(columns: Sequence[Column], *, keys: int, width: int | None = None) -> str:
    """The columns side by side, in at most `width` letters where that is possible.

    Where they are too wide, what all rows share is written once above them. If they still are, the first of the
    `keys`, the leading columns that say what a row is about, become headings over the rows that share them. Further
    columns that do not fit follow below, beside the last key.
    """
    if width is None or _width(columns) <= width:
        return "\n".join(["", *_side_by_side(columns, range(len(columns[0].cells))), "", ""])
    shared = [column for column in columns if len(set(column.cells)) == 1]
    own = [column for column in columns if len(set(column.cells)) > 1]
    about = sum(1 for column in columns[:keys] if column in own)
    over = 0
    while over < about - 1 and _width(own[over:]) > width:
        over += 1
    blocks = list(_blocks(own[over:about], own[about:], width))
    lines = ["", *_facts(shared, 0, width)]
    for rows in _groups(own[:over], len(columns[0].cells)):
        lines += ["", *_facts(own[:over], rows[0], width)] if over else []
        for block in blocks:
            lines += ["", *_side_by_side(block, rows)]
    return "\n".join([*lines, "", ""])


def _groups(keys: Sequence[Column], count: int) -> list[list[int]]:
    """The rows that share their keys, in the order in which the first of them stand."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in range(count):
        groups.setdefault(tuple(column.cells[row] for column in keys), []).append(row)
    return list(groups.values())


def wrapped_lines(text: str, width: int | None) -> str:
    """The text; lines of more than `width` letters go on below, as far to the right as they begin."""
    if width is None:
        return text
    lines = []
    for line in text.split("\n"):
        start = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(line, width, subsequent_indent=start, break_long_words=False) or [""]
    return "\n".join(lines)


def text_width(text: str) -> int:
    """How many columns of a terminal the text takes: two for a wide letter, none for an accent of its own."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _width(columns: Sequence[Column]) -> int:
    """The width of the rule below the header, which reaches a letter beyond the columns on either side."""
    return sum(column.width + len(_GAP) for column in columns)


def _blocks(keys: Sequence[Column], others: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """The keys and as many of the others as fit, then the keys and the next ones."""
    block = list(keys)
    for column in others:
        if len(block) > len(keys) and _width([*block, column]) > width:
            yield block
            block = list(keys)
        block.append(column)
    if block:
        yield block


def _side_by_side(columns: Sequence[Column], rows: Sequence[int]) -> list[str]:
    """A header, a rule, and the rows."""
    widths = [column.width for column in columns]
    header = _line([column.name for column in columns], columns, widths)
    rule = " " + "─" * (_width(columns) - 1)
    return [header, rule, *(_line([column.cells[row] for column in columns], columns, widths) for row in rows)]


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    padded = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        space = " " * (width - text_width(cell))
        padded.append(space + cell if column.numbers else cell + space)
    return ("  " + _GAP.join(padded)).rstrip()


def _facts(columns: Sequence[Column], row: int, width: int) -> list[str]:
    """Each column's name and its value in a row, in lines of at most `width` letters."""
    lines: list[str] = []
    for column in columns:
        fact = f"{column.name}: {column.cells[row] or '–'}"
        if lines and text_width(lines[-1] + _GAP + fact) <= width:
            lines[-1] += _GAP + fact
        else:
            lines.append(f"  {fact}")
    return wrapped_lines("\n".join(lines), width).split("\n") if lines else []
