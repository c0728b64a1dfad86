"""The course of training: what changes step by step, feature by feature, and event by event."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from toysup.analysis import figures
from toysup.analysis.inference.seeds import over_seeds, proportion_over_seeds
from toysup.analysis.report.panels import Figures, series
from toysup.analysis.report.selection import Selected
from toysup.analysis.report.tidy_rows import NUMBERS, Rows, about_contexts, joined, rows_of
from toysup.analysis.statistics import dynamics
from toysup.analysis.statistics.dimensionality import (
    feature_dimensionality,
    represented,
    represented_count,
    total_dimensionality,
)
from toysup.analysis.statistics.gram import feature_norms
from toysup.analysis.statistics.piecewise import by_cells, loaded_if_small, piecewise
from toysup.analysis.statistics.responses import linear_response
from toysup.errors import UsageError

MEANING = (
    "Along training: losses with their plateaus, represented features, pairs that share a direction; and for each "
    "feature the step from which on it is represented, and from which on it shares a direction, to the end."
)
# Conditions that stand side by side in a figure, and seeds that are drawn one by one.
COLUMNS = 4
SEEDS_DRAWN = 5
DRAWN = ("train_loss", "represented", "total_dimensionality", "sharing_pairs", "plateau")


@dataclass(frozen=True, eq=False)
class _Piece:
    """The training of some models of a condition, in memory."""

    dataset: xr.Dataset

    @functools.cached_property
    def H(self) -> xr.DataArray:
        """What stands for W: (sweep axes..., seed, step, [context,] hidden, feature)."""
        return linear_response(self.dataset)["H"]

    @functools.cached_property
    def sharing(self) -> xr.DataArray:
        return dynamics.shared_directions(self.H)

    @functools.cached_property
    def jumps(self) -> xr.DataArray:
        return dynamics.level_jumps(feature_dimensionality(self.H))

    @functools.cached_property
    def plateau(self) -> xr.DataArray:
        return dynamics.plateaus(self.dataset["train_loss"])

    @functools.cached_property
    def entries(self) -> xr.Dataset:
        return dynamics.feature_onset(self.H)

    @functools.cached_property
    def finite(self) -> xr.DataArray:
        return _finite(self.entries)

    @functools.cached_property
    def along(self) -> xr.Dataset:
        """Statistics of each seed at each step."""
        H = self.H
        return xr.Dataset(
            {
                "train_loss": self.dataset["train_loss"],
                "plateau": self.plateau,
                "represented": represented_count(H),
                "total_dimensionality": total_dimensionality(H),
                "sharing_pairs": dynamics.shared_direction_count(self.sharing),
                "jumps": (self.jumps != 0).where(self.jumps.notnull()).sum("feature", skipna=False),
            }
        )

    @functools.cached_property
    def features(self) -> xr.Dataset:
        """Statistics of each seed's features, NaN where a feature has none."""
        finite = self.entries["entries"].notnull()
        at_end = represented(self.H.isel(step=-1, drop=True)).where(finite)
        merged = dynamics.merge_step(self.sharing).min("other_feature")
        return xr.Dataset({"represented": at_end, **self.entries, "merge_step": merged})


@dataclass(frozen=True, eq=False)
class Course:
    """The training of one condition up to the chosen step, in all cells of its sweep: what is kept of its models."""

    item: Selected

    @functools.cached_property
    def dataset(self) -> xr.Dataset:
        """Up to the chosen step, lazily."""
        steps = self.item.index + 1
        if steps < 2:
            raise UsageError(
                f"{self.item.condition} has one recorded step up to the chosen one: there is no training to look at"
            )
        return self.item.dataset.isel(step=slice(steps))

    def pieces(self) -> Iterator[_Piece]:
        """All models, some at a time; the same one again where it is of all."""
        if self._whole is not None:
            yield self._whole
        else:
            yield from map(_Piece, by_cells(self.dataset, values=self.item.entries))

    @functools.cached_property
    def _whole(self) -> _Piece | None:
        small = loaded_if_small(self.dataset, values=self.item.entries)
        return None if small is self.dataset else _Piece(small)

    @functools.cached_property
    def _found(self) -> tuple[dict[str, xr.Dataset], xr.Dataset, xr.Dataset]:
        """Summaries over seeds of `along`, the first seeds of it, and `features`."""

        def both(piece: _Piece) -> xr.Dataset:
            return piece.along.merge(piece.features.rename({name: f"feature {name}" for name in piece.features}))

        found = (
            both(self._whole)
            if self._whole is not None
            else piecewise(self.dataset, lambda models: both(_Piece(models)), values=self.item.entries)
        )
        along = found[[name for name, values in found.items() if "step" in values.dims]]
        features = found.drop_vars([*along.data_vars, "step"])
        summaries = {str(name): over_seeds(values) for name, values in along.items()}
        summaries["share on plateau"] = proportion_over_seeds(along["plateau"])
        names = {name: str(name).removeprefix("feature ") for name in features}
        return summaries, along.isel(seed=slice(SEEDS_DRAWN)).copy(deep=True), features.rename(names)

    @property
    def summaries(self) -> dict[str, xr.Dataset]:
        """Over seeds, of each statistic of `along`; and of "share on plateau" as a share."""
        return self._found[0]

    @property
    def first_seeds(self) -> xr.Dataset:
        """`along` of the seeds that are drawn one by one."""
        return self._found[1]

    @property
    def features(self) -> xr.Dataset:
        """Statistics of each seed's features."""
        return self._found[2]

    @functools.cached_property
    def finite(self) -> xr.DataArray:
        """Whether each training is finite throughout: (sweep axes..., seed)."""
        return _finite(self.features)

    @property
    def too_short(self) -> list[str]:
        """The statistics of `along` that take more snapshots than there are."""
        snapshots = self.dataset.sizes["step"]
        # There is no loss at the first.
        values = {"plateau": snapshots - 1, "jumps": snapshots}
        return [name for name, count in values.items() if count < dynamics.LEAST_LENGTH]

    def at(self, item: Selected) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
        """The first seeds, the summaries and `features` of one cell of the sweep.

        Features are in the order of importance, without those that have none unless none has any.
        """
        cell = {axis: value for axis, value in item.cell.items() if axis in self.item.sweeps}
        features = self.features.assign_coords(step=self.dataset["step"]).sel(cell)
        importance = (self.dataset["importance"] * self.dataset["context_probability"]).sum("context")
        weights = importance.sel({axis: value for axis, value in cell.items() if axis in importance.dims}).values
        order = np.argsort(-weights, kind="stable")
        weighty = order[weights[order] > 0]
        shown = features.isel(feature=weighty if len(weighty) else order)
        return self.first_seeds.sel(cell), _stacked({name: self.summaries[name] for name in DRAWN}).sel(cell), shown


def _stacked(summaries: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Summaries of several statistics as one, along `statistic`."""
    first = next(iter(summaries.values()))
    each = {
        number: xr.Dataset({name: summary[number] for name, summary in summaries.items()}).to_dataarray("statistic")
        for number in NUMBERS
    }
    return xr.Dataset(each, attrs=first.attrs)


def _finite(features: xr.Dataset) -> xr.DataArray:
    return features["entries"].notnull().all(["feature", *about_contexts(features)])


Courses = Mapping[tuple[str, str], Course]


def courses(selected: Sequence[Selected]) -> Courses:
    """The training of each condition; UsageError for one of which no training was recorded."""
    found = {(item.experiment, item.condition): Course(item) for item in selected}
    for course in found.values():
        _ = course.dataset
    return found


def rows(followed: Courses, *, by: str) -> Rows:
    """By step: statistics of the models. By feature: when it enters and merges. By event: each one of each seed."""
    if by == "event":
        none = joined([next(_events(Course(course.item.of_one_seed()))).head(0) for course in followed.values()])
        return (joined([none, found]) for course in followed.values() for found in _events(course))
    if by == "feature":
        return joined([frame for course in followed.values() for frame in _feature_rows(course)])
    return joined([frame for course in followed.values() for frame in _step_rows(course)])


def _step_rows(course: Course) -> Iterator[pd.DataFrame]:
    epochs = course.dataset["epoch"].values
    for name in course.first_seeds.drop_vars(course.too_short):
        summary = course.summaries["share on plateau" if name == "plateau" else str(name)]
        summary = summary.drop_vars("epoch", errors="ignore").assign(epoch=xr.zeros_like(summary["mean"]))
        summary["epoch"] += xr.DataArray(epochs, dims="step")
        yield rows_of(course.item, str(name), summary, ["step", *about_contexts(summary)])


def _feature_rows(course: Course) -> Iterator[pd.DataFrame]:
    for name, values in course.features.items():
        summary = (proportion_over_seeds if name == "represented" else over_seeds)(values)
        # A seed in which a feature never enters has no entry step, but nothing is wrong with it.
        summary["n_excluded"] = (~course.finite).sum("seed")
        yield rows_of(course.item, str(name), summary, [*about_contexts(summary), "feature"])


def _events(course: Course) -> Iterator[pd.DataFrame]:
    """A row for each event of each seed whose training is finite, in the order of training."""
    columns = [*course.item.sweeps, "seed", "step"]
    for piece in course.pieces():
        found = joined(list(_events_of(course.item, piece)))
        yield found.sort_values(columns, kind="stable", ignore_index=True) if len(found) else found


def _events_of(item: Selected, piece: _Piece) -> Iterator[pd.DataFrame]:
    finite, listed = piece.finite, functools.partial(_listed, item, piece)
    shown, square = represented(piece.H), feature_norms(piece.H) ** 2
    pairs = piece.sharing.where(np.triu(np.ones(piece.sharing.shape[-2:], dtype=bool), 1), 0)
    plateau = (piece.plateau == 1) & finite
    before = pairs.shift(step=1)
    yield listed("enter", "squared_norm", square.where(_starts(shown) & finite))
    yield listed("leave", "squared_norm", square.where(_starts(~shown) & finite))
    yield listed("merge", "sharing", pairs.where((pairs != before) & (pairs != 0) & before.notnull() & finite))
    yield listed("part", "sharing", before.where((pairs != before) & (before != 0) & finite))
    yield listed("jump", "feature_dimensionality", piece.jumps.where((piece.jumps != 0) & finite))
    yield listed("plateau", "steps", _lengths(plateau, piece.dataset["step"]))


def _starts(holds: xr.DataArray) -> xr.DataArray:
    """Where something holds that did not one snapshot before."""
    return holds & ~holds.shift(step=1, fill_value=True)


def _lengths(holds: xr.DataArray, step: xr.DataArray) -> xr.DataArray:
    """Where a run of True starts: how many steps lie between its first and its last snapshot; NaN elsewhere."""
    starts = holds & ~holds.shift(step=1, fill_value=False)
    ends = holds & ~holds.shift(step=-1, fill_value=False)
    # The next end is the least of those that are still to come.
    to_come = step.where(ends, np.inf).transpose(*holds.dims)
    axis = to_come.dims.index("step")
    next_end = np.flip(np.minimum.accumulate(np.flip(to_come.values, axis), axis), axis)
    return (to_come.copy(data=next_end) - step).where(starts)


def _listed(item: Selected, piece: _Piece, event: str, statistic: str, sizes: xr.DataArray) -> pd.DataFrame:
    """The entries of `sizes` that are not NaN, one row each."""
    about = [dim for dim in ("context", "feature", "other_feature") if dim in sizes.dims]
    dims = [*item.sweeps, "seed", "step", *about]
    ordered = sizes.transpose(*dims)
    where = np.nonzero(ordered.notnull().values)
    columns = {dim: ordered[dim].values[at] for dim, at in zip(dims, where, strict=True)}
    found = pd.DataFrame(columns).assign(event=event, statistic=statistic, mean=ordered.values[where].astype(float))
    named = {"experiment": item.experiment, "condition": item.condition}
    numbers = {"ci_low": np.nan, "ci_high": np.nan, "n_seeds": 1, "n_excluded": 0}
    found = found.assign(**named, **numbers, **{dim: None for dim in ("feature", "other_feature") if dim not in about})
    contexts = ["context"] if "context" in piece.H.dims else []
    found = found.assign(context=None) if contexts and "context" not in about else found
    order = ["experiment", "condition", *item.sweeps, "step", "seed", "event", *contexts]
    return found[[*order, "feature", "other_feature", "statistic", "mean", *numbers]]


def drawn(group: Sequence[Selected], followed: Courses) -> Figures:
    """Losses and counts along training, and the steps at which features enter and merge."""
    for suffix, items in series(group):
        courses = {label: followed[item.experiment, item.condition].at(item) for label, item in items.items()}
        seeds, summaries, features = (
            _by_context({label: parts[number] for label, parts in courses.items()}) for number in range(3)
        )
        columns = list(features)
        count = -(-len(columns) // COLUMNS)
        ends = [number * len(columns) // count for number in range(count + 1)]
        for number, (start, stop) in enumerate(pairwise(ends), start=1):
            end = f"{suffix}-{number}" if count > 1 else suffix
            shown = columns[start:stop]
            yield f"dynamics-over-training{end}", _over_training(seeds, summaries, shown, start)
            yield f"dynamics-features{end}", _features({label: features[label] for label in shown}, start)


def _over_training(
    seeds: Mapping[str, xr.Dataset], summaries: Mapping[str, xr.Dataset], shown: Sequence[str], first: int
) -> Figure:
    values = {label: seeds[label][list(DRAWN)].to_dataarray("statistic") for label in shown}
    return figures.course_of_training(values, {label: summaries[label] for label in shown}, first=first)


def _features(features: Mapping[str, xr.Dataset], first: int) -> Figure:
    return figures.feature_events(features, {label: _medians(data) for label, data in features.items()}, first=first)


def _medians(features: xr.Dataset) -> xr.Dataset:
    """Of the seeds in which a feature enters or merges for good; the share of the finite ones that those are."""
    found = features[["entry_step", "merge_step"]].median("seed")
    finite = features["entries"].notnull()
    merged = features["merge_step"].notnull().where(finite)
    found = found.assign(represented=features["represented"].mean("seed"), merged=merged.mean("seed"))
    return found.assign(n_seeds=finite.sum("seed"), n_excluded=(~finite).sum("seed"))


def _by_context(courses: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """What depends on the context as one entry for each; all else as it is."""
    found: dict[str, xr.Dataset] = {}
    for label, data in courses.items():
        contexts = data["context"].values.tolist() if "context" in data.dims else []
        each = {f"{label}, {context}": data.sel(context=context, drop=True) for context in contexts}
        found |= each or {label: data}
    return found


def left_out(followed: Courses) -> Iterator[str]:
    """Lines on the statistics that take more snapshots than conditions have, and on trainings that are not finite."""
    short: dict[str, list[str]] = {}
    for course in followed.values():
        if names := course.too_short:
            text = f"{course.dataset.sizes['step']} snapshots are too few for {' and '.join(names)}"
            short.setdefault(text, []).append(course.item.condition)
    yield from (f"{', '.join(conditions)}: {text}" for text, conditions in short.items())
    for course in followed.values():
        if count := int((~course.finite).sum()):
            yield (
                f"{course.item.condition}: {count} of {course.finite.size} trainings are not finite; they have no "
                "events, and are in no mean but those of steps before that"
            )
