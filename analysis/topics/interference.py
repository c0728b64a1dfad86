"""Interference between subsets, or what each feature meets."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import xarray as xr

from toysup.analysis import figures
from toysup.analysis.interference import (
    QUADRANT_STATISTICS,
    feature_interference,
    gram_quadrants,
    probability_weighted_interference,
)
from toysup.analysis.rows import about_contexts, joined, rows_of, summarised
from toysup.analysis.seeds import over_seeds
from toysup.analysis.selection import Selected
from toysup.analysis.series import Figures, by_context, over_sweep, series, summaries_of


def rows(selected: Sequence[Selected], *, by: str) -> pd.DataFrame:
    """By quadrant: its statistics. By feature: what the others do to it, also weighted with their probability."""
    frames = []
    for item in selected:
        if by == "feature":
            H = item.directions
            each = {
                "feature_interference": feature_interference(H),
                "probability_weighted_interference": probability_weighted_interference(item.at_step, H),
            }
            frames.append(summarised(item, each, ["feature"]))
        else:
            # All statistics are resampled in one call, which is what takes the time.
            summary = over_seeds(gram_quadrants(item.responses).to_dataarray("statistic"))
            about = [*about_contexts(summary), "subset", "other_subset"]
            frames += [rows_of(item, name, summary.sel(statistic=name), about) for name in QUADRANT_STATISTICS]
    return joined(frames)


def drawn(group: Sequence[Selected], *, statistics: Sequence[str] = ("energy",)) -> Figures:
    """These statistics of each quadrant, one figure each."""
    for suffix, items in series(group):
        quadrants = {label: gram_quadrants(item.responses) for label, item in items.items()}
        for statistic in statistics:
            values = by_context({label: dataset[statistic] for label, dataset in quadrants.items()})
            figure = figures.quadrant_interference(values, summaries_of(values), statistic=statistic)
            yield f"interference-{statistic.replace('_', '-')}{suffix}", figure
    for statistic in statistics:
        name = f"interference-{statistic.replace('_', '-')}"
        yield from over_sweep(group, name, partial(within_and_across, statistic=statistic))


def within_and_across(item: Selected, *, statistic: str) -> dict[str, xr.DataArray]:
    """One statistic of the quadrants within subsets and of those across, energies summed and all else averaged."""
    values = gram_quadrants(item.responses)[statistic]
    same = values["subset"] == values["other_subset"]
    if values.sizes["subset"] == 1:
        return {statistic: values.isel(subset=0, other_subset=0, drop=True)}
    dims = ["subset", "other_subset"]
    summed, name = statistic.startswith("energy"), statistic.removesuffix("_fraction")
    # A model that is not finite stays NaN in a sum, in which what is left out counts as 0.
    return {
        f"{name}_{where}": values.where(own, 0).sum(dims, skipna=False) if summed else values.where(own).mean(dims)
        for where, own in (("within", same), ("across", ~same))
    }
