"""Trajectories on disk: one netCDF-4 file per condition, written whole or not at all, opened lazily."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from toysup.errors import ToysupError, UsageError, nearest
from toysup.experiments import FIGURES_FOLDER, Condition, Experiment
from toysup.instances import Snapshot
from toysup.trajectories import (
    Layout,
    check,
    condition_of,
    first_difference,
    head_of,
    layouts_of,
    place,
)

_CHUNK_VALUES = 2**18


def path_of(folder: str | Path, experiment: str, condition: str) -> Path:
    """Where the runs of a condition lie under `folder`."""
    return Path(folder) / experiment / f"{condition}.nc"


def open_runs(path: str | Path) -> xr.DataTree:
    """The trajectories under a folder, or of one file, as a tree with a node /<experiment>/<condition> each; lazily.

    Raises ToysupError where there are none, or where a file is damaged or not a trajectory.
    """
    path = Path(path)
    if not path.exists():
        raise ToysupError(f"{path}: no such file or folder")
    files = [path] if path.is_file() else _files(path)
    if not files:
        raise ToysupError(f"{path}: no runs here (no .nc file); toysup-train EXPERIMENT --output {path} makes some")
    nodes: dict[str, xr.Dataset] = {}
    for file in files:
        dataset = open_trajectory(file)
        node = f"/{dataset.attrs['experiment']}/{dataset.attrs['condition_name']}"
        if node in nodes:
            raise ToysupError(f"{file}: a second file of {node[1:]}, after {nodes[node].encoding['source']}")
        nodes[node] = dataset
    # Within an experiment in the order of its file, which is the order in which a reader meets the conditions.
    order = sorted(nodes, key=lambda node: (node.split("/")[1], nodes[node].attrs.get("condition_position", 0)))
    return xr.DataTree.from_dict({node: nodes[node] for node in order})


def open_trajectory(path: str | Path) -> xr.Dataset:
    """The dataset of one file, lazily; ToysupError where it is damaged or not a trajectory."""
    try:
        dataset = xr.open_dataset(path, engine="netcdf4", decode_timedelta=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, PermissionError) else "not a netCDF-4 file, or damaged"
        raise ToysupError(f"{path}: {reason}") from None
    try:
        return _with_strings(check(dataset, where=str(path)))
    except ToysupError:
        dataset.close()
        raise


def open_example(name: str) -> xr.DataTree:
    """The reference trajectories of a built-in experiment that come with toysup, such as "conditional-importance"."""
    root = resources.files("toysup.data")
    known = [entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("_")]
    if name not in known:
        raise UsageError(f"no example {name!r}; {nearest(name, known)}")
    with resources.as_file(root.joinpath(name)) as folder:
        return open_runs(folder)


def save_runs(runs: xr.DataTree, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write each trajectory of `runs` to <folder>/<experiment>/<condition>.nc, each file whole or not at all.

    Where a file is there already, the seeds that it lacks are added to it; it is refused with UsageError, naming the
    first key that differs, if it was trained to another specification, unless `overwrite`. Returns the paths.
    """
    written = []
    for leaf in runs.leaves:
        dataset = check(leaf.to_dataset(), where=f"runs{leaf.path}")
        path = path_of(folder, dataset.attrs["experiment"], dataset.attrs["condition_name"])
        if path.exists() and not overwrite:
            with open_trajectory(path) as there:
                refuse_other(there, identity=dataset.attrs["condition"], engine=dataset.attrs["engine"], where=path)
                dataset = _extended(there.load(), dataset)
        write(dataset, path)
        written.append(path)
    return written


def record(
    path: Path,
    experiment: Experiment,
    condition: Condition,
    seeds: Sequence[int],
    snapshots: Iterable[Snapshot],
    *,
    engine: str,
    extend: bool,
) -> None:
    """Write a run to `path` as its snapshots come, so that memory does not grow with it; whole or not at all.

    With `extend`, the seeds that are at `path` already are kept beside the new ones.
    """
    with ExitStack() as stack:
        there = stack.enter_context(open_trajectory(path)) if extend and path.exists() else None
        old = there["seed"].values.tolist() if there is not None else []
        union = sorted({*old, *seeds})
        head = head_of(experiment, condition, union, engine=engine)
        if there is not None:
            head.attrs["history"] = f"{there.attrs['history']}\n{head.attrs['history']} ({len(seeds)} seeds added)"
        temporary = stack.enter_context(replacing(path))
        head.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=_encoding(head))
        file = stack.enter_context(netCDF4.Dataset(temporary, "a"))
        layouts = layouts_of(condition, len(union))
        targets = {name: _variable(file, name, layout, head) for name, layout in layouts.items()}
        if there is not None:
            _copy(there, targets, layouts, _places(old, union))
        new = _places(seeds, union)
        for number, snapshot in enumerate(snapshots):
            place(targets, layouts, number, snapshot, new)


def _variable(file: netCDF4.Dataset, name: str, layout: Layout, head: xr.Dataset) -> Any:
    for dim, size in zip(layout.dims, layout.shape, strict=True):
        if dim not in file.dimensions:
            file.createDimension(dim, size)
    fill_value = np.nan if name == "train_loss" else False
    variable: Any = file.createVariable(
        name, np.dtype(layout.dtype), layout.dims, fill_value=fill_value, chunksizes=_chunks(layout)
    )
    variable.setncatts(dict(layout.attrs) | {"coordinates": " ".join(_auxiliary(layout, head))})
    return variable


def _chunks(layout: Layout) -> list[int] | None:
    """A snapshot is written and mostly read as a whole, so its values lie together, in pieces of a megabyte."""
    if "step" not in layout.dims:
        return None
    chunks, values = [], _CHUNK_VALUES
    for dim, size in zip(reversed(layout.dims), reversed(layout.shape), strict=True):
        chunks.append(1 if dim == "step" else max(1, min(size, values)))
        values //= chunks[-1]
    return chunks[::-1]


def _auxiliary(layout: Layout, head: xr.Dataset) -> list[str]:
    """The coords of a variable that are no dims of it, which CF has each variable name."""
    coords = {str(name): set(coord.dims) for name, coord in head.coords.items() if name not in head.dims}
    return [name for name, dims in coords.items() if dims <= set(layout.dims)]


def _places(seeds: Sequence[int], among: Sequence[int]) -> slice | list[int]:
    """Where `seeds` stand in `among`: a slice where they stand together, which is written faster."""
    places = np.searchsorted(among, seeds).tolist()
    together = places == list(range(places[0], places[0] + len(places)))
    return slice(places[0], places[0] + len(places)) if together else places


def _copy(
    there: xr.Dataset, targets: Mapping[str, Any], layouts: Mapping[str, Layout], places: slice | list[int]
) -> None:
    """Copy the runs that are there already, a snapshot at a time."""
    for name, layout in layouts.items():
        source = there[name].transpose(*layout.dims)
        at = (slice(None),) * layout.dims.index("seed") + (places,)
        if "step" not in layout.dims:
            targets[name][at] = source.values
            continue
        for step in range(source.sizes["step"]):
            targets[name][(*at, step)] = source.isel(step=step).values


def refuse_other(there: xr.Dataset, *, identity: str, engine: str, where: Path) -> None:
    """UsageError if the runs on disk were trained to another specification than those that would join them."""
    # What is there is read as a specification first, so that a default it did not know is no difference.
    old = {**json.loads(condition_of(there).identity), "engine": there.attrs["engine"]}
    if difference := first_difference(old, {**json.loads(identity), "engine": engine}):
        raise UsageError(
            f"{where}: holds runs of another specification ({difference}); use --overwrite or another --output"
        )


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset to `path` as netCDF-4, whole or not at all."""
    with replacing(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=_encoding(dataset))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it is flushed to disk and renamed over `path` if all went well.

    Raises ToysupError naming `path` where that cannot be done; what was at `path` then stays as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=f".part{path.suffix}")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files that only their owner can read; a plain open would have followed the umask.
        temporary.chmod(0o666 & ~_umask())
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except (OSError, RuntimeError) as error:
        # netCDF says with a RuntimeError that a disk is full.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ToysupError(f"{path}: cannot be written: {reason}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def refuse_unwritable(folder: str | Path) -> None:
    """ToysupError unless runs can be written under `folder`, which is made if it is not there."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ToysupError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _with_strings(dataset: xr.Dataset) -> xr.Dataset:
    """Labels as strings of fixed width, as they were before they were written."""
    labels = {name: coord.astype(str) for name, coord in dataset.coords.items() if coord.dtype.kind == "O"}
    return dataset.assign_coords({name: coord.assign_attrs(dataset[name].attrs) for name, coord in labels.items()})


def _files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*.nc")
        if not file.name.startswith(".") and FIGURES_FOLDER not in file.relative_to(folder).parts[:-1]
    )


def _extended(there: xr.Dataset, here: xr.Dataset) -> xr.Dataset:
    """Both sets of seeds in order, what is there kept as it is."""
    new = here.sel(seed=~np.isin(here["seed"], there["seed"]))
    if new.sizes["seed"] == 0:
        return there
    along_seed = [name for name, variable in there.data_vars.items() if "seed" in variable.dims]
    joined = xr.concat([there[along_seed], new[along_seed]], dim="seed", combine_attrs="override", join="exact")
    joined = joined.assign({name: there[name] for name in there.data_vars if name not in along_seed}).sortby("seed")
    history = f"{there.attrs['history']}\n{new.attrs['history'].splitlines()[-1]} ({new.sizes['seed']} seeds added)"
    return joined.assign_attrs(there.attrs | {"history": history})


def _encoding(dataset: xr.Dataset) -> dict[str, Mapping[str, object]]:
    """Strings as fixed-width characters: reopening a file with variable-length ones crashes the interpreter."""
    encoding: dict[str, Mapping[str, object]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OUS":
            encoding[str(name)] = {"dtype": "S1"}
        elif variable.dtype.kind == "f" and name != "epoch" and name != "train_loss":
            encoding[str(name)] = {"_FillValue": None}
        else:
            encoding[str(name)] = {}
    return encoding


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
