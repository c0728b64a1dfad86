"""What every statistic does with labels: ask for the dims that it needs, reduce by name, and name what it returns."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from toysup.errors import UsageError


def require_dims(array: xr.DataArray | xr.Dataset, dims: Sequence[str], *, what: str) -> None:
    """UsageError naming the dims that `what` lacks."""
    if not isinstance(array, xr.DataArray | xr.Dataset):
        raise UsageError(f"{what} must be an xarray object with the dims {', '.join(dims)}, not {type(array).__name__}")
    missing = [dim for dim in dims if dim not in array.dims]
    if missing:
        found = ", ".join(map(str, array.dims)) or "none"
        raise UsageError(f"{what} needs the dims {', '.join(dims)}; it has {found}")


def named(array: xr.DataArray, name: str, long_name: str, **attrs: object) -> xr.DataArray:
    """`array` under a name, with attrs of its own instead of those it was computed from; all are dimensionless."""
    result = array.rename(name)
    result.attrs = {"long_name": long_name, "units": "1", **attrs}
    return result


def is_finite(W: xr.DataArray, *, over: Sequence[str] = ("hidden", "feature")) -> xr.DataArray:
    """Whether all entries of each model are finite: bool, without the dims `over`, of which W may lack some."""
    return (abs(W) < np.inf).all([dim for dim in over if dim in W.dims])


def with_other_feature(array: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Label the dim `other_feature` as `feature` of `like` is labelled: its values and its subset."""
    coords = {
        "other_" + name: ("other_feature", like[name].values) for name in ("feature", "subset") if name in like.coords
    }
    return array.assign_coords(coords)


def subset_labels(array: xr.DataArray) -> list[str]:
    """The subset of each feature; "all" where there is no such coordinate."""
    if "subset" not in array.coords:
        return ["all"] * array.sizes["feature"]
    return [str(label) for label in np.asarray(array["subset"].values)]
