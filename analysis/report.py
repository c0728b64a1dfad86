"""The report: every table and figure of the selected conditions in one folder, with a page that shows them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from pathlib import Path

import pandas as pd

from toysup.analysis.figures import style
from toysup.analysis.rows import rendered, shown
from toysup.analysis.selection import Selected, by_experiment
from toysup.analysis.series import Figures
from toysup.analysis.topics import dimensionality, gram, info, interference, losses
from toysup.storage import replacing

PAGE = "index.html"
# What a browser shows; the format that was asked for is linked beside it.
SHOWN_FORMAT = "png"
# Of the quadrants' statistics, those that a page shows; the tables have all.
SHOWN_STATISTICS = ("energy", "interfering_fraction")
STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2, h3, table, figcaption { font-family: system-ui, sans-serif; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; }
figcaption, .note { font-size: 0.85rem; color: #555; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; }
.wide { overflow-x: auto; }
"""


def draw(
    selected: Sequence[Selected],
    figures_of: Callable[[list[Selected]], Figures],
    folder: Path,
    formats: Sequence[str],
) -> Iterator[Path]:
    """Write the figures of each experiment to <folder>/<experiment>/<name>.<format>, and give their paths."""
    for experiment, group in by_experiment(selected).items():
        with style():
            for name, figure in figures_of(group):
                for format in dict.fromkeys(formats):
                    path = folder / experiment / f"{name}.{format}"
                    with replacing(path) as temporary:
                        figure.savefig(temporary, format=format)
                    yield path


def write_report(selected: Sequence[Selected], folder: Path, figure_format: str) -> Iterator[Path]:
    """Write the report of `selected` to `folder`, and give the paths of its files as they are there, the page last."""
    parts = losses.cross_losses(selected)
    tables = {
        "gram": gram.rows(selected),
        "dimensionality": dimensionality.rows(selected),
        "interference": interference.rows(selected, by="quadrant"),
        "feature-interference": interference.rows(selected, by="feature"),
        "losses": losses.rows(selected, parts),
        "losses-by-feature": losses.rows(selected, parts, by="feature"),
        "losses-by-context": losses.rows(selected, parts, by="context"),
    }
    for name, rows in tables.items():
        _write_text(folder / f"{name}.csv", rendered(rows, "csv"))
        yield folder / f"{name}.csv"
    drawn: dict[str, Callable[[list[Selected]], Figures]] = {
        "gram": gram.drawn,
        "dimensionality": dimensionality.drawn,
        "interference": partial(interference.drawn, statistics=SHOWN_STATISTICS),
        "losses": lambda group: losses.drawn(group, parts),
    }
    figures: dict[str, list[str]] = {name: [] for name in drawn}
    for name, figures_of in drawn.items():
        for path in draw(selected, figures_of, folder, [SHOWN_FORMAT, figure_format]):
            figures[name].append(path.relative_to(folder).as_posix())
            yield path
    _write_text(folder / PAGE, _page(selected, tables, figures))
    yield folder / PAGE


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _page(selected: Sequence[Selected], tables: dict[str, pd.DataFrame], figures: dict[str, list[str]]) -> str:
    title = " and ".join(by_experiment(selected))
    steps = sorted({int(item.at_step["step"].item()) for item in selected})
    counts = _of(tables["dimensionality"], "represented", "total_dimensionality")
    note = (
        f"Statistics at step {', '.join(map(str, steps))}. Means over seeds with 95% intervals (Hall's corrected t) in "
        "brackets; losses are importance-weighted squared errors per sample, on common samples. Dimensionless "
        f"throughout. {selected[0].dataset.attrs['source']}."
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=note>{escape(note)}</p>",
        "<h2>What was trained</h2>",
        _table(info.rows(selected)),
        _section("Gram matrices", "gram", figures, [], ["gram"]),
        _section("Dimensionality", "dimensionality", figures, [_with_interval(counts)], ["dimensionality"]),
        _section(
            "Interference between subsets",
            "interference",
            figures,
            [_with_interval(_of(tables["interference"], *SHOWN_STATISTICS))],
            ["interference", "feature-interference"],
        ),
        _section(
            "Losses",
            "losses",
            figures,
            [_with_interval(tables["losses"])],
            ["losses", "losses-by-feature", "losses-by-context"],
        ),
    ]
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _of(rows: pd.DataFrame, *statistics: str) -> pd.DataFrame:
    return rows[rows["statistic"].isin(statistics)]


def _section(
    heading: str, name: str, figures: dict[str, list[str]], tables: Sequence[pd.DataFrame], files: Sequence[str]
) -> str:
    """A heading, the figures with links to their other formats, the tables, and links to the whole tables."""
    shown_first = [path for path in figures[name] if path.endswith(f".{SHOWN_FORMAT}")]
    parts = [f"<h2>{escape(heading)}</h2>"]
    for path in shown_first:
        stem = path.removesuffix(SHOWN_FORMAT)
        links = [_link(other) for other in figures[name] if other.startswith(stem)]
        image = f'<img src="{escape(path)}" alt="{escape(path)}">'
        parts.append(f"<figure>{image}<figcaption>{' · '.join(links)}</figcaption></figure>")
    parts += [_table(table) for table in tables]
    if files:
        parts.append(f"<p class=note>All rows: {' · '.join(_link(f'{file}.csv') for file in files)}</p>")
    return "".join(parts)


def _link(path: str) -> str:
    return f'<a href="{escape(path)}">{escape(path)}</a>'


def _with_interval(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval in one cell; columns that say nothing left out."""
    value = [f"{shown(row['mean'])} [{shown(row['ci_low'])}, {shown(row['ci_high'])}]" for _, row in rows.iterrows()]
    kept = rows.drop(columns=["mean", "ci_low", "ci_high", "step"])
    silent = [column for column in kept if kept[column].isna().all()]
    kept = kept.drop(columns=[*silent, *(["condition"] if "trained_on" in kept else [])])
    if not kept["n_excluded"].any():
        kept = kept.drop(columns="n_excluded")
    kept.insert(list(kept.columns).index("statistic") + 1, "mean [interval]", value)
    return kept.drop(columns="experiment") if kept["experiment"].nunique() == 1 else kept


def _table(frame: pd.DataFrame) -> str:
    header = "".join(f"<th>{escape(str(column).replace('_', ' '))}</th>" for column in frame.columns)
    lines = ["".join(f"<td>{escape(shown(value))}</td>" for value in row) for row in frame.itertuples(index=False)]
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=wide><table><tr>{header}</tr>{rows}</table></div>"
