"""The schema of a trajectory: how a dataset is built from snapshots, and read back."""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from toysup import __version__
from toysup.engines.instances import Snapshot
from toysup.errors import ToysupError, UsageError
from toysup.experiments.context_rules import Rule
from toysup.experiments.context_rules import parse as parse_rule
from toysup.experiments.experiment import Condition, Experiment
from toysup.experiments.model import parameters_of
from toysup.experiments.regime import Regime
from toysup.experiments.spec import shown

FIRST_SCHEMA = SCHEMA_VERSION = 1
TABLES = ("context_probability", "activation_probability", "importance")
TABLE_DIMS = {
    "context_probability": ("context",),
    "activation_probability": ("context", "feature"),
    "importance": ("context", "feature"),
}
# Numbers that a regime has only if it has groups, or a context rule.
ADDED_NUMBERS = ("group_correlation", "rule_threshold", "rule_tie")
# Additions of a regime that are one word or number for all cells, with their defaults. They are attributes.
DEFAULT_ADDITIONS = {"values": "uniform", "target": "x", "context_rule": None, "context_input": None}
LONG_NAMES = {
    "train_loss": "training loss per sample, mean since the previous snapshot",
    "diverged_at": "first step whose loss or weights were not finite, -1 if none",
    "context_probability": "probability of the context",
    "activation_probability": "probability that a feature is active, given the context",
    "importance": "weight of a feature's squared error, given the context",
    "group_correlation": "correlation of features that fire together",
    "rule_threshold": "what a statistic of x has to exceed for the first context",
    "rule_tie": "probability of the first context where the statistic equals its threshold",
    "group": "group of features that fire together or exclude one another",
    "context_input": "input that shows the model its context",
    "output": "output",
    "output_feature": "feature that the output is about",
    "output_context": "context that the output is about",
    "seed": "seed of the instance",
    "step": "optimiser steps taken",
    "epoch": "epochs seen; NaN for an infinite stream",
    "feature": "feature",
    "subset": "subset that the feature belongs to",
    "context": "context",
    "hidden": "hidden dimension",
}


class Layout(NamedTuple):
    """Dims, shape, dtype and attributes of a variable that training fills."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: type[np.generic]
    attrs: Mapping[str, str]


def build(
    experiment: Experiment, condition: Condition, seeds: Sequence[int], snapshots: Iterable[Snapshot], *, engine: str
) -> xr.Dataset:
    """The dataset of `condition`, in memory, from an engine's snapshots of the seeds."""
    return trajectory_of(experiment, condition, seeds, filled(condition, len(seeds), snapshots), engine=engine)


def filled(condition: Condition, n_seeds: int, snapshots: Iterable[Snapshot]) -> dict[str, np.ndarray]:
    """The arrays of a trajectory of `condition`, by name, from its snapshots."""
    arrays = room_for(condition, n_seeds)
    for number, snapshot in enumerate(snapshots):
        place(condition, arrays, number, snapshot)
    return arrays


def room_for(condition: Condition, n_seeds: int) -> dict[str, np.ndarray]:
    """Arrays of zeros for a trajectory of `condition`, by name."""
    return {name: np.zeros(layout.shape, layout.dtype) for name, layout in layouts_of(condition, n_seeds).items()}


def place(condition: Condition, arrays: Mapping[str, np.ndarray], number: int, snapshot: Snapshot) -> None:
    """Write the snapshot with this number, from 0, to its place in `arrays`."""
    diverged_at = _diverged_at(snapshot)
    if number > 0:
        # The first snapshot that shows a divergence gives its step.
        before = arrays["diverged_at"].reshape(diverged_at.shape)
        diverged_at = np.where(before >= 0, before, diverged_at)
    values: dict[str, np.ndarray] = {
        **snapshot.parameters,
        "train_loss": snapshot.train_loss,
        "diverged_at": diverged_at,
    }
    # The instances of a snapshot are all cells times all seeds.
    leading = len(condition.sweeps) + 1
    for name, array in arrays.items():
        at = (slice(None),) * leading + ((number,) if array.ndim > leading else ())
        array[at] = values[name].reshape(array[at].shape)


def trajectory_of(
    experiment: Experiment,
    condition: Condition,
    seeds: Sequence[int],
    arrays: Mapping[str, np.ndarray],
    *,
    engine: str,
) -> xr.Dataset:
    """The dataset of `condition` from the arrays that training has filled."""
    layouts = layouts_of(condition, len(seeds))
    run = {name: (layout.dims, arrays[name]) for name, layout in layouts.items()}
    return assembled(condition, seeds, run, _attrs(experiment, condition, engine))


def assembled(
    condition: Condition,
    seeds: Sequence[int],
    run: Mapping[str, Any],
    attrs: Mapping[str, Any],
    steps: Sequence[int] | None = None,
) -> xr.Dataset:
    """The dataset of `condition`: the variables `run`, with the coords and tables that follow from the condition.

    `steps` are those that `run` has; all recorded steps by default.
    """
    steps = condition.recorded_steps if steps is None else steps
    regimes = condition.regimes()
    tables = {
        name: _table(condition, TABLE_DIMS.get(name, ()), rows)
        for name in (*TABLES, *ADDED_NUMBERS)
        if (rows := [value for regime in regimes if (value := number_of(regime, name)) is not None])
    }
    dataset = xr.Dataset(
        {**tables, **run}, _coords(condition, seeds, steps, regimes[0]), {**attrs, **_additions(regimes[0])}
    )
    layouts = layouts_of(condition, len(seeds))
    for variable in map(str, dataset.variables):
        dataset[variable].attrs.update(layouts[variable].attrs if variable in layouts else attrs_of(variable))
    return dataset


def layouts_of(
    condition: Condition, n_seeds: int, n_steps: int | None = None, regime: Regime | None = None
) -> dict[str, Layout]:
    """The layout of each variable that training fills, with this number of steps; by default all recorded ones.

    `regime` is the first regime of the condition, for a caller that has it already.
    """
    sizes = {name: len(values) for name, values in condition.sweeps.items()}
    sizes |= {"seed": n_seeds, "step": len(condition.recorded_steps) if n_steps is None else n_steps}
    leading = (*condition.sweeps, "seed")

    def layout(name: str, dims: tuple[str, ...], dtype: type[np.generic]) -> Layout:
        return Layout(dims, tuple(sizes[dim] for dim in dims), dtype, attrs_of(name))

    layouts = {}
    for name, parameter in parameters_of(condition.model, regime or condition.first_regime).items():
        sizes |= dict(zip(parameter.dims, parameter.shape, strict=True))
        own = layout(name, (*leading, "step", *parameter.dims), np.float32)
        layouts[name] = own._replace(attrs={"long_name": parameter.long_name, "units": "1"})
    layouts["train_loss"] = layout("train_loss", (*leading, "step"), np.float64)
    layouts["diverged_at"] = layout("diverged_at", leading, np.int64)
    return layouts


def _diverged_at(snapshot: Snapshot) -> np.ndarray:
    """The first step that was not finite. Weights may stop being finite before a loss shows it."""
    finite = np.logical_and.reduce(
        [np.isfinite(value).all(axis=tuple(range(1, value.ndim))) for value in snapshot.parameters.values()]
    )
    return np.where((snapshot.diverged_at < 0) & ~finite, snapshot.step, snapshot.diverged_at)


def attrs_of(name: str) -> dict[str, str]:
    """The attributes of a variable; all variables are dimensionless."""
    return {"long_name": LONG_NAMES.get(name, name.replace("_", " ")), "units": "1"}


def number_of(regime: Regime, name: str) -> np.ndarray | float | None:
    """A table of the regime, or an added number; None if the regime lacks that number."""
    if name == "group_correlation":
        return regime.group_correlation if regime.group else None
    if name.startswith("rule_"):
        return getattr(regime.rule, name.removeprefix("rule_"), None)
    table: np.ndarray = getattr(regime, name)
    return table


def _additions(regime: Regime) -> dict[str, Any]:
    """The additions of the regime that are attributes; those with default values are omitted."""
    return {name: getattr(regime, name) for name, usual in DEFAULT_ADDITIONS.items() if getattr(regime, name) != usual}


def _table(
    condition: Condition, dims: tuple[str, ...], rows: Sequence[np.ndarray | float]
) -> tuple[tuple[str, ...], np.ndarray]:
    """A table with its dims: the sweep axes along which it varies, then its own dims."""
    sizes = [len(values) for values in condition.sweeps.values()]
    table = np.asarray(rows).reshape((*sizes, *np.shape(rows[0])))
    axes = list(condition.sweeps)
    for axis in reversed(range(len(sizes))):
        first = table.take([0], axis=axis)
        if (table == first).all():
            table = first.squeeze(axis)
            del axes[axis]
    return (*axes, *dims), table


def _coords(condition: Condition, seeds: Sequence[int], steps: Sequence[int], regime: Regime) -> dict[str, Any]:
    per_epoch = condition.training.steps_per_epoch
    return {
        **{name: (name, np.asarray(values)) for name, values in condition.sweeps.items()},
        "seed": ("seed", np.asarray(seeds, dtype=np.int64)),
        "step": ("step", np.asarray(steps, dtype=np.int64)),
        "epoch": ("step", np.asarray(steps) / (per_epoch if per_epoch is not None else np.nan)),
        "context": ("context", np.array(regime.contexts)),
        "hidden": ("hidden", np.arange(1, condition.model.n_hidden + 1)),
        "feature": ("feature", np.arange(1, condition.model.n_features + 1)),
        "subset": ("feature", np.array(regime.subset)),
        **added_coords(regime),
    }


def added_coords(regime: Regime) -> dict[str, Any]:
    """Coords of groups, context inputs and outputs, which only some regimes have."""
    coords: dict[str, Any] = {}
    if regime.group:
        coords["group"] = ("feature", np.array(regime.group))
    if regime.context_inputs:
        coords["context_input"] = ("context_input", np.array(regime.context_inputs))
    if regime.output_dim == "output":
        n = len(regime.subset)
        coords["output"] = ("output", np.arange(1, regime.n_outputs + 1))
        coords["output_feature"] = ("output", np.tile(np.arange(1, n + 1), len(regime.contexts)))
        coords["output_context"] = ("output", np.repeat(np.array(regime.contexts), n))
    return coords


def _attrs(experiment: Experiment, condition: Condition, engine: str) -> dict[str, Any]:
    versions = {name: own for name in ("numba", "numpy", "torch", "xarray") if (own := _installed_version(name))}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Conventions": "CF-1.11",
        "title": f"{experiment.title or experiment.name}: {condition.name}",
        "source": f"toysup {__version__}",
        "references": "; ".join(experiment.references),
        "history": f"{now} trained by toysup {__version__}",
        "toysup_schema": SCHEMA_VERSION,
        "experiment": experiment.name,
        "condition_name": condition.name,
        "condition_position": [other.name for other in experiment.conditions].index(condition.name),
        "condition": condition.identity,
        "engine": engine,
        "versions": json.dumps({"python": platform.python_version()} | versions),
    }


def _installed_version(package: str) -> str | None:
    """The version of a package; None where it is not installed, as torch need not be."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class DamagedError(ToysupError):
    """A dataset claims to be a trajectory, but does not follow the schema."""


def condition_of(dataset: xr.Dataset) -> Condition:
    """The condition that a dataset was trained with; DamagedError if its attribute cannot be read."""
    try:
        text = dataset.attrs["condition"]
        short = isinstance(text, str) and len(text) <= _SHORT
        return _parsed_before(text) if short else _parsed(text)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise DamagedError("the attribute condition is not the JSON of a specification") from None


def _parsed(text: str) -> Condition:
    return Condition.identified(json.loads(text))


# Each dataset is asked several times, and many datasets have the same specification. Long sweeps are not kept.
_parsed_before, _SHORT = lru_cache(maxsize=64)(_parsed), 2**16


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> str | None:
    """The first difference of two identities, such as `training.epochs: 12 there, 2 here`; None if they are equal."""
    for key in dict.fromkeys([*one, *other]):
        there, here = one.get(key), other.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            if found := first_difference(there, here, f"{path}{key}."):
                return found
            # Order counts within a table: the order of contexts is that of the rows, and decides the sign of a flag.
            if path and list(there) != list(here):
                return f"{path}{key}: {shown(dict(there))} there, {shown(dict(here))} here"
        elif there != here:
            return f"{path}{key}: {_absent(there)} there, {_absent(here)} here"
    return None


def _absent(value: object) -> str:
    return "nothing" if value is None else shown(value)


def regime_of(dataset: xr.Dataset) -> Regime:
    """The regime that a dataset was trained under, from the tables and attributes that it carries.

    Parameters
    ----------
    dataset : Dataset
        One condition, with at most one cell of any sweep along which the regime varies; other dims are free.

    Returns
    -------
    Regime
        The regime.

    Raises
    ------
    UsageError
        If the regime varies along a sweep axis; select one cell first.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/conditional"].to_dataset()
    >>> toysup.regime_of(dataset).importance.shape
    (2, 20)
    """
    if swept := regime_axes(dataset):
        raise UsageError(f"the regime varies along {', '.join(swept)}; select one value first")
    (regime,) = regimes_of(dataset)
    return regime


def regimes_of(dataset: xr.Dataset) -> Iterator[Regime]:
    """The regime of each cell of the sweep axes along which it varies, the last axis running fastest."""
    sizes = {axis: dataset.sizes[axis] for axis in regime_axes(dataset)}
    cells: dict[str, Any] = {}
    for name in (*TABLES, *ADDED_NUMBERS):
        if name in dataset:
            variable = dataset.variables[name]
            own_axes = [axis for axis in sizes if axis in variable.dims]
            values = variable.transpose(*own_axes, *TABLE_DIMS.get(name, ())).values.astype(np.float64)
            table = values.shape[len(own_axes) :]
            values = values.reshape([*(sizes[axis] if axis in own_axes else 1 for axis in sizes), *table])
            cells[name] = np.broadcast_to(values, (*sizes.values(), *table))
    named: dict[str, Any] = {name: dataset.attrs.get(name, usual) for name, usual in DEFAULT_ADDITIONS.items()}
    named |= {name: tuple(map(str, dataset[name].values)) for name in ("subset", "group") if name in dataset.coords}
    named["contexts"] = tuple(map(str, dataset["context"].values))
    for place in np.ndindex(*sizes.values()):
        own = {name: np.array(values[place]) for name, values in cells.items()}
        rule = None
        if named["context_rule"] is not None:
            feature, _ = parse_rule(named["context_rule"])
            rule = Rule(feature, float(own["rule_threshold"]), float(own["rule_tie"]))
        tables: dict[str, Any] = {name: own[name] for name in TABLES}
        yield Regime(**tables, **named, group_correlation=float(own.get("group_correlation", 1.0)), rule=rule)


def leading_dims(dataset: xr.Dataset) -> list[str]:
    """The dims of `dataset` that index trained models: sweep axes, `seed` and `step`, except those that are selected.

    Every parameter has these dims before its own, and `train_loss` has no other dims.
    """
    return [str(dim) for dim in dataset["train_loss"].dims]


def sweep_axes(dataset: xr.Dataset) -> list[str]:
    """The sweep axes that are still dims of `dataset`."""
    return [dim for dim in leading_dims(dataset) if dim not in ("seed", "step")]


def regime_axes(dataset: xr.Dataset) -> list[str]:
    """The sweep axes along which the regime of `dataset` varies."""
    names = [name for name in (*TABLES, *ADDED_NUMBERS) if name in dataset]
    dims = [str(dim) for name in names for dim in dataset[name].dims if dim not in ("context", "feature")]
    return list(dict.fromkeys(dims))
