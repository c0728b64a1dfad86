"""Labels of statistics: check the dims of an argument, label the dims of a result, and name the result."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from toysup.errors import UsageError


def require_dims(array: object, dims: Sequence[str], *, what: str) -> None:
    """Raise UsageError unless `array` is a DataArray with these dims; `what` is the name of the argument."""
    if not isinstance(array, xr.DataArray):
        with_dims = f" with the dims {', '.join(dims)}" if dims else ""
        raise UsageError(f"{what} must be a DataArray{with_dims}, {_instead(array, dims)}")
    _refuse_missing(array, dims, what)


def require_dataset(
    dataset: object, dims: Sequence[str] = (), *, what: str = "dataset", has: str = "context_probability"
) -> None:
    """Raise UsageError unless `dataset` is a Dataset of trained models with these dims and the variable `has`."""
    if not isinstance(dataset, xr.Dataset) or has not in dataset:
        kind = f"not {_a(dataset)}" if not isinstance(dataset, xr.Dataset) else f"but this Dataset lacks {has}"
        raise UsageError(
            f"{what} must be the Dataset of a condition, as open_runs and train give it, {kind}; "
            'take tree["experiment/condition"].to_dataset()'
        )
    _refuse_missing(dataset, dims, what)


def numbers(array: xr.DataArray, dims: Sequence[str], *, what: str) -> xr.DataArray:
    """The array in floating point: integers as float64, floats as they are. UsageError as in `require_dims`."""
    require_dims(array, dims, what=what)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{what} must hold real numbers, not {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def with_steps(array: xr.DataArray, dims: tuple[str, ...], *, what: str) -> xr.DataArray:
    """The array in floating point; UsageError if it lacks a dim, or the steps themselves."""
    array = numbers(array, ("step", *dims), what=what)
    if "step" not in array.coords:
        raise UsageError(f"{what} needs the coordinate step, which has the number of each recorded step")
    return array


def _refuse_missing(array: xr.DataArray | xr.Dataset, dims: Sequence[str], what: str) -> None:
    if missing := [dim for dim in dims if dim not in array.dims]:
        present = ", ".join(map(str, array.dims)) or "none"
        raise UsageError(f"{what} needs the dims {', '.join(dims)}; it has {present}, and lacks {', '.join(missing)}")


def _instead(value: object, dims: Sequence[str]) -> str:
    """What was given in place of a DataArray, and what to give."""
    if isinstance(value, xr.Dataset | xr.DataTree):
        return f"not {type(value).__name__}; take one of its variables, such as W"
    labelled = f", dims=[..., {', '.join(map(repr, dims))}]" if dims else ""
    return f"not {_a(value)}; label an array with xarray.DataArray(array{labelled})"


def _a(value: object) -> str:
    return "None" if value is None else type(value).__name__


def named(
    array: xr.DataArray, name: str, long_name: str, *, within: tuple[float, float] | None = None, **attrs: object
) -> xr.DataArray:
    """`array` under a name, with new attrs that replace those of the arrays it was computed from; dimensionless.

    `within` declares the least and the greatest value that the statistic can take, see `with_range`.
    """
    result = array.rename(name)
    result.attrs = {"long_name": long_name, "units": "1", **attrs}
    return result if within is None else with_range(result, *within)


# The key under which `encoding` keeps the range of a statistic.
_RANGE = "valid_range"


def with_range(values: xr.DataArray, low: float, high: float = np.inf) -> xr.DataArray:
    """The values with the declared range of their statistic, which no interval may leave.

    The range is kept in `encoding` and not in `attrs`. xarray keeps attrs in arithmetic, so the difference of two
    energies would still declare that it cannot be negative. `encoding` stays in selections, and goes in arithmetic.
    """
    result = values.copy(deep=False)
    result.encoding = {**values.encoding, _RANGE: (float(low), float(high))}
    return result


def range_of(values: xr.DataArray) -> tuple[float, float]:
    """The declared range of the statistic; unbounded if there is none."""
    low, high = getattr(values, "encoding", {}).get(_RANGE, (-np.inf, np.inf))
    return float(low), float(high)


def is_finite(W: xr.DataArray, *, over: Sequence[str] = ("hidden", "feature")) -> xr.DataArray:
    """Whether all entries of each model are finite: bool, reduced over those dims of `over` that W has."""
    return (abs(W) < np.inf).all([dim for dim in over if dim in W.dims])


def with_other_feature(array: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Give the dim `other_feature` the labels and the subsets of the dim `feature` of `like`."""
    coords = {
        "other_" + name: ("other_feature", like[name].values) for name in ("feature", "subset") if name in like.coords
    }
    return array.assign_coords(coords)


def subset_labels(array: xr.DataArray) -> list[str]:
    """The subset of each feature; "all" for every feature if there is no coordinate `subset`."""
    if "subset" not in array.coords:
        return ["all"] * array.sizes["feature"]
    return [str(label) for label in np.asarray(array["subset"].values)]
