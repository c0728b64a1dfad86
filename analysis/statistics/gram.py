"""The Gram matrix of a model's features, and their norms."""

import numpy as np
import xarray as xr

from toysup.analysis.statistics.arrays import ModelArray
from toysup.analysis.statistics.kernels import in_blocks
from toysup.analysis.statistics.labels import named, numbers, with_other_feature


def gram(W: xr.DataArray) -> xr.DataArray:
    """The Gram matrix G = WᵀW: entry G_ij is the linear response of output i to input feature j.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; dimensionless, any leading dims.

    Returns
    -------
    DataArray (..., feature, other_feature)
        Dimensionless, in the dtype of W. If W has the coordinate `subset`, `other_feature` has `other_subset`. Not
        finite for a model that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    See Also
    --------
    linear_response : G for models of any depth.
    quadrant_interference : statistics of the blocks of G between two subsets.

    Source: Elhage et al. (2022), "Toy Models of Superposition".

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W.isel(step=-1)
    >>> G = toysup.analysis.gram(W)
    >>> G.dims
    ('seed', 'feature', 'other_feature')
    >>> round(float(G.sel(seed=0, feature=1, other_feature=1)), 2)
    1.0
    """
    W = numbers(W, ("hidden", "feature"), what="W")
    result = xr.apply_ufunc(
        _gram,
        W,
        input_core_dims=[["hidden", "feature"]],
        output_core_dims=[["feature", "other_feature"]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True, "output_sizes": {"other_feature": W.sizes["feature"]}},
        output_dtypes=[W.dtype],
    )
    return named(with_other_feature(result, W), "gram", "Gram matrix WᵀW")


def feature_norms(W: xr.DataArray) -> xr.DataArray:
    """The norm ‖W_i‖ of each feature's direction.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; dimensionless, any leading dims.

    Returns
    -------
    DataArray (..., feature)
        Dimensionless, in the dtype of W; NaN or infinite where a weight is.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/fixed"].W.isel(step=-1)
    >>> toysup.analysis.feature_norms(W).sel(feature=[1, 20]).mean('seed').astype(float).round(1).values.tolist()
    [1.0, 0.1]
    """
    W = numbers(W, ("hidden", "feature"), what="W")
    norms = xr.apply_ufunc(
        norms_kernel,
        W,
        input_core_dims=[["hidden", "feature"]],
        output_core_dims=[["feature"]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[W.dtype],
    )
    if "feature" in W.coords:
        norms = norms.assign_coords(feature=W["feature"])
    return named(norms, "feature_norm", "norm of the feature's direction ‖W_i‖", within=(0, np.inf))


def norms_kernel(W: ModelArray) -> ModelArray:
    """The norms (..., feature) of W (..., hidden, feature), of which the squares may lie outside of the dtype."""
    largest = np.abs(W).max(axis=-2, initial=0)
    # Division by a power of two is exact, so the norms of usual weights are those without it, to the bit.
    _, exponent = np.frexp(np.where(np.isfinite(largest), largest, 0))
    scaled = np.ldexp(W, -exponent[..., None, :])
    # A model that diverged may overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        norms: ModelArray = np.ldexp(np.sqrt(np.square(scaled).sum(axis=-2)), exponent)
    return norms


def _gram(W: ModelArray) -> ModelArray:
    n = W.shape[-1]
    return in_blocks(gram_kernel, W, (n, n), values=n**2)


def gram_kernel(W: ModelArray, out: ModelArray | None = None) -> ModelArray:
    # A model that diverged may overflow. The result is then not finite, so NumPy's warning adds nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        # The copy makes NumPy use its general product: the one for two views of the same array is slower if W is small.
        product: ModelArray = np.matmul(np.swapaxes(W, -1, -2), W.copy(), out=out)
    return product
