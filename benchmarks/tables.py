"""The measurements as a table: tidy rows in CSV, and Markdown with a line for each setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.measurements import Measurement

HEADINGS = {
    "at scale": "A million models: planning, files, tasks, workers",
    "machine": "The machine",
    "training": "Training, time per model-step",
    "sparse": "Training on sparse features, time per model-step",
    "gpu": "Training on a GPU, time per model-step",
    "split": "Where a step of the fused engine goes, on one thread",
    "scaling": "Cost per model-step as instances grow",
    "memory": "Memory",
    "analysis": "Statistics and opening",
    "losses": "Losses, processor time per model and regime",
    "commands": "Whole processes",
    "phases": "A million models 2→1",
}
NAMES = {"n_features": "n", "n_hidden": "m", "feature_probability": "p", "batch_size": "batch"}
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def tidy(measurements: Sequence[Measurement], machine: Mapping[str, str]) -> pd.DataFrame:
    """One row per quantity and setting: median, quartiles, repeats, target, and the machine."""
    rows = []
    for item in measurements:
        low, high = item.quartiles
        numbers = {"median": item.median, "low": low, "high": high, "repeats": len(item.values)}
        about = {"part": item.part, **item.setting, "quantity": item.quantity, "unit": item.unit}
        rows.append({**about, **numbers, "target": item.target, "met": item.met})
    frame = pd.DataFrame(rows)
    last = ["quantity", "unit", "median", "low", "high", "repeats", "target", "met"]
    return frame[[name for name in frame if name not in last] + last].assign(**machine)


def markdown(measurements: Sequence[Measurement], machine: Mapping[str, str]) -> str:
    """The machine, then a table for each part; a cell is a median with its quartiles."""
    lines = ["; ".join(f"{name} {value}" for name, value in machine.items()) + ".", ""]
    for part in dict.fromkeys(item.part for item in measurements):
        own = [item for item in measurements if item.part == part]
        lines += [f"### {HEADINGS[part]}", "", *_table(own), ""]
    return "\n".join(lines)


def _table(measurements: Sequence[Measurement]) -> list[str]:
    """Settings down, quantities across."""
    cells: dict[tuple[tuple[str, object], ...], dict[str, str]] = {}
    for item in measurements:
        cells.setdefault(tuple(item.setting.items()), {})[_heading(item)] = _cell(item)
    keys = list(dict.fromkeys(key for setting in cells for key, _ in setting))
    quantities = list(dict.fromkeys(name for row in cells.values() for name in row))
    header = [NAMES.get(key, key) for key in keys] + quantities
    rows = [
        [str(dict(setting).get(key, "")) for key in keys] + [row.get(name, "") for name in quantities]
        for setting, row in cells.items()
    ]
    return [_line(header), _line(["---"] * len(header)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _heading(item: Measurement) -> str:
    return f"{item.quantity} ({item.unit})"


def _cell(item: Measurement) -> str:
    """`28 (26–30), target ≥ 20: met`; one measurement has no quartiles."""
    low, high = item.quartiles
    spread = f" ({number(low)}–{number(high)})" if len(item.values) > 1 else ""
    target = f"; {item.target}: {'met' if item.met else '**missed**'}" if item.target else ""
    return number(item.median) + spread + target


def number(value: float) -> str:
    """Three significant digits, never in exponents."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def publish(text: str, image: Path | None, page: Path) -> None:
    """Put `text`, under the image, between the two markers of a page of the documentation."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page} lacks the lines {BEGIN} and {END}, between which the table goes")
    picture = "" if image is None else f"![Time per model-step, its parts, and its growth]({image.name})\n\n"
    page.write_text(f"{before}{BEGIN}\n\n{picture}{text}\n{END}{after}", encoding="utf-8")
