"""The course of training of a condition: statistics of each step and of each feature."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.inference.seeds import over_seeds, proportion_over_seeds
from toysup.analysis.report.selection import Selected, computed_once
from toysup.analysis.report.tidy_rows import about_contexts
from toysup.analysis.statistics import directions, dynamics
from toysup.analysis.statistics.dimensionality import (
    feature_dimensionality,
    represented,
    represented_count,
    total_dimensionality,
)
from toysup.analysis.statistics.directions import shared_direction_count, shared_directions, sharing_chance
from toysup.analysis.statistics.piecewise import by_cells, fits_in_memory, piecewise
from toysup.analysis.statistics.responses import linear_response

# Seeds that figures draw one by one.
SEEDS_DRAWN = 5
# The pairs that random directions would share, beside those that do.
CHANCE = "sharing_pairs_chance"
ALONG = ("train_loss", "plateau", "represented", "total_dimensionality", "sharing_pairs", CHANCE, "jumps")
FEATURES = ("represented_at_end", "entry_step", "entries", "exits", "merge_step")


@dataclass(frozen=True, eq=False)
class Training:
    """The training of some models of a condition, in memory."""

    dataset: xr.Dataset

    @functools.cached_property
    def H(self) -> xr.DataArray:
        """What stands for W: (sweep axes..., seed, step, [context,] hidden, feature)."""
        return linear_response(self.dataset)["H"]

    @functools.cached_property
    def sharing(self) -> xr.DataArray:
        return shared_directions(self.H)

    @functools.cached_property
    def jumps(self) -> xr.DataArray:
        return dynamics.level_jumps(feature_dimensionality(self.H))

    @functools.cached_property
    def plateau(self) -> xr.DataArray:
        return dynamics.plateaus(self.dataset["train_loss"])

    @functools.cached_property
    def onset(self) -> xr.Dataset:
        return directions.feature_onset(self.H)

    @functools.cached_property
    def finite(self) -> xr.DataArray:
        return finite_trainings(self.onset)

    def statistics(self) -> xr.Dataset:
        """`ALONG` for each seed and step, and `FEATURES` for each seed and feature."""
        H, merged = self.H, directions.merge_step(self.sharing).min("other_feature")
        at_end = represented(H.isel(step=-1, drop=True)).where(self.onset["entries"].notnull())
        count = represented_count(H)
        along = {
            "train_loss": self.dataset["train_loss"],
            "plateau": self.plateau,
            "represented": count,
            "total_dimensionality": total_dimensionality(H),
            "sharing_pairs": shared_direction_count(self.sharing),
            CHANCE: count * (count - 1) / 2 * sharing_chance(H.sizes["hidden"]),
            "jumps": (self.jumps != 0).where(self.jumps.notnull()).sum("feature", skipna=False),
        }
        return xr.Dataset(along | {"represented_at_end": at_end, **self.onset, "merge_step": merged})


class Statistics(NamedTuple):
    """What is kept of all models.

    `summaries` has each statistic of `ALONG` over seeds; `plateau_share` has the share of seeds on a plateau;
    `first_seeds` has these statistics of the seeds that are drawn one by one; `features` has those of `FEATURES`.
    """

    summaries: dict[str, xr.Dataset]
    plateau_share: xr.Dataset
    first_seeds: xr.Dataset
    features: xr.Dataset


def recorded_training(item: Selected) -> xr.Dataset:
    """The condition up to the chosen step, lazily."""
    return item.dataset.isel(step=slice(item.index + 1))


def trainings(item: Selected) -> Iterator[Training]:
    """All models, some at a time; all at once where memory holds them."""
    if (whole := _whole_training(item)) is not None:
        yield whole
    else:
        yield from map(Training, by_cells(recorded_training(item), values=item.entries))


@computed_once
def _whole_training(item: Selected) -> Training | None:
    dataset = recorded_training(item)
    return Training(dataset.copy().load()) if fits_in_memory(dataset, values=item.entries) else None


@computed_once
def training_statistics(item: Selected) -> Statistics:
    """What is kept of all models of a condition, in all cells of its sweep."""
    if (training := _whole_training(item)) is not None:
        whole = training.statistics()
    else:
        dataset = recorded_training(item)
        whole = piecewise(dataset, lambda models: Training(models).statistics(), values=item.entries)
    along, features = whole[list(ALONG)], whole[list(FEATURES)]
    return Statistics(
        {name: over_seeds(along[name]) for name in ALONG},
        proportion_over_seeds(along["plateau"]),
        along.isel(seed=slice(SEEDS_DRAWN)).copy(deep=True),
        features,
    )


def finite_trainings(features: xr.Dataset) -> xr.DataArray:
    """Whether each training is finite throughout: (sweep axes..., seed)."""
    return features["entries"].notnull().all(["feature", *about_contexts(features)])


def too_short(item: Selected) -> list[str]:
    """The statistics of `ALONG` that take more snapshots than there are."""
    snapshots = recorded_training(item).sizes["step"]
    # There is no loss at the first.
    values = {"plateau": snapshots - 1, "jumps": snapshots}
    return [name for name, count in values.items() if count < dynamics.LEAST_LENGTH]


def important_features(item: Selected) -> xr.Dataset:
    """`FEATURES` at a cell, by falling Σ_c P(c) I_i(c); features of importance 0 are left out, unless all are."""
    features: xr.Dataset = item.cell_of(training_statistics(item.whole).features)
    importance = (item.whole.dataset["importance"] * item.whole.dataset["context_probability"]).sum("context")
    weights = item.cell_of(importance).values
    order = np.argsort(-weights, kind="stable")
    weighty = order[weights[order] > 0]
    return features.isel(feature=weighty if len(weighty) else order)
