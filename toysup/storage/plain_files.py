"""Files that hold values as they are, such as those that toysup writes; they are opened without decoding.

xarray decodes a file variable by variable, because values may be packed, masked or dates. That takes longer than all
else when many files are opened. Nothing in a file of this version needs it. `header_of` gives what xarray would give,
or None if a single variable or attribute is of another kind. A small file also ends with a summary of itself, so that
HDF5 need not open the file before a value is read.
"""

import hashlib
import json
import math
import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import netCDF4
import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray, CachingFileManager
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK
from xarray.core import indexing

from toysup.errors import ToysupError
from toysup.storage.file_access import why_not_locked, why_unreadable
from toysup.storage.read_timeout import reading

# Attributes of variables that xarray neither decodes nor removes.
_KNOWN = {"long_name", "units"}
_CHARACTER = np.dtype("S1")
_KINDS = {np.dtype(kind) for kind in ("f4", "f8", "i4", "i8")}
# Most values of a table or a coordinate that are kept in memory.
_FEW = 2**12
File = netCDF4.Dataset
# mypy sees no type of what a variable holds.
FileVariable = Any


class State(NamedTuple):
    """What tells that a file is no longer the same: another file has its name, or it was written to."""

    device: int
    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "State":
        """The present state of a file; OSError if there is none."""
        found = os.stat(path)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _open_unchanged(path: Path, state: State, mode: Literal["r"]) -> File:
    if State.of(path) != state:
        raise ToysupError("has changed since it was opened; open it again")
    file = netCDF4.Dataset(path, mode)
    file.set_auto_maskandscale(False)
    return file


class StoredFile:
    """A file whose values are read later, unless it has changed by then.

    It is opened at the first read. It stays open, as all files that xarray reads from, until many others were opened.
    A file that was replaced meanwhile is read on while it is open, as its old content is still there.
    """

    def __init__(self, path: Path, state: State) -> None:
        self.path, self.state = path, state
        # mypy: closing a netCDF4.Dataset may give the bytes of a file in memory.
        self._manager = CachingFileManager(  # type: ignore[type-var]
            _open_unchanged, path, state, mode="r", lock=NETCDF4_PYTHON_LOCK
        )

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        self._manager.close()

    def read(
        self, name: str, key: tuple[Any, ...], kind: tuple[tuple[int, ...], np.dtype[Any]]
    ) -> npt.NDArray[np.generic]:
        """Values of a variable of this shape and dtype; ToysupError if the file is damaged or has changed."""
        try:
            with NETCDF4_PYTHON_LOCK, reading(self.path):
                self._refuse_edited()
                variable = self._manager.acquire(needs_lock=False).variables[name]
                if (variable.shape, variable.dtype) != kind:
                    raise ToysupError("damaged: its summary is of another file")
                return np.asarray(variable[key])
        except MemoryError:
            raise
        except ToysupError as error:
            raise ToysupError(f"{self.path}: {error}") from None
        except Exception as error:
            reason = why_unreadable(self.path, error) or "is damaged or cannot be read"
            raise ToysupError(f"{self.path}: {reason}") from None

    def _refuse_edited(self) -> None:
        """Raise ToysupError if the file was written to in place, even if it is still open."""
        try:
            now = State.of(self.path)
        except OSError:
            return
        if now[:2] == self.state[:2] and now != self.state:
            raise ToysupError("has changed since it was opened; open it again")


class _Stored(BackendArray):
    """A lazy variable of a file."""

    def __init__(self, file: StoredFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.file, self.name, self.shape, self.dtype = file, name, shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.generic]:
        return self.file.read(self.name, key, (self.shape, self.dtype))


class Kept(NamedTuple):
    """A variable of a file: its values if they are few, and otherwise how they are stored."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attrs: dict[str, str]
    values: npt.NDArray[np.generic] | None
    chunks: list[int] | None = None
    filters: Mapping[str, object] = {}

    def variable(self, name: str, stored: StoredFile) -> xr.Variable:
        """The variable, which reads its values from the file if they are not here."""
        if self.values is not None:
            return xr.Variable(self.dims, self.values, self.attrs)
        lazy = indexing.LazilyIndexedArray(_Stored(stored, name, self.shape, self.dtype))
        return xr.Variable(self.dims, lazy, self.attrs, self._encoding())

    def _encoding(self) -> dict[str, Any]:
        """How the values are stored, for whoever writes the dataset again, as xarray gives it."""
        if self.chunks is None:
            return {}
        preferred = dict(zip(self.dims, self.chunks, strict=True))
        chunks = {"chunksizes": tuple(self.chunks), "preferred_chunks": preferred, "original_shape": self.shape}
        return {**self.filters, **chunks}


class Header(NamedTuple):
    """All of a file but the values of its large variables."""

    attrs: dict[str, Any]
    variables: dict[str, Kept]
    coords: list[str]

    def dataset(self, stored: StoredFile) -> xr.Dataset:
        """The lazy dataset of the file."""
        variables = {name: kept.variable(name, stored) for name, kept in self.variables.items()}
        coords = {name: variables.pop(name) for name in self.coords}
        dataset = xr.Dataset(variables, coords, self.attrs)
        dataset.encoding["source"] = str(stored.path)
        dataset.set_close(stored.close)
        return dataset


def header_of(file: File) -> Header | None:
    """The header of an open file; None if something in it must be decoded."""
    attrs = {name: file.getncattr(name) for name in file.ncattrs()}
    if "coordinates" in attrs or file.groups or any(dim.isunlimited() for dim in file.dimensions.values()):
        return None
    file.set_auto_maskandscale(False)
    file.set_auto_chartostring(False)
    variables, coords = {}, set(file.dimensions)
    for name, variable in file.variables.items():
        own = {key: variable.getncattr(key) for key in variable.ncattrs()}
        beside = own.pop("coordinates", "")
        kept = _kept(name, variable, own) if isinstance(beside, str) else None
        if kept is None or (name in file.dimensions and kept.dims != (name,)):
            return None
        variables[name] = kept
        coords.update(beside.split())
    return Header(attrs, variables, [name for name in variables if name in coords])


def _kept(name: str, variable: FileVariable, attrs: dict[str, Any]) -> Kept | None:
    """A variable of an open file, whose attributes these are; None if it must be decoded."""
    dims, shape, dtype = variable.dimensions, variable.shape, variable.dtype
    fill, encoded = attrs.pop("_FillValue", None), attrs.pop("_Encoding", None)
    if not attrs.keys() <= _KNOWN or not all(isinstance(value, str) for value in attrs.values()):
        return None
    if dtype == _CHARACTER:
        if encoded != "utf-8" or fill is not None or len(dims) != 2 or 0 in shape:
            return None
        # The last dim is about the characters of one label.
        labels = np.char.decode(np.ascontiguousarray(_all_values(variable)).view(f"S{shape[1]}")[:, 0], "utf-8")
        return Kept(dims[:1], shape[:1], labels.dtype, attrs, labels)
    if dtype not in _KINDS or encoded is not None or not (fill is None or (dtype.kind == "f" and fill != fill)):
        return None
    if (name,) == dims or ("seed" not in dims and math.prod(shape) <= _FEW):
        return Kept(dims, shape, dtype, attrs, _all_values(variable))
    chunks = variable.chunking()
    filters = {key: value for key, value in variable.filters().items() if value}
    return Kept(dims, shape, dtype, attrs, None, chunks if isinstance(chunks, list) else None, filters)


def _all_values(variable: FileVariable) -> npt.NDArray[np.generic]:
    """All values of a variable, as they are stored."""
    shape = variable.shape
    if not shape:
        return np.asarray(variable[...])
    # `variable[...]` calls this too, after six times as long.
    values: npt.NDArray[np.generic] = variable._get([0] * len(shape), list(shape), [1] * len(shape))
    return values


# A small file ends with a summary: its header as JSON, then a mark, the number of bytes of the JSON, and a checksum of
# all bytes before the checksum. HDF5 neither reads what follows its own end of the file nor keeps it: a file that is
# edited has no summary any more.
_MARK, _COUNT, _SUM = b"toysup-summary-1", 8, 32
_FOOTER = len(_MARK) + _COUNT + _SUM
# Most bytes of a file with a summary; a larger one takes longer to sum up than to open.
MOST_SUMMARISED = 2**20


def append_summary(path: Path) -> None:
    """Append its summary to a file that was just written, if it is small and holds values as they are."""
    if os.path.getsize(path) > MOST_SUMMARISED:
        return
    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path) as file:
        header = header_of(file)
    if header is None:
        return
    try:
        text = json.dumps(_as_json(header)).encode()
    except TypeError:
        # An attribute of a user is an array.
        return
    content = path.read_bytes() + text + _MARK + len(text).to_bytes(_COUNT, "little")
    with path.open("ab") as end:
        end.write(content[-(len(text) + len(_MARK) + _COUNT) :] + hashlib.sha256(content).digest())


def summarised_header(path: Path) -> Header | None:
    """The header of a file from its summary; None if it has none, or a single byte of the file has changed since."""
    with path.open("rb") as file:
        if why_not_locked(file.fileno()) is not None:
            return None
        content = file.read()
    body, checksum = content[:-_SUM], content[-_SUM:]
    if body[-len(_MARK) - _COUNT : -_COUNT] != _MARK or hashlib.sha256(body).digest() != checksum:
        return None
    start = len(content) - _FOOTER - int.from_bytes(body[-_COUNT:], "little")
    # Whoever knows how a checksum is made can write any JSON here. It is then read as what it is, or not at all.
    return _from_json(json.loads(content[start:-_FOOTER])) if start > 0 else None


def _as_json(header: Header) -> dict[str, Any]:
    variables = [
        [name, *kept[:2], kept.dtype.str, kept.attrs, None if kept.values is None else kept.values.tolist(), *kept[5:]]
        for name, kept in header.variables.items()
    ]
    attrs = {name: int(value) if isinstance(value, np.integer) else value for name, value in header.attrs.items()}
    return {"attrs": attrs, "variables": variables, "coords": header.coords}


def _from_json(summary: dict[str, Any]) -> Header:
    variables = {}
    for name, dims, shape, dtype, attrs, values, chunks, filters in summary["variables"]:
        found = None if values is None else np.array(values, None if dtype[1] == "U" else dtype).reshape(shape)
        kind = np.dtype(dtype) if found is None else found.dtype
        if kind.str != dtype or not (kind in _KINDS or (kind.kind == "U" and found is not None)):
            raise ValueError(f"no variable of a summary is {dtype}")
        variables[name] = Kept(tuple(dims), tuple(map(operator.index, shape)), kind, attrs, found, chunks, filters)
    return Header(summary["attrs"], variables, summary["coords"])
