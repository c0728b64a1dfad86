"""Folders of runs: opened as one tree, and written from one."""

import uuid
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import xarray as xr

from toysup.errors import ToysupError, UsageError, nearest
from toysup.experiments.experiment import FIGURES_FOLDER
from toysup.storage.blocks import is_block_name
from toysup.storage.lazy_blocks import open_blocks
from toysup.storage.netcdf import open_trajectory
from toysup.storage.schema import condition_of
from toysup.storage.store import Store, StoredBlocks, block_files, blocks_folder, locked, path_of
from toysup.storage.validation import check


def open_runs(path: str | Path) -> xr.DataTree:
    """Open the trajectories in a folder, or in one file, lazily.

    Values are read from disk when they are used. All blocks of a condition are one dataset, which has the seeds that
    are trained in every cell. A condition without such a seed is left out with a warning. Hidden folders and folders
    named `figures` are skipped.

    Parameters
    ----------
    path : str or Path
        Folder of runs, at any level, or one netCDF file of them.

    Returns
    -------
    DataTree
        One node /<experiment>/<condition> for each condition, in the order of the experiment's file.

    Raises
    ------
    ToysupError
        If the path does not exist or holds no runs, a file is damaged or is not a trajectory, or two files hold the
        same condition.
    UsageError
        If a file needs an architecture that is not registered, or the files of a condition have different
        specifications.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_runs("runs")  # doctest: +SKIP
    >>> runs["conditional-importance/fixed"].W.isel(step=-1).mean("seed")  # doctest: +SKIP
    """
    path = Path(path)
    if not path.exists():
        raise ToysupError(f"{path}: no such file or folder")
    nodes: dict[str, xr.Dataset] = {}
    unfinished: list[Path] = []
    for place, dataset in _datasets(path):
        if dataset is None:
            unfinished.append(place)
            continue
        node = f"/{dataset.attrs['experiment']}/{dataset.attrs['condition_name']}"
        if node in nodes:
            raise ToysupError(f"{place}: a second file of {node[1:]}, after {nodes[node].encoding['source']}")
        nodes[node] = dataset
    for place in unfinished:
        warnings.warn(f"{place}: no seed is trained in every cell yet; left out", stacklevel=2)
    if not nodes:
        missing = "no runs here (no .nc file)" if not unfinished else "no seed is trained in every cell yet"
        raise ToysupError(f"{path}: {missing}; toysup-train EXPERIMENT --output {path} makes some")
    # The conditions of an experiment keep the order of the experiment's file.
    order = sorted(nodes, key=lambda node: (node.split("/")[1], nodes[node].attrs.get("condition_position", 0)))
    return xr.DataTree.from_dict({node: nodes[node] for node in order})


def _datasets(path: Path) -> Iterator[tuple[Path, xr.Dataset | None]]:
    """The dataset of each file and each folder of blocks at `path`, with its place."""
    if path.is_file():
        yield path, open_trajectory(path)
        return
    files = sorted(
        file
        for file in path.rglob("*.nc")
        if not any(part.startswith(".") or part == FIGURES_FOLDER for part in file.relative_to(path).parts[:-1])
        and not file.name.startswith(".")
    )
    folders = dict.fromkeys(file.parent for file in files if is_block_name(file.name))
    for folder in folders:
        # The path "." has no name.
        named = folder if folder.name else folder.absolute()
        yield folder, open_blocks(StoredBlocks.at(named.with_name(f"{named.name}.nc")))
    for file in files:
        # A file beside a folder of blocks belongs to that folder.
        if not is_block_name(file.name) and blocks_folder(file) not in folders:
            yield file, open_trajectory(file)


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


def save_runs(runs: xr.DataTree, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write each trajectory of a tree to <folder>/<experiment>/<condition>.nc.

    A condition that is many blocks goes to a folder <folder>/<experiment>/<condition>/ instead. Each file is written
    whole or not at all. Seeds that are stored already stay as they are; the others are added.

    Parameters
    ----------
    runs : DataTree
        The trajectories, as `train` and `open_runs` give them.
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
        If the folder holds runs of another specification; the message names the first key that differs.
    ToysupError
        If a dataset is not a trajectory, the folder cannot be written, or another trainer is at work in it.

    Examples
    --------
    >>> import tempfile, toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print([path.name for path in toysup.save_runs(runs, folder)])
    ['fixed.nc', 'conditional.nc', 'anticorrelated.nc', 'split-40.nc']
    """
    return [
        _save(check(leaf.to_dataset(), where=f"runs{leaf.path}"), Path(folder), overwrite=overwrite)
        for leaf in runs.leaves
    ]


def _save(dataset: xr.Dataset, folder: Path, *, overwrite: bool) -> Path:
    attrs = dataset.attrs
    condition = condition_of(dataset).model_copy(update={"name": attrs["condition_name"]})
    with locked(path_of(folder, attrs["experiment"], condition.name), uuid.uuid4().hex):
        store = Store(folder, attrs["experiment"], condition, attrs["engine"], overwrite=overwrite)
        blocks = store.missing(dataset["seed"].values.tolist())
        store.begin(blocks)
        for block in blocks:
            job = store.job(block)
            part = dataset.isel(seed=np.isin(dataset["seed"], block.seeds))
            if block.part is not None:
                part = part.isel(dict(zip(condition.sweeps, store.plan.box(block.part), strict=True)))
                part = part.assign_attrs(condition=job.condition.identity)
            job.keep(part)
        store.finish()
        return store.where()


def files_of(dataset: xr.Dataset) -> list[Path]:
    """The files of an opened trajectory; none if it was trained in memory."""
    source = dataset.encoding.get("source")
    if source is None:
        return []
    path = Path(source)
    if not path.is_dir():
        return [path]
    beside = path.with_name(f"{path.name}.nc")
    return [*block_files(path), *([beside] if beside.exists() else [])]
