"""Features in their subsets: the order they are drawn in, and where one subset ends."""

from itertools import groupby
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray


class Block(NamedTuple):
    """The features of one subset, at the drawn positions start, …, stop − 1."""

    subset: str
    start: int
    stop: int


def by_subset(data: xr.DataArray | xr.Dataset, *, dim: str, coord: str) -> tuple[NDArray[np.intp], list[Block]]:
    """The order that puts a subset's features side by side, subsets as they first appear; without a coord, one."""
    subsets = [str(name) for name in data[coord].values] if coord in data.coords else ["all"] * data.sizes[dim]
    rank = {name: at for at, name in enumerate(dict.fromkeys(subsets))}
    order = np.argsort([rank[name] for name in subsets], kind="stable")
    blocks, start = [], 0
    for name, members in groupby(subsets[at] for at in order):
        stop = start + sum(1 for _ in members)
        blocks.append(Block(name, start, stop))
        start = stop
    return order, blocks


def labels_of(data: xr.DataArray | xr.Dataset, dim: str) -> list[object]:
    """The labels along a dim; without any, they count from 1 as features do."""
    return list(data[dim].values.tolist()) if dim in data.coords else list(range(1, data.sizes[dim] + 1))
