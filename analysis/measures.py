"""What each command of toysup-analyze reports about the selected conditions: its tidy rows."""

from collections.abc import Mapping, Sequence

import pandas as pd
import xarray as xr

from toysup.analysis.dimensionality import (
    feature_dimensionality,
    represented,
    represented_count,
    total_dimensionality,
)
from toysup.analysis.gram import feature_norms
from toysup.analysis.interference import (
    QUADRANT_STATISTICS,
    feature_interference,
    gram_quadrants,
    probability_weighted_interference,
)
from toysup.analysis.losses import losses
from toysup.analysis.responses import context_selectivity
from toysup.analysis.rows import joined, rows_of
from toysup.analysis.seeds import over_seeds
from toysup.analysis.selection import Selected, by_experiment, same_inputs

# (experiment, trained on, evaluated on) → the parts of the loss, as `losses` gives them.
Losses = dict[tuple[str, str, str], xr.DataArray]


def gram_rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """Every entry of the Gram matrix, or of the response that stands for it."""
    return joined([_rows(item, {"gram": item.responses}, _rows_and_columns(item.responses)) for item in selected])


def _rows_and_columns(G: xr.DataArray) -> list[str]:
    return ["output" if "output" in G.dims else "feature", "other_feature"]


def dimensionality_rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """Counts per model first (no feature), then each feature's dimensionality, norm and context selectivity."""
    frames = []
    for item in selected:
        H = item.directions
        counts = {"represented": represented_count(H), "total_dimensionality": total_dimensionality(H)}
        frames.append(_rows(item, counts))
        if "context" in H.dims:
            frames.append(_rows(item, {"context_selectivity": mean_selectivity(item)}))
    for item in selected:
        H = item.directions
        each = {"feature_dimensionality": feature_dimensionality(H), "feature_norm": feature_norms(H)}
        if "context" in H.dims:
            each["context_selectivity"] = context_selectivity(item.at_step)
        frames.append(_rows(item, each, ["feature"]))
    return joined([frames[-1].head(0), *frames])


def mean_selectivity(item: Selected) -> xr.DataArray:
    """The mean context selectivity of the features that are represented in some context; NaN where none is."""
    shown = represented(item.directions).any("context")
    return context_selectivity(item.at_step).where(shown).mean("feature")


def interference_rows(selected: Sequence[Selected], *, by: str) -> pd.DataFrame:
    """By quadrant: its statistics. By feature: what the others do to it, also weighted with their probability."""
    frames = []
    for item in selected:
        if by == "feature":
            H = item.directions
            each = {
                "feature_interference": feature_interference(H),
                "probability_weighted_interference": probability_weighted_interference(item.at_step, H),
            }
            frames.append(_rows(item, each, ["feature"]))
        else:
            # All statistics are resampled in one call, which is what takes the time.
            summary = over_seeds(gram_quadrants(item.responses).to_dataarray("statistic"))
            about = [*_contexts(summary), "subset", "other_subset"]
            frames += [rows_of(item, name, summary.sel(statistic=name), about) for name in QUADRANT_STATISTICS]
    return joined(frames)


def _rows(item: Selected, statistics: Mapping[str, xr.DataArray], about: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of statistics that are about the same; where a model sees its context, also by context."""
    summaries = {name: over_seeds(values) for name, values in statistics.items()}
    return joined([rows_of(item, name, summary, [*_contexts(summary), *about]) for name, summary in summaries.items()])


def _contexts(values: xr.Dataset) -> list[str]:
    return ["context"] if "context" in values.dims else []


def cross_losses(selected: Sequence[Selected]) -> Losses:
    """The losses, in their parts, of the models of each condition under every condition that has the same inputs."""
    return {
        (experiment, item.condition, other.condition): losses(item.at_step, other.at_step)
        for experiment, group in by_experiment(selected).items()
        for item in group
        for other in group
        if same_inputs(item.dataset, other.dataset)
    }


def loss_rows(selected: Sequence[Selected], parts: Losses, *, by: str | None = None) -> pd.DataFrame:
    """The loss, or its parts by feature or context, of each condition's models under each comparable condition."""
    about = [by] if by else []
    items = {(item.experiment, item.condition): item for item in selected}
    frames = []
    for (experiment, trained, evaluated), part in parts.items():
        labels = {"trained_on": trained, "evaluated_on": evaluated}
        summary = over_seeds(total_loss(part, keep=about))
        frames.append(rows_of(items[experiment, trained], "loss", summary, about, **labels))
    return joined(frames)


def total_loss(parts: xr.DataArray, *, keep: Sequence[str] = ()) -> xr.DataArray:
    """The parts of a loss summed over context and feature, but what is to be kept."""
    total = parts.sum([dim for dim in ("context", "feature") if dim not in keep], skipna=False)
    total.attrs = {key: parts.attrs[key] for key in ("long_name", "units")}
    return total


def info_rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """What was trained, one row per condition."""
    return pd.DataFrame([_info(item) for item in selected])


def _info(item: Selected) -> dict[str, object]:
    dataset = item.dataset
    return {
        "experiment": item.experiment,
        "condition": item.condition,
        "features": dataset.sizes["feature"],
        "hidden": dataset.sizes["hidden"],
        "contexts": ", ".join(dataset["context"].values),
        "sweep": ", ".join(f"{axis} ({dataset.sizes[axis]})" for axis in item.sweeps),
        "seeds": dataset.sizes["seed"],
        "snapshots": dataset.sizes["step"],
        "last_step": int(dataset["step"].values[-1]),
        "last_epoch": float(dataset["epoch"].values[-1]),
        "engine": dataset.attrs["engine"],
        "made_by": dataset.attrs["source"],
    }
