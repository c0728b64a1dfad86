"""Seeds of one condition that lie in several folders, as one lazy dataset."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from toysup.errors import ToysupError
from toysup.storage.blocks import BLOCK_OF
from toysup.storage.lazy_blocks import as_slice
from toysup.storage.store import difference_of

# Where the parts of a joined dataset lie, in its encoding.
SOURCES = "sources"


def joined(parts: Mapping[str, xr.Dataset], what: str) -> xr.Dataset:
    """The seeds of all parts in ascending order, lazily; tables and attributes are those of the first part.

    `parts` has the place of each part. Raises ToysupError, which names two places and `what` lies there, unless all
    parts have the same specification and steps, and no seed is there twice.
    """
    (first_place, first), *others = parts.items()
    if not others:
        return first
    for place, other in others:
        if difference := difference_of(first, other):
            advice = "; give the folder of the blocks" if BLOCK_OF in other.attrs else ""
            raise ToysupError(
                f"{place}: a second file of {what}, with other runs than {first_place} ({difference}){advice}"
            )
    order = _order(parts, what)
    datasets = list(parts.values())
    names = [name for name, own in first.variables.items() if "seed" in own.dims and name != "seed"]
    variables = {
        name: _Joined([part[name].variable.transpose(*first[name].dims) for part in datasets], order).variable()
        for name in names
        if all(name in part.variables for part in datasets)
    }
    seeds = np.concatenate([part["seed"].values for part in datasets])[order]
    result = (
        first.drop_vars([*names, "seed"]).assign_coords(seed=("seed", seeds, first["seed"].attrs)).assign(variables)
    )
    sources = [part.encoding["source"] for part in datasets if "source" in part.encoding]
    result.encoding = {SOURCES: sources} | ({"source": sources[0]} if sources else {})
    result.set_close(partial(_close, datasets))
    return result


def _close(parts: Sequence[xr.Dataset]) -> None:
    for part in parts:
        part.close()


def _order(parts: Mapping[str, xr.Dataset], what: str) -> npt.NDArray[np.intp]:
    """The positions of the seeds, in ascending order, in the parts one after the other."""
    counts = [part.sizes["seed"] for part in parts.values()]
    seeds, owner = np.concatenate([part["seed"].values for part in parts.values()]), np.repeat(list(parts), counts)
    order = np.argsort(seeds, kind="stable")
    if len(twice := np.flatnonzero(np.diff(seeds[order]) == 0)):
        before, after = owner[order[twice[0]]], owner[order[twice[0] + 1]]
        raise ToysupError(
            f"{after}: a second file of {what}, after {before}: both hold the seed {seeds[order[twice[0]]]}; give one"
        )
    return order


class _Joined(BackendArray):
    """A variable whose seeds are spread over parts; `order` are their positions in the parts one after the other."""

    def __init__(self, parts: Sequence[xr.Variable], order: npt.NDArray[np.intp]) -> None:
        self.parts, self.order, self.axis = parts, order, parts[0].dims.index("seed")
        self.starts = np.cumsum([0, *(part.sizes["seed"] for part in parts)])
        self.shape = tuple(len(order) if dim == "seed" else size for dim, size in parts[0].sizes.items())
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def variable(self) -> xr.Variable:
        """The variable, read through this object."""
        first = self.parts[0]
        chunks = {name: value for name, value in first.encoding.items() if name == "preferred_chunks"}
        return xr.Variable(first.dims, indexing.LazilyIndexedArray(self), first.attrs, chunks)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.generic]:
        wanted = [np.atleast_1d(np.arange(size)[index]) for size, index in zip(self.shape, key, strict=True)]
        values = np.empty([len(positions) for positions in wanted], self.dtype)
        places = self.order[wanted[self.axis]]
        owners = np.searchsorted(self.starts, places, side="right") - 1
        for number in np.unique(owners).tolist():
            here = np.flatnonzero(owners == number)
            inside = [*wanted]
            inside[self.axis] = places[here] - self.starts[number]
            part = self.parts[number].isel(dict(zip(self.parts[number].dims, map(as_slice, inside), strict=True)))
            np.moveaxis(values, self.axis, 0)[here] = np.moveaxis(part.values, self.axis, 0)
        kept = [len(own) for own, index in zip(wanted, key, strict=True) if not isinstance(index, int | np.integer)]
        return values.reshape(kept)
