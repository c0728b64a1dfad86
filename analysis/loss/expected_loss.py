"""The loss of trained models under their own regime and under others, and how sure it is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

from toysup.analysis.loss.evaluation import BATCHES, DEFAULT_SAMPLES, Samples, evaluated, squared_error
from toysup.analysis.statistics.forward_pass import Models
from toysup.analysis.statistics.labels import named, require_dims

if TYPE_CHECKING:
    from torch import Tensor

# Arrays of the parts of a loss that are there at once.
_ARRAYS_HELD = 4


def expected_loss(
    trained: xr.Dataset, under: xr.Dataset | None = None, *, n_samples: int = DEFAULT_SAMPLES, by_batch: bool = False
) -> xr.DataArray:
    """The expected loss of each trained model, in its parts: P(c) I_i(c) E[(y_i − t_i)² | c], with the target t.

    Sum over `context` and `feature` for the loss Σ_c P(c) Σ_i I_i(c) E[(y_i − t_i)² | c]. A context that is independent
    of x is summed over with its probabilities; one that follows from x comes with the samples. All models, contexts
    and regimes meet the same draws. Outputs of the target z count for the feature that they are about.

    Parameters
    ----------
    trained : Dataset
        Trajectories with their parameters and tables; any leading dims (sweep axes, seed, step).
    under : Dataset, optional
        The trajectories whose regime the models are evaluated under; their own if not given. Its sweep axes are those
        of `trained`, or none.
    n_samples : int
        Samples for each context.
    by_batch : bool
        Keep the 16 batches of the samples apart, in a dim `batch`, for `sampling_error`; the loss is their mean.

    Returns
    -------
    DataArray (..., [batch], context, feature)
        Importance-weighted squared error per sample, float64; `context` is the regime's that is evaluated.

    Raises
    ------
    UsageError
        If the regime shows the models other inputs or asks for other outputs, the sweeps do not match, or `n_samples`
        is not positive or does not make equal batches.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> loss = toysup.analysis.expected_loss(fixed.isel(step=-1))
    >>> loss.dims, round(float(loss.sum(['context', 'feature']).mean()), 3)
    (('seed', 'context', 'feature'), 0.014)
    """
    return evaluated(trained, under, _squared, n_samples=n_samples, by_batch=by_batch)


def _squared(models: Models, x: Samples, context: int) -> "Tensor":
    return squared_error(models, models.outputs(x, context), x, context).sum(dim=1)[:, None]


def values_held(dataset: xr.Dataset) -> int:
    """How many numbers a loss holds of one model, by batch, context and feature, while it is worked out."""
    return _ARRAYS_HELD * BATCHES * dataset.sizes["context"] * dataset.sizes["feature"]


def summed(parts: xr.DataArray, *, keep: Sequence[str] = ()) -> xr.DataArray:
    """The parts of a loss summed over context and feature, but what is to be kept."""
    total = parts.sum([dim for dim in ("context", "feature") if dim not in keep], skipna=False)
    total.attrs = {key: parts.attrs[key] for key in ("long_name", "units")}
    return total


def sampling_error(values: xr.DataArray) -> xr.DataArray:
    """The standard error that samples leave: s / √B, with s the standard deviation over the B batches.

    Of a loss, of its mean over seeds, or of a difference between conditions under one regime, whatever was computed
    from `expected_loss(..., by_batch=True)` batch by batch. All models meet the same samples, so these errors are
    common to them, and more seeds do not make them smaller; what a difference has in common cancels.

    Parameters
    ----------
    values : DataArray (..., batch)
        One number per batch, whose mean is what is estimated.

    Returns
    -------
    DataArray (...)
        In the units of `values`; NaN where a batch is not finite.

    Raises
    ------
    UsageError
        If there is no dim `batch`.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> loss = toysup.analysis.expected_loss(fixed.isel(step=-1).sel(seed=[0]), by_batch=True)
    >>> error = toysup.analysis.sampling_error(loss.sum(['context', 'feature']))
    >>> bool(error < 0.02 * loss.sum(['context', 'feature']).mean())
    True
    """
    require_dims(values, ("batch",), what="values")
    error = values.std("batch", ddof=1, skipna=False) / values.sizes["batch"] ** 0.5
    what = values.attrs.get("long_name", values.name or "value")
    return named(error, "sampling_error", f"{what}, standard error over samples")
