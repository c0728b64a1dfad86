"""Training up to the chosen step: rows about steps, features and events, and the figures of its course."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import pandas as pd
import xarray as xr

from toysup.analysis.inference.seeds import over_seeds, proportion_over_seeds
from toysup.analysis.report.html_page import Section
from toysup.analysis.report.panels import Figures, by_context, series
from toysup.analysis.report.selection import Selected, exchanged_roles, notes_on_signs
from toysup.analysis.report.tidy_rows import Rows, about_contexts, each_seed, joined, rows_of, stacked
from toysup.analysis.report.topic_report import TopicReport
from toysup.analysis.report.topics.training_course import (
    ALONG,
    CHANCE,
    finite_trainings,
    important_features,
    recorded_training,
    too_short,
    training_statistics,
    trainings,
)
from toysup.analysis.report.topics.training_events import events, no_events
from toysup.analysis.statistics.directions import sharing_chance
from toysup.errors import UsageError

MEANING = (
    "Along training: losses with their plateaus, represented features, and pairs that share a direction. For each "
    "feature: the step from which it stays represented, and the step from which it keeps sharing a direction."
)
# Conditions that stand side by side in a figure.
COLUMNS = 4
DRAWN = ("train_loss", "represented", "total_dimensionality", "sharing_pairs", CHANCE, "plateau")
# Where random directions share one this often, a note says so.
NOTED_CHANCE = 0.01


def report(selected: Sequence[Selected], *, by: str = "step") -> TopicReport:
    """Statistics step by step, of each feature, or each event of each seed; UsageError if nothing was followed."""
    followed = [item for item in selected if item.index > 0]
    if not followed:
        names = ", ".join(item.path for item in selected)
        raise UsageError(f"{names}: there is no training to follow, since one step was recorded up to the chosen one")

    def notes() -> Iterator[str]:
        yield from (f"{item.path} is left out: it has one recorded step" for item in selected if item.index == 0)
        yield from _notes(followed, by=by)

    return TopicReport(followed, partial(rows, followed, by=by), notes, drawn, streams=by in ("event", "seed"))


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    """All rows and figures; conditions with a single recorded step are left out."""
    if followed := [item for item in selected if item.index > 0]:
        tables = {f"dynamics-by-{by}": rows(followed, by=by) for by in ("step", "feature", "event")}
        notes = "".join(f" {note}." for note in left_out(followed))
        yield Section("Training", MEANING + notes, tables=tables, drawn=drawn)


def rows(selected: Sequence[Selected], *, by: str) -> Rows:
    """By step: statistics of the models. By feature: when it enters and merges. By event: each one of each seed."""
    if by == "event":
        none = joined([no_events(item) for item in selected])
        return (joined([none, frame]) for item in selected for frame in events(item))
    if by == "seed":
        first = joined([next(_seed_rows(item.of_one_seed())).head(0) for item in selected])
        return (joined([first, frame]) for item in selected for frame in _seed_rows(item))
    rows_of_item = _feature_rows if by == "feature" else _step_rows
    return joined([frame for item in selected for frame in rows_of_item(item)])


def _step_rows(item: Selected) -> Iterator[pd.DataFrame]:
    recorded = recorded_training(item)
    epochs = dict(zip(recorded["step"].values.tolist(), recorded["epoch"].values.tolist(), strict=True))
    statistics, left_out = training_statistics(item), too_short(item)
    for name in (name for name in ALONG if name not in left_out):
        summary = statistics.plateau_share if name == "plateau" else statistics.summaries[name]
        frame = rows_of(item, name, summary, ["step", *about_contexts(summary)])
        yield frame.assign(epoch=frame["step"].map(epochs))


def _seed_rows(item: Selected) -> Iterator[pd.DataFrame]:
    """The statistics of each seed at each step."""
    names = [name for name in ALONG if name not in too_short(item)]
    for training in trainings(item):
        for name, values in training.statistics()[names].items():
            summary = each_seed(values.drop_vars("epoch", errors="ignore"))
            summary["epoch"] = xr.zeros_like(summary["mean"]).fillna(0) + training.dataset["epoch"].drop_vars("epoch")
            yield rows_of(item, str(name), summary, ["step", "seed", *about_contexts(summary)])


def _feature_rows(item: Selected) -> Iterator[pd.DataFrame]:
    features = training_statistics(item).features
    for name, values in features.items():
        summary = (proportion_over_seeds if name == "represented_at_end" else over_seeds)(values)
        # A seed in which a feature never enters has no entry step, but nothing is wrong with it.
        summary["n_excluded"] = (~finite_trainings(features)).sum("seed")
        statistic = str(name).removesuffix("_at_end")
        yield rows_of(item, statistic, summary, [*about_contexts(summary), "feature"])


def _notes(selected: Sequence[Selected], *, by: str) -> Iterator[str]:
    yield from left_out(selected)
    if by == "feature":
        yield from exchanged_roles(selected)


def left_out(selected: Sequence[Selected]) -> Iterator[str]:
    """Lines on signs, on chance, on statistics that need more snapshots, and on trainings that are not finite."""
    yield from notes_on_signs(selected)
    for n_hidden in dict.fromkeys(item.dataset.sizes["hidden"] for item in selected):
        if (chance := sharing_chance(n_hidden)) >= NOTED_CHANCE:
            yield (
                f"two random directions in {n_hidden} dimension{'s' * (n_hidden > 1)} share one with probability "
                f"{chance:.2g}; {CHANCE} has the pairs that do so by chance"
            )
    short: dict[str, list[str]] = {}
    for item in selected:
        if names := too_short(item):
            text = f"{item.index + 1} snapshots are too few for {' and '.join(names)}"
            short.setdefault(text, []).append(item.condition)
    yield from (f"{', '.join(conditions)}: {text}" for text, conditions in short.items())
    for item in selected:
        finite = finite_trainings(training_statistics(item).features)
        if count := int((~finite).sum()):
            yield (
                f"{item.condition}: {count} of {finite.size} trainings are not finite; they have no "
                "events, and are in no mean but those of steps before that"
            )


def drawn(group: Sequence[Selected]) -> Figures:
    """Losses and counts along training, and the steps at which features enter and merge."""
    # matplotlib takes a quarter of a second to import; rows need none of it.
    from toysup.analysis import figures

    # Of one recorded step there is no course.
    for suffix, items in series([item for item in group if item.index > 0]):
        seeds = by_context({label: _first_seeds(item) for label, item in items.items()})
        summaries = by_context({label: _summaries(item) for label, item in items.items()})
        features = by_context({label: _features(item) for label, item in items.items()})
        columns = list(features)
        count = -(-len(columns) // COLUMNS)
        ends = [number * len(columns) // count for number in range(count + 1)]
        for number, (start, stop) in enumerate(pairwise(ends), start=1):
            end = f"{suffix}-{number}" if count > 1 else suffix
            shown = columns[start:stop]
            values = {label: seeds[label][list(DRAWN)].to_dataarray("statistic") for label in shown}
            means = {label: summaries[label] for label in shown}
            yield f"dynamics-over-training{end}", figures.course_of_training(values, means, first=start)
            entering = {label: features[label] for label in shown}
            medians = {label: _medians(own) for label, own in entering.items()}
            yield f"dynamics-features{end}", figures.feature_events(entering, medians, first=start)


def _first_seeds(item: Selected) -> xr.Dataset:
    seeds: xr.Dataset = item.cell_of(training_statistics(item.whole).first_seeds)
    return seeds


def _summaries(item: Selected) -> xr.Dataset:
    summaries = training_statistics(item.whole).summaries
    cell: xr.Dataset = item.cell_of(stacked({name: summaries[name] for name in DRAWN}))
    return cell


def _features(item: Selected) -> xr.Dataset:
    features = important_features(item).rename(represented_at_end="represented")
    return features.assign_coords(step=recorded_training(item.whole)["step"])


def _medians(features: xr.Dataset) -> xr.Dataset:
    """Of the seeds in which a feature enters or merges for good; the share of the finite ones that those are."""
    medians = features[["entry_step", "merge_step"]].median("seed")
    finite = features["entries"].notnull()
    merged = features["merge_step"].notnull().where(finite)
    medians = medians.assign(represented=features["represented"].mean("seed"), merged=merged.mean("seed"))
    return medians.assign(n_seeds=finite.sum("seed"), n_excluded=(~finite).sum("seed"))
