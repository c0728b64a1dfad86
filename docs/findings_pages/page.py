"""A page: its text from text/<name>.md, with the numbers of a run in the places that the text names."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toysup.analysis import figures
from toysup.experiments.experiment import Condition
from toysup.storage.atomic_files import replacing

DPI = 140
TEXTS = Path(__file__).parent / "text"
SHOWN = {
    "represented": "represented",
    "total_dimensionality": "Σ D",
    "energy_within": "energy within",
    "energy_across": "energy across",
    "share_across": "share across",
    "interfering_within": "interfering within",
    "interfering_across": "interfering across",
    "context_selectivity": "selectivity",
    "lowest_cosine": "lowest cosine",
    "highest_cosine": "highest cosine",
    "loss": "loss",
}
SYMBOLS = {"feature_probability": "p", "outside_probability": "λ", "outside_importance": "μ"}


@dataclass(frozen=True)
class Finding:
    """What a page is made of: the rows and statistics of its table, its figures, and what its text says.

    `numbers` are further ones that the text names, already as text; `differences` those of conditions paired by seed.
    """

    rows: Mapping[str, xr.Dataset]
    statistics: Sequence[str]
    figures: Mapping[str, Figure]
    statements: Mapping[str, bool]
    differences: Mapping[str, xr.Dataset] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)


class Refuted(Exception):
    """The numbers of this run do not bear out what the page says."""


def write(name: str, title: str, conditions: Sequence[Condition], finding: Finding, folder: Path) -> list[Path]:
    """Write <folder>/<name>.md and its figures; refuses where a statement of the page does not hold."""
    if untrue := [statement for statement, holds in finding.statements.items() if not holds]:
        raise Refuted(f"{name}: the page says that {untrue[0]}, and this run does not; write its text anew")
    places = {statistic: _texts(finding.rows, statistic) for statistic in finding.statistics}
    counts = sorted({int(n) for row in finding.rows.values() for n in np.ravel(row["n_seeds"]) if n})
    text = (TEXTS / f"{name}.md").read_text(encoding="utf-8")
    pictures = {f"{name}{suffix}.png": figure for suffix, figure in finding.figures.items()}
    filled = text.format(
        n=" to ".join(map(str, dict.fromkeys([counts[0], counts[-1]]))),
        recipe=recipe(conditions[0]),
        table=table(finding.rows, finding.statistics),
        differences=table(finding.differences, finding.statistics),
        difference={statistic: _texts(finding.differences, statistic) for statistic in finding.statistics},
        **places,
        **finding.numbers,
    )
    paths = [folder / file for file in (*pictures, f"{name}.md")]
    for path, figure in zip(paths, pictures.values(), strict=False):
        with replacing(path) as temporary, figures.style():
            figure.savefig(temporary, format="png", dpi=DPI, pil_kwargs={"optimize": True})
    with replacing(paths[-1]) as temporary:
        temporary.write_text(f"# {title}\n\n{rewrapped(filled)}", encoding="utf-8")
    return paths


def recipe(condition: Condition) -> str:
    """Model and training of a condition in a line."""
    model, training = condition.model, condition.training
    weights = "tied weights" if model.tied else "untied weights"
    return (
        f"{model.n_features} features, {model.n_hidden} hidden dimensions, {weights}; {training.epochs} epochs of "
        f"{training.dataset_size:,} samples in batches of {training.batch_size}, {training.optimizer}, learning rate "
        f"{training.learning_rate:g}"
    )


def rewrapped(text: str) -> str:
    """Paragraphs anew on lines of 120; tables and pictures as they are."""
    parts = (part if part.startswith(("|", "!")) else _filled(part) for part in text.strip().split("\n\n"))
    return "\n\n".join(parts) + "\n"


def table(rows: Mapping[str, xr.Dataset], statistics: Sequence[str]) -> str:
    """A Markdown table: a line per row, mean and interval of each statistic, and the number of seeds."""
    head = ["", *(SHOWN.get(statistic, statistic.replace("_", " ")) for statistic in statistics), "n"]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        counts = {int(n) for n in np.ravel(row["n_seeds"].sel(statistic=list(statistics))) if n}
        numbers = [with_interval(row.sel(statistic=statistic)) for statistic in statistics]
        lines.append([name, *numbers, "–".join(map(str, sorted(counts)))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(summary: xr.Dataset) -> str:
    """A mean with its interval, where there is one."""
    mean, low, high = (float(summary[part]) for part in ("mean", "ci_low", "ci_high"))
    return f"{shown(mean)} [{shown(low)}, {shown(high)}]" if np.isfinite([low, high]).all() else shown(mean)


def shown(value: float) -> str:
    """Three significant digits, a minus sign that is one, and no more than five places."""
    if not np.isfinite(value):
        return "–"
    if abs(value) < 5e-6:
        return "0"
    exponent = int(f"{value:.2e}".split("e")[1])
    return f"{value:.{min(5, max(0, 2 - exponent))}f}".replace("-", "−")


def cells(summaries: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, xr.Dataset]]:
    """Each cell of the sweeps of each condition, labelled `fixed, p = 0.05`; a lone condition needs no name."""
    for name, summary in summaries.items():
        axes = [str(dim) for dim in summary["mean"].dims if dim != "statistic"]
        for values in product(*(summary[axis].values.tolist() for axis in axes)):
            at = [f"{SYMBOLS[axis]} = {value:g}" for axis, value in zip(axes, values, strict=True)]
            label = ", ".join([name, *at] if len(summaries) > 1 else at)
            yield label, summary.sel(dict(zip(axes, values, strict=True)))


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, width=120, break_long_words=False, break_on_hyphens=False)


def _texts(rows: Mapping[str, xr.Dataset], statistic: str) -> dict[str, str]:
    return {name: with_interval(row.sel(statistic=statistic)) for name, row in rows.items()}
