"""Represented features, total dimensionality, and D and norm of each feature."""

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from toysup.analysis import figures
from toysup.analysis.dimensionality import (
    feature_dimensionality,
    represented,
    represented_count,
    total_dimensionality,
)
from toysup.analysis.gram import feature_norms
from toysup.analysis.responses import context_selectivity, response
from toysup.analysis.rows import joined, summarised
from toysup.analysis.selection import Selected
from toysup.analysis.series import Figures, by_context, over_sweep, series, summaries_of

MEANING = "A feature is represented if ‖W_i‖² ≥ 0.5; D_i is the share of a dimension that it has to itself."


def rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """Counts per model first (no feature), then each feature's dimensionality, norm and context selectivity."""
    frames = []
    for item in selected:
        frames.append(summarised(item, counts(item)))
        if "context" in item.directions.dims:
            frames.append(summarised(item, {"context_selectivity": mean_selectivity(item)}))
    for item in selected:
        H = item.directions
        each = {"feature_dimensionality": feature_dimensionality(H), "feature_norm": feature_norms(H)}
        if "context" in H.dims:
            each["context_selectivity"] = context_selectivity(item.at_step)
        frames.append(summarised(item, each, ["feature"]))
    return joined([frames[-1].head(0), *frames])


def counts(item: Selected) -> dict[str, xr.DataArray]:
    """What is counted of each model."""
    H = item.directions
    return {"represented": represented_count(H), "total_dimensionality": total_dimensionality(H)}


def mean_selectivity(item: Selected) -> xr.DataArray:
    """The mean context selectivity of the features that are represented in some context; NaN where none is."""
    shown = represented(item.directions).any("context")
    return context_selectivity(item.at_step).where(shown).mean("feature")


def drawn(group: Sequence[Selected]) -> Figures:
    """D of each feature at the chosen step, and along training."""
    for suffix, items in series(group):
        values = by_context({label: feature_dimensionality(item.directions) for label, item in items.items()})
        yield f"dimensionality{suffix}", figures.feature_dimensionality(values, summaries_of(values))
        whole = {label: feature_dimensionality(response(item.dataset)["H"]) for label, item in items.items()}
        along = summaries_of(by_context(whole))
        yield f"dimensionality-over-training{suffix}", figures.dimensionality_over_training(along)
    yield from over_sweep(group, "dimensionality", counts)
