"""Checks that a dataset is the trajectory that its attributes describe."""

import re
from collections.abc import Callable

import numpy as np
import xarray as xr

from toysup.errors import ToysupError, UsageError
from toysup.experiments.experiment import Condition
from toysup.experiments.regime import Regime
from toysup.experiments.spec import NAME_PATTERN, shown
from toysup.storage.blocks import BLOCK_OF, BlockPlan, in_order
from toysup.storage.schema import (
    ADDED_NUMBERS,
    DEFAULT_ADDITIONS,
    FIRST_SCHEMA,
    SCHEMA_VERSION,
    TABLE_DIMS,
    TABLES,
    DamagedError,
    added_coords,
    attrs_of,
    condition_of,
    layouts_of,
    number_of,
)
from toysup.storage.selections import whole_trajectory

# Functions from a dataset of a schema to one of the next. A new schema adds one, and a file in tests/storage/schemas.
MIGRATIONS: dict[int, Callable[[xr.Dataset], xr.Dataset]] = {}


def check(dataset: xr.Dataset, *, where: str) -> xr.Dataset:
    """`dataset`, if it follows the schema and matches its specification; ToysupError that names the fault otherwise.

    The order of dims is free, and a selection of seeds, steps and cells is a trajectory too. A dataset without
    `diverged_at` gets one in which no model diverged.
    """
    try:
        return conforming(dataset, where=where)
    except DamagedError as error:
        raise ToysupError(f"{where}: damaged: {error}") from None


def conforming(dataset: xr.Dataset, *, where: str) -> xr.Dataset:
    """The same, but a dataset that differs from its specification raises DamagedError, which does not name `where`."""
    dataset = _migrated(dataset, where)
    try:
        _check_attributes(dataset)
        dataset = whole_trajectory(dataset)
        condition = condition_of(dataset)
        dims = (*condition.sweeps, "seed")
        if "diverged_at" not in dataset and set(dims) <= set(dataset.dims):
            shape = tuple(dataset.sizes[dim] for dim in dims)
            dataset = dataset.assign(diverged_at=(dims, np.full(shape, -1), attrs_of("diverged_at")))
        regime = condition.first_regime
        _check_variables(dataset, condition, regime)
        _check_coords(dataset, condition, regime)
    except DamagedError:
        raise
    except UsageError as error:
        # The architecture is not registered in this process.
        raise UsageError(f"{where}: {error}") from None
    return dataset


def _migrated(dataset: xr.Dataset, where: str) -> xr.Dataset:
    """`dataset` in the present schema; ToysupError if this version of toysup does not know its schema."""
    schema = dataset.attrs.get("toysup_schema")
    if schema is None:
        raise ToysupError(f"{where}: not a toysup trajectory (it has no attribute toysup_schema)")
    if not isinstance(schema, int | np.integer) or not FIRST_SCHEMA <= schema <= SCHEMA_VERSION:
        known = f"version {SCHEMA_VERSION}" if SCHEMA_VERSION == FIRST_SCHEMA else f"versions up to {SCHEMA_VERSION}"
        raise ToysupError(f"{where}: schema version {str(schema)[:60]}, but this toysup reads {known}")
    for old in range(int(schema), SCHEMA_VERSION):
        dataset = MIGRATIONS[old](dataset).assign_attrs(toysup_schema=old + 1)
    return dataset


def _check_attributes(dataset: xr.Dataset) -> None:
    for name in ("experiment", "condition_name"):
        value = dataset.attrs.get(name)
        if not isinstance(value, str) or not re.fullmatch(NAME_PATTERN, value):
            raise DamagedError(f"the attribute {name} is {value!r}, which is not a name")
    for name in ("engine", "source", "history"):
        if not isinstance(dataset.attrs.get(name), str):
            raise DamagedError(f"the attribute {name} is missing")
    if not isinstance(dataset.attrs.get("condition_position", 0), int | np.integer):
        raise DamagedError("the attribute condition_position is not a whole number")
    try:
        if BLOCK_OF in dataset.attrs:
            BlockPlan.stamped(dataset.attrs[BLOCK_OF])
    except ValueError:
        raise DamagedError(f"the attribute {BLOCK_OF} is not the JSON of a plan") from None


def _check_variables(dataset: xr.Dataset, condition: Condition, regime: Regime) -> None:
    sweeps, sizes, variables = set(condition.sweeps), dataset.sizes, dataset.variables
    for name, layout in layouts_of(condition, sizes.get("seed", 0), sizes.get("step", 0), regime).items():
        _check_variable(dataset, name, required=set(layout.dims), allowed=set(layout.dims))
        for dim, size in zip(layout.dims, layout.shape, strict=True):
            if sizes[dim] != size or size == 0:
                raise DamagedError(f"{dim} has {sizes[dim]} entries, but its specification gives {size}")
    present = [name for name in ADDED_NUMBERS if number_of(regime, name) is not None]
    for name in (*TABLES, *present):
        dims = set(TABLE_DIMS.get(name, ()))
        _check_variable(dataset, name, required=dims, allowed=dims | sweeps)
        values = variables[name].values
        if name not in ("importance", "rule_threshold") and not ((values >= 0) & (values <= 1 + 1e-9)).all():
            raise DamagedError(f"{name} has entries that are not probabilities")
        if name == "importance" and not (np.isfinite(values) & (values >= 0)).all():
            raise DamagedError("importance has entries that are negative or not finite")
    probability = variables["context_probability"]
    if not (abs(probability.values.sum(probability.dims.index("context")) - 1) < 1e-6).all():
        raise DamagedError("context_probability has entries that do not sum to 1")


def _check_variable(dataset: xr.Dataset, name: str, *, required: set[str], allowed: set[str]) -> None:
    variable = dataset.variables.get(name)
    if variable is None:
        raise DamagedError(f"the variable {name} is missing")
    dims = set(map(str, variable.dims))
    if not required <= dims <= allowed:
        raise DamagedError(f"{name} has the dims {', '.join(sorted(dims))}, not {', '.join(sorted(required))}")
    kind = "i" if name == "diverged_at" else "f"
    if variable.dtype.kind != kind:
        raise DamagedError(f"{name} holds {variable.dtype}, not {'integers' if kind == 'i' else 'floats'}")


def _check_coords(dataset: xr.Dataset, condition: Condition, regime: Regime) -> None:
    own = {"epoch": ("step", "f"), "subset": ("feature", "OSU"), "context": ("context", "OSU"), "seed": ("seed", "i")}
    plain = {name: (name, "if") for name in ("step", "feature", "hidden", *condition.sweeps)}
    numbered = {dim: (dim, np.arange(1, dataset.sizes.get(dim, 0) + 1)) for dim in ("feature", "hidden")}
    numbered |= {axis: (axis, np.array(values)) for axis, values in condition.sweeps.items()}
    labels = {"context": ("context", regime.contexts), "subset": ("feature", regime.subset)} | added_coords(regime)
    labels |= numbered
    added = {name: (dim, "ifOSU") for name, (dim, _) in labels.items()}
    variables, coords = dataset.variables, dataset.coords
    for name, (dim, kinds) in {**plain, **own, **added}.items():
        if name not in coords or variables[name].dims != (dim,) or variables[name].dtype.kind not in kinds:
            raise DamagedError(f"the coordinate {name} is missing or is not one along {dim}")
    for name, (_, values) in labels.items():
        if variables[name].values.tolist() != list(values):
            raise DamagedError(f"the coordinate {name} differs from its specification")
    for name, usual in DEFAULT_ADDITIONS.items():
        found = dataset.attrs.get(name, usual)
        if not isinstance(found, str | float | None) or found != getattr(regime, name):
            raise DamagedError(f"the attribute {name} is {shown(found)}, which differs from its specification")
    seeds = variables["seed"].values
    if seeds.min() < 0 or len(in_order(seeds)) != len(seeds):
        raise DamagedError("its seeds are not distinct non-negative integers")
    steps = variables["step"].values.tolist()
    if not set(steps) <= set(condition.recorded_steps) or sorted(set(steps)) != steps:
        raise DamagedError("its steps are not distinct steps that its specification records")
