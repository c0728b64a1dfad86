"""The loss of trained models under their own regime and under other regimes, and its sampling error."""

from collections.abc import Iterator, Sequence

import xarray as xr

from toysup.analysis.loss.evaluation import evaluated
from toysup.analysis.loss.samples import BATCHES
from toysup.analysis.statistics.labels import named, numbers, require_dataset

# How many arrays of the size of a loss, by batch, are held at once: also the sums of each number of samples.
_ARRAYS_HELD = 8


def expected_loss(
    trained: xr.Dataset, under: xr.Dataset | None = None, *, n_samples: int | None = None, by_batch: bool = False
) -> xr.DataArray:
    """The expected loss of each trained model by context and feature: P(c) I_i(c) E[(y_i − t_i)² | c] for the target t.

    Sum over `context` and `feature` for the loss Σ_c P(c) Σ_i I_i(c) E[(y_i − t_i)² | c]. For the target z, the loss of
    an output counts for the feature that the output is about.

    The loss of a model y = φ(A x + a) in each context, tied or untied, is exact (to about 1e-5 of itself) if φ is built
    in, the context does not follow from x, and there are at most 200 features, none of them in groups. All other models
    are evaluated on common samples: at first 8,192 for each context, which are doubled for a model until the standard
    error of its loss is at most 0.5% of the loss, but not beyond 131,072. `sampling_error` says what error is left.

    Parameters
    ----------
    trained : Dataset
        Trajectories with their parameters and tables; any leading dims (sweep axes, seed, step).
    under : Dataset, optional
        A trajectory under whose regime the models are evaluated; their own regime by default. If the regime varies
        along sweep axes, `trained` has the same axes with the same values.
    n_samples : int
        A fixed number of samples for each context; by default as many as the accuracy takes. Exact losses use none.
    by_batch : bool
        Keep the 16 batches of samples apart, in a dim `batch`, for `sampling_error`. The default is their mean. Of an
        exact loss all batches are equal.

    Returns
    -------
    DataArray (..., [batch], context, feature)
        Importance-weighted squared error per sample, float64; not finite for a model that is not finite. `context` has
        the contexts of the regime under which the models are evaluated.

    Raises
    ------
    UsageError
        If the regime of `under` has other inputs or outputs, if it varies along an axis that `trained` lacks, or if
        `n_samples` is less than 1 or, with `by_batch`, not a multiple of 16.

    See Also
    --------
    loss_decomposition : the parts of the loss by cause.
    loss_references : the losses of simple predictors under the same regime.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> loss = toysup.analysis.expected_loss(fixed.isel(step=-1))
    >>> loss.dims, round(float(loss.sum(['context', 'feature']).mean()), 3)
    (('seed', 'context', 'feature'), 0.014)
    """
    require_dataset(trained, what="trained")
    if under is not None:
        require_dataset(under, what="under")
    (loss,) = expected_losses(trained, [trained if under is None else under], n_samples=n_samples, by_batch=by_batch)
    return loss


def expected_losses(
    trained: xr.Dataset, unders: Sequence[xr.Dataset], *, n_samples: int | None = None, by_batch: bool = False
) -> Iterator[xr.DataArray]:
    """`expected_loss` under several regimes, in their order; what they have in common is computed once."""
    return evaluated(trained, unders, n_samples=n_samples, by_batch=by_batch)


def values_held(dataset: xr.Dataset, n_regimes: int = 1) -> int:
    """How many numbers are held for one model while its losses by batch, context and feature are computed.

    Of regimes beyond the first, only the errors without batches are held.
    """
    return (_ARRAYS_HELD * BATCHES + n_regimes - 1) * dataset.sizes["context"] * dataset.sizes["feature"]


def summed(parts: xr.DataArray, *, keep: Sequence[str] = ()) -> xr.DataArray:
    """A loss summed over context and feature, except over the dims in `keep`."""
    total = parts.sum([dim for dim in ("context", "feature") if dim not in keep], skipna=False)
    total.attrs = {key: parts.attrs[key] for key in ("long_name", "units")}
    return total


def mean_over_batches(values: xr.DataArray) -> xr.DataArray:
    """The estimate of which there is one number for each batch of samples."""
    return values.mean("batch", skipna=False, keep_attrs=True)


def sampling_error(values: xr.DataArray) -> xr.DataArray:
    """The standard error that finite sampling leaves: s / √B, where s is the standard deviation over the B batches.

    The function takes any number that was computed batch by batch from `expected_loss(..., by_batch=True)`: a loss, its
    mean over seeds, or a difference between conditions under one regime. All models are evaluated on the same samples.
    The part of the error that they share is not reduced by more seeds, but cancels in a difference. The other part
    differs from model to model, for example if they pair different features. The error of an exact loss is 0.

    Parameters
    ----------
    values : DataArray (..., batch)
        One number per batch; their mean is the estimate.

    Returns
    -------
    DataArray (...)
        In the units of `values`; NaN if the value of a batch is not finite.

    Raises
    ------
    UsageError
        If there is no dim `batch`.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> loss = toysup.analysis.expected_loss(fixed.isel(step=-1).sel(seed=[0]), by_batch=True)
    >>> toysup.analysis.sampling_error(loss.sum(['context', 'feature'])).values.tolist()  # exact
    [0.0]
    """
    values = numbers(values, ("batch",), what="values")
    error = values.std("batch", ddof=1, skipna=False) / values.sizes["batch"] ** 0.5
    # Where a loss is exact, all batches are equal and rounding alone is left.
    error = error.where(values.max("batch", skipna=False) != values.min("batch", skipna=False), 0)
    what = values.attrs.get("long_name", values.name or "value")
    return named(error, "sampling_error", f"{what}, standard error over samples")
