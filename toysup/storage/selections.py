"""Selections of a trajectory, as a user makes them in xarray: some cells, seeds and steps of what was trained."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from toysup.experiments.experiment import Condition
from toysup.storage.schema import ADDED_NUMBERS, TABLES, DamagedError, condition_of, layouts_of


def whole_trajectory(dataset: xr.Dataset) -> xr.Dataset:
    """A selection of a trajectory in the form of the schema.

    A dim of which one entry was selected has length 1 again, and steps ascend. What `xr.concat` repeated along seeds or
    steps stands once. The attribute `condition` has the cells that are there. It keeps all steps that training
    recorded, because a training loss is the mean since the step recorded before. Raises DamagedError if the selection
    is not of a trajectory.
    """
    condition = condition_of(dataset)
    for dim in (*condition.sweeps, "seed", "step"):
        coord = dataset.variables[dim] if dim in dataset.coords else None
        if coord is None or coord.dims not in ((), (dim,)) or coord.dtype.kind not in "if":
            raise DamagedError(f"the coordinate {dim} is missing or is not one along {dim}")
        if coord.ndim == 0:
            dataset = _with_dim(dataset, dim, condition)
    for name in (*TABLES, *ADDED_NUMBERS):
        dataset = _once(dataset, name, ("seed", "step"))
    dataset = _once(dataset, "diverged_at", ("step",))
    if (np.diff(dataset.variables["step"].values) < 0).any():
        dataset = dataset.sortby("step")
    return _of_own_cells(dataset, condition)


def _with_dim(dataset: xr.Dataset, dim: str, condition: Condition) -> xr.Dataset:
    """The dataset with a dim of one entry, on all variables that the schema gives this dim."""
    variables = {}
    for name, layout in layouts_of(condition, 1).items():
        if name in dataset and dim in layout.dims:
            own = _OneEntry(dataset[name].variable).along(dim)
            variables[name] = own.transpose(*(known for known in layout.dims if known in own.dims), ...)
    along = [dim, *(["epoch"] if dim == "step" and "epoch" in dataset.coords and dataset["epoch"].ndim == 0 else [])]
    coords = {name: (dim, [dataset[name].item()], dataset[name].attrs) for name in along}
    return dataset.drop_vars(along).assign(variables).assign_coords(coords)


class _OneEntry(BackendArray):
    """A variable with one dim more, of length 1; it stays lazy, unlike with `expand_dims`."""

    def __init__(self, inner: xr.Variable) -> None:
        self.inner = inner
        self.shape, self.dtype = (1, *inner.shape), inner.dtype

    def along(self, dim: str) -> xr.Variable:
        """The variable, with the new dim first."""
        lazy = indexing.LazilyIndexedArray(self)
        return xr.Variable((dim, *self.inner.dims), lazy, self.inner.attrs, self.inner.encoding)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.generic]:
        own, *further = key
        values = self.inner.isel(dict(zip(self.inner.dims, further, strict=True))).values
        return np.asarray(np.asarray(values)[np.newaxis][own])


def _once(dataset: xr.Dataset, name: str, dims: tuple[str, ...]) -> xr.Dataset:
    """The dataset with a variable that does not vary along these dims without them."""
    for dim in dims:
        if name in dataset and dim in dataset.variables[name].dims and dataset.sizes[dim] > 0:
            first = dataset[name].isel({dim: 0}, drop=True)
            if not (dataset[name] == first).all():
                raise DamagedError(f"{name} varies along {dim}, so these are not all models of one condition")
            dataset = dataset.assign({name: first})
    return dataset


def _of_own_cells(dataset: xr.Dataset, condition: Condition) -> xr.Dataset:
    """The dataset, whose attribute `condition` has the cells that the dataset has."""
    there = {axis: tuple(dataset.variables[axis].values.tolist()) for axis in condition.sweeps}
    for axis, values in there.items():
        if foreign := [value for value in values if value not in condition.sweeps[axis]]:
            raise DamagedError(f"{axis} has the value {foreign[0]!r}, which its specification does not have")
        if len(set(values)) != len(values):
            raise DamagedError(f"{axis} has a value twice")
    if there == condition.sweeps or not all(there.values()):
        return dataset
    return dataset.assign_attrs(condition=condition.at(there).identity)
