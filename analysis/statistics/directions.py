"""Directions: which features share one, in the hidden space that they are all written to."""

import numpy as np
import xarray as xr

from toysup.analysis.statistics.dimensionality import REPRESENTED_THRESHOLD, represented
from toysup.analysis.statistics.gram import feature_norms, gram
from toysup.analysis.statistics.labels import is_finite, named, require_dims
from toysup.errors import UsageError

SHARING_THRESHOLD = 0.9
"""|cos(W_i, W_j)| from which two represented features share a direction."""


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
        On |cos|, above 0.
    represented_threshold : float
        On ‖W_i‖².

    Returns
    -------
    DataArray (..., feature, other_feature)
        Symmetric, 0 on the diagonal, in the dtype of W; NaN for a model that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing, or the threshold is not between 0 and 1.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> shared = toysup.analysis.shared_directions(W)
    >>> float(shared.sel(seed=0, feature=1).min())
    -1.0
    """
    require_dims(W, ("hidden", "feature"), what="W")
    if not 0 < threshold <= 1:
        raise UsageError(f"a threshold on |cos| lies between 0 and 1, unlike {threshold}")
    is_represented, norms = represented(W, threshold=represented_threshold), feature_norms(W)
    cosine = gram((W / norms.where(norms > 0)).where(is_represented, 0).transpose(..., "hidden", "feature"))
    # The cosine of equal directions is 1 up to rounding.
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
    return named(count, "sharing_pairs", "pairs of features that share a direction")
