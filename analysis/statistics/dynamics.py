"""Plateaus of the loss, and jumps: where a series of snapshots stands still, or changes suddenly."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.statistics.arrays import FloatArray
from toysup.analysis.statistics.labels import named, with_steps

PLATEAU_FALL = 0.01
JUMP_SIZE = 0.2

# Each level beside a jump lasts at least a tenth of the snapshots, and a plateau at least a twentieth: where a plateau
# starts and stops is found to a fiftieth, so a plateau of a tenth may look shorter. Fewer than three snapshots always
# fit a line.
_LEVEL, _PLATEAU, _FEWEST = 0.1, 0.05, 3
# A shorter series cannot be cut into two pieces of three snapshots, so its plateaus and jumps are undefined.
LEAST_LENGTH = 2 * _FEWEST
# A jump takes at most a fifth of the snapshots, and is at least this many times as steep as the levels beside it.
_SUDDEN, _STEEPER = 0.2, 3.0
# The cost of a piece in units of σ² ln n: BIC for the two parameters and the place of a line, with a margin because σ
# is estimated from as few as a dozen snapshots.
_PENALTY = 4.0
# The smallest σ, of the log losses as a share of their range, and of D. A smooth series has no noise, and with σ = 0 it
# would be cut at every bend.
_LEAST_SHARE, _LEAST_DIMENSIONS = 0.005, 0.01
# A loss whose whole range is smaller stands still throughout: 0.005 decades are 1.2%.
_LEAST_DECADES = 0.005
# Losses below this share of the largest loss are rounding errors.
_ROUNDING = 1e-12

Kernel = Callable[[FloatArray, FloatArray], FloatArray]


def plateaus(train_loss: xr.DataArray, *, fall: float = PLATEAU_FALL) -> xr.DataArray:
    """Where the training loss is on a plateau.

    A plateau is where the loss falls far more slowly than on average over the training, by at most a tenth of the mean
    rate. The series is log10 of the loss, divided by its range over the recorded training: its total fall is then 1.
    It is cut into straight lines by least squares, with a penalty of 4 σ² ln n for each line. σ is estimated from the
    second differences of the n losses (times 1 + 4/n), and is at least 0.005 of the total fall. A line is flat if it
    changes by at most `fall` of the total fall per tenth of the recorded training, or by at most 2 √ln n of its
    standard errors. A plateau is one or more successive flat lines. It lasts at least a twentieth of the training and
    at least three snapshots. A plateau ends, and another starts, where the loss changes from one flat line to the next
    by more than `fall` and by more than 2 √ln n standard errors. A loss that ranges over less than 1.2% stands still.

    Training is counted in snapshots. A tenth of it is a tenth of the steps if the snapshots are evenly spaced, and a
    tenth of log(step) if they are log-spaced.

    Parameters
    ----------
    train_loss : DataArray (..., step)
        The mean loss since the previous snapshot; NaN at the first snapshot.
    fall : float
        The largest change of a plateau per tenth of the recorded training, as a share of the total fall; 0.01 by
        default. On average a tenth of the training has a tenth of the total fall.

    Returns
    -------
    DataArray (..., step)
        1 on a plateau, 0 elsewhere. If a plateau follows another one at once, its first snapshot is 0 too, which keeps
        the two apart. NaN throughout a series if a loss after the first snapshot is not finite, or if there are fewer
        than six such losses, which cannot be cut in two.

    Raises
    ------
    UsageError
        If the dim or the coordinate `step` is missing.

    Source: Jackson et al. (2005), "An algorithm for optimal partitioning of data on an interval".

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> plateau = toysup.analysis.plateaus(fixed.train_loss)
    >>> plateau.sel(seed=0).values.tolist()[-3:]
    [1.0, 1.0, 1.0]
    """
    train_loss = with_steps(train_loss, (), what="train_loss")
    # The first loss is NaN, as there is no training before the first snapshot. It is dropped unless it is the only one.
    initial = train_loss.sizes["step"] > 1 and train_loss.isel(step=0).isnull().all()
    losses = train_loss.isel(step=slice(1, None)) if initial else train_loss
    losses = losses.astype(np.float64)
    least = (_ROUNDING * losses.max("step")).clip(min=np.finfo(np.float64).tiny)
    logs = xr.apply_ufunc(np.log10, losses.clip(min=least, keep_attrs=True), dask="allowed")
    total = logs.max("step") - logs.min("step")
    # Dividing by an infinite range makes a loss that stands still constant.
    shares = logs / total.where(~(total < _LEAST_DECADES), np.inf)
    flat = _along_steps(shares, partial(_on_plateau, fall=fall), order=2, least=_LEAST_SHARE)
    whole = flat.reindex(step=train_loss["step"], fill_value=0.0).assign_coords(train_loss.coords)
    whole = whole.where(flat.notnull().all("step")).transpose(*train_loss.dims)
    return named(whole, "plateau", "whether the training loss stands still", fall=fall)


def level_jumps(values: xr.DataArray, *, size: float = JUMP_SIZE) -> xr.DataArray:
    """Where a series such as D_i changes suddenly from one level to another, and by how much.

    The series is cut into constant pieces by least squares, with a penalty of 4 σ² ln n for each piece. σ is estimated
    from the first differences of the n values, and is at least 0.01. A level is a piece that lasts at least a tenth of
    the recorded training and at least three snapshots. A jump lies between two successive levels that are at most a
    fifth of the training apart. Its size is the distance between the ends of the straight lines through the two levels.
    The size is at least `size`, and the jump is at least three times as steep as either line.

    A smooth growth or decay therefore has no jump. A change before the first level is not a jump either.

    Parameters
    ----------
    values : DataArray (..., step, ...)
        A series along training, such as `feature_dimensionality`; any other dims.
    size : float
        The least change of level, in the units of `values`; 0.2 by default.

    Returns
    -------
    DataArray (..., step, ...)
        The change of level at the first snapshot of the new level, 0 elsewhere; in the units of `values`. NaN
        throughout a series that is not finite or has fewer than six snapshots, since each level needs three.

    Raises
    ------
    UsageError
        If the dim or the coordinate `step` is missing.

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
    values = with_steps(values, (), what="values")

    jumps = _along_steps(values, partial(_jumps, size=size), order=1, least=_LEAST_DIMENSIONS)
    return named(jumps, "jumps", "sudden change of level", size=size)


def _along_steps(values: xr.DataArray, kernel: Kernel, *, order: int, least: float) -> xr.DataArray:
    """Apply `kernel` (series, step) → (series, step) to the series along `step`, with a penalty for each series.

    The result is NaN for a series that is not finite or has fewer than `LEAST_LENGTH` values. A penalty is 4 σ² ln n.
    σ is estimated from the median absolute difference of the given order, since few differences lie across change
    points; it is at least `least`.
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
    """`_along_steps` for an array (..., step)."""
    table = series.reshape(-1, series.shape[-1])
    result = np.full(table.shape, np.nan)
    finite = np.isfinite(table).all(axis=1)
    n = table.shape[1]
    if n >= LEAST_LENGTH and finite.any():
        # First and second differences of white noise have variances 2 σ² and 6 σ²; the median of |N(0, 1)| is 0.674.
        spread = np.median(np.abs(np.diff(table[finite], order, axis=1)), axis=1) / 0.674
        sigma = np.maximum(spread * _few(n, order) / {1: 2.0, 2: 6.0}[order] ** 0.5, least)
        result[finite] = kernel(table[finite], _PENALTY * np.log(n) * sigma**2)
    return result.reshape(series.shape)


def _few(n: int, order: int) -> float:
    """The factor that makes up for the median of few second differences, which is often too small."""
    return 1 + 4 / n if order == 2 else 1.0


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
        """The variance of `first`, and of `last`, if the noise has variance 1."""
        count = self.stop - self.start
        return (4 * count - 2) / (count * (count + 1))

    @property
    def slope_variance(self) -> float:
        """The variance of `slope`, if the noise has variance 1."""
        count = self.stop - self.start
        return 12 / (count * (count**2 - 1))


def _on_plateau(logs: FloatArray, penalties: FloatArray, *, fall: float) -> FloatArray:
    """1 for the snapshots on a plateau, 0 for the others."""
    # Imports numba, which takes time that the other statistics need not wait for.
    from toysup.analysis.statistics.change_points import lines

    n = logs.shape[1]
    # Lines start at about 50 places at most, which bounds the time for a long series.
    stops = lines(logs, penalties, shortest=_FEWEST, stride=max(1, n // 50))
    triples = zip(logs, stops, penalties, strict=True)
    return np.array([_flat(_lines(series, ends), penalty, fall) for series, ends, penalty in triples])


def _flat(lines: Sequence[_Line], penalty: float, fall: float) -> FloatArray:
    n = lines[-1].stop
    flat = np.zeros(n, dtype=bool)
    for start, stop in _standing(lines, penalty, fall):
        if stop - start >= _held(n, _PLATEAU):
            # If a plateau follows another one at once, it starts one snapshot later, which keeps the two apart.
            flat[start + int(start > 0 and flat[start - 1]) : stop] = True
    return flat.astype(np.float64)


def _standing(lines: Sequence[_Line], penalty: float, fall: float) -> list[tuple[int, int]]:
    """Where each run of flat lines starts and stops; a flat line at another level starts a new run."""
    tenth = (lines[-1].stop - 1) / 10
    runs: list[list[_Line]] = []
    for line in lines:
        if line.slope**2 > max((fall / tenth) ** 2, penalty * line.slope_variance):
            continue
        before = runs[-1][-1] if runs else None
        if before and before.stop == line.start and _at_one_level(before, line, penalty, fall):
            runs[-1].append(line)
        else:
            runs.append([line])
    return [(run[0].start, run[-1].stop) for run in runs]


def _at_one_level(before: _Line, after: _Line, penalty: float, fall: float) -> bool:
    """Whether the change from one line to the next is at most `fall`, or at most 2 √ln n times its standard error."""
    change = after.first - before.last
    return change**2 <= max(fall**2, penalty * (before.end_variance + after.end_variance))


def _jumps(series: FloatArray, penalties: FloatArray, *, size: float) -> FloatArray:
    """The size of each jump where its new level starts, 0 elsewhere."""
    # Imports numba, as in _on_plateau.
    from toysup.analysis.statistics.change_points import levels

    sizes = np.zeros_like(series)
    far = np.flatnonzero(np.ptp(series, axis=1) >= size)
    for at, stops in zip(far, levels(series[far], penalties[far]), strict=True):
        for place, change in _changes(_lines(series[at], stops), size):
            sizes[at, place] = change
    return sizes


def _changes(lines: Sequence[_Line], size: float) -> Iterator[tuple[int, float]]:
    """For each jump, where its new level starts, and its size."""
    n = lines[-1].stop
    levels = [line for line in lines if line.stop - line.start >= _held(n, _LEVEL)]
    for before, after in pairwise(levels):
        change, apart = after.first - before.last, after.start - before.stop
        steepness = abs(change) / (apart + 1)
        steep = steepness >= _STEEPER * max(abs(before.slope), abs(after.slope))
        if abs(change) >= size and apart <= _SUDDEN * (n - 1) and steep:
            yield after.start, change


def _lines(series: FloatArray, stops: Sequence[int]) -> list[_Line]:
    """The straight lines through the pieces of a series; `stops` has the end of each piece."""
    return [_Line.through(series, start, stop) for start, stop in pairwise([0, *stops])]


def _held(n: int, share: float) -> int:
    """The least number of snapshots that last `share` of a series of n."""
    return max(_FEWEST, int(np.ceil(share * (n - 1))))
