"""Trajectories as netCDF-4 files: written whole or not at all, opened lazily."""

import math
import os
import stat
import threading
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray, NetCDF4DataStore
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK
from xarray.core import indexing

from toysup.errors import ToysupError
from toysup.storage.atomic_files import replacing
from toysup.storage.blocks import BLOCK_OF
from toysup.storage.file_access import absolute, why_unreadable
from toysup.storage.plain_files import (
    MOST_SUMMARISED,
    Header,
    State,
    StoredFile,
    append_summary,
    header_of,
    summarised_header,
)
from toysup.storage.read_timeout import reading
from toysup.storage.validation import check

_CHUNK_VALUES = 2**18
# netCDF is not thread-safe, and the threads of a worker may write their blocks at the same time.
BY_TURNS = threading.RLock()
# Most bytes of values that a file may declare: a constant, and a multiple of its size. Trained weights hardly compress,
# but values that were never written take no space, so a small file could declare any amount.
_ANY_BYTES, _BYTES_PER_BYTE = 2**26, 100
_STRING_BYTES = 64


def open_trajectory(path: str | Path) -> xr.Dataset:
    """The lazy dataset of one file. Raises ToysupError, now or on reading, if it is damaged or not a trajectory."""
    # The file is opened again later, when the process may be in another folder.
    place = absolute(path)
    try:
        _refuse_no_file(place)
        dataset = _plain(path, place)
        if dataset is None:
            dataset = _decoded(path, place)
    except ToysupError as error:
        raise ToysupError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:
        # On foreign bytes the libraries may raise any exception.
        reason = why_unreadable(place, error) or "not a netCDF-4 file, or damaged"
        raise ToysupError(f"{path}: {reason}") from None
    try:
        trajectory = _with_strings(check(dataset, where=str(path)))
        if trajectory is not dataset:
            trajectory.set_close(dataset.close)
        return trajectory
    except BaseException:
        dataset.close()
        raise


def _plain(path: str | Path, place: Path) -> xr.Dataset | None:
    """The dataset of a file that needs no decoding, which is not open any more; None if it does, or is damaged."""
    state = State.of(place)
    header = _summarised(place, state.size)
    if header is None:
        with NETCDF4_PYTHON_LOCK, reading(path), netCDF4.Dataset(place) as file:
            _refuse_bomb(map(_declared_bytes, file.variables.values()), state.size)
            try:
                header = header_of(file)
            except (OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError):
                # Decoding says which part of it is at fault.
                return None
    return None if header is None else header.dataset(StoredFile(place, state))


def _summarised(place: Path, file_bytes: int) -> Header | None:
    """The header of a file from its summary, if it has one."""
    if file_bytes > 2 * MOST_SUMMARISED:
        return None
    try:
        header = summarised_header(place)
        if header is not None:
            _refuse_bomb(
                (kept.dtype.itemsize * math.prod(kept.shape) for kept in header.variables.values()), file_bytes
            )
        return header
    except OSError:
        raise
    except Exception:
        # Somebody has forged it.
        return None


def _decoded(path: str | Path, place: Path) -> xr.Dataset:
    """The dataset of any netCDF file, as xarray decodes it; damage that is met when it is read names the file."""
    with reading(path):
        store = NetCDF4DataStore.open(str(place))  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # Warnings about conflicting attributes in foreign files do not help the user.
            warnings.simplefilter("ignore")
            # A unit such as "days since 2000" must not turn weights into dates.
            dataset = xr.open_dataset(store, decode_times=False)
        dataset.encoding["source"] = str(place)
        guarded = _guarded(dataset, place)
        guarded.set_close(dataset.close)
        return guarded
    except BaseException:
        store.close()
        raise


def _refuse_no_file(path: str | Path) -> None:
    """Raise ToysupError unless `path` is a file: opening a pipe waits for a writer, and reading a device never ends."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ToysupError("a folder, not a file" if stat.S_ISDIR(mode) else "a pipe or a device, not a file")


def _refuse_bomb(bytes_of_variables: Iterable[int], file_bytes: int) -> None:
    """Raise ToysupError if the declared variables need more memory than a file of this size can justify."""
    declared = sum(bytes_of_variables)
    if declared > _ANY_BYTES + _BYTES_PER_BYTE * file_bytes:
        raise ToysupError(f"damaged: it declares {declared:.3g} bytes of values, but the file has {file_bytes} bytes")


def _declared_bytes(variable: "netCDF4.Variable[Any]") -> int:
    if variable.dtype is not str and not isinstance(variable.datatype, np.dtype):
        raise ToysupError(f"damaged: {variable.name} is of a type that no trajectory has")
    chunks = variable.chunking()
    # A chunk is read as a whole, and along an unlimited dim it may be larger than the variable.
    pieces = chunks if isinstance(chunks, list) else [1] * len(variable.shape)
    sizes = [-(-size // piece) * piece for size, piece in zip(variable.shape, pieces, strict=True)]
    return math.prod(sizes) * (_STRING_BYTES if variable.dtype is str else variable.dtype.itemsize)


def _guarded(dataset: xr.Dataset, path: str | Path) -> xr.Dataset:
    """The dataset; reading a damaged variable later raises a ToysupError that names the file."""
    lazy = {name: own for name, own in dataset.variables.items() if name not in dataset.indexes}
    return dataset.assign({name: _Guarded(variable, path).variable() for name, variable in lazy.items()})


class _Guarded(BackendArray):
    """A lazy variable of a file, any part of which may be damaged."""

    def __init__(self, inner: xr.Variable, path: str | Path) -> None:
        self.inner, self.path = inner, path
        self.shape, self.dtype = inner.shape, inner.dtype

    def variable(self) -> xr.Variable:
        """The same variable, read through this object."""
        lazy = indexing.LazilyIndexedArray(self)
        return xr.Variable(self.inner.dims, lazy, self.inner.attrs, self.inner.encoding)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.generic]:
        try:
            with reading(self.path):
                return self.inner[key].values
        except MemoryError:
            raise
        except Exception as error:
            reason = why_unreadable(self.path, error) or "is damaged or cannot be read"
            raise ToysupError(f"{self.path}: {reason}") from None


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset to `path` as netCDF-4, whole or not at all."""
    with BY_TURNS, replacing(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=_encoding(dataset))
        # One of many blocks is opened for its values alone.
        if BLOCK_OF not in dataset.attrs:
            append_summary(temporary)


def _with_strings(dataset: xr.Dataset) -> xr.Dataset:
    """Labels as strings of fixed width, which they had before they were written."""
    objects = [name for name in dataset.coords if dataset.variables[name].dtype.kind == "O"]
    if not objects:
        return dataset
    return dataset.assign_coords(
        {name: dataset[name].astype(str).assign_attrs(dataset[name].attrs) for name in objects}
    )


def extended(there: xr.Dataset, here: xr.Dataset) -> xr.Dataset:
    """The seeds of both datasets in ascending order; seeds in both come from `there`, the stored one."""
    new = here.sel(seed=~np.isin(here["seed"], there["seed"]))
    if new.sizes["seed"] == 0:
        return there
    along_seed = [name for name, variable in there.data_vars.items() if "seed" in variable.dims]
    joined = xr.concat([there[along_seed], new[along_seed]], dim="seed", combine_attrs="override", join="exact")
    joined = joined.assign({name: there[name] for name in there.data_vars if name not in along_seed}).sortby("seed")
    history = f"{there.attrs['history']}\n{new.attrs['history'].splitlines()[-1]} ({new.sizes['seed']} seeds added)"
    return joined.assign_attrs(there.attrs | {"history": history})


def _encoding(dataset: xr.Dataset) -> dict[str, Mapping[str, object]]:
    """The encoding of each variable. Strings have fixed width, as reopening others crashes the interpreter."""
    encoding: dict[str, Mapping[str, object]] = {}
    for name, variable in dataset.variables.items():
        own: dict[str, object] = {}
        if variable.dtype.kind in "OUS":
            own["dtype"] = "S1"
        elif variable.dtype.kind == "f" and name != "epoch" and name != "train_loss":
            own["_FillValue"] = None
        if "step" in variable.dims[:-1]:
            # The checksum of each chunk reveals a flipped bit when the chunk is read.
            own |= {"chunksizes": _chunks(variable), "fletcher32": True}
        encoding[str(name)] = own
    return encoding


def _chunks(variable: xr.Variable) -> list[int]:
    """Chunks of a megabyte within one snapshot, because a snapshot is written and mostly read as a whole."""
    chunks, values = [], _CHUNK_VALUES
    for dim, size in zip(reversed(variable.dims), reversed(variable.shape), strict=True):
        chunks.append(1 if dim == "step" else max(1, min(size, values)))
        values //= chunks[-1]
    return chunks[::-1]
