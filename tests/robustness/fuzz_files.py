"""Hostile datasets: edits of real ones, files that declare more than they hold, and other formats."""

import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import netCDF4
import numpy as np
import xarray as xr
from hypothesis import strategies as st

import toysup
import toysup.storage.blocks
from tests.robustness.fuzz_inputs import KEYS, WORDS, edited, words
from toysup.engines.instances import Snapshot
from toysup.experiments.experiment import Condition
from toysup.experiments.model import parameters_of
from toysup.storage.schema import build

_SHORT = {"training.steps": 6, "training.dataset_size": 200, "training.batch_size": 64, "record.steps": [2]}
_SMALL = {
    "model.n_features": 6,
    "model.n_hidden": 3,
    "training.steps": 6,
    "training.batch_size": 64,
    "record.steps": [2],
}
SOURCES: list[tuple[str, str, dict[str, Any]]] = [
    ("conditional-importance", "conditional", _SHORT),
    ("z-target", "flag-1", _SHORT),
    ("context-deducible", "", _SHORT | {"regime.values": "signed"}),
    ("tms-intro", "tms-intro", _SMALL | {"regime.feature_probability": [0.5, 0.05]}),
    ("tms-intro", "tms-intro", _SMALL | {"regime.feature_probability": 0.5, "regime.together": ["1-2", "3-4"]}),
]
SEEDS = 3
# The first source again, with a block for each seed.
BLOCKS = len(SOURCES)


def untrained(source: int) -> xr.Dataset:
    """A dataset of this source, with random weights."""
    name, chosen, changes = SOURCES[source % BLOCKS]
    experiment = toysup.load_experiment(name, changes=changes)
    condition = experiment.select([chosen] if chosen else [])[0]
    return build(experiment, condition, range(SEEDS), _snapshots(condition), engine="fused")


def _snapshots(condition: Condition) -> Iterator[Snapshot]:
    random = np.random.default_rng(0)
    n = SEEDS * int(np.prod([len(values) for values in condition.sweeps.values()]))
    for step in condition.recorded_steps:
        shapes = {name: own.shape for name, own in parameters_of(condition.model, condition.first_regime).items()}
        values = {name: random.normal(0, 0.4, (n, *shape)).astype(np.float32) for name, shape in shapes.items()}
        yield Snapshot(step, values, np.full(n, np.nan if step == 0 else 0.1), np.full(n, -1))


@functools.cache
def saved(source: int) -> dict[str, bytes]:
    """Where under a folder the files of this source lie, and what they hold."""
    dataset = untrained(source)
    block_bytes = 1 if source == BLOCKS else toysup.storage.blocks._BLOCK_BYTES
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(toysup.storage.blocks, "_BLOCK_BYTES", block_bytes):
        node = f"/{dataset.attrs['experiment']}/{dataset.attrs['condition_name']}"
        toysup.save_runs(xr.DataTree.from_dict({node: dataset}), folder)
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.nc"))}


def place(source: int, folder: Path) -> Path:
    """Write the files of this source under a folder; the first of them."""
    files = saved(source)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / next(iter(files))


sources = st.sampled_from(range(BLOCKS + 1))

ATTRS = ["experiment", "condition_name", "condition_position", "condition", "toysup_schema", "history", "engine",
         "source",
         "versions", "values", "target", "context_rule", "context_input", "block_of", "block", "coordinates",
         "title"]  # fmt: skip
VARIABLE_ATTRS = ["scale_factor", "add_offset", "missing_value", "units", "calendar", "coordinates", "dtype",
                  "_Unsigned",
                  "_Encoding", "grid_mapping", "bounds", "flag_values", "valid_range", "long_name",
                  "_ARRAY_DIMENSIONS"]  # fmt: skip
VARIABLES = ["W", "b", "train_loss", "diverged_at", "context_probability", "activation_probability", "importance",
             "seed", "step",
             "epoch", "context", "hidden", "feature", "subset", "group", "feature_probability", "output",
             "rule_threshold"]  # fmt: skip
FILLS = [np.nan, np.inf, -np.inf, 1e38, -1.0, 0.0, 0.5, 1e-45, 2**62, "reversed", "shuffled"]
UNITS = ["days since 0", "days since 2000-01-01", "seconds since 1e9", "hours", "1", "microseconds"]

attr_values = st.one_of(
    words.filter(lambda text: "\x00" not in text),
    st.sampled_from(UNITS),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.lists(st.floats(), max_size=3).map(np.array),
    st.lists(st.integers(-9, 9), min_size=2, max_size=3).map(lambda found: np.array(found, np.int8)),
    st.lists(st.sampled_from(KEYS), max_size=3),
    st.sampled_from(["[" * 50_000, "{" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, "1" * 5000, "x" * 10**6]),
)


@st.composite
def identities(draw: st.DrawFn) -> str:
    """The specification of a dataset, or a plan with it, after edits."""
    condition = json.loads(_identity(draw(sources)))
    if draw(st.booleans()):
        return _dumped(draw(edited(condition)))
    plan = {"condition": condition, "engine": "fused", "cells_per_block": [1], "seeds_per_block": 2}
    return _dumped(draw(edited(plan, most=2)))


def _dumped(tree: dict[str, Any]) -> str:
    try:
        return json.dumps(tree, default=str)
    except ValueError:
        # A whole number of thousands of digits.
        return "1" * 5000


@functools.cache
def _identity(source: int) -> str:
    return str(untrained(source).attrs["condition"])


Edit = tuple[str, Any, Any, Any]
edits = st.lists(
    st.one_of(
        st.tuples(st.just("attr"), st.sampled_from(["condition", "condition", "block_of"]), identities(), st.none()),
        st.tuples(st.just("attr"), st.sampled_from(ATTRS), attr_values, st.none()),
        st.tuples(st.just("no attr"), st.sampled_from(ATTRS), st.none(), st.none()),
        st.tuples(
            st.just("variable attr"), st.sampled_from(VARIABLES), st.sampled_from(VARIABLE_ATTRS),
            attr_values | st.sampled_from(VARIABLES),
        ),
        st.tuples(st.just("values"), st.sampled_from(VARIABLES), st.sampled_from(FILLS), st.booleans()),
        st.tuples(st.just("rename"), st.sampled_from(VARIABLES), st.sampled_from([*VARIABLES, *WORDS]), st.booleans()),
        st.tuples(
            st.just("add"), st.sampled_from(["extra", *VARIABLES]), st.sampled_from(["f4", "i1", str, "S1", "pair",
            "kind", "vlen"]),
            st.lists(st.sampled_from([*VARIABLES, "new"]), max_size=3),
        ),
        st.tuples(st.just("group"), st.sampled_from(WORDS + VARIABLES), st.none(), st.none()),
    ),
    min_size=1, max_size=3,
)  # fmt: skip


def edit(path: Path, changes: list[Edit]) -> None:
    """Change a file as far as the format allows it."""
    errors = (AttributeError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError, OverflowError)
    # Some edits are refused at once, and some when the file is closed.
    with suppress(*errors), netCDF4.Dataset(path, "a") as file:
        for change in changes:
            with suppress(*errors):
                _EDITS[change[0]](file, *change[1:])
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def _fill(file: netCDF4.Dataset, name: str, value: Any, whole: bool) -> None:
    variable = file[name]
    variable.set_auto_mask(False)
    old = variable[...]
    if value == "reversed":
        variable[...] = old[..., ::-1]
    elif value == "shuffled":
        variable[...] = np.roll(old, 1, axis=-1)
    else:
        new = np.full_like(old, value)
        variable[...] = new if whole else np.where(np.arange(old.shape[-1]) == 0, new, old)


def _rename(file: netCDF4.Dataset, old: str, new: str, dim: bool) -> None:
    if dim and new in file.variables:
        # Here netCDF itself ends the interpreter, before there is a file to try.
        return
    (file.renameDimension if dim else file.renameVariable)(old, new)


def _add(file: netCDF4.Dataset, name: str, kind: Any, dims: list[str]) -> None:
    if "new" in dims and "new" not in file.dimensions:
        file.createDimension("new", 2)
    made = {
        "pair": lambda: file.createCompoundType(np.dtype([("a", "i4"), ("b", "f8")]), "pair"),
        "kind": lambda: file.createEnumType(np.int8, "kind", {"a": 0, "b": 1}),
        "vlen": lambda: file.createVLType(np.int32, "vlen"),
    }
    file.createVariable(name, made[kind]() if kind in made else kind, dims)


_EDITS: dict[str, Callable[..., object]] = {
    "attr": lambda file, name, value, _: file.setncattr(name, value),
    "no attr": lambda file, name, *_: file.delncattr(name),
    "variable attr": lambda file, name, key, value: file[name].setncattr(key, value),
    "values": _fill,
    "rename": _rename,
    "add": _add,
    "group": lambda file, name, *_: file.createGroup(name),
}

# Where a file is changed (a share of its length), by what, and whether what follows is cut off.
flips = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=8)
cuts = st.one_of(st.none(), st.none(), st.floats(0, 1))


def flip(path: Path, changes: list[tuple[float, int]], cut: float | None) -> None:
    content = bytearray(path.read_bytes())
    for at, by in changes:
        content[min(int(at * len(content)), len(content) - 1)] ^= by
    path.write_bytes(content if cut is None else content[: int(cut * len(content))])


bombs = st.tuples(
    st.sampled_from(["NETCDF4", "NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET",
    "NETCDF3_64BIT_DATA"]),
    st.sampled_from([*VARIABLES]),
    st.lists(st.sampled_from([1, 3, 20, 1000, 10**5, 10**7, 10**9, 2**31 - 1, 10**12]), min_size=1, max_size=4),
    st.sampled_from(["f4", "f8", "i8", "S1", str]),
    st.booleans(),
    st.booleans(),
)  # fmt: skip


def write_bomb(path: Path, format: str, name: str, sizes: list[int], kind: Any, packed: bool, schema: bool) -> None:
    """A file whose variable was never written, beside what a dataset has besides."""
    dims = [name, *(f"dim_{k}" for k in range(1, len(sizes)))]
    if format.startswith("NETCDF3"):
        # These formats are written out, and cut to a tiny file afterwards.
        sizes = [min(size, most) for size, most in zip(sizes, (2**20, 3, 3, 3), strict=False)]
    try:
        with netCDF4.Dataset(path, "w", format=format) as file:
            for dim, size in zip(dims, sizes, strict=True):
                file.createDimension(dim, size)
            options = {"zlib": True, "chunksizes": [min(size, 1000) for size in sizes]} if packed else {}
            with_fill = {"fill_value": False} if format != "NETCDF4" and kind is not str else {}
            file.set_fill_off()
            file.createVariable(name, kind, dims, **options, **with_fill)
            if schema:
                file.setncattr("toysup_schema", np.int32(1))
                file.setncattr("condition", _identity(0))
    except (OSError, RuntimeError, ValueError, TypeError, OverflowError):
        # The library may still hold what it could not finish.
        path.unlink(missing_ok=True)
        path.write_bytes(b"CDF")
    if path.stat().st_size > 2**20:
        # The classic formats make room at once, as a hole.
        os.truncate(path, 4096)
