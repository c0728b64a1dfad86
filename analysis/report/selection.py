"""Which trajectories, at which step, a command works on."""

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from toysup.analysis.inference.exchangeable_features import exchangeable_features
from toysup.analysis.statistics.piecewise import loaded_if_small, piecewise
from toysup.analysis.statistics.responses import values_of_responses, with_response_value
from toysup.errors import UsageError, nearest
from toysup.storage.schema import sweep_axes

Result = TypeVar("Result", xr.DataArray, xr.Dataset)
Value = TypeVar("Value")
P = ParamSpec("P")


@dataclass(frozen=True, eq=False)
class Selected:
    """One condition of an experiment, or one cell of its sweep, with all its steps and the index of the one chosen."""

    experiment: str
    condition: str
    dataset: xr.Dataset
    index: int
    cell: Mapping[str, float] = field(default_factory=dict)
    # The condition in all cells of its sweep, where this is one cell of it.
    sweep: "Selected | None" = None
    # Whether the step was asked for by its number or epoch, or is the last one because none was.
    step_was_chosen: bool = False
    # Whether seeds were asked for by number, or are all that were trained.
    seeds_were_chosen: bool = False
    # What `computed_once` has measured of it; its own, so that it goes with it.
    computed: dict[tuple[object, ...], Any] = field(init=False, repr=False, default_factory=dict)

    @property
    def path(self) -> str:
        """Its name among the conditions of several experiments: `<experiment>/<condition>`."""
        return f"{self.experiment}/{self.condition}"

    @functools.cached_property
    def at_step(self) -> xr.Dataset:
        """The dataset at the chosen step: in memory, so that it is read once, or lazily where it is large."""
        return loaded_if_small(self.dataset.isel(step=self.index), values=self.entries)

    def of_one_seed(self) -> "Selected":
        """The same with its first seed alone, which is enough to find the columns of rows."""
        return replace(self, dataset=self.dataset.isel(seed=slice(1)))

    def each(self, statistic: Callable[[xr.Dataset], Result], *, values: int | None = None) -> Result:
        """A statistic of each model at the chosen step, read and worked out piece by piece.

        `values` is how many numbers the statistic holds of one model; those of one Gram matrix by default.
        """
        return piecewise(self.at_step, statistic, values=values or self.entries)

    @property
    def entries(self) -> int:
        """Number of entries of a model's G, in all contexts and at all values."""
        sizes = self.dataset.sizes
        return sizes["feature"] * sizes.get("output", sizes["feature"]) * sizes["context"] * len(self.values)

    @functools.cached_property
    def values(self) -> tuple[float, ...]:
        """The values at which the responses of this condition are measured."""
        return values_of_responses(self.dataset)

    @property
    def whole(self) -> "Selected":
        """The condition in all cells of its sweep."""
        return self.sweep or self

    @property
    def sweeps(self) -> list[str]:
        """The sweep axes: the dims of the swept keys."""
        return sweep_axes(self.dataset)

    def cells(self) -> Iterator["Selected"]:
        """This condition at each cell of its own sweep."""
        for values in product(*(self.dataset[axis].values.tolist() for axis in self.sweeps)):
            yield self.at(dict(zip(self.sweeps, values, strict=True)))

    def at(self, cell: Mapping[str, float]) -> "Selected":
        """The same at one cell of its sweep; itself if it has none of these axes."""
        own = {axis: value for axis, value in cell.items() if axis in self.sweeps}
        if not own:
            return self
        return replace(self, dataset=self.dataset.sel(own), cell=own, sweep=self)

    def cell_of(self, values: Any) -> Any:
        """The part of the whole condition's values that belongs to this cell."""
        return values.sel({axis: value for axis, value in self.cell.items() if axis in values.dims})


def computed_once(measure: Callable[Concatenate[Selected, P], Value]) -> Callable[Concatenate[Selected, P], Value]:
    """`measure`, computed once for each selected condition: its rows, figures and page show the same values.

    Further arguments are other selected conditions. A cell of a sweep takes its part of what was computed for the whole
    condition.
    """

    @functools.wraps(measure)
    def remembered(item: Selected, /, *others: P.args, **none: P.kwargs) -> Value:
        if item.sweep is not None:
            part: Value = item.cell_of(remembered(item.sweep, *others, **none))
            return part
        key = (measure, *others)
        if key not in item.computed:
            item.computed[key] = measure(item, *others, **none)
        value: Value = item.computed[key]
        return value

    return remembered


def exchanged_roles(selected: Sequence[Selected]) -> Iterator[str]:
    """A note on the conditions in which means over seeds of single features describe no feature."""
    names = [item.condition for item in selected if item.dataset.sizes["seed"] > 1 and alike_features(item.dataset)]
    if names:
        yield (
            f"{', '.join(names)}: features with equal tables exchange roles from seed to seed, so the mean over seeds "
            "of a single feature describes none of them"
        )


def alike_features(dataset: xr.Dataset) -> list[list[int]]:
    """The places of features of one subset that training treats alike in every cell, if there are several."""
    classes = exchangeable_features(dataset)
    table = classes.transpose("feature", ...).values.reshape(dataset.sizes["feature"], -1)
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, labels in enumerate(zip(dataset["subset"].values.tolist(), *table.T.tolist(), strict=True)):
        groups.setdefault(labels, []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def label_of(item: Selected, n_conditions: int) -> str:
    """The name of the condition, if there are several, and the cell: `fixed, learning_rate = 0.01`."""
    # repr is the shortest text that no other number has.
    at = [f"{axis} = {value!r}" for axis, value in item.cell.items()]
    return ", ".join([item.condition] * (n_conditions > 1 or not at) + at)


def select(
    runs: xr.DataTree,
    *,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
    value: float | None = None,
) -> list[Selected]:
    """The conditions of these names (all, if none is given), at a recorded step or epoch (the last, if not given).

    `cells` are texts such as "feature_probability=0.1": of each named axis only the named values, of conditions that
    sweep it. `seeds` are numbers of seeds. All are kept, if none is given. `value` is where responses are measured.

    A warning names the conditions in which the step or epoch was not recorded; they are left out. Raises UsageError,
    which lists the known ones, if a condition, an axis, a value or a seed does not exist, or a step was recorded in
    none.
    """
    refuse_unknown(runs, conditions)
    if step is not None and epoch is not None:
        raise UsageError("--step and --epoch exclude one another; give one of them")
    chosen = ("step", float(step)) if step is not None else ("epoch", float(epoch)) if epoch is not None else None
    leaves = [leaf.to_dataset() for leaf in runs.leaves]
    leaves = _at_cells([leaf for leaf in leaves if not conditions or leaf.attrs["condition_name"] in conditions], cells)
    selected: list[Selected] = []
    without: list[Selected] = []
    for leaf in (_of_seeds(leaf, seeds) if seeds else leaf for leaf in leaves):
        last = leaf.sizes["step"] - 1
        index = _recorded(leaf, *chosen) if chosen else last
        item = Selected(
            leaf.attrs["experiment"],
            leaf.attrs["condition_name"],
            with_response_value(leaf, value),
            last if index is None else index,
            step_was_chosen=chosen is not None,
            seeds_were_chosen=bool(seeds),
        )
        (without if index is None else selected).append(item)
    if chosen and without:
        text = _not_recorded(without, *chosen)
        if not selected:
            raise UsageError(text)
        # The fifth frame is that of whoever called a function of `toysup.analysis.report`.
        warnings.warn(f"{text}; left out", stacklevel=5)
    return selected


def notes_on_signs(selected: Sequence[Selected]) -> Iterator[str]:
    """Which conditions have rows for either sign of the values, and why."""
    if names := [item.condition for item in selected if len(item.values) > 1]:
        yield (
            f"{', '.join(names)}: values have both signs, and the response to −1 can differ from the response to 1. "
            "Each sign of a feature is a direction of its own, with rows of its own (column value); --value takes one"
        )


def _at_cells(leaves: Sequence[xr.Dataset], cells: Sequence[str]) -> list[xr.Dataset]:
    """The datasets at the chosen values of their sweep axes; a dataset that lacks an axis stays as it is."""
    known: dict[str, list[Any]] = {}
    for leaf in leaves:
        for axis in sweep_axes(leaf):
            known.setdefault(axis, []).extend(leaf[axis].values.tolist())
    chosen: dict[str, list[Any]] = {}
    for cell in cells:
        axis, value = _axis_and_value(cell, known)
        chosen.setdefault(axis, []).append(value)
    found = []
    for leaf in leaves:
        kept = {axis: [v for v in leaf[axis].values.tolist() if v in chosen[axis]] for axis in _swept(leaf, chosen)}
        if all(kept.values()):
            found.append(leaf.sel(kept))
    if leaves and not found:
        raise UsageError(f"no condition has all of {', '.join(cells)}")
    return found


def _swept(leaf: xr.Dataset, axes: Mapping[str, object]) -> list[str]:
    return [axis for axis in sweep_axes(leaf) if axis in axes]


def _axis_and_value(cell: str, known: Mapping[str, Sequence[Any]]) -> tuple[str, Any]:
    """The axis and the recorded value that a text such as "feature_probability=0.1" names."""
    axis, equals, text = (part.strip() for part in cell.partition("="))
    if not equals:
        raise UsageError(f"a cell is an axis and a value, such as feature_probability=0.1, got {cell!r}")
    if axis not in known:
        raise UsageError(
            f"no sweep over {axis!r} in these runs; {nearest(axis, known)}" if known else f"no sweep to take {cell} of"
        )
    values = list(dict.fromkeys(known[axis]))
    for value in values:
        if str(value) == text or (not isinstance(value, str) and np.isclose(value, _number(text), rtol=1e-9, atol=0)):
            return axis, value
    raise UsageError(f"{axis} = {text} was not trained; trained: {', '.join(map(str, values))}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _of_seeds(leaf: xr.Dataset, seeds: Sequence[int]) -> xr.Dataset:
    trained = leaf["seed"].values.tolist()
    if missing := [seed for seed in seeds if seed not in trained]:
        raise UsageError(
            f"seed {missing[0]} of {leaf.attrs['condition_name']} was not trained; trained: {_few(trained)}"
        )
    return leaf.isel(seed=[trained.index(seed) for seed in dict.fromkeys(seeds)])


def _few(numbers: Sequence[int]) -> str:
    """Numbers in a line: all, or the first and the last of many."""
    return ", ".join(map(str, numbers)) if len(numbers) <= 20 else f"{len(numbers)} seeds, {numbers[0]} … {numbers[-1]}"


def refuse_unknown(runs: xr.DataTree, conditions: Sequence[str]) -> None:
    """UsageError, which lists the nearest names, if a condition does not exist."""
    known = {leaf.attrs["condition_name"] for leaf in runs.leaves}
    if unknown := [name for name in conditions if name not in known]:
        raise UsageError(f"no condition {unknown[0]!r} in these runs; {nearest(unknown[0], known)}")


def by_experiment(selected: Sequence[Selected]) -> dict[str, list[Selected]]:
    """The conditions of each experiment."""
    return {name: [item for item in selected if item.experiment == name] for name in _names(selected)}


def by_cell(selected: Sequence[Selected]) -> Iterator[tuple[dict[str, float], list[Selected]]]:
    """Each cell of the sweeps with the conditions that have it; a condition without an axis has all values of it."""
    axes: dict[str, list[float]] = {}
    for item in selected:
        for axis in item.sweeps:
            axes.setdefault(axis, []).extend(item.dataset[axis].values.tolist())
    unique = {axis: list(dict.fromkeys(values)) for axis, values in axes.items()}
    for values in product(*unique.values()):
        cell = dict(zip(unique, values, strict=True))
        if members := [item.at(cell) for item in selected if _has(item, cell)]:
            yield cell, members


def _has(item: Selected, cell: Mapping[str, float]) -> bool:
    return all(value in item.dataset[axis].values for axis, value in cell.items() if axis in item.sweeps)


def _names(selected: Sequence[Selected]) -> list[str]:
    return list(dict.fromkeys(item.experiment for item in selected))


def _recorded(dataset: xr.Dataset, name: str, wanted: float) -> int | None:
    """The index of a step or epoch, or None if it was not recorded."""
    found = np.flatnonzero(np.isclose(dataset[name].values, wanted, rtol=0, atol=1e-9))
    return int(found[0]) if len(found) else None


def _not_recorded(items: Sequence[Selected], name: str, wanted: float) -> str:
    """What was recorded instead, with the conditions of which that is true."""
    found: dict[str, list[str]] = {}
    for item in items:
        values = item.dataset[name].values
        text = "none, trained by steps" if np.isnan(values).all() else ", ".join(f"{value:g}" for value in values)
        found.setdefault(text, []).append(item.path)
    recorded = "; ".join(f"{', '.join(paths)}: {text}" for text, paths in found.items())
    return f"{name} {wanted:g} was not recorded; recorded {name}s of {recorded}"
