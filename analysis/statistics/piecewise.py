"""Statistics of more models than memory holds: read and computed piece by piece, and joined."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import xarray as xr

from toysup.analysis.statistics.labels import require_dataset
from toysup.storage.schema import leading_dims, sweep_axes

# How many numbers (of 4 or 8 bytes) are read at once, and how many a statistic may hold for a piece.
_READ = 2**24
_HELD = 2**22

Result = TypeVar("Result", xr.DataArray, xr.Dataset)


def piecewise(dataset: xr.Dataset, statistic: Callable[[xr.Dataset], Result], *, values: int = 1000) -> Result:
    """Compute `statistic(dataset)` piece by piece, for a dataset with more models than memory holds.

    Files are read about 64 MiB at a time, in whole chunks of the files if possible. The statistic is called with as
    many models at a time as let it hold about four million numbers, and its results are joined. The statistic must
    therefore compute each model by itself. Means over all seeds come afterwards, with `over_seeds`.

    Parameters
    ----------
    dataset : Dataset
        Trajectories that are read lazily, as `open_runs` gives them; any of their steps.
    statistic : callable
        From a Dataset with some of the seeds, or some of the cells of a sweep, to a DataArray or a Dataset. The result
        has the dim `seed`, and those sweep axes along which it varies.
    values : int
        The most numbers that the statistic holds for one model at one step; 1000 by default.

    Returns
    -------
    DataArray or Dataset
        The result of `statistic` for the whole dataset, in memory.

    Raises
    ------
    UsageError
        If there is no dim `seed`.

    See Also
    --------
    over_seeds : the mean over seeds with its interval.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> counts = toysup.analysis.piecewise(fixed, lambda models: toysup.analysis.represented_count(models.W))
    >>> counts.dims, dict(counts.sizes)
    (('seed', 'step'), {'seed': 30, 'step': 13})
    """
    require_dataset(dataset, ("seed",), has="train_loss")

    def of_read(part: xr.Dataset) -> Result:
        return _split(part.load(), _dims(dataset), _HELD // max(1, values), statistic)

    # The pieces are datasets of their own, so that the data loaded for a piece is freed with it.
    return _split(dataset.copy(), _dims(dataset), _READ // numbers_of(dataset), of_read)


def by_seeds(dataset: xr.Dataset, *, values: int) -> Iterator[xr.Dataset]:
    """All seeds in all cells, some seeds at a time and in memory: as many as `piecewise` would compute at once."""
    for read in _cut(dataset.copy(), "seed", _READ // numbers_of(dataset)):
        yield from _cut(read.load(), "seed", _HELD // max(1, values))


def by_cells(dataset: xr.Dataset, *, values: int) -> Iterator[xr.Dataset]:
    """All models, some at a time and in memory: all at once if they fit, else cell by cell in order of sweep values."""
    axis = next((dim for dim in _dims(dataset)[1:] if dataset.sizes[dim] > 1), None)
    if fits_in_memory(dataset, values=values):
        yield dataset.copy().load()
    elif axis is None:
        yield from by_seeds(dataset, values=values)
    else:
        for at in dataset[axis].values.argsort().tolist():
            yield from by_cells(dataset.isel({axis: slice(at, at + 1)}), values=values)


def fits_in_memory(dataset: xr.Dataset, *, values: int) -> bool:
    """Whether `piecewise` would read and compute the whole dataset as one piece."""
    models = _models(dataset)
    return models * numbers_of(dataset) <= _READ and models * values <= _HELD


def loaded_if_small(dataset: xr.Dataset, *, values: int) -> xr.Dataset:
    """The dataset, loaded if `fits_in_memory`: several statistics then read the files only once."""
    return dataset.copy().load() if fits_in_memory(dataset, values=values) else dataset


def numbers_of(dataset: xr.Dataset) -> int:
    """The number of numbers that a model has at one step."""
    leading = leading_dims(dataset)
    return sum(
        math.prod(size for dim, size in variable.sizes.items() if dim not in leading)
        for variable in dataset.data_vars.values()
        if "seed" in variable.dims
    )


def along(dim: str, results: Sequence[Result]) -> Result:
    """Join results for parts along `dim`; a variable without `dim` is taken from the first result."""
    if len(results) == 1:
        return results[0]
    how: dict[str, Any] = {"coords": "minimal", "compat": "override", "join": "override", "combine_attrs": "override"}
    if isinstance(results[0], xr.Dataset):
        how["data_vars"] = "minimal"
    joined: Result = xr.concat(results, dim, **how)
    return joined


def _dims(dataset: xr.Dataset) -> list[str]:
    """The dims along which a dataset is cut, in this order: first seeds, then the sweep axes."""
    return ["seed", *sweep_axes(dataset)]


def _models(dataset: xr.Dataset) -> int:
    """The number of models, where each step of a seed counts as one model."""
    return math.prod(dataset["train_loss"].sizes.values())


def _split(dataset: xr.Dataset, dims: Sequence[str], most: int, statistic: Callable[[xr.Dataset], Result]) -> Result:
    """`statistic` for at most `most` models at a time, as far as cutting along `dims` allows."""
    if not dims or _models(dataset) <= most:
        return statistic(dataset)
    parts = _cut(dataset, dims[0], most)
    return along(dims[0], [_split(part, dims[1:], most, statistic) for part in parts])


def _cut(dataset: xr.Dataset, dim: str, most: int) -> Iterator[xr.Dataset]:
    """Parts along `dim` with at most `most` models each, but with at least one entry of `dim`."""
    size = max(1, most * dataset.sizes[dim] // max(1, _models(dataset)))
    chunk = max((v.encoding.get("preferred_chunks", {}).get(dim, 1) for v in dataset.data_vars.values()), default=1)
    # Whole chunks if one fits into a part, otherwise equal shares of a chunk.
    size = size // chunk * chunk if size >= chunk else -(-chunk // -(-chunk // size))
    borders = [*range(0, dataset.sizes[dim], size), dataset.sizes[dim]]
    for start, stop in pairwise(borders):
        yield dataset.isel({dim: slice(start, stop)})
