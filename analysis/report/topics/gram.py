"""Gram matrices, entry by entry and as pictures through training."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis import figures
from toysup.analysis.report.html_page import Section
from toysup.analysis.report.measures import counted_response
from toysup.analysis.report.panels import MAX_SERIES, Figures, by_context, in_a_name
from toysup.analysis.report.selection import Selected, label_of, notes_on_signs
from toysup.analysis.report.tidy_rows import joined, summarised
from toysup.analysis.report.topic_report import TopicReport

MEANING = "WᵀW, or the linear response of a deeper model. Rows are outputs, columns are active features."
GRAM_SEEDS = 3
# Entries of Gram matrices that are summarised at once: 128 MiB of float32.
_ENTRIES = 2**25


def report(selected: Sequence[Selected]) -> TopicReport:
    """Every entry, and pictures through training."""
    return TopicReport(selected, partial(rows, selected), partial(notes_on_signs, selected), drawn)


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    yield Section("Gram matrices", MEANING, tables={"gram": rows(selected)}, drawn=drawn)


def rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """Every entry of the Gram matrix, or of the response that stands for it."""
    return joined([frame for item in selected for frame in _of_condition(item)])


def _of_condition(item: Selected) -> Iterator[pd.DataFrame]:
    """The entries of some rows of G at a time, because all entries of all models may take too much memory."""
    first = counted_response(item.at_step.isel(seed=slice(1)), item.dataset)
    row = "output" if "output" in first.dims else "feature"
    models = prod(item.at_step["train_loss"].sizes.values())
    size = max(1, _ENTRIES // (models * item.entries // item.dataset.sizes[row]))
    for start in range(0, item.dataset.sizes[row], size):
        G = item.each(partial(_rows_of, item, here={row: slice(start, start + size)}))
        yield summarised(item, {"gram": G}, [row, "other_feature"])


def _rows_of(item: Selected, models: xr.Dataset, *, here: dict[str, slice]) -> xr.DataArray:
    return counted_response(models, item.dataset).isel(here)


def drawn(group: Sequence[Selected]) -> Figures:
    """A grid for each condition: the first seeds, at initialisation, a third of the way and at the chosen step.

    If a sweep has many cells, only its corner cells are drawn.
    """
    cells = [item for condition in group for item in condition.cells()]
    shown = cells if len(cells) <= MAX_SERIES else [item for item in cells if _at_a_corner(item, group)]
    for item in shown:
        title = label_of(item, len(group))
        steps = item.dataset["step"].values[: item.index + 1]
        third = int(np.abs(steps - steps[-1] / 3).argmin())
        phases = sorted({0, third, item.index})
        early = item.dataset.isel(step=phases, seed=slice(GRAM_SEEDS)).load()
        G = counted_response(early, early)
        for heading, own in by_context({title: _with_features(G)}).items():
            context = heading.removeprefix(title).strip(", ")
            name = "-".join(filter(None, ["gram", item.condition, in_a_name(item.cell), context]))
            yield name, figures.gram_grid(own, limit=_limit(own), title=heading)


def _limit(G: xr.DataArray) -> float | None:
    """An end of the colour scale where a few large entries would leave all others pale."""
    size = np.abs(G.values[np.isfinite(G.values)])
    usual = float(np.quantile(size, 0.99)) if size.size else 0.0
    return usual if 0 < 2 * usual < size.max(initial=0) else None


def _at_a_corner(item: Selected, group: Sequence[Selected]) -> bool:
    whole = next(other for other in group if other.condition == item.condition)
    return all(value in whole.dataset[axis].values[[0, -1]] for axis, value in item.cell.items())


def _with_features(G: xr.DataArray) -> xr.DataArray:
    """G of z with its outputs in the place of features, the context that they are about in that of the subset."""
    if "output" not in G.dims:
        return G
    plain = G.drop_vars(["output_feature", "output_context"]).rename(output="feature")
    return plain.assign_coords(subset=("feature", G["output_context"].values))
