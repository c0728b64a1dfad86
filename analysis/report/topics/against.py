"""The option `--against`: each condition's difference from a reference condition of the same experiment."""

import functools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.inference.comparisons import difference_over_seeds, holm_adjusted
from toysup.analysis.inference.pairing import paired_by_seed
from toysup.analysis.inference.permutations import least_relabelling_p, least_sign_flip_p
from toysup.analysis.inference.sampling_noise import error_of_difference, widened
from toysup.analysis.loss.expected_loss import mean_over_batches
from toysup.analysis.report.panels import Drawn
from toysup.analysis.report.selection import Selected, by_experiment
from toysup.analysis.report.tidy_rows import joined, rows_of
from toysup.analysis.report.topic_report import TopicReport
from toysup.errors import UsageError

MEANING = (
    "Each condition minus the first condition shown of its experiment. Conditions are paired by seed if both "
    "start from the same weights, see the same samples and share most seeds. Effect sizes are in standard "
    "deviations. p-values are those of permutation tests, adjusted for all rows (Holm). A difference that is not "
    "found may still exist."
)
# Differences are called real below this p-value.
_LEVEL = 0.05
Statistics = Callable[[Selected], Mapping[str, xr.DataArray]]


def report(selected: Sequence[Selected], name: str, statistics: Statistics, drawn: Drawn) -> TopicReport:
    """The differences from the condition `name`, beside the figures that a topic draws of the conditions themselves."""
    compared = functools.cache(lambda: differences(selected, name, statistics))
    return TopicReport(selected, lambda: compared()[0], lambda: compared()[1], drawn)


def differences(
    selected: Sequence[Selected], name: str | None, statistics: Statistics
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of each condition less the condition `name` (None: the first one of each experiment), and notes.

    Notes list the statistics that the reference condition lacks.
    `statistics` gives what is compared, one number per seed and entry. p-values are adjusted over all rows (Holm).
    Raises UsageError where nothing can be compared.
    """
    pairs, notes = _pairs(selected, name, statistics)
    if not pairs:
        raise UsageError("; ".join(notes) or f"there is no other condition to compare with {name or 'the first'}")
    count = sum(_comparisons(pair) for pair in pairs)
    rows = joined([_rows(pair, count) for pair in pairs])
    p_values = rows["p_value"].to_numpy(dtype=float)
    adjusted = holm_adjusted(xr.DataArray(p_values, dims="row"))
    rows.insert(list(rows.columns).index("p_value") + 1, "p_adjusted", adjusted.values.astype(object))
    least, tests = rows.pop("least_p").to_numpy(dtype=float)[np.isfinite(p_values)], int(np.isfinite(p_values).sum())
    if tests and least.min() * tests > _LEVEL:
        notes.append(
            f"no difference can be significant at {_LEVEL:g}: with these seeds no p-value is below {least.min():.2g}, "
            f"which adjusted for {tests} rows is {min(1.0, least.min() * tests):.2g}; train more seeds, or compare "
            "fewer conditions or cells"
        )
    if note := _modes_note(rows):
        notes.append(note)
    return rows, notes


class _Pair(NamedTuple):
    """A statistic of a condition and of the one that it is compared with, one number per seed and entry."""

    item: Selected
    reference: Selected
    statistic: str
    values: xr.DataArray
    other: xr.DataArray


def _pairs(selected: Sequence[Selected], name: str | None, statistics: Statistics) -> tuple[list[_Pair], list[str]]:
    """What is compared, and notes on what cannot be."""
    pairs: list[_Pair] = []
    notes = []
    for experiment, group in by_experiment(selected).items():
        reference = next((item for item in group if name in (item.condition, None)), None)
        if reference is None:
            notes.append(f"{experiment} has no condition {name} to compare with")
            continue
        theirs = statistics(reference)
        for item in group:
            if item is reference:
                continue
            alone = []
            for statistic, values in statistics(item).items():
                sides = _counterparts(item, reference, values, theirs[statistic])
                if sides is None:
                    alone.append(statistic)
                else:
                    pairs.append(_Pair(item, reference, statistic, *sides))
            if alone:
                notes.append(f"{item.condition} has no counterpart in {reference.condition} of its {', '.join(alone)}")
    return pairs, notes


def _comparisons(pair: _Pair) -> int:
    """How many rows a pair gives."""
    sizes = {**pair.other.sizes, **pair.values.sizes}
    return prod(size for dim, size in sizes.items() if dim not in ("seed", "batch"))


def _modes_note(rows: pd.DataFrame) -> str:
    """A line on the differences that have a test but no mean; "" if there are none."""
    in_modes = rows[rows["mean"].isna() & rows["p_value"].notna()]
    where = in_modes.groupby("condition", sort=False)["statistic"].unique()
    names = "; ".join(f"{', '.join(statistics)} of {condition}" for condition, statistics in where.items())
    note = "differences between seeds lie in several modes, so a mean difference would describe no pair of models"
    return f"{note} ({names})" if names else ""


def _counterparts(
    item: Selected, reference: Selected, values: xr.DataArray, other: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Both sides at the cells that both have; None where they are about other things, or share no cell."""
    for axis in item.sweeps:
        if axis in other.dims:
            shared = values.indexes[axis].intersection(other.indexes[axis])
            values, other = values.sel({axis: shared}), other.sel({axis: shared})
    about, other_about = (
        [dim for dim in side.dims if dim not in ("seed", "batch", *of.sweeps)]
        for side, of in ((values, item), (other, reference))
    )
    # Labels alone: other coordinates, such as the step or the group, may differ.
    same = about == other_about and all(np.array_equal(values[dim].values, other[dim].values) for dim in about)
    if "subset" in about:
        # Quadrants of one name are about one thing if they are of the same features.
        same = same and np.array_equal(item.dataset["subset"].values, reference.dataset["subset"].values)
    return (values, other) if same and values.size and other.size else None


def _rows(pair: _Pair, comparisons: int) -> pd.DataFrame:
    item, reference, statistic, values, other = pair
    together = _paired(item, reference, values, other)
    compared = partial(_difference, values, other, comparisons)
    if together.all() or not together.any():
        summary = compared(bool(together.all()))
    else:
        summary = compared(True).where(together, compared(False))
    summary["paired"] = together.broadcast_like(summary["n_seeds"])
    about = [str(dim) for dim in summary["mean"].dims if dim not in item.sweeps]
    frame = rows_of(item, statistic, summary, about)
    frame.insert(list(frame.columns).index("condition") + 1, "against", reference.condition)
    # What only the reference sweeps is a sweep value too, and these come before the step.
    for axis in (name for name in about if name in reference.sweeps):
        frame.insert(list(frame.columns).index("step"), axis, frame.pop(axis))
    return frame


def _difference(values: xr.DataArray, other: xr.DataArray, comparisons: int, paired: bool) -> xr.Dataset:
    """The difference, and the least p-value that its test could have found with these seeds.

    Of losses by batch of samples, with their sampling error.
    """
    sides = [mean_over_batches(side) if "batch" in side.dims else side for side in (values, other)]
    summary = difference_over_seeds(*sides, paired=paired, comparisons=comparisons)
    if "batch" in values.dims:
        error = error_of_difference(values, other, paired=paired)
        summary = widened(summary, error).assign(sampling_error=error)
    if paired:
        least = least_sign_flip_p(summary["n_seeds"].values, comparisons)
    else:
        counts = ((abs(side) < np.inf).sum("seed") for side in sides)
        first, second = (count.broadcast_like(summary["mean"]).transpose(*summary["mean"].dims) for count in counts)
        least = least_relabelling_p(first.values, second.values, comparisons)
    return summary.assign(least_p=summary["mean"].copy(data=least))


def _paired(item: Selected, reference: Selected, values: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Whether the models of each cell that is compared are paired by seed: dims those of both sweeps."""
    axes = {
        axis: side[axis].values
        for side in (other, values)
        for axis in (*reference.sweeps, *item.sweeps)
        if axis in side.dims
    }
    one, two = (of.at_step.sel({axis: axes[axis] for axis in of.sweeps}) for of in (item, reference))
    shape = [len(at) for at in axes.values()]
    found = np.full(shape, paired_by_seed(one, two))
    if not found.all():
        for at in np.ndindex(*shape):
            cell = dict(zip(axes, at, strict=True))
            found[at] = paired_by_seed(one.isel(cell, missing_dims="ignore"), two.isel(cell, missing_dims="ignore"))
    return xr.DataArray(found, dims=list(axes), coords=axes)
