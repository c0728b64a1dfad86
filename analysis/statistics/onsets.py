"""When features enter the model, and when pairs of features come to share a direction."""

import numpy as np
import xarray as xr

from toysup.analysis.statistics.dimensionality import REPRESENTED_THRESHOLD, represented
from toysup.analysis.statistics.labels import is_finite, named, numbers
from toysup.errors import UsageError


def feature_onset(W: xr.DataArray, *, threshold: float = REPRESENTED_THRESHOLD) -> xr.Dataset:
    """The step from which each feature stays represented to the end, and how often the feature enters and leaves.

    A feature enters at a snapshot if it is represented there and was not at the snapshot before; it leaves in the
    reverse case. Most features are represented at initialisation already, since Xavier initialisation makes ‖W_i‖²
    about 2m/(n + m). A feature that stays represented throughout has the first step as its entry step, 0 entries and 0
    exits. A feature that leaves and comes back has 1 entry and 1 exit, and its entry step is the step of its return.

    Parameters
    ----------
    W : DataArray (..., step, ..., hidden, feature)
        Weights onto the hidden state along training, or H of `linear_response`; any other leading dims.
    threshold : float
        The least ‖W_i‖² of a represented feature; 0.5 by default.

    Returns
    -------
    Dataset (..., feature)
        `entry_step`, in steps, NaN for a feature that is not represented at the last step; `entries` and `exits`,
        counts. All three are NaN for a trajectory that is not finite.

    Raises
    ------
    UsageError
        If a dim or the coordinate `step` is missing.

    See Also
    --------
    represented : whether each feature is represented at each step.
    merge_step : the step from which a pair of features shares a direction.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].to_dataset()
    >>> onset = toysup.analysis.feature_onset(dataset.W.sel(seed=0))
    >>> onset.entry_step.sel(feature=[1, 10]).values.tolist()
    [0.0, 782.0]
    """
    W = with_steps(W, ("hidden", "feature"), what="W")
    holds, finite = represented(W, threshold=threshold), is_finite(W, over=("step", "context", "hidden", "feature"))
    earlier, later = holds.isel(step=slice(-1)).drop_vars("step"), holds.isel(step=slice(1, None)).drop_vars("step")
    came, went = (later & ~earlier).sum("step"), (earlier & ~later).sum("step")
    return xr.Dataset(
        {
            "entry_step": named(
                _since(holds).where(finite), "entry_step", "step from which a feature is represented", within=_steps(W)
            ),
            "entries": named(came.where(finite), "entries", "times that a feature enters", within=(0, np.inf)),
            "exits": named(went.where(finite), "exits", "times that a feature leaves", within=(0, np.inf)),
        }
    )


def merge_step(shared: xr.DataArray) -> xr.DataArray:
    """The step from which each pair of features shares a direction to the end, always with the same sign.

    Parameters
    ----------
    shared : DataArray (..., step, ..., feature, other_feature)
        As `shared_directions` gives it, along training; any other leading dims.

    Returns
    -------
    DataArray (..., feature, other_feature)
        In steps; NaN for a pair that does not share a direction at the last step, and for a trajectory that is not
        finite.

    Raises
    ------
    UsageError
        If a dim or the coordinate `step` is missing.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].to_dataset()
    >>> shared = toysup.analysis.shared_directions(dataset.W.sel(seed=[0]))
    >>> steps = toysup.analysis.merge_step(shared)
    >>> steps.dims, float(steps.min())
    (('seed', 'feature', 'other_feature'), 391.0)
    """
    shared = with_steps(shared, ("feature", "other_feature"), what="shared")
    last = shared.isel(step=-1, drop=True)
    finite = shared.notnull().all([dim for dim in ("step", "context") if dim in shared.dims])
    since = _since((shared == last) & (last != 0)).where(finite)
    return named(since, "merge_step", "step from which a pair shares", within=_steps(shared))


def _steps(recorded: xr.DataArray) -> tuple[float, float]:
    """The first and the last recorded step, between which an event lies."""
    return float(recorded["step"].min()), float(recorded["step"].max())


def with_steps(array: xr.DataArray, dims: tuple[str, ...], *, what: str) -> xr.DataArray:
    """The array in floating point; UsageError if it lacks a dim, or the steps themselves."""
    array = numbers(array, ("step", *dims), what=what)
    if "step" not in array.coords:
        raise UsageError(f"{what} needs the coordinate step, which has the number of each recorded step")
    return array


def _since(holds: xr.DataArray) -> xr.DataArray:
    """The first step of the run of True that reaches the last step; NaN if the last value is False."""
    steps = np.append(holds["step"].values.astype(np.float64), np.nan)
    numbers = xr.DataArray(np.arange(1, len(steps), dtype=np.int32), dims="step")
    # Snapshots are numbered from 1, so the number of the last False is the index of the snapshot after it.
    last = (~holds.drop_vars("step") * numbers).max("step")
    since: xr.DataArray = xr.apply_ufunc(
        lambda places: steps[places], last, dask="parallelized", output_dtypes=[np.float64]
    )
    return since
