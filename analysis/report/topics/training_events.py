"""The events of training, seed by seed: features enter, leave, merge and part, D_i jumps, the loss stands still."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.report.selection import Selected
from toysup.analysis.report.tidy_rows import about_contexts, joined
from toysup.analysis.report.topics.training_course import Training, trainings
from toysup.analysis.statistics.dimensionality import represented
from toysup.analysis.statistics.gram import feature_norms


def events(item: Selected) -> Iterator[pd.DataFrame]:
    """A row for each event of each seed whose training is finite, in the order of training."""
    columns = [*item.sweeps, "seed", "step"]
    for training in trainings(item):
        rows = joined(list(_events_of(item, training)))
        yield rows.sort_values(columns, kind="stable", ignore_index=True) if len(rows) else rows


def no_events(item: Selected) -> pd.DataFrame:
    """The columns that rows about events have."""
    return next(events(item.of_one_seed())).head(0)


def _events_of(item: Selected, training: Training) -> Iterator[pd.DataFrame]:
    finite, listed = training.finite, partial(_listed, item, training)
    shown, square = represented(training.H), feature_norms(training.H) ** 2
    pairs = training.sharing.where(np.triu(np.ones(training.sharing.shape[-2:], dtype=bool), 1), 0)
    plateau = (training.plateau == 1) & finite
    before = pairs.shift(step=1)
    yield listed("enter", "squared_norm", square.where(_starts(shown) & finite))
    yield listed("leave", "squared_norm", square.where(_starts(~shown) & finite))
    yield listed("merge", "sharing", pairs.where((pairs != before) & (pairs != 0) & before.notnull() & finite))
    yield listed("part", "sharing", before.where((pairs != before) & (before != 0) & finite))
    yield listed("jump", "feature_dimensionality", training.jumps.where((training.jumps != 0) & finite))
    yield listed("plateau", "steps", _lengths(plateau, training.dataset["step"]))


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


def _listed(item: Selected, training: Training, event: str, statistic: str, sizes: xr.DataArray) -> pd.DataFrame:
    """The entries of `sizes` that are not NaN, one row each."""
    about = [dim for dim in ("value", "context", "feature", "other_feature") if dim in sizes.dims]
    dims = [*item.sweeps, "seed", "step", *about]
    ordered = sizes.transpose(*dims)
    where = np.nonzero(ordered.notnull().values)
    columns = {dim: ordered[dim].values[at] for dim, at in zip(dims, where, strict=True)}
    found = pd.DataFrame(columns).assign(event=event, statistic=statistic, mean=ordered.values[where].astype(float))
    named = {"experiment": item.experiment, "condition": item.condition}
    numbers = {"ci_low": np.nan, "ci_high": np.nan, "n_seeds": 1, "n_excluded": 0}
    found = found.assign(**named, **numbers, **{dim: None for dim in ("feature", "other_feature") if dim not in about})
    kinds = about_contexts(training.H)
    found = found.assign(**{kind: None for kind in kinds if kind not in about})
    order = ["experiment", "condition", *item.sweeps, "step", "seed", "event", *kinds]
    return found[[*order, "feature", "other_feature", "statistic", "mean", *numbers]]
