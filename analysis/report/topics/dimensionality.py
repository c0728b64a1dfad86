"""Represented features, total dimensionality, and D and norm of each feature."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.report.html_page import Section, with_interval
from toysup.analysis.report.panels import Figures, by_context, over_sweep, series, summaries_of
from toysup.analysis.report.selection import (
    Selected,
    alike_features,
    computed_once,
    exchanged_roles,
    notes_on_signs,
)
from toysup.analysis.report.tidy_rows import joined, of_statistics, summarised
from toysup.analysis.report.topic_report import TopicReport
from toysup.analysis.report.topics import against as comparison
from toysup.analysis.statistics.dimensionality import (
    feature_dimensionality,
    represented,
    represented_count,
    total_dimensionality,
)
from toysup.analysis.statistics.gram import feature_norms
from toysup.analysis.statistics.piecewise import along, piecewise
from toysup.analysis.statistics.responses import context_selectivity, linear_response

MEANING = "A feature is represented if ‖W_i‖² ≥ 0.5; D_i is the share of a dimension that it has to itself."
# Values of all seeds that are summarised at once.
_STEPS_HELD = 2**24


def report(selected: Sequence[Selected], *, by: str = "feature", against: str | None = None) -> TopicReport:
    """Rows and figures of the chosen step, or differences from the condition `against`."""
    if against is not None:
        return comparison.report(selected, against, counts, drawn)
    return TopicReport(selected, partial(rows, selected, by=by), partial(_notes, selected, by=by), drawn)


def _notes(selected: Sequence[Selected], *, by: str) -> Iterator[str]:
    yield from notes(selected)
    if by == "feature":
        yield from exchanged_roles(selected)


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    """The counts, with all rows beside them."""
    whole = rows(selected)
    counted = with_interval(of_statistics(whole, "represented", "total_dimensionality"))
    text = MEANING + "".join(f" {note}." for note in notes(selected))
    yield Section("Dimensionality", text, [("", counted)], {"dimensionality": whole}, drawn)


def rows(selected: Sequence[Selected], *, by: str = "feature") -> pd.DataFrame:
    """First the counts per model, whose `feature` is empty, then the statistics of each feature.

    By rank, these are sorted within each seed; by seed, all rows are about one seed.
    """
    frames, later = [], []
    summarise, about = partial(summarised, by_seed=by == "seed"), "rank" if by == "rank" else "feature"
    for item in selected:
        frames.append(summarise(item, counts(item)))
        of_features = item.each(_of_features)
        if "context_selectivity" in of_features:
            frames.append(summarise(item, {"context_selectivity": mean_selectivity(of_features)}))
        each = {str(name): of_features[name] for name in of_features if name != "represented"}
        if by == "rank":
            each = {name: _by_rank(values) for name, values in each.items()}
        later.append(summarise(item, each, [about]))
    frames += later
    return joined([frames[-1].head(0), *frames])


def _by_rank(values: xr.DataArray) -> xr.DataArray:
    """The values of each model from the largest to the smallest."""
    everything = [list(range(values.sizes["feature"]))]
    ranked = sorted_within(values, everything).drop_vars(["feature", "subset"], errors="ignore").rename(feature="rank")
    return ranked.assign_coords(rank=np.arange(1, ranked.sizes["rank"] + 1))


def sorted_within(values: xr.DataArray, groups: Sequence[Sequence[int]]) -> xr.DataArray:
    """The values of each model with those of each group of features in falling order; NaN comes last."""
    moved = values.transpose(..., "feature")
    table = moved.values.copy()
    for places in groups:
        table[..., places] = -np.sort(-table[..., places], axis=-1)
    return moved.copy(data=table).transpose(*values.dims)


def notes(selected: Sequence[Selected]) -> Iterator[str]:
    """Which conditions have rows for either sign; in which no feature is represented although dimensions are used."""
    yield from notes_on_signs(selected)
    for item in selected:
        counted = _counts(item)
        used = counted["total_dimensionality"] > item.dataset.sizes["hidden"] / 2
        if (used & (counted["represented"] == 0)).any():
            yield (
                f"{item.condition}: models in which no feature reaches ‖W_i‖² = 0.5 use their dimensions all the same "
                "(total_dimensionality): many features have a part of each"
            )


def counts(item: Selected) -> dict[str, xr.DataArray]:
    """What is counted of each model."""
    return {str(name): values for name, values in _counts(item).items()}


@computed_once
def _counts(item: Selected) -> xr.Dataset:
    return item.each(_counts_of)


def _counts_of(models: xr.Dataset) -> xr.Dataset:
    H = linear_response(models)["H"]
    counted = {"represented": represented_count(H), "total_dimensionality": total_dimensionality(H)}
    if "value" in H.dims:
        counted["represented_directions"] = counted["represented"].sum("value", skipna=False)
    return xr.Dataset(counted)


def _of_features(models: xr.Dataset) -> xr.Dataset:
    """What is told of each feature, and whether it is represented."""
    H = linear_response(models)["H"]
    found = {"feature_dimensionality": feature_dimensionality(H), "feature_norm": feature_norms(H)}
    if "context" in H.dims:
        found |= {"context_selectivity": context_selectivity(models), "represented": represented(H)}
    return xr.Dataset(found)


def mean_selectivity(of_features: xr.Dataset) -> xr.DataArray:
    """The mean context selectivity of the features that are represented in some context; NaN where none is."""
    shown = of_features["represented"].any("context")
    return of_features["context_selectivity"].where(shown).mean("feature")


def _dimensionalities(models: xr.Dataset) -> xr.DataArray:
    return feature_dimensionality(linear_response(models)["H"])


def _along_training(item: Selected) -> xr.Dataset:
    """The summary of D over seeds at every step: of so many steps at a time, for all seeds of these are needed."""
    sizes = item.dataset.sizes
    models = prod(item.at_step["train_loss"].sizes.values())
    size = max(1, _STEPS_HELD // (models * sizes["feature"] * sizes["context"]))
    parts = [item.dataset.isel(step=slice(start, start + size)) for start in range(0, sizes["step"], size)]
    alike = alike_features(item.dataset)
    each = (sorted_within(piecewise(part, _dimensionalities, values=item.entries), alike) for part in parts)
    # A line through training needs a mean at every step; the figure of the chosen step shows the modes.
    return along("step", [over_seeds(values, modes=False) for values in each])


def drawn(group: Sequence[Selected]) -> Figures:
    """D of each feature at the chosen step, and along training; of features that are alike, in falling order."""
    # matplotlib takes a quarter of a second to import; rows need none of it.
    from toysup.analysis import figures

    for suffix, items in series(group):
        alike = {label: alike_features(item.dataset) for label, item in items.items()}
        found = {label: sorted_within(item.each(_dimensionalities), alike[label]) for label, item in items.items()}
        values = by_context(found)
        of = {label: groups for label, groups in alike.items() if groups}
        ranked = [name for name in values if name in of or name.rpartition(", ")[0] in of]
        yield f"dimensionality{suffix}", figures.feature_dimensionality(values, summaries_of(values), ranked=ranked)
        courses = by_context({label: _along_training(item) for label, item in items.items()})
        figure = figures.dimensionality_over_training(courses, ranked=ranked)
        yield f"dimensionality-over-training{suffix}", figure
    yield from over_sweep(group, "dimensionality", counts)
