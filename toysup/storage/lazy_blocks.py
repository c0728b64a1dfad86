"""The blocks of a condition as one lazy dataset, which reads values from the files that hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK
from xarray.core import indexing

from toysup.errors import ToysupError
from toysup.storage.blocks import BLOCK, BLOCK_OF, BlockPlan, Seeds
from toysup.storage.file_access import why_unreadable
from toysup.storage.netcdf import open_trajectory
from toysup.storage.read_timeout import reading
from toysup.storage.schema import Layout, assembled, layouts_of
from toysup.storage.store import Owners, StoredBlocks, blocks_folder


def open_blocks(stored: StoredBlocks) -> xr.Dataset | None:
    """The lazy trajectory of the seeds that are trained in every cell; None if there is no such seed."""
    plan = stored.plan
    if plan is None:
        return None
    seeds, owners = stored.complete(plan)
    if len(seeds) == 0:
        return None
    with open_trajectory(stored.any_path()) as some:
        attrs = {name: value for name, value in some.attrs.items() if name not in (BLOCK_OF, BLOCK)}
        steps = some["step"].values.tolist()
    tiles = Tiles(stored, plan, seeds, owners, steps)
    lazy = {
        name: xr.Variable(
            layout.dims,
            indexing.LazilyIndexedArray(_Mosaic(name, layout, tiles)),
            encoding={"preferred_chunks": dict(zip(layout.dims, tiles.chunks, strict=False))},
        )
        for name, layout in layouts_of(plan.condition, len(seeds), len(steps)).items()
    }
    dataset = assembled(plan.condition, seeds.tolist(), lazy, attrs | {"condition": plan.condition.identity}, steps)
    dataset.encoding["source"] = str(blocks_folder(stored.file))
    return dataset


@dataclass(frozen=True, eq=False)
class Tiles:
    """Which file has which cells and seeds: `owners` (part, seed) is the number of the file. All have these `steps`."""

    stored: StoredBlocks
    plan: BlockPlan
    seeds: Seeds
    owners: Owners
    steps: Sequence[int]

    @property
    def chunks(self) -> tuple[int, ...]:
        """Number of cells along each sweep axis, and number of seeds, in one file."""
        return (*self.plan.cells_per_block, min(self.plan.seeds_per_block, len(self.seeds)))

    def places(self, number: int, positions: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Positions, in the file with that number, of the seeds at these positions."""
        if number == 0:
            order = np.argsort(self.stored.seeds)
            return order[np.searchsorted(self.stored.seeds, self.seeds[positions], sorter=order)]
        return np.asarray(self.seeds[positions] - self.stored.blocks[number - 1].seeds[0], np.intp)


class _Mosaic(BackendArray):
    """A variable whose leading dims, the sweep axes and `seed`, are spread over files."""

    def __init__(self, name: str, layout: Layout, tiles: Tiles) -> None:
        self.name, self.layout, self.tiles = name, layout, tiles
        self.shape, self.dtype = layout.shape, np.dtype(layout.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.generic]:
        wanted = [np.atleast_1d(np.arange(size)[index]) for size, index in zip(self.shape, key, strict=True)]
        values = np.empty([len(positions) for positions in wanted], self.dtype)
        plan, n_axes = self.tiles.plan, len(self.tiles.plan.shape)
        cells, seeds, further = wanted[:n_axes], wanted[n_axes], wanted[n_axes + 1 :]
        boxes = [positions // size for positions, size in zip(cells, plan.cells_per_block, strict=True)]
        for box in product(*(np.unique(along_axis).tolist() for along_axis in boxes)):
            part = int(np.ravel_multi_index(box, plan.shape)) if box else 0
            at = [np.flatnonzero(along_axis == number) for along_axis, number in zip(boxes, box, strict=True)]
            owners = self.tiles.owners[part, seeds]
            for number in np.unique(owners).tolist():
                here = np.flatnonzero(owners == number)
                starts = [0 if number == 0 else extent.start for extent in plan.box(part)]
                inside = [positions[where] - start for positions, where, start in zip(cells, at, starts, strict=True)]
                places = self.tiles.places(number, seeds[here])
                values[np.ix_(*at, here)] = self._from_file(number, [*inside, places, *further])
        kept = [
            len(positions)
            for positions, index in zip(wanted, key, strict=True)
            if not isinstance(index, int | np.integer)
        ]
        return values.reshape(kept)

    def _from_file(self, number: int, wanted: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.generic]:
        path = self.tiles.stored.path(number)
        try:
            with NETCDF4_PYTHON_LOCK, reading(path), netCDF4.Dataset(path) as file:
                self._require_same(file, path, number)
                variable = file.variables[self.name]
                variable.set_auto_maskandscale(False)
                order = [self.layout.dims.index(dim) for dim in variable.dimensions]
                values = variable[tuple(as_slice(wanted[axis]) for axis in order)]
            return np.transpose(values, np.argsort(order))
        except (OSError, RuntimeError, KeyError, ValueError, IndexError) as error:
            reason = why_unreadable(path, error) or "is damaged or cannot be read"
            raise ToysupError(f"{path}: {reason}") from None

    def _require_same(self, file: netCDF4.Dataset, path: Path, number: int) -> None:
        """Raise ToysupError if a file is not the block that its name says, or has other steps."""
        said = (getattr(file, BLOCK_OF, None), getattr(file, BLOCK, None))
        if number and said != (self.tiles.plan.stamp, path.name):
            raise ToysupError(f"{path}: its content does not match its name")
        if file.variables["step"][:].tolist() != self.tiles.steps:
            raise ToysupError(f"{path}: holds other steps than the files beside it")


def as_slice(positions: npt.NDArray[np.intp]) -> slice | npt.NDArray[np.intp]:
    """A slice if the positions are evenly spaced, which is read much faster; else the positions."""
    if len(positions) == 1:
        return slice(int(positions[0]), int(positions[0]) + 1)
    steps = np.unique(np.diff(positions))
    if len(steps) != 1 or steps[0] <= 0:
        return positions
    return slice(int(positions[0]), int(positions[-1]) + 1, int(steps[0]))
