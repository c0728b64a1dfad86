"""Which features share a direction of the hidden space, and from which step features enter and share one."""

import numpy as np
import xarray as xr
from scipy import special

from toysup.analysis.statistics.dimensionality import REPRESENTED_THRESHOLD, represented
from toysup.analysis.statistics.gram import feature_norms, gram
from toysup.analysis.statistics.labels import is_finite, named, numbers, require_dims, with_steps
from toysup.errors import UsageError

SHARING_THRESHOLD = 0.9
"""The least |cos(W_i, W_j)| at which two represented features share a direction."""


def shared_directions(
    W: xr.DataArray, *, threshold: float = SHARING_THRESHOLD, represented_threshold: float = REPRESENTED_THRESHOLD
) -> xr.DataArray:
    """Which pairs of features share a direction: −1 antipodal, 1 parallel, 0 neither.

    A pair i ≠ j shares a direction if both are represented and |cos(W_i, W_j)| reaches the threshold.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; any leading dims.
    threshold : float
        The least |cos(W_i, W_j)| of a pair that shares a direction, above 0 and at most 1; 0.9 by default.
    represented_threshold : float
        The least ‖W_i‖² of a represented feature; 0.5 by default.

    Returns
    -------
    DataArray (..., feature, other_feature)
        −1, 0 or 1; symmetric, 0 on the diagonal, in the dtype of W; NaN for a model that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing, or the threshold is not above 0 and at most 1.

    See Also
    --------
    shared_direction_count : the number of pairs that share a direction.
    sharing_chance : how often a pair of random directions shares one.
    merge_step : the step from which a pair shares a direction.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> shared = toysup.analysis.shared_directions(W)
    >>> float(shared.sel(seed=0, feature=1).min())
    -1.0
    """
    W = numbers(W, ("hidden", "feature"), what="W")
    _refuse_threshold(threshold)
    is_represented, norms = represented(W, threshold=represented_threshold), feature_norms(W)
    cosine = gram((W / norms.where(norms > 0)).where(is_represented, 0).transpose(..., "hidden", "feature"))
    # Rounding can make the cosine of two equal directions slightly less than 1.
    reached = abs(cosine) >= threshold - 1e-6
    pair = xr.DataArray(~np.eye(W.sizes["feature"], dtype=bool), dims=("feature", "other_feature"))
    sign = xr.apply_ufunc(np.sign, cosine, dask="allowed")
    shared = sign.where(reached & pair, 0).where(is_finite(W))
    return named(shared, "sharing", "shared direction: −1 antipodal, 1 parallel", threshold=threshold)


def shared_direction_count(shared: xr.DataArray) -> xr.DataArray:
    """The number of pairs of features that share a direction.

    Parameters
    ----------
    shared : DataArray (..., feature, other_feature)
        As `shared_directions` gives it; any leading dims.

    Returns
    -------
    DataArray (...)
        A count; NaN for a model that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> shared = toysup.analysis.shared_directions(W)
    >>> toysup.analysis.shared_direction_count(shared).sel(seed=[0, 1]).values.tolist()
    [10.0, 10.0]
    """
    require_dims(shared, ("feature", "other_feature"), what="shared")
    count = abs(shared).sum(["feature", "other_feature"], skipna=False) / 2
    pairs = shared.sizes["feature"] * (shared.sizes["feature"] - 1) / 2
    return named(count, "sharing_pairs", "pairs of features that share a direction", within=(0, pairs))


def sharing_chance(n_hidden: int, *, threshold: float = SHARING_THRESHOLD) -> float:
    """The probability that two random directions share one: P(|cos| ≥ `threshold`) in `n_hidden` dimensions.

    For directions that are uniform on the sphere in m dimensions it is I_{1−c²}((m−1)/2, 1/2), where c is the threshold
    and I is the regularised incomplete beta function: 1 for m = 1, 2 arccos(c)/π for m = 2, and 1 − c for m = 3.
    Weights at initialisation have such directions. Of k represented features, k(k−1)/2 times this many pairs share a
    direction by chance.

    Parameters
    ----------
    n_hidden : int
        The number m of hidden dimensions, at least 1.
    threshold : float
        The least |cos| of a pair that shares a direction, above 0 and at most 1; 0.9 by default.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    UsageError
        If `n_hidden` is no whole number of at least 1, or the threshold is not above 0 and at most 1.

    Examples
    --------
    >>> import toysup
    >>> [round(toysup.analysis.sharing_chance(m), 3) for m in (1, 2, 3, 5, 10)]
    [1.0, 0.287, 0.1, 0.014, 0.0]
    """
    _refuse_threshold(threshold)
    if not isinstance(n_hidden, int | np.integer) or n_hidden < 1:
        raise UsageError(f"n_hidden must be a whole number of at least 1, got {n_hidden!r}")
    return 1.0 if n_hidden == 1 else float(special.betainc((n_hidden - 1) / 2, 0.5, 1 - threshold**2))


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


def _refuse_threshold(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold must be above 0 and at most 1, got {threshold}")
