"""The report: every table and figure of the selected conditions in one folder, with a page that shows them."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path

import xarray as xr

from toysup.analysis.report import measures
from toysup.analysis.report.html_page import SHOWN_FORMAT, Section, page, with_interval
from toysup.analysis.report.selection import Selected, by_experiment
from toysup.analysis.report.tidy_rows import rendered
from toysup.analysis.report.topics import against, dimensionality, losses
from toysup.analysis.report.writing_figures import drawing_pool, submit_figures, warn_of
from toysup.errors import UsageError
from toysup.storage.atomic_files import replacing

PAGE = "index.html"


def written_report(
    selected: Sequence[Selected], folder: Path, figure_format: str | None, topics: Sequence[str]
) -> Iterator[Path]:
    """Write the report of these topics to `folder`: the path of each file once it is there, the page last.

    Figures are drawn if they have a format.
    """
    written = []
    with drawing_pool() as pool:
        for section in _sections(selected, topics):
            for name, rows in section.tables.items():
                path = folder / f"{name}.csv"
                _write_text(path, rendered(rows, "csv"))
                yield path
            figures: list[tuple[list[Path], Future[list[str]]]] = []
            if section.drawn and figure_format is not None:
                figures = submit_figures(pool, selected, section.drawn, folder, [SHOWN_FORMAT, figure_format])
            written.append((section, figures))
        shown = []
        for section, figures in written:
            for paths, done in figures:
                warn_of(done.result())
                yield from paths
            shown.append((section, [path.relative_to(folder).as_posix() for paths, _ in figures for path in paths]))
    title = " and ".join(by_experiment(selected))
    _write_text(folder / PAGE, [page(title, _note(selected), shown)])
    yield folder / PAGE


def _write_text(path: Path, texts: Iterable[str]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(texts)


def _note(selected: Sequence[Selected]) -> str:
    steps = sorted({int(item.dataset["step"][item.index]) for item in selected})
    return (
        f"Statistics at step {', '.join(map(str, steps))}. Means over seeds with 95% intervals in brackets "
        "(Hall's skewness-corrected t). Dimensionless throughout. "
        f"{selected[0].dataset.attrs['source']}."
    )


def _sections(selected: Sequence[Selected], topics: Sequence[str]) -> Iterator[Section]:
    """What is on the page, in the order of reading."""
    for name in topics:
        yield from import_module(f"toysup.analysis.report.topics.{name}").sections(selected)
    yield from _differences(selected)


def _differences(selected: Sequence[Selected]) -> Iterator[Section]:
    """What the page's headline statistics differ by from the first condition of each experiment."""

    def headline(item: Selected) -> dict[str, xr.DataArray]:
        energy = {"energy": measures.quadrants(item)["energy"]}
        return dimensionality.counts(item) | energy | losses.own_loss_by_batch(item)

    try:
        rows, notes = against.differences(selected, None, headline)
    except UsageError:
        # One condition alone, or none that can be compared.
        return
    meaning = against.MEANING + "".join(f" {note}." for note in notes)
    yield Section("Differences between conditions", meaning, [("", with_interval(rows))], {"differences": rows})
