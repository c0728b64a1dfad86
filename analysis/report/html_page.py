"""One HTML page that a person reads from top to bottom: sections with figures, tables and links."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import pandas as pd

from toysup.analysis.report.panels import Drawn
from toysup.analysis.report.tidy_rows import Rows, shown

# What a browser shows; other formats of a figure are linked beside it.
SHOWN_FORMAT = "png"
STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2, h3, table, figcaption { font-family: system-ui, sans-serif; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; }
figcaption, .note { font-size: 0.85rem; color: #555; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
caption { text-align: left; font-size: 0.85rem; color: #555; padding: 0.3rem 0; }
.wide { overflow-x: auto; }
td.supported { color: #1b6e3c; font-weight: 600; } td.refuted { color: #a3271f; font-weight: 600; }
"""


class Section(NamedTuple):
    """A part of the page: what a reader should know, the tables that are shown, all rows by file name, and figures."""

    heading: str
    text: str
    shown: Sequence[tuple[str, pd.DataFrame]] = ()
    tables: Mapping[str, Rows] = {}
    drawn: Drawn | None = None


def page(title: str, note: str, sections: Sequence[tuple[Section, Sequence[str]]]) -> str:
    """The whole page; each section comes with the paths of its figures."""
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
    parts = [_section(section, figures) for section, figures in sections]
    body = "".join([f"<h1>{escape(title)}</h1><p class=note>{escape(note)}</p>", *parts])
    return f"<!doctype html><html lang=en><head>{head}</head><body>{body}</body></html>\n"


def _section(section: Section, figures: Sequence[str]) -> str:
    parts = [f"<h2>{escape(section.heading)}</h2>", f"<p>{escape(section.text)}</p>" if section.text else ""]
    for path in figures:
        if path.endswith(f".{SHOWN_FORMAT}"):
            stem = path.removesuffix(SHOWN_FORMAT)
            links = [_link(other) for other in figures if other.startswith(stem)]
            image = f'<img src="{escape(path)}" alt="{escape(path)}">'
            parts.append(f"<figure>{image}<figcaption>{' · '.join(links)}</figcaption></figure>")
    parts += [_table(caption, table) for caption, table in section.shown if len(table)]
    if section.tables:
        parts.append(f"<p class=note>All rows: {' · '.join(_link(f'{name}.csv') for name in section.tables)}</p>")
    return "".join(parts)


def _link(path: str) -> str:
    return f'<a href="{escape(path)}">{escape(path)}</a>'


def with_interval(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval in one cell; columns that say nothing, or the same in all rows, left out.

    So are the share of the seeds in a mode and its interval, where there are modes.
    """
    kept = rows.drop(columns=["mean", "ci_low", "ci_high", "step"])
    place = list(kept.columns).index("statistic") + 1
    kept.insert(place, "mean [interval]", _together(rows, "mean", "ci_low", "ci_high"))
    if "share" in rows:
        kept = kept.drop(columns=["share", "share_low", "share_high"])
        kept.insert(place + 1, "share of seeds [interval]", _together(rows, "share", "share_low", "share_high"))
    silent = [column for column in kept if kept[column].isna().all()]
    kept = kept.drop(columns=[*silent, *(["condition"] if "trained_on" in kept else [])])
    if not kept["n_excluded"].any():
        kept = kept.drop(columns="n_excluded")
    return kept.drop(columns="experiment") if kept["experiment"].nunique() == 1 else kept


def _together(rows: pd.DataFrame, *columns: str) -> list[str]:
    """A number and the two ends of its interval as text."""
    return [
        f"{shown(number)} [{shown(low)}, {shown(high)}]" if pd.notna(low) else shown(number)
        for number, low, high in rows[list(columns)].itertuples(index=False)
    ]


def _table(caption: str, frame: pd.DataFrame) -> str:
    header = "".join(f"<th>{escape(str(column).replace('_', ' '))}</th>" for column in frame.columns)
    lines = ["".join(map(_cell, row)) for row in frame.itertuples(index=False)]
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    caption = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<div class=wide><table>{caption}<tr>{header}</tr>{rows}</table></div>"


def _cell(value: object) -> str:
    kind = f" class={value}" if value in ("supported", "refuted") else ""
    return f"<td{kind}>{escape(shown(value))}</td>"
