"""The option `--against`: each condition's difference from a reference condition of the same experiment."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.inference.comparisons import difference_over_seeds, holm_adjusted, paired_by_seed
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
    frames, notes = [], []
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
                    frames.append(_rows(item, reference, statistic, *sides))
            if alone:
                notes.append(f"{item.condition} has no counterpart in {reference.condition} of its {', '.join(alone)}")
    if not frames:
        raise UsageError("; ".join(notes) or f"there is no other condition to compare with {name or 'the first'}")
    rows = joined(frames)
    adjusted = holm_adjusted(xr.DataArray(rows["p_value"].to_numpy(dtype=float), dims="row"))
    rows.insert(list(rows.columns).index("p_value") + 1, "p_adjusted", adjusted.values.astype(object))
    if note := _modes_note(rows):
        notes.append(note)
    return rows, notes


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


def _rows(
    item: Selected, reference: Selected, statistic: str, values: xr.DataArray, other: xr.DataArray
) -> pd.DataFrame:
    together = _paired(item, reference, values, other)
    if together.all() or not together.any():
        summary = _difference(values, other, paired=bool(together.all()))
    else:
        by_seed, by_side = (_difference(values, other, paired=how) for how in (True, False))
        summary = by_seed.where(together, by_side)
    summary["paired"] = together.broadcast_like(summary["n_seeds"])
    about = [str(dim) for dim in summary["mean"].dims if dim not in item.sweeps]
    frame = rows_of(item, statistic, summary, about)
    frame.insert(list(frame.columns).index("condition") + 1, "against", reference.condition)
    # What only the reference sweeps is a sweep value too, and these come before the step.
    for axis in (name for name in about if name in reference.sweeps):
        frame.insert(list(frame.columns).index("step"), axis, frame.pop(axis))
    return frame


def _difference(values: xr.DataArray, other: xr.DataArray, *, paired: bool) -> xr.Dataset:
    """The difference over seeds; of losses by batch of samples, with its sampling error."""
    if "batch" not in values.dims:
        return difference_over_seeds(values, other, paired=paired)
    summary = difference_over_seeds(mean_over_batches(values), mean_over_batches(other), paired=paired)
    error = error_of_difference(values, other, paired=paired)
    return widened(summary, error).assign(sampling_error=error)


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
