"""The report: every table and figure of the selected conditions in one folder, with a page that shows them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import xarray as xr

from toysup.analysis.report.html_page import SHOWN_FORMAT, Section, page, with_interval
from toysup.analysis.report.selection import Selected, by_experiment
from toysup.analysis.report.tidy_rows import Rows, rendered
from toysup.analysis.report.topics import against, claims, dimensionality, dynamics, gram, info, interference, losses
from toysup.analysis.report.writing_figures import Drawn, drawing_pool, submit
from toysup.errors import UsageError
from toysup.storage.netcdf import replacing

PAGE = "index.html"
# Of the quadrants' statistics, those that a page shows; the tables have all.
SHOWN_STATISTICS = ("energy", "interfering_fraction")

# What the page shows of a split of the losses: its entries side by side.
_SIDE_BY_SIDE = {
    "reference": "What simple predictors lose under the same regime.",
    "part": "Where a condition's own loss comes from: features that are not represented, the own entries of the "
    "others, interference, the bias. Means over seeds.",
    "active": "What samples with so many active features add to it. Means over seeds.",
}


class Part(NamedTuple):
    """A section with all its rows, by the name of their file, and its figures."""

    section: Section
    tables: Mapping[str, Rows] = {}
    drawn: Drawn | None = None


def write_report(
    selected: Sequence[Selected], folder: Path, figure_format: str, *, own_epoch: bool = True
) -> Iterator[Path]:
    """Write the report of `selected` to `folder`, and give the paths of its files as they are there, the page last."""
    written = []
    with drawing_pool() as pool:
        for section, tables, figures_of in _sections(selected, own_epoch):
            for name, rows in tables.items():
                path = folder / f"{name}.csv"
                _write_text(path, rendered(rows, "csv"))
                yield path
            section.files = [f"{name}.csv" for name in tables]
            formats = [SHOWN_FORMAT, figure_format]
            written.append((section, submit(pool, selected, figures_of, folder, formats) if figures_of else []))
        for section, figures in written:
            for paths, done in figures:
                done.result()
                section.figures += [path.relative_to(folder).as_posix() for path in paths]
                yield from paths
    title = " and ".join(by_experiment(selected))
    _write_text(folder / PAGE, [page(title, _note(selected), [section for section, _ in written])])
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


def _sections(selected: Sequence[Selected], own_epoch: bool) -> Iterator[Part]:
    """What is on the page, in the order of reading."""
    parts = losses.cross_losses(selected)
    if claims.about(selected):
        verdicts = claims.rows(selected, own_epoch=own_epoch, known=losses.totals(parts))
        yield Part(
            Section("What the claims come to", claims.MEANING, [("", _verdicts(verdicts))]), {"claims": verdicts}
        )
    yield Part(Section("What was trained", "", [("", info.rows(selected))]))
    yield Part(Section("Gram matrices", gram.MEANING), {"gram": gram.rows(selected)}, gram.drawn)
    yield _dimensionality(selected)
    yield _interference(selected)
    yield _losses(selected, parts)
    # Of one recorded step there is no training to look at.
    if followed := dynamics.courses([item for item in selected if item.index > 0]):
        tables = {f"dynamics-by-{by}": dynamics.rows(followed, by=by) for by in ("step", "feature", "event")}
        notes = "".join(f" {note}." for note in dynamics.left_out(followed))
        seen = partial(dynamics.drawn, followed=followed)
        yield Part(Section("Training", dynamics.MEANING + notes), tables, seen)
    yield from _differences(selected, parts)


def _dimensionality(selected: Sequence[Selected]) -> Part:
    rows = dimensionality.rows(selected)
    shown = [("", with_interval(_of(rows, "represented", "total_dimensionality")))]
    section = Section("Dimensionality", dimensionality.MEANING, shown)
    return Part(section, {"dimensionality": rows}, dimensionality.drawn)


def _interference(selected: Sequence[Selected]) -> Part:
    rows = interference.rows(selected, by="quadrant")
    notes = "".join(f" {note}." for note in interference.notes(selected))
    shown = with_interval(_of(rows, *SHOWN_STATISTICS).drop(columns=["null_mean", "null_sd"]))
    return Part(
        Section("Interference between subsets", interference.MEANING + notes, [("", shown)]),
        {"interference": rows, "feature-interference": interference.rows(selected, by="feature")},
        partial(interference.drawn, statistics=SHOWN_STATISTICS),
    )


def _losses(selected: Sequence[Selected], parts: losses.Losses) -> Part:
    tables = {"losses": losses.rows(selected, parts)}
    tables |= {
        f"losses-by-{by}": losses.rows(selected, parts, by=by) for by in losses.SPLITS if losses.have(selected, by)
    }
    shown = [("The loss of models trained on one condition under another.", with_interval(tables["losses"]))]
    for by, caption in _SIDE_BY_SIDE.items():
        if (name := f"losses-by-{by}") in tables:
            shown.append((caption, _across(tables[name], by)))
    return Part(Section("Losses", losses.MEANING, shown), tables, partial(losses.drawn, parts=parts))


def _across(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Means side by side: a row per condition and cell, a column per entry of `by`."""
    own = [c for c in rows.columns[: list(rows.columns).index("step")] if rows[c].nunique(dropna=False) > 1]
    own = own or ["condition"]
    # By number, as pandas would give every combination of conditions and cells a row.
    rows = rows.assign(number=rows.groupby(own, sort=False, dropna=False).ngroup())
    table = rows.pivot_table(index="number", columns=by, values="mean", aggfunc="first", sort=False, dropna=False)
    heads = rows.drop_duplicates("number").set_index("number")[own]
    return heads.join(table).reset_index(drop=True).rename_axis(columns=None)


def _of(rows: pd.DataFrame, *statistics: str) -> pd.DataFrame:
    return rows[rows["statistic"].isin(statistics)]


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdicts with the columns that a reader needs."""
    numbers = with_interval(rows.assign(part=rows["part"].fillna("")))
    kept = ["experiment", "verdict", "claim", "says", "part", "mean [interval]", "n_seeds", "supports", "note"]
    return numbers[[column for column in kept if column in numbers]]


def _differences(selected: Sequence[Selected], parts: losses.Losses) -> Iterator[Part]:
    """What the page's headline statistics differ by from the first condition of each experiment."""

    def headline(item: Selected) -> dict[str, xr.DataArray]:
        energy = {"energy": item.quadrants["energy"]}
        return dimensionality.counts(item) | energy | losses.own_loss(item, parts)

    try:
        rows, notes = against.differences(selected, None, headline)
    except UsageError:
        # One condition alone, or none that can be compared.
        return
    meaning = against.MEANING + "".join(f" {note}." for note in notes)
    yield Part(Section("Differences between conditions", meaning, [("", with_interval(rows))]), {"differences": rows})
