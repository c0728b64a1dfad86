"""Dynamics: from which step on features are represented or share directions, and plateaus and jumps on the way."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.statistics.arrays import FloatArray
from toysup.analysis.statistics.dimensionality import REPRESENTED_THRESHOLD, represented
from toysup.analysis.statistics.labels import is_finite, named, require_dims
from toysup.errors import UsageError

PLATEAU_FALL = 0.01
JUMP_SIZE = 0.2

# A plateau, and the level on either side of a jump, last a tenth of the snapshots; three tell a line from a slope.
_HELD, _FEWEST = 0.1, 3
# A shorter series cannot be cut in two, and does not tell whether it has a plateau or a jump.
LEAST_LENGTH = 2 * _FEWEST
# A jump takes at most a fifth of them, and is this many times as steep as what is on either side of it.
_SUDDEN, _STEEPER = 0.2, 3.0
# What a change point costs, in units of σ² ln n: BIC for a line's two parameters and its place, and a margin for a σ
# that is estimated from a dozen snapshots.
_PENALTY = 4.0
# The smallest σ: smooth series have no noise, and would be cut at every bend.
_LEAST_DECADES, _LEAST_DIMENSIONS = 0.005, 0.01
# Losses below this share of the largest are rounding.
_ROUNDING = 1e-12

Kernel = Callable[[FloatArray, FloatArray], FloatArray]


def feature_onset(W: xr.DataArray, *, threshold: float = REPRESENTED_THRESHOLD) -> xr.Dataset:
    """When each feature enters: the step from which it is represented to the end, and how often it came and went.

    Most features are represented at initialisation, where Xavier makes ‖W_i‖² about 2m/(n + m). One that stays so has
    the first step for its entry step, 0 entries and 0 exits; one that leaves and comes back has 1 and 1, and its entry
    step is that of its return.

    Parameters
    ----------
    W : DataArray (..., step, ..., hidden, feature)
        Weights onto the hidden state along training, or H of `linear_response` in their place; any other leading dims.
    threshold : float
        A feature is represented where ‖W_i‖² reaches it.

    Returns
    -------
    Dataset (..., feature)
        `entry_step`, NaN for a feature that is not represented at the last step; `entries` and `exits`, how often it is
        represented and was not one snapshot before, and the reverse. All NaN for a trajectory that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].to_dataset()
    >>> onset = toysup.analysis.feature_onset(dataset.W.sel(seed=0))
    >>> onset.entry_step.sel(feature=[1, 10]).values.tolist()
    [0.0, 782.0]
    """
    _with_steps(W, ("hidden", "feature"), what="W")
    holds, finite = represented(W, threshold=threshold), is_finite(W, over=("step", "context", "hidden", "feature"))
    earlier, later = holds.isel(step=slice(-1)).drop_vars("step"), holds.isel(step=slice(1, None)).drop_vars("step")
    came, went = (later & ~earlier).sum("step"), (earlier & ~later).sum("step")
    return xr.Dataset(
        {
            "entry_step": named(_since(holds).where(finite), "entry_step", "step from which a feature is represented"),
            "entries": named(came.where(finite), "entries", "times that a feature enters"),
            "exits": named(went.where(finite), "exits", "times that a feature leaves"),
        }
    )


def merge_step(shared: xr.DataArray) -> xr.DataArray:
    """The step from which a pair shares a direction, with one sign, to the end.

    Parameters
    ----------
    shared : DataArray (..., step, ..., feature, other_feature)
        As `shared_directions` gives it.

    Returns
    -------
    DataArray (..., feature, other_feature)
        NaN for a pair that does not share a direction at the last step, and for a trajectory that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].to_dataset()
    >>> shared = toysup.analysis.shared_directions(dataset.W.sel(seed=[0]))
    >>> steps = toysup.analysis.merge_step(shared)
    >>> steps.dims, float(steps.min())
    (('seed', 'feature', 'other_feature'), 391.0)
    """
    _with_steps(shared, ("feature", "other_feature"), what="shared")
    last = shared.isel(step=-1, drop=True)
    finite = shared.notnull().all([dim for dim in ("step", "context") if dim in shared.dims])
    return named(_since((shared == last) & (last != 0)).where(finite), "merge_step", "step from which a pair shares")


def plateaus(train_loss: xr.DataArray, *, fall: float = PLATEAU_FALL) -> xr.DataArray:
    """Where the training loss stands still.

    log10 of the loss is cut into straight lines (least squares, with a penalty of 4 σ² ln n for each, σ from the second
    differences, at least 0.005 decades). A plateau is a run of lines that each change by at most `fall` decades
    per tenth of the recorded training, and lasts a tenth of it and three snapshots. It ends, and another starts, where
    the loss changes from one such line to the next by more than `fall`, and by more than 2 √ln n standard errors.
    Recorded training is counted in snapshots: a tenth of the steps where they are evenly spaced, a tenth of log(step)
    where they are log-spaced.

    Parameters
    ----------
    train_loss : DataArray (..., step)
        Mean loss since the previous snapshot; NaN at the first.
    fall : float
        In decades per tenth of the recorded training: 0.01 is 2.3%.

    Returns
    -------
    DataArray (..., step)
        1 on a plateau, 0 elsewhere and at the first snapshot of a plateau that follows another at once. NaN throughout
        where a loss is not finite beyond the first, or where there are fewer than six beyond it, which cannot be cut in
        two.

    Raises
    ------
    UsageError
        If there is no dim `step`.

    Source: Jackson et al. (2005), "An algorithm for optimal partitioning of data on an interval".

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> plateau = toysup.analysis.plateaus(fixed.train_loss)
    >>> plateau.sel(seed=0).values.tolist()[-3:]
    [1.0, 1.0, 1.0]
    """
    _with_steps(train_loss, (), what="train_loss")
    # There is no loss before the first step; of that step alone, the NaN is what is known.
    initial = train_loss.sizes["step"] > 1 and train_loss.isel(step=0).isnull().all()
    losses = train_loss.isel(step=slice(1, None)) if initial else train_loss
    losses = losses.astype(np.float64)
    least = (_ROUNDING * losses.max("step")).clip(min=np.finfo(np.float64).tiny)
    logs = xr.apply_ufunc(np.log10, losses.clip(min=least, keep_attrs=True), dask="allowed")
    flat = _along_steps(logs, partial(_on_plateau, fall=fall), order=2, least=_LEAST_DECADES)
    whole = flat.reindex(step=train_loss["step"], fill_value=0.0).assign_coords(train_loss.coords)
    whole = whole.where(flat.notnull().all("step")).transpose(*train_loss.dims)
    return named(whole, "plateau", "whether the training loss stands still", fall=fall)


def level_jumps(values: xr.DataArray, *, size: float = JUMP_SIZE) -> xr.DataArray:
    """Where a series such as D_i changes suddenly from one level to another, and by how much.

    The series is cut into constant pieces (least squares, with a penalty of 4 σ² ln n for each, σ from the first
    differences, at least 0.01). A jump lies between two successive pieces that last a tenth of the recorded
    training each, and three snapshots, and that are at most a fifth of it apart. Its size is the distance between the
    ends of the lines through the two pieces; it is at least `size`, and three times as steep as either line. So what
    grows or decays smoothly has no jump, nor has what changes before its first level has lasted.

    Parameters
    ----------
    values : DataArray (..., step, ...)
        Such as `feature_dimensionality`.
    size : float
        The least change of level, in the units of `values`.

    Returns
    -------
    DataArray (..., step, ...)
        The change of level at the first snapshot of the new one, 0 elsewhere; NaN throughout for a series that is not
        finite, or has fewer than six snapshots: two levels take three each.

    Raises
    ------
    UsageError
        If there is no dim `step`.

    Source: Elhage et al. (2022), "Toy Models of Superposition"; Maidstone et al. (2017), "On optimal multiple
    changepoint algorithms for large data".

    Examples
    --------
    >>> import toysup
    >>> import numpy as np, xarray as xr
    >>> D = xr.DataArray(np.repeat([0.0, 0.5], 5), {'step': np.arange(10)}, 'step')
    >>> toysup.analysis.level_jumps(D).values.tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    """
    _with_steps(values, (), what="values")

    jumps = _along_steps(values, partial(_jumps, size=size), order=1, least=_LEAST_DIMENSIONS)
    return named(jumps, "jumps", "sudden change of level", size=size)


def _with_steps(array: xr.DataArray, dims: tuple[str, ...], *, what: str) -> None:
    require_dims(array, ("step", *dims), what=what)
    if "step" not in array.coords:
        raise UsageError(f"{what} needs the coordinate step, which says when things happen")


def _since(holds: xr.DataArray) -> xr.DataArray:
    """The first step of the last unbroken run of True, where that reaches the last step; else NaN."""
    steps = np.append(holds["step"].values.astype(np.float64), np.nan)
    numbers = xr.DataArray(np.arange(1, len(steps), dtype=np.int32), dims="step")
    # The number of the last snapshot where it does not hold, which is the place of the one after it.
    last = (~holds.drop_vars("step") * numbers).max("step")
    since: xr.DataArray = xr.apply_ufunc(
        lambda places: steps[places], last, dask="parallelized", output_dtypes=[np.float64]
    )
    return since


def _along_steps(values: xr.DataArray, kernel: Kernel, *, order: int, least: float) -> xr.DataArray:
    """What `kernel` makes of the finite series, (series, step) → (series, step), and their penalties; NaN for others.

    Among the others are all series of fewer than `LEAST_LENGTH` values.

    A penalty is 4 σ² ln n, with σ, no smaller than `least`, from the median size of the differences of that order, few
    of which are across change points.
    """
    result: xr.DataArray = xr.apply_ufunc(
        partial(_each_series, kernel=kernel, order=order, least=least),
        values.astype(np.float64),
        input_core_dims=[["step"]],
        output_core_dims=[["step"]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[np.float64],
    )
    return result.transpose(*values.dims)


def _each_series(series: FloatArray, *, kernel: Kernel, order: int, least: float) -> FloatArray:
    """The same of an array (..., step)."""
    table = series.reshape(-1, series.shape[-1])
    result = np.full(table.shape, np.nan)
    finite = np.isfinite(table).all(axis=1)
    n = table.shape[1]
    if n >= LEAST_LENGTH and finite.any():
        # Differences of white noise have variances of 2 and 6 σ²; a median of |N(0, 1)| is 0.674.
        spread = np.median(np.abs(np.diff(table[finite], order, axis=1)), axis=1) / 0.674
        sigma = np.maximum(spread / {1: 2.0, 2: 6.0}[order] ** 0.5, least)
        result[finite] = kernel(table[finite], _PENALTY * np.log(n) * sigma**2)
    return result.reshape(series.shape)


class _Line(NamedTuple):
    """A straight line through the snapshots start, …, stop − 1."""

    start: int
    stop: int
    first: float
    last: float

    @classmethod
    def through(cls, series: FloatArray, start: int, stop: int) -> "_Line":
        count = stop - start
        piece, at = series[start:stop], np.arange(count) - (count - 1) / 2
        mean = float(piece.sum()) / count
        half = (count - 1) / 2 * float(at @ piece) / max(float(at @ at), 1.0)
        return cls(start, stop, mean - half, mean + half)

    @property
    def slope(self) -> float:
        return (self.last - self.first) / max(self.stop - self.start - 1, 1)

    @property
    def end_variance(self) -> float:
        """The variance of `first`, or of `last`, for a noise of variance 1."""
        count = self.stop - self.start
        return (4 * count - 2) / (count * (count + 1))


def _on_plateau(logs: FloatArray, penalties: FloatArray, *, fall: float) -> FloatArray:
    """1 for the snapshots of plateaus: runs of flat lines that last."""
    from toysup.analysis.statistics.change_points import lines  # numba, which who measures interference does not need

    n = logs.shape[1]
    # About 50 places where a line may start bound the time of a long series.
    stops = lines(logs, penalties, shortest=_FEWEST, stride=max(1, n // 50))
    triples = zip(logs, stops, penalties, strict=True)
    return np.array([_flat(_lines(series, ends), penalty, fall) for series, ends, penalty in triples])


def _flat(lines: Sequence[_Line], penalty: float, fall: float) -> FloatArray:
    n = lines[-1].stop
    flat = np.zeros(n, dtype=bool)
    for start, stop in _standing(lines, penalty, fall):
        if stop - start >= _held(n):
            # A plateau that follows another at once starts one snapshot later, which keeps the two apart.
            flat[start + int(start > 0 and flat[start - 1]) : stop] = True
    return flat.astype(np.float64)


def _standing(lines: Sequence[_Line], penalty: float, fall: float) -> list[tuple[int, int]]:
    """Where runs of flat lines start and stop; one that starts at another level starts another run."""
    tenth = (lines[-1].stop - 1) / 10
    runs: list[list[_Line]] = []
    for line in lines:
        if abs(line.slope) * tenth > fall:
            continue
        before = runs[-1][-1] if runs else None
        if before and before.stop == line.start and _at_one_level(before, line, penalty, fall):
            runs[-1].append(line)
        else:
            runs.append([line])
    return [(run[0].start, run[-1].stop) for run in runs]


def _at_one_level(before: _Line, after: _Line, penalty: float, fall: float) -> bool:
    """Whether the change from one line to the next is at most `fall`, or 2 √ln n times its standard error."""
    change = after.first - before.last
    return change**2 <= max(fall**2, penalty * (before.end_variance + after.end_variance))


def _jumps(series: FloatArray, penalties: FloatArray, *, size: float) -> FloatArray:
    """The sizes of the jumps where new levels start, 0 elsewhere."""
    from toysup.analysis.statistics.change_points import levels  # as in _on_plateau

    sizes = np.zeros_like(series)
    far = np.flatnonzero(np.ptp(series, axis=1) >= size)
    for at, stops in zip(far, levels(series[far], penalties[far]), strict=True):
        for place, change in _changes(_lines(series[at], stops), size):
            sizes[at, place] = change
    return sizes


def _changes(lines: Sequence[_Line], size: float) -> Iterator[tuple[int, float]]:
    """Where a level starts after a jump, and its size."""
    n = lines[-1].stop
    levels = [line for line in lines if line.stop - line.start >= _held(n)]
    for before, after in pairwise(levels):
        change, apart = after.first - before.last, after.start - before.stop
        steepness = abs(change) / (apart + 1)
        steep = steepness >= _STEEPER * max(abs(before.slope), abs(after.slope))
        if abs(change) >= size and apart <= _SUDDEN * (n - 1) and steep:
            yield after.start, change


def _lines(series: FloatArray, stops: Sequence[int]) -> list[_Line]:
    """The lines through the pieces of a series that end at these places."""
    return [_Line.through(series, start, stop) for start, stop in pairwise([0, *stops])]


def _held(n: int) -> int:
    """How many of n snapshots a level or a plateau lasts at least."""
    return max(_FEWEST, int(np.ceil(_HELD * (n - 1))))
