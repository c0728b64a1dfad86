"""Gram matrices, entry by entry and as pictures through training."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.report.html_page import Section
from toysup.analysis.report.measures import counted_response
from toysup.analysis.report.panels import MAX_SERIES, Figures, by_context, in_a_name
from toysup.analysis.report.selection import Selected, by_experiment, label_of, notes_on_signs
from toysup.analysis.report.tidy_rows import joined, summarised
from toysup.analysis.report.topic_report import TopicReport
from toysup.analysis.statistics.interference import features_of_rows

MEANING = "WᵀW, or the linear response of a deeper model. Rows are outputs, columns are active features."
# Seeds in a figure: the first ones, or the first of those that were asked for.
GRAM_SEEDS = 3
MOST_SEEDS = 8
# ‖W_i‖² of a represented feature, and how far beyond the end of the colour scale an entry may lie and still set it.
REPRESENTED = 0.5
_FAR = 1.3
# Entries of Gram matrices that are summarised at once: 128 MiB of float32.
_ENTRIES = 2**25


def report(selected: Sequence[Selected], *, by: str = "entry") -> TopicReport:
    """Every entry, over seeds or of each seed, and pictures through training."""
    if by == "seed":
        return TopicReport(selected, partial(seed_rows, selected), partial(notes, selected), drawn, streams=True)
    return TopicReport(selected, partial(rows, selected), partial(notes, selected, rows_are_means=True), drawn)


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    text = MEANING + "".join(f" {note}." for note in notes(selected, rows_are_means=True))
    yield Section("Gram matrices", text, tables={"gram": rows(selected)}, drawn=drawn)


def rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """Every entry of the Gram matrix, or of the response that stands for it."""
    return joined([frame for item in selected for frame in _of_condition(item)])


def seed_rows(selected: Sequence[Selected]) -> Iterator[pd.DataFrame]:
    """Every entry of every seed's matrix, some rows at a time."""
    none = joined([next(_of_condition(item.of_one_seed(), by_seed=True)).head(0) for item in selected])
    return (joined([none, frame]) for item in selected for frame in _of_condition(item, by_seed=True))


def notes(selected: Sequence[Selected], *, rows_are_means: bool = False) -> Iterator[str]:
    """What means over seeds of single entries do not show, and which cells are not drawn."""
    yield from notes_on_signs(selected)
    if rows_are_means and any(item.dataset.sizes["seed"] > 1 for item in selected):
        yield (
            "rows are means over seeds of single entries, and features are not aligned: where seeds pair different "
            "features, a mean describes none of them; --by seed prints each seed"
        )
    for experiment, group in by_experiment(selected).items():
        cells = [item for condition in group for item in condition.cells()]
        if (count := len(_shown(group))) < len(cells):
            yield f"{experiment}: of {len(cells)} cells the {count} at the corners are drawn; --cell chooses others"


def _of_condition(item: Selected, *, by_seed: bool = False) -> Iterator[pd.DataFrame]:
    """The entries of some rows of G at a time, because all entries of all models may take too much memory."""
    first = counted_response(item.at_step.isel(seed=slice(1)), item.dataset)
    row = "output" if "output" in first.dims else "feature"
    models = prod(item.at_step["train_loss"].sizes.values())
    size = max(1, _ENTRIES // (models * item.entries // item.dataset.sizes[row]))
    for start in range(0, item.dataset.sizes[row], size):
        G = item.each(partial(_rows_of, item, here={row: slice(start, start + size)}))
        yield summarised(item, {"gram": G}, [row, "other_feature"], by_seed=by_seed, modes=False)


def _rows_of(item: Selected, models: xr.Dataset, *, here: dict[str, slice]) -> xr.DataArray:
    return counted_response(models, item.dataset).isel(here)


def drawn(group: Sequence[Selected]) -> Figures:
    """A grid for each condition: the first seeds, at initialisation, a third of the way and at the chosen step.

    If a sweep has many cells, only its corner cells are drawn.
    """
    # matplotlib takes a quarter of a second to import; rows need none of it.
    from toysup.analysis import figures

    for item in _shown(group):
        title = label_of(item, len(group))
        steps = item.dataset["step"].values[: item.index + 1]
        third = int(np.abs(steps - steps[-1] / 3).argmin())
        phases = sorted({0, third, item.index})
        early = item.dataset.isel(step=phases, seed=slice(MOST_SEEDS if item.seeds_were_chosen else GRAM_SEEDS)).load()
        G = counted_response(early, early)
        limit = _limit(G)
        for heading, own in by_context({title: _with_features(G)}).items():
            context = heading.removeprefix(title).strip(", ")
            name = "-".join(filter(None, ["gram", item.condition, in_a_name(item.cell), context]))
            yield name, figures.gram_grid(own, limit=limit, title=heading)


def _shown(group: Sequence[Selected]) -> list[Selected]:
    """The conditions and cells that are drawn: all, or those at the corners of their sweep."""
    cells = [item for condition in group for item in condition.cells()]
    return cells if len(cells) <= MAX_SERIES else [item for item in cells if _at_a_corner(item, group)]


def _limit(G: xr.DataArray) -> float | None:
    """The end of the colour scale, so that the last step shows its diagonal and, paler, the interference.

    It is the 95th percentile of the diagonal of represented features, or the 99.9th of all entries, if that is larger.
    Single outliers and larger entries at earlier steps lie beyond. None, for all entries, where few lie far beyond.
    """
    size = abs(G.isel(step=-1))
    rows = xr.DataArray(np.arange(size.sizes[row := "output" if "output" in G.dims else "feature"]), dims="entry")
    own = size.isel({row: rows, "other_feature": xr.DataArray(features_of_rows(G), dims="entry")}).values
    own, entries = own[own >= REPRESENTED], size.values[np.isfinite(size.values)]
    if not own.size:
        return None
    limit = float(max(np.quantile(own, 0.95, method="lower"), np.quantile(entries, 0.999, method="lower")))
    largest = float(np.abs(G.values[np.isfinite(G.values)]).max())
    return limit if largest > _FAR * limit else None


def _at_a_corner(item: Selected, group: Sequence[Selected]) -> bool:
    whole = next(other for other in group if other.condition == item.condition)
    return all(value in whole.dataset[axis].values[[0, -1]] for axis, value in item.cell.items())


def _with_features(G: xr.DataArray) -> xr.DataArray:
    """G of z with its outputs in the place of features, the context that they are about in that of the subset."""
    if "output" not in G.dims:
        return G
    plain = G.drop_vars(["output_feature", "output_context"]).rename(output="feature")
    return plain.assign_coords(subset=("feature", G["output_context"].values))
