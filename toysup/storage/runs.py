"""Folders of runs: opened as one tree, and written from one."""

import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import xarray as xr

from toysup.errors import ToysupError, UsageError, nearest
from toysup.storage.atomic_files import refuse_dangling
from toysup.storage.blocks import Block, is_block_name
from toysup.storage.file_access import absolute, files_below, user_path
from toysup.storage.joined_seeds import SOURCES, joined
from toysup.storage.lazy_blocks import open_blocks
from toysup.storage.netcdf import open_trajectory
from toysup.storage.schema import DamagedError, condition_of
from toysup.storage.selections import whole_trajectory
from toysup.storage.store import Store, StoredBlocks, block_files, blocks_folder, locked, path_of
from toysup.storage.validation import conforming


def open_runs(path: str | Path | Sequence[str | Path]) -> xr.DataTree:
    """Open the trajectories in a folder, in one file, or in several of them, lazily.

    Values are read from disk when they are used. All blocks of a condition are one dataset, which has the seeds that
    are trained in every cell. A condition without such a seed is left out with a warning. Seeds of one condition that
    lie in several places are one dataset, too. Links are followed. Hidden folders and folders named `figures` are
    skipped.

    Parameters
    ----------
    path : str, Path or sequence of these
        Folder of runs, at any level, or a netCDF file of them; or several such folders and files.

    Returns
    -------
    DataTree
        One node /<experiment>/<condition> for each condition, in the order of the experiment's file.

    Raises
    ------
    ToysupError
        If a path does not exist or holds no runs, a folder may not be listed, a file is damaged or is not a trajectory,
        or two files hold the same seed of a condition, or the same condition with different specifications.
    UsageError
        If no path is given, a file needs an architecture that is not registered, or the files of a condition have
        different specifications.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_runs("runs")  # doctest: +SKIP
    >>> runs["conditional-importance/fixed"].W.isel(step=-1).mean("seed")  # doctest: +SKIP
    >>> both = toysup.open_runs(["runs", "~/more-seeds"])  # doctest: +SKIP
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not paths:
        raise UsageError("open_runs needs the path of at least one folder or file of runs")
    nodes: dict[str, dict[str, xr.Dataset]] = {}
    unfinished: list[Path] = []
    for place, dataset in _all_datasets([user_path(own) for own in paths]):
        if dataset is None:
            unfinished.append(place)
            continue
        node = f"{dataset.attrs['experiment']}/{dataset.attrs['condition_name']}"
        nodes.setdefault(node, {})[str(place)] = dataset
    for place in unfinished:
        warnings.warn(f"{place}: no seed is trained in every cell yet; left out", stacklevel=2)
    if not nodes:
        raise ToysupError(f"{paths[0]}: no seed is trained in every cell yet; the same toysup-train goes on")
    opened = {node: joined(parts, node) for node, parts in nodes.items()}
    # The conditions of an experiment keep the order of the experiment's file.
    order = sorted(opened, key=lambda node: (node.split("/")[0], opened[node].attrs.get("condition_position", 0)))
    return xr.DataTree.from_dict({f"/{node}": opened[node] for node in order})


def _all_datasets(paths: Sequence[Path]) -> Iterator[tuple[Path, xr.Dataset | None]]:
    """The dataset of each file and each folder of blocks at the paths, with its place; each place once."""
    seen: set[str] = set()
    for path in paths:
        places = _places(path)
        if not places:
            raise ToysupError(f"{path}: no runs here (no .nc file); toysup-train EXPERIMENT --output {path} makes some")
        for place, is_folder in places.items():
            if (real := os.path.realpath(place)) in seen:
                continue
            seen.add(real)
            yield place, _open_blocks_in(place) if is_folder else open_trajectory(place)


def _places(path: Path) -> dict[Path, bool]:
    """The files and the folders of blocks at `path`, and whether each is a folder."""
    try:
        if not path.exists():
            refuse_dangling(path)
            raise ToysupError(f"{path}: no such file or folder")
        is_file = path.is_file()
    except OSError as error:
        raise ToysupError(f"{error.filename or path}: {error.strerror or error}") from None
    if is_file:
        if not is_block_name(path.name) and block_files(folder := blocks_folder(path)):
            warnings.warn(f"{path}: {folder} holds more seeds of this condition; left out", stacklevel=4)
        return {path: False}
    files = files_below(path)
    folders = dict.fromkeys(file.parent for file in files if is_block_name(file.name))
    # A file beside a folder of blocks belongs to that folder.
    single = [file for file in files if not is_block_name(file.name) and blocks_folder(file) not in folders]
    return dict.fromkeys(folders, True) | dict.fromkeys(single, False)


def _open_blocks_in(folder: Path) -> xr.Dataset | None:
    # The files are opened later, when the process may be in another folder. The path "." has no name.
    place = absolute(folder)
    return open_blocks(StoredBlocks.at(place.with_name(f"{place.name}.nc")))


def checked_runs(runs: xr.DataTree) -> xr.DataTree:
    """A tree in memory whose leaves are trajectories or selections of them, in the form that `open_runs` gives."""
    nodes = {}
    for leaf in runs.leaves:
        try:
            nodes[leaf.path] = whole_trajectory(leaf.to_dataset())
        except DamagedError as error:
            raise UsageError(f"{leaf.path}: not a trajectory: {error}") from None
    return xr.DataTree.from_dict(nodes)


def open_example(name: str) -> xr.DataTree:
    """Open reference trajectories that come with toysup.

    Parameters
    ----------
    name : str
        Name of a built-in experiment of which trajectories are included; at present "conditional-importance".

    Returns
    -------
    DataTree
        One node /<experiment>/<condition> for each condition, opened lazily by `open_runs`.

    Raises
    ------
    UsageError
        If there is no such example.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> list(runs["conditional-importance"].children)
    ['fixed', 'conditional', 'anticorrelated', 'split-40']
    """
    root = resources.files("toysup.data")
    names = [entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("_")]
    if name not in names:
        raise UsageError(f"no example {name!r}; {nearest(name, names)}")
    with resources.as_file(root.joinpath(name)) as folder:
        return open_runs(folder)


def save_runs(runs: xr.DataTree | xr.Dataset, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write each trajectory of a tree to <folder>/<experiment>/<condition>.nc.

    A condition that is many blocks goes to a folder <folder>/<experiment>/<condition>/ instead. Each file is written
    whole or not at all. Seeds that are stored already stay as they are; the others are added. A selection of seeds,
    steps and cells is saved as what it is; a dim of which one entry was selected has length 1 again. The attributes
    `experiment` and `condition_name` of a dataset say where it goes, whatever the names of the tree's nodes are.

    Parameters
    ----------
    runs : DataTree or Dataset
        The trajectories, as `train` and `open_runs` give them, or selections of them; or one of them as a Dataset.
    folder : str or Path
        Folder to write to; it is created if it does not exist.
    overwrite : bool, default False
        Replace stored seeds, and stored runs of another specification.

    Returns
    -------
    list of Path
        The file or the folder of blocks of each condition.

    Raises
    ------
    UsageError
        If a dataset is no trajectory and no selection of one, or the folder holds runs of another specification or with
        other steps; the message names the first difference. Nothing is written if a dataset is no trajectory.
    ToysupError
        If the folder cannot be written, another trainer is at work in it, or two datasets hold the same seed.

    Examples
    --------
    >>> import tempfile, toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print([path.name for path in toysup.save_runs(runs.isel(step=[0, -1]), folder)])
    ['fixed.nc', 'conditional.nc', 'anticorrelated.nc', 'split-40.nc']
    """
    folder = user_path(folder)
    given = (
        {"the dataset": runs}
        if isinstance(runs, xr.Dataset)
        else {leaf.path: leaf.to_dataset() for leaf in runs.leaves}
    )
    targets: dict[Path, dict[str, xr.Dataset]] = {}
    for place, dataset in given.items():
        target = _target(dataset, folder)
        targets.setdefault(target, {})[place] = _savable(dataset, place, target)
    whole = [joined(parts, str(target)) for target, parts in targets.items()]
    return [_save(dataset, folder, overwrite=overwrite) for dataset in whole]


def _target(dataset: xr.Dataset, folder: Path) -> Path:
    """The file that a dataset is for; the folder if the dataset does not tell."""
    experiment, condition = (dataset.attrs.get(name) for name in ("experiment", "condition_name"))
    known = isinstance(experiment, str) and isinstance(condition, str)
    return path_of(folder, str(experiment), str(condition)) if known else folder


def _savable(dataset: xr.Dataset, place: str, target: Path) -> xr.Dataset:
    try:
        trajectory = conforming(dataset, where=f"{target}: cannot be written from {place}")
    except DamagedError as error:
        raise UsageError(
            f"{target}: cannot be written from {place}: {error}; select seeds, steps and cells only and keep all "
            "variables, or write the dataset with its method to_netcdf"
        ) from None
    return trajectory if (np.diff(trajectory["seed"]) > 0).all() else trajectory.sortby("seed")


def _save(dataset: xr.Dataset, folder: Path, *, overwrite: bool) -> Path:
    attrs = dataset.attrs
    condition = condition_of(dataset).model_copy(update={"name": attrs["condition_name"]})
    steps = dataset["step"].values.tolist()
    with locked(path_of(folder, attrs["experiment"], condition.name), uuid.uuid4().hex):
        store = Store(folder, attrs["experiment"], condition, attrs["engine"], overwrite=overwrite, steps=steps)
        blocks = store.missing(dataset["seed"].values.tolist())
        store.begin(blocks)
        try:
            for block in blocks:
                _write_block(dataset, store, block)
        except ToysupError as error:
            if not store.undo():
                raise
            raise ToysupError(
                f"{error}; {store.where()} is as it was (runs that are read from there cannot overwrite it before "
                "runs.load())"
            ) from None
        store.finish()
        return store.where()


def _write_block(dataset: xr.Dataset, store: Store, block: Block) -> None:
    job = store.job(block)
    part = dataset.isel(seed=np.isin(dataset["seed"], block.seeds))
    if block.part is not None:
        part = part.isel(dict(zip(store.condition.sweeps, store.plan.box(block.part), strict=True)))
        part = part.assign_attrs(condition=job.condition.identity)
    job.keep(part)


def files_of(dataset: xr.Dataset) -> list[Path]:
    """The files of an opened trajectory; none if it was trained in memory."""
    places = dataset.encoding.get(SOURCES, [dataset.encoding.get("source")])
    return [file for place in places if place is not None for file in _files_at(Path(place))]


def _files_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    beside = path.with_name(f"{path.name}.nc")
    return [*block_files(path), *([beside] if beside.exists() else [])]
