"""What a topic reports about selected conditions: rows, notes and figures, each worked out when it is asked for."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from toysup.analysis.report.panels import Drawn
from toysup.analysis.report.selection import Selected, by_experiment
from toysup.analysis.report.text_table import wrapped_lines
from toysup.analysis.report.tidy_rows import Rows, modes_note, rendered, typed
from toysup.analysis.report.writing_figures import named_figures, write_figures
from toysup.storage.file_access import user_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class TopicReport:
    """What a command of `toysup-analyze` prints and draws, as its call in `toysup.analysis.report` gives it.

    Nothing is computed before one of its attributes is asked for.

    Attributes
    ----------
    table : DataFrame
        Tidy rows, one number each: those that the command prints as CSV.
    notes : tuple of str
        What a reader of the rows should know about these conditions; often empty.
    figures : dict of str to Figure
        The figures by their names, after `<experiment>/` where there are several experiments; empty where the topic
        draws none.
    """

    selected: Sequence[Selected]
    rows: Callable[[], Rows]
    notes_of_rows: Callable[[], Iterable[str]] = tuple
    drawn: Drawn | None = None
    # Whether rows come in frames, of which there may be more than memory holds.
    streams: bool = False
    # How a person reads the table, where that is not as columns.
    text: Callable[[pd.DataFrame], str] | None = None

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        return typed(self._all_rows)

    @functools.cached_property
    def _all_rows(self) -> pd.DataFrame:
        rows = self.rows()
        return rows if isinstance(rows, pd.DataFrame) else pd.concat(rows, ignore_index=True)

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        notes = tuple(self.notes_of_rows())
        about_modes = "" if self.streams else modes_note(self._all_rows)
        return (*notes, about_modes) if about_modes else notes

    @functools.cached_property
    def figures(self) -> "dict[str, Figure]":
        if self.drawn is None:
            return {}
        several = len(by_experiment(self.selected)) > 1
        named = named_figures(self.selected, self.drawn)
        return {f"{experiment}/{name}" if several else name: figure for experiment, name, figure in named}

    def printed(self, format: str, *, width: int | None = None) -> Iterator[str]:
        """The rows as "table", "csv" or "json", in pieces: more rows than memory holds are never held at once.

        A table fits `width` letters if a width is given.
        """
        if format == "table" and self.text is not None:
            yield wrapped_lines(self.text(self._all_rows), width)
        else:
            yield from rendered(self.rows() if self.streams else self._all_rows, format, width=width)

    def write_figures(self, folder: str | Path, *formats: str) -> list[Path]:
        """Write the figures to <folder>/<experiment>/<name>.<format> in each format; the paths of the files."""
        return list(self.writing_figures(user_path(folder), formats or ("pdf",)))

    def writing_figures(self, folder: Path, formats: Sequence[str]) -> Iterator[Path]:
        """The same, giving each path as soon as its file is there."""
        if self.drawn is not None:
            yield from write_figures(self.selected, self.drawn, folder, formats)

    def _repr_html_(self) -> str | None:
        # None, where the user has turned pandas' HTML off.
        html: str | None = self.table._repr_html_()  # type: ignore[operator]
        return html
