"""Statistics of more models than memory holds: read and worked out piece by piece, and put together again."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import xarray as xr

from toysup.analysis.statistics.labels import require_dims
from toysup.storage.schema import leading_dims, sweep_axes

# What is read at once, and what a statistic may hold of a piece: numbers, of 4 or 8 bytes.
_READ = 2**24
_HELD = 2**22

Result = TypeVar("Result", xr.DataArray, xr.Dataset)


def piecewise(dataset: xr.Dataset, statistic: Callable[[xr.Dataset], Result], *, values: int = 1000) -> Result:
    """`statistic(dataset)`, without ever holding more than a piece of the dataset.

    Files are read some 64 MiB at a time, along the borders of what they were written in. The statistic sees so many
    models at a time that it holds about four million numbers, and what it makes of them is put together. So it is to
    be one that does not look across models; `over_seeds` then says what all of them have in common.

    Parameters
    ----------
    dataset : Dataset
        Trajectories as `open_runs` gives them, lazily; any steps of them.
    statistic : callable
        From a dataset of some of the seeds (of few seeds and many cells, of some of the cells) to a DataArray or a
        Dataset with the dim `seed`, and the sweep axes if it varies along them.
    values : int
        How many numbers the statistic holds of one model at one step, at most.

    Returns
    -------
    DataArray or Dataset
        In memory; what `statistic` makes of the whole.

    Raises
    ------
    UsageError
        If there is no dim `seed`.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> counts = toysup.analysis.piecewise(fixed, lambda models: toysup.analysis.represented_count(models.W))
    >>> counts.dims, dict(counts.sizes)
    (('seed', 'step'), {'seed': 30, 'step': 13})
    """
    require_dims(dataset, ("seed",), what="dataset")

    def of_read(part: xr.Dataset) -> Result:
        return _split(part.load(), _dims(dataset), _HELD // max(1, values), statistic)

    # What is cut out is a dataset of its own: what it loads goes with it.
    return _split(dataset.copy(), _dims(dataset), _READ // numbers_of(dataset), of_read)


def by_seeds(dataset: xr.Dataset, *, values: int) -> Iterator[xr.Dataset]:
    """All seeds, some at a time and in memory: as many as `piecewise` would read, and work on, in all cells."""
    for read in _cut(dataset.copy(), "seed", _READ // numbers_of(dataset)):
        yield from _cut(read.load(), "seed", _HELD // max(1, values))


def by_cells(dataset: xr.Dataset, *, values: int) -> Iterator[xr.Dataset]:
    """The same in the order of the sweep's values first: one cell at a time, where all are too many."""
    axis = next((dim for dim in _dims(dataset)[1:] if dataset.sizes[dim] > 1), None)
    if fits_in_memory(dataset, values=values):
        yield dataset.copy().load()
    elif axis is None:
        yield from by_seeds(dataset, values=values)
    else:
        for at in dataset[axis].values.argsort().tolist():
            yield from by_cells(dataset.isel({axis: slice(at, at + 1)}), values=values)


def fits_in_memory(dataset: xr.Dataset, *, values: int) -> bool:
    """Whether `piecewise` would read the dataset at once and work on all of it at once: it is a single piece."""
    models = _models(dataset)
    return models * numbers_of(dataset) <= _READ and models * values <= _HELD


def loaded_if_small(dataset: xr.Dataset, *, values: int) -> xr.Dataset:
    """The dataset, in memory if it fits there: then several statistics read the files once."""
    return dataset.copy().load() if fits_in_memory(dataset, values=values) else dataset


def numbers_of(dataset: xr.Dataset) -> int:
    """How many numbers a model has at one step."""
    leading = leading_dims(dataset)
    return sum(
        math.prod(size for dim, size in variable.sizes.items() if dim not in leading)
        for variable in dataset.data_vars.values()
        if "seed" in variable.dims
    )


def along(dim: str, results: Sequence[Result]) -> Result:
    """Results for parts along a dim as one; what does not have it is that of the first."""
    if len(results) == 1:
        return results[0]
    how: dict[str, Any] = {"coords": "minimal", "compat": "override", "join": "override", "combine_attrs": "override"}
    if isinstance(results[0], xr.Dataset):
        how["data_vars"] = "minimal"
    joined: Result = xr.concat(results, dim, **how)
    return joined


def _dims(dataset: xr.Dataset) -> list[str]:
    """What is cut, and in which order: first seeds, then the axes of the sweep."""
    return ["seed", *sweep_axes(dataset)]


def _models(dataset: xr.Dataset) -> int:
    """How many models there are, one at each step."""
    return math.prod(dataset["train_loss"].sizes.values())


def _split(dataset: xr.Dataset, dims: Sequence[str], most: int, statistic: Callable[[xr.Dataset], Result]) -> Result:
    """`statistic` of at most so many models at a time, if cutting along `dims` can do that."""
    if not dims or _models(dataset) <= most:
        return statistic(dataset)
    parts = _cut(dataset, dims[0], most)
    return along(dims[0], [_split(part, dims[1:], most, statistic) for part in parts])


def _cut(dataset: xr.Dataset, dim: str, most: int) -> Iterator[xr.Dataset]:
    """Parts along a dim of at most so many models, one entry at least."""
    size = max(1, most * dataset.sizes[dim] // max(1, _models(dataset)))
    chunk = max((v.encoding.get("preferred_chunks", {}).get(dim, 1) for v in dataset.data_vars.values()), default=1)
    # Whole chunks where they fit; else equal shares of one.
    size = size // chunk * chunk if size >= chunk else -(-chunk // -(-chunk // size))
    borders = [*range(0, dataset.sizes[dim], size), dataset.sizes[dim]]
    for start, stop in pairwise(borders):
        yield dataset.isel({dim: slice(start, stop)})
