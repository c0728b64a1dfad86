"""The dimensionality of each feature, and which features are represented."""

import numpy as np
import xarray as xr

from toysup.analysis.statistics.arrays import ModelArray
from toysup.analysis.statistics.gram import feature_norms, gram_kernel, norms_kernel
from toysup.analysis.statistics.kernels import in_blocks
from toysup.analysis.statistics.labels import named, numbers

REPRESENTED_THRESHOLD = 0.5


def feature_dimensionality(W: xr.DataArray) -> xr.DataArray:
    """The dimensionality of each feature: D_i = ‖W_i‖² / Σ_j (Ŵ_i·W_j)², or 0 for a zero column.

    D_i is the share of a hidden dimension that feature i has to itself. It is 1 for a feature orthogonal to all others
    and ½ for each feature of an antipodal pair. The sum Σ_i D_i is at most the rank of W. D does not change if the
    hidden space is rotated or W is scaled.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; dimensionless, any leading dims.

    Returns
    -------
    DataArray (..., feature)
        In dimensions, between 0 and 1, in the dtype of W; NaN where a model is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    See Also
    --------
    total_dimensionality : the sum Σ_i D_i.
    linear_response : H, which replaces W in a deeper model.

    Source: Elhage et al. (2022), "Toy Models of Superposition"; the "capacity" of Scherlis et al. (2022).

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> toysup.analysis.feature_dimensionality(W).sel(feature=[1, 2]).mean('seed').values.round(1).tolist()
    [0.5, 0.5]
    """
    W = numbers(W, ("hidden", "feature"), what="W")
    result = xr.apply_ufunc(
        _dimensionality,
        W,
        input_core_dims=[["hidden", "feature"]],
        output_core_dims=[["feature"]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[W.dtype],
    )
    return named(result, "feature_dimensionality", "feature dimensionality D_i", within=(0, 1))


def total_dimensionality(W: xr.DataArray) -> xr.DataArray:
    """The total dimensionality Σ_i D_i, which is at most the rank of W.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; dimensionless, any leading dims.

    Returns
    -------
    DataArray (...)
        In dimensions, in the dtype of W; NaN where a model is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> round(float(toysup.analysis.total_dimensionality(W).mean()), 1)
    10.0
    """
    total = feature_dimensionality(W).sum("feature", skipna=False)
    most = min(W.sizes["hidden"], W.sizes["feature"])
    return named(total, "total_dimensionality", "total dimensionality Σ D_i", within=(0, most))


def represented(W: xr.DataArray, *, threshold: float = REPRESENTED_THRESHOLD) -> xr.DataArray:
    """Whether each feature is represented: ‖W_i‖² ≥ `threshold`.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; dimensionless, any leading dims.
    threshold : float
        The least ‖W_i‖² of a represented feature; 0.5 by default.

    Returns
    -------
    DataArray of bool (..., feature)

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W.isel(step=-1)
    >>> toysup.analysis.represented(W).sel(seed=0, feature=[1, 2, 10, 20]).values.tolist()
    [True, True, False, True]
    """
    # A square that overflows reaches any threshold.
    with np.errstate(over="ignore"):
        result = feature_norms(W) ** 2 >= threshold
    return named(result, "represented", "represented: ‖W_i‖² reaches the threshold", threshold=threshold)


def represented_count(W: xr.DataArray, *, threshold: float = REPRESENTED_THRESHOLD) -> xr.DataArray:
    """The number of represented features of each model.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; dimensionless, any leading dims.
    threshold : float
        The least ‖W_i‖² of a represented feature; 0.5 by default.

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
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W.isel(step=-1)
    >>> toysup.analysis.represented_count(W).sel(seed=[0, 1, 2]).values.tolist()
    [18.0, 17.0, 16.0]
    """
    count = represented(W, threshold=threshold).sum("feature")
    finite = (feature_norms(W) < np.inf).all("feature")
    within = (0, W.sizes["feature"])
    return named(count.where(finite), "represented", "represented features", within=within, threshold=threshold)


def _dimensionality(W: ModelArray) -> ModelArray:
    n = W.shape[-1]
    return in_blocks(_block_dimensionality, W, (n,), values=n**2)


def _block_dimensionality(W: ModelArray, out: ModelArray) -> None:
    # D_i = ‖W_i‖² / Σ_j cos²(W_i, W_j) ‖W_j‖². Norms in float64 and relative to the largest can be squared, however far
    # apart they lie.
    norms = norms_kernel(W)
    with np.errstate(invalid="ignore", over="ignore"):
        cosines = gram_kernel(W / np.where(norms == 0, 1, norms)[:, None, :])
        largest = norms.max(axis=-1, keepdims=True, initial=0).astype(np.float64)
        squares = (norms / np.where(largest == 0, 1, largest)) ** 2
        total = (np.square(cosines, dtype=np.float64) * squares[:, None, :]).sum(axis=-1)
        out[:] = squares / np.where(total == 0, 1, total)
