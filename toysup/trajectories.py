"""The dataset of one condition: its schema, built from snapshots and checked on what is opened."""

import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from toysup.errors import ToysupError, UsageError
from toysup.experiments import Condition, Experiment
from toysup.instances import Snapshot
from toysup.regimes import Regime
from toysup.spec import NAME_PATTERN, shown

SCHEMA_VERSION = 1
TABLES = ("context_probability", "activation_probability", "importance")
TABLE_DIMS = {
    "context_probability": ("context",),
    "activation_probability": ("context", "feature"),
    "importance": ("context", "feature"),
}
PARAMETER_DIMS = {"W": ("hidden", "feature"), "b": ("feature",)}
LONG_NAMES = {
    "W": "weights onto the hidden state",
    "b": "output bias",
    "train_loss": "training loss per sample, mean since the previous snapshot",
    "diverged_at": "first step whose loss or weights were not finite, -1 if none",
    "context_probability": "probability of the context",
    "activation_probability": "probability that a feature is active, given the context",
    "importance": "weight of a feature's squared error, given the context",
    "seed": "seed of the instance",
    "step": "optimiser steps taken",
    "epoch": "epochs seen; NaN for an infinite stream",
    "feature": "feature",
    "subset": "subset that the feature belongs to",
    "context": "context",
    "hidden": "hidden dimension",
}


class Layout(NamedTuple):
    """A variable that a run fills: its dims, shape and dtype."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: type[np.generic]


def build(
    experiment: Experiment, condition: Condition, seeds: Sequence[int], snapshots: Iterable[Snapshot], *, engine: str
) -> xr.Dataset:
    """The dataset of `condition` (schema version 1), in memory, from an engine's snapshots of the seeds."""
    layouts = layouts_of(condition, len(seeds))
    arrays = {name: np.empty(layout.shape, layout.dtype) for name, layout in layouts.items()}
    for number, snapshot in enumerate(snapshots):
        place(arrays, layouts, number, snapshot, slice(None))
    head = head_of(experiment, condition, seeds, engine=engine)
    return head.assign({name: (layout.dims, arrays[name], attrs_of(name)) for name, layout in layouts.items()})


def head_of(experiment: Experiment, condition: Condition, seeds: Sequence[int], *, engine: str) -> xr.Dataset:
    """All of a dataset but what a run fills: its coords, tables and attrs."""
    regimes = [condition.at(cell).regime.resolve(condition.model.n_features) for cell in condition.cells()]
    tables = {name: _table(condition, name, [getattr(regime, name) for regime in regimes]) for name in TABLES}
    dataset = xr.Dataset(tables, _coords(condition, seeds, regimes[0]), _attrs(experiment, condition, engine))
    for variable in map(str, dataset.variables):
        dataset[variable].attrs.update(attrs_of(variable))
    return dataset


def layouts_of(condition: Condition, n_seeds: int) -> dict[str, Layout]:
    """The variables that a run of `condition` fills."""
    sizes = {name: len(values) for name, values in condition.sweeps.items()}
    sizes |= {"seed": n_seeds, "step": len(condition.recorded_steps)}
    sizes |= {"hidden": condition.model.n_hidden, "feature": condition.model.n_features}
    leading = (*condition.sweeps, "seed")
    dims = {name: (*leading, "step", *trailing) for name, trailing in PARAMETER_DIMS.items()}
    dims |= {"train_loss": (*leading, "step"), "diverged_at": leading}
    dtypes: dict[str, type[np.generic]] = {"train_loss": np.float64, "diverged_at": np.int64}
    return {
        name: Layout(own, tuple(sizes[dim] for dim in own), dtypes.get(name, np.float32)) for name, own in dims.items()
    }


def place(
    targets: Mapping[str, Any],
    layouts: Mapping[str, Layout],
    number: int,
    snapshot: Snapshot,
    seeds: slice | Sequence[int],
) -> None:
    """Write the snapshot of this number to its place in `targets`, arrays or variables of a file, at these seeds."""
    values: dict[str, np.ndarray] = {
        **snapshot.parameters,
        "train_loss": snapshot.train_loss,
        "diverged_at": _diverged_at(snapshot),
    }
    for name, layout in layouts.items():
        axes = layout.dims.index("seed")
        at_step = (number,) if "step" in layout.dims else ()
        # The instances of a snapshot are the cells of the sweep times the seeds.
        trailing = layout.shape[axes + 1 + len(at_step) :]
        shaped = values[name].reshape(*layout.shape[:axes], -1, *trailing)
        targets[name][(slice(None),) * axes + (seeds, *at_step) + (slice(None),) * len(trailing)] = shaped


def _diverged_at(snapshot: Snapshot) -> np.ndarray:
    """Also where the weights stopped being finite without a loss that showed it."""
    finite = np.logical_and.reduce(
        [np.isfinite(value).all(axis=tuple(range(1, value.ndim))) for value in snapshot.parameters.values()]
    )
    return np.where((snapshot.diverged_at < 0) & ~finite, snapshot.step, snapshot.diverged_at)


def attrs_of(name: str) -> dict[str, str]:
    """Every variable says what it is; all are dimensionless."""
    return {"long_name": LONG_NAMES.get(name, name.replace("_", " ")), "units": "1"}


def _table(condition: Condition, name: str, rows: Sequence[np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
    """One of the tables with the sweep axes along which it varies, and only those."""
    sizes = [len(values) for values in condition.sweeps.values()]
    table = np.asarray(rows).reshape(*sizes, *rows[0].shape)
    axes = list(condition.sweeps)
    for axis in reversed(range(len(sizes))):
        first = table.take([0], axis=axis)
        if (table == first).all():
            table = first.squeeze(axis)
            del axes[axis]
    return (*axes, *TABLE_DIMS[name]), table


def _coords(condition: Condition, seeds: Sequence[int], regime: Regime) -> dict[str, Any]:
    steps = condition.recorded_steps
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
    }


def _attrs(experiment: Experiment, condition: Condition, engine: str) -> dict[str, Any]:
    versions = {name: version(name) for name in ("numba", "numpy", "torch", "xarray")}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Conventions": "CF-1.11",
        "title": f"{experiment.title or experiment.name}: {condition.name}",
        "source": f"toysup {version('toysup')}",
        "references": "; ".join(experiment.references),
        "history": f"{now} trained by toysup {version('toysup')}",
        "toysup_schema": SCHEMA_VERSION,
        "experiment": experiment.name,
        "condition_name": condition.name,
        "condition_position": [other.name for other in experiment.conditions].index(condition.name),
        "condition": condition.identity,
        "engine": engine,
        "versions": json.dumps({"python": platform.python_version()} | versions),
    }


def check(dataset: xr.Dataset, *, where: str) -> xr.Dataset:
    """`dataset`, if it follows the schema and is what its specification says; else ToysupError with what is wrong.

    The order of dims is free, and a dataset without `diverged_at` is given one that says that nothing diverged.
    """
    schema = dataset.attrs.get("toysup_schema")
    if schema is None:
        raise ToysupError(f"{where}: not a toysup trajectory (it has no attribute toysup_schema)")
    if not isinstance(schema, int | np.integer) or schema != SCHEMA_VERSION:
        raise ToysupError(f"{where}: schema version {schema!s}, but this toysup reads version {SCHEMA_VERSION}")
    try:
        condition = _specification(dataset)
        dims = (*condition.sweeps, "seed")
        if "diverged_at" not in dataset and set(dims) <= set(dataset.dims):
            shape = tuple(dataset.sizes[dim] for dim in dims)
            dataset = dataset.assign(diverged_at=(dims, np.full(shape, -1), attrs_of("diverged_at")))
        _check_variables(dataset, condition)
        _check_coords(dataset, condition)
    except DamagedError as error:
        raise ToysupError(f"{where}: damaged: {error}") from None
    return dataset


class DamagedError(ToysupError):
    """A dataset says that it is a trajectory, but is not one."""


def _specification(dataset: xr.Dataset) -> Condition:
    for name in ("experiment", "condition_name"):
        value = dataset.attrs.get(name)
        if not isinstance(value, str) or not re.fullmatch(NAME_PATTERN, value):
            raise DamagedError(f"the attribute {name} is {value!r}, which is no name")
    for name in ("engine", "source", "history"):
        if not isinstance(dataset.attrs.get(name), str):
            raise DamagedError(f"the attribute {name} is missing")
    if not isinstance(dataset.attrs.get("condition_position", 0), int | np.integer):
        raise DamagedError("the attribute condition_position is not a whole number")
    return condition_of(dataset)


def _check_variables(dataset: xr.Dataset, condition: Condition) -> None:
    sweeps = set(condition.sweeps)
    for name, layout in layouts_of(condition, dataset.sizes.get("seed", 0)).items():
        _check_variable(dataset, name, required=set(layout.dims), allowed=set(layout.dims))
        for dim, size in zip(layout.dims, layout.shape, strict=True):
            if dataset.sizes[dim] != size or size == 0:
                raise DamagedError(f"{dim} has {dataset.sizes[dim]} entries, not those of its specification ({size})")
    for name in TABLES:
        dims = set(TABLE_DIMS[name])
        _check_variable(dataset, name, required=dims, allowed=dims | sweeps)
        if name != "importance" and not ((dataset[name] >= 0) & (dataset[name] <= 1 + 1e-9)).all():
            raise DamagedError(f"{name} has entries that are not probabilities")


def _check_variable(dataset: xr.Dataset, name: str, *, required: set[str], allowed: set[str]) -> None:
    if name not in dataset:
        raise DamagedError(f"the variable {name} is missing")
    dims = set(map(str, dataset[name].dims))
    if not required <= dims <= allowed:
        raise DamagedError(f"{name} has the dims {', '.join(sorted(dims))}, not {', '.join(sorted(required))}")
    kind = "i" if name == "diverged_at" else "f"
    if dataset[name].dtype.kind != kind:
        raise DamagedError(f"{name} holds {dataset[name].dtype}, not {'integers' if kind == 'i' else 'floats'}")


def _check_coords(dataset: xr.Dataset, condition: Condition) -> None:
    own = {"epoch": ("step", "f"), "subset": ("feature", "OSU"), "context": ("context", "OSU"), "seed": ("seed", "i")}
    plain = {name: (name, "if") for name in ("step", "feature", "hidden", *condition.sweeps)}
    for name, (dim, kinds) in {**plain, **own}.items():
        if name not in dataset.coords or dataset[name].dims != (dim,) or dataset[name].dtype.kind not in kinds:
            raise DamagedError(f"the coordinate {name} is missing or is not one along {dim}")
    if dataset["step"].values.tolist() != list(condition.recorded_steps):
        raise DamagedError("its steps are not those that its specification records")


def condition_of(dataset: xr.Dataset) -> Condition:
    """The condition that a dataset says it was trained with; DamagedError where that cannot be read."""
    try:
        return Condition(name="condition", **json.loads(dataset.attrs["condition"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        raise DamagedError("the attribute condition is not the JSON of a specification") from None


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> str | None:
    """The first key in which two identities differ, as `training.epochs: 12 there, 2 here`; None if they are equal."""
    for key in dict.fromkeys([*one, *other]):
        there, here = one.get(key), other.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            if found := first_difference(there, here, f"{path}{key}."):
                return found
        elif there != here:
            return f"{path}{key}: {_absent(there)} there, {_absent(here)} here"
    return None


def _absent(value: object) -> str:
    return "nothing" if value is None else shown(value)


def regime_of(dataset: xr.Dataset) -> Regime:
    """The regime that `dataset` was trained under, from the tables that it carries.

    Raises UsageError where a sweep varies the tables: select one cell first.
    """
    if swept := {str(dim) for name in TABLES for dim in dataset[name].dims} - {"context", "feature"}:
        raise UsageError(f"the regime varies along {', '.join(sorted(swept))}; select one value first")
    tables = {name: dataset[name].transpose(*TABLE_DIMS[name]).values.astype(np.float64) for name in TABLES}
    return Regime(
        contexts=tuple(map(str, dataset["context"].values)),
        subset=tuple(map(str, dataset["subset"].values)),
        **tables,
    )
