"""Interference between subsets, or received by each feature."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
import xarray as xr

from toysup.analysis.inference.comparisons import holm_adjusted
from toysup.analysis.inference.exchangeable_features import no_null
from toysup.analysis.inference.quadrant_null import quadrant_null
from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.report import measures
from toysup.analysis.report.html_page import Section, with_interval
from toysup.analysis.report.panels import Figures, by_context, over_sweep, series, summaries_of
from toysup.analysis.report.selection import Selected, exchanged_roles, notes_on_signs
from toysup.analysis.report.tidy_rows import about_contexts, each_seed, joined, of_statistics, rows_of, summarised
from toysup.analysis.report.topic_report import TopicReport
from toysup.analysis.report.topics import against as comparison
from toysup.analysis.statistics.interference import feature_interference, probability_weighted_interference
from toysup.analysis.statistics.labels import range_of, with_range
from toysup.analysis.statistics.quadrants import QUADRANT_STATISTICS
from toysup.analysis.statistics.responses import linear_response

MEANING = (
    "z and p compare the mean with its null: the mean if exchangeable features swap their subset labels at random. "
    "Features are exchangeable if their tables are equal after renaming the contexts."
)
# Rows about seeds that are put together at once.
_ROWS = 2**15
NULL = ["null_mean", "null_sd", "z", "p_value"]
# Of the quadrants' statistics, those that the page shows; the tables have all.
SHOWN_STATISTICS = ("energy", "interfering_fraction")


def report(
    selected: Sequence[Selected], *, by: str = "quadrant", statistic: str = "energy", against: str | None = None
) -> TopicReport:
    """Rows about quadrants, seeds or features, or differences from the condition `against`."""
    figures_of = partial(drawn, statistics=[statistic])
    if against is not None:
        return comparison.report(selected, against, quadrants, figures_of)
    if by == "seed":
        return TopicReport(selected, partial(seed_rows, selected), partial(notes, selected), figures_of, streams=True)
    if by == "feature":
        return TopicReport(selected, partial(rows, selected, by=by), partial(_feature_notes, selected), drawn_features)
    return TopicReport(selected, partial(rows, selected, by=by), partial(notes, selected), figures_of)


def _feature_notes(selected: Sequence[Selected]) -> Iterator[str]:
    yield from notes_on_signs(selected)
    yield from exchanged_roles(selected)


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    """The headline statistics of quadrants beside their null, with all rows."""
    whole = rows(selected, by="quadrant")
    text = MEANING + "".join(f" {note}." for note in notes(selected))
    shown = with_interval(of_statistics(whole, *SHOWN_STATISTICS).drop(columns=["null_mean", "null_sd"]))
    yield Section(
        "Interference between subsets",
        text,
        [("", shown)],
        {"interference": whole, "feature-interference": rows(selected, by="feature")},
        partial(drawn, statistics=SHOWN_STATISTICS),
    )


def rows(selected: Sequence[Selected], *, by: str) -> pd.DataFrame:
    """By quadrant: its statistics, and their null. By feature: what the others do to it."""
    if by == "feature":
        return joined([_by_feature(item) for item in selected])
    return _adjusted(joined([_by_quadrant(item) for item in selected]))


def seed_rows(selected: Sequence[Selected]) -> Iterator[pd.DataFrame]:
    """The statistics of each seed's quadrants, and their null; some rows at a time."""
    none = joined([next(_by_seed(item.of_one_seed())).head(0) for item in selected])
    return (joined([none, found]) for item in selected for found in _by_seed(item))


def _by_feature(item: Selected) -> pd.DataFrame:
    """What the others do to a feature, also weighted with their probability."""
    found = item.each(_of_features)
    return summarised(item, {str(name): found[name] for name in found}, ["feature"])


def _of_features(models: xr.Dataset) -> xr.Dataset:
    H = linear_response(models)["H"]
    return xr.Dataset(
        {
            "feature_interference": feature_interference(H),
            "probability_weighted_interference": probability_weighted_interference(models, H),
        }
    )


def _by_quadrant(item: Selected) -> pd.DataFrame:
    null = measures.quadrant_null(item)
    frames = []
    for name, values in quadrants(item).items():
        summary = over_seeds(values).assign({column: null[column].sel(statistic=name) for column in NULL})
        frames.append(rows_of(item, name, summary, [*about_contexts(summary), "subset", "other_subset"]))
    return joined(frames)


def _by_seed(item: Selected) -> Iterator[pd.DataFrame]:
    each = each_seed(measures.quadrants(item).to_dataarray("statistic"))
    null = item.each(lambda models: quadrant_null(models, measures.counted_response(models, item.dataset)))
    each = each.assign({name: null[name] for name in NULL})
    about = ["seed", *about_contexts(each), "subset", "other_subset"]
    first = [*item.sweeps, "seed"][0]
    size = max(1, _ROWS * each.sizes[first] // each["z"].isel(statistic=0).size)
    for name in QUADRANT_STATISTICS:
        for start in range(0, each.sizes[first], size):
            here = slice(start, start + size)
            yield rows_of(item, name, each.sel(statistic=name).isel({first: here}), about)


def _adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    """With Holm's p-values over all rows of one statistic in an experiment: its conditions, cells and quadrants."""
    families = frame["p_value"].astype(float).groupby([frame["experiment"], frame["statistic"]])
    adjusted = families.transform(lambda p: holm_adjusted(xr.DataArray(p.to_numpy(), dims="row")).values)
    return frame.assign(p_adjusted=adjusted.astype(object))


def notes(selected: Sequence[Selected]) -> Iterator[str]:
    """Which conditions have rows for either sign; which have no exact null, and why."""
    yield from notes_on_signs(selected)
    for item in selected:
        if none := no_null(item.dataset):
            cells = f" {none.cells}" if none.cells else ""
            yield f"{item.condition} has no exact null for its quadrants{cells}: {none.reason}"


def quadrants(item: Selected) -> dict[str, xr.DataArray]:
    """The statistics of each quadrant."""
    statistics = measures.quadrants(item)
    return {name: statistics[name] for name in QUADRANT_STATISTICS}


def drawn(group: Sequence[Selected], *, statistics: Sequence[str] = ("energy",)) -> Figures:
    """These statistics of each quadrant, one figure each."""
    # matplotlib takes a quarter of a second to import; rows need none of it.
    from toysup.analysis import figures

    for suffix, items in series(group):
        quadrants = {label: measures.quadrants(item) for label, item in items.items()}
        for statistic in statistics:
            values = by_context({label: dataset[statistic] for label, dataset in quadrants.items()})
            of_items = {label: measures.quadrant_null(item) for label, item in items.items()}
            nulls = by_context({label: null.sel(statistic=statistic) for label, null in of_items.items()})
            figure = figures.quadrant_interference(values, summaries_of(values), nulls, statistic=statistic)
            yield f"interference-{statistic.replace('_', '-')}{suffix}", figure
    for statistic in statistics:
        name = f"interference-{statistic.replace('_', '-')}"
        yield from over_sweep(group, name, partial(within_and_across, statistic=statistic))


def drawn_features(group: Sequence[Selected]) -> Figures:
    """The interference that each feature meets."""
    # matplotlib takes a quarter of a second to import; rows need none of it.
    from toysup.analysis import figures

    for suffix, items in series(group):
        found = {label: item.each(_of_features)["feature_interference"] for label, item in items.items()}
        values = by_context(found)
        yield f"interference-by-feature{suffix}", figures.feature_interference(values, summaries_of(values))


def within_and_across(item: Selected, *, statistic: str) -> dict[str, xr.DataArray]:
    """One statistic of the quadrants within subsets and of those across, energies summed and all else averaged."""
    values = measures.quadrants(item)[statistic]
    same = values["subset"] == values["other_subset"]
    if values.sizes["subset"] == 1:
        return {statistic: values.isel(subset=0, other_subset=0, drop=True)}
    dims = ["subset", "other_subset"]
    summed, name = statistic.startswith("energy"), statistic.removesuffix("_fraction")
    # A model that is not finite stays NaN in a sum, in which what is left out counts as 0.
    parts = {
        f"{name}_{where}": values.where(own, 0).sum(dims, skipna=False) if summed else values.where(own).mean(dims)
        for where, own in (("within", same), ("across", ~same))
    }
    return {part: with_range(array, *range_of(values)) for part, array in parts.items()}
