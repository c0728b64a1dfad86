"""Checks of the data that a figure is given; each raises a UsageError that names the input that is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import xarray as xr

from toysup.errors import UsageError

SUMMARY = ("mean", "ci_low", "ci_high", "n_seeds", "n_excluded")

Labelled = TypeVar("Labelled", xr.DataArray, xr.Dataset)

Values = Mapping[str, xr.DataArray] | xr.DataArray
Summaries = Mapping[str, xr.Dataset] | xr.Dataset
"""What the figures of any statistic take: an entry per condition, under its name, or one condition without a name."""


def by_name(data: Mapping[str, Labelled] | Labelled, *, what: str) -> Mapping[str, Labelled]:
    """The entries of conditions by name; one condition alone has the name ""."""
    # A Dataset is a mapping too, of its variables.
    if isinstance(data, xr.DataArray | xr.Dataset):
        return cast(Mapping[str, Labelled], {"": data})
    if not isinstance(data, Mapping):
        raise UsageError(f"{what} must be a dict from the names of conditions to data, not {type(data).__name__}")
    return data  # type: ignore[return-value] # mypy takes a Dataset for a mapping of the wrong values


def arranged(data: Labelled, *dims: str, what: str) -> Labelled:
    """A view of `data` with its dims in this order; a scalar coordinate becomes a dim of length 1."""
    for dim in dims:
        if dim not in data.sizes and dim in data.coords:
            data = data.expand_dims(dim)
    found = tuple(str(dim) for dim in data.sizes)
    if missing := [dim for dim in dims if dim not in found]:
        raise UsageError(f"{what} lacks the dimension {missing[0]!r}: it has {found}, but this figure needs {dims}")
    if extra := [dim for dim in found if dim not in dims]:
        raise UsageError(f"{what} has the dimension {extra[0]!r}, which is not drawn: select one of its values first")
    if empty := [dim for dim in dims if data.sizes[dim] == 0]:
        raise UsageError(f"{what} is empty along {empty[0]!r}: there is nothing to draw")
    return data.transpose(*dims)


def summary_arranged(summary: xr.Dataset, *dims: str, what: str) -> xr.Dataset:
    """`arranged` for a summary over seeds, which needs a mean, an interval and counts of seeds."""
    _refuse_unless_summary(summary, what)
    if missing := [name for name in SUMMARY if name not in summary.data_vars]:
        raise UsageError(f"{what} lacks the variable {missing[0]!r}: a summary over seeds has {', '.join(SUMMARY)}")
    # The modes of an entry are drawn beside one another, whatever the dims of the figure.
    return arranged(summary, *dims, *(["mode"] if "mode" in summary.sizes else []), what=what)


def _refuse_unless_summary(summary: object, what: str) -> None:
    if not isinstance(summary, xr.Dataset):
        raise UsageError(f"{what} must be a Dataset, as over_seeds gives it, not {type(summary).__name__}")


def all_values(values: Mapping[str, xr.DataArray], *dims: str) -> dict[str, xr.DataArray]:
    """The values of every condition, each `arranged`."""
    _some(values, "values", xr.DataArray)
    return {name: arranged(array, *dims, what=f"values of {name!r}") for name, array in values.items()}


def all_summaries(summaries: Mapping[str, xr.Dataset], *dims: str) -> dict[str, xr.Dataset]:
    """The summary of every condition, each `summary_arranged`."""
    _some(summaries, "summary", xr.Dataset)
    return {name: summary_arranged(data, *dims, what=f"summary of {name!r}") for name, data in summaries.items()}


def same_conditions(values: Mapping[str, Any], summaries: Mapping[str, Any]) -> None:
    """Raise UsageError unless values and summaries have the same conditions."""
    if odd := sorted(set(values) ^ set(summaries)):
        raise UsageError(f"the arguments have different conditions: {odd[0]!r} is in one only")


def same_labels(data: Mapping[str, xr.DataArray | xr.Dataset], dim: str) -> list[str]:
    """The labels along a dim. Raise UsageError unless all conditions have the same ones."""
    (first, one), *rest = data.items()
    labels = [str(label) for label in one[dim].values]
    for name, other in rest:
        if found := [str(label) for label in other[dim].values if str(label) not in labels]:
            raise UsageError(f"{name!r} has the {dim} {found[0]!r}, which {first!r} lacks")
        if missing := [label for label in labels if label not in other[dim].values]:
            raise UsageError(f"{name!r} lacks the {dim} {missing[0]!r}, which {first!r} has")
    return labels


def swept(data: xr.Dataset, count: int, *, what: str) -> tuple[str, ...]:
    """The names of the sweep axes, all dims but `statistic` and `mode`. Raise UsageError unless there are `count`."""
    _refuse_unless_summary(data, what)
    axes = tuple(str(dim) for dim in data.sizes if dim not in ("statistic", "mode"))
    if len(axes) != count:
        raise UsageError(f"{what} has {axes or 'no dims'} beside 'statistic', but {count} sweep {_AXES[count]} drawn")
    return axes


_AXES = {1: "axis is", 2: "axes are"}


def at_most(limit: int, items: Sequence[object], *, what: str) -> None:
    """Raise UsageError if there are more than `limit` items: their panels would be too small to read."""
    if len(items) > limit:
        raise UsageError(f"{len(items)} {what} are too many to read in one figure: select at most {limit}")


def _some(conditions: Mapping[str, object], what: str, kind: type) -> None:
    """Raise UsageError unless there are conditions, each with data of this kind."""
    if not isinstance(conditions, Mapping) or isinstance(conditions, xr.Dataset):
        raise UsageError(
            f"a {kind.__name__} for each condition is needed, such as {{'fixed': {what}}}, not a "
            f"{type(conditions).__name__}"
        )
    if not conditions:
        raise UsageError("no conditions were given: there is nothing to draw")
    for name, data in conditions.items():
        if not isinstance(data, kind):
            raise UsageError(f"{what} of {name!r} must be a {kind.__name__}, not a {type(data).__name__}")
