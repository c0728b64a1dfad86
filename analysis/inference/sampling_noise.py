"""Intervals and p-values widened by the sampling error of what they are about."""

from typing import cast

import numpy as np
import xarray as xr
from scipy import special

from toysup.analysis.inference.intervals import CONFIDENCE, refuse_confidence
from toysup.analysis.loss.expected_loss import sampling_error

# A sampling error is the spread over this many batches of samples (toysup.analysis.loss), less one for their mean.
DEGREES = 15


def widened(summary: xr.Dataset, error: xr.DataArray, *, confidence: float = CONFIDENCE) -> xr.Dataset:
    """A summary over seeds whose interval also covers the sampling error of its mean.

    Models that are evaluated on common samples share a part of their error, which the spread over seeds does not show.
    With q the quantile of Student's t with 15 degrees of freedom and e the sampling error, an end of the interval at
    distance d from the mean moves to distance √(d² + (q e)²). A p-value, if there is one, becomes at least that of the
    t-test of mean / e. Without an interval over seeds there is still none.

    Parameters
    ----------
    summary : Dataset
        What `over_seeds`, `difference_over_seeds` or `equivalence_over_seeds` returns for a loss: `mean`, `ci_low` and
        `ci_high`, for a difference also `p_value`, and for an equivalence `equivalent`, which follows the interval.
    error : DataArray
        The standard error that samples leave of `mean`, from `sampling_error`; in the units of `mean`.
    confidence : float
        The confidence of the interval; 0.95 by default, 0.9 for an equivalence.

    Returns
    -------
    Dataset
        The same summary, with `ci_low` and `ci_high` further apart. It is unchanged where the error is 0, as for a loss
        that is exact. If the whole interval was at 0 or more, it stays there.

    Raises
    ------
    UsageError
        If the confidence is not between 0 and 1.

    See Also
    --------
    sampling_error : the standard error that samples leave.

    Examples
    --------
    >>> import xarray as xr
    >>> from toysup import analysis
    >>> summary = analysis.over_seeds(xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="seed"))
    >>> wider = analysis.widened(summary, xr.DataArray(0.5))
    >>> bool(wider.ci_low < summary.ci_low), bool(wider.ci_high > summary.ci_high)
    (True, True)
    """
    refuse_confidence(confidence)
    error = error.fillna(0).drop_vars([name for name in error.coords if name not in error.dims])
    if not (error > 0).any():
        return summary
    reach = special.stdtrit(DEGREES, (1 + confidence) / 2) * error
    mean, low, high = (summary[name] for name in ("mean", "ci_low", "ci_high"))
    lowest = xr.zeros_like(low).where(low >= 0, -np.inf)
    ends: dict[str, xr.DataArray] = {
        "ci_low": cast(xr.DataArray, np.maximum(mean - np.hypot(mean - low, reach), lowest)),
        "ci_high": mean + np.hypot(high - mean, reach),
    }
    if "p_value" in summary:
        t = -abs(mean) / error.where(error > 0)
        by_samples: xr.DataArray = 2 * xr.apply_ufunc(special.stdtr, DEGREES, t)
        ends["p_value"] = cast(xr.DataArray, np.maximum(summary["p_value"], by_samples.fillna(0)))
    # Where nothing is left of samples, no bit changes.
    wider = summary.assign({name: _where(error > 0, values, summary[name]) for name, values in ends.items()})
    if "equivalent" in summary:
        margin = summary.attrs["margin"]
        wider["equivalent"] = _where(
            error > 0, (wider["ci_low"] > -margin) & (wider["ci_high"] < margin), summary["equivalent"]
        )
    return wider


def _where(here: xr.DataArray, values: xr.DataArray, otherwise: xr.DataArray) -> xr.DataArray:
    chosen: xr.DataArray = values.where(here, otherwise)
    return chosen.transpose(*otherwise.dims).assign_attrs(otherwise.attrs)


def error_of_difference(a: xr.DataArray, b: xr.DataArray, *, paired: bool) -> xr.DataArray:
    """The sampling error of the mean over seeds of `a` less that of `b`, two losses by batch (..., seed, batch)."""
    if paired:
        a, b = xr.align(a, b, join="inner")
        difference = _mean_of_finite(a - b)
    else:
        difference = _mean_of_finite(a) - _mean_of_finite(b)
    return sampling_error(difference)


def _mean_of_finite(values: xr.DataArray) -> xr.DataArray:
    # A sum over batches is finite if all of them are.
    finite = abs(values.sum("batch", skipna=False)) < np.inf
    return values.where(finite).mean("seed")
