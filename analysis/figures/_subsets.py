"""Features by subset: the order in which they are drawn, and the positions of each subset."""

from itertools import groupby
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray


class Block(NamedTuple):
    """The features of one subset, which are drawn at the positions start, …, stop − 1."""

    subset: str
    start: int
    stop: int


def by_subset(data: xr.DataArray | xr.Dataset, *, dim: str, coord: str) -> tuple[NDArray[np.intp], list[Block]]:
    """The order that groups features by subset, subsets as they first appear. Without the coord, one subset."""
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
    """The labels along a dim; 1, 2, … if it has no coordinate."""
    return list(data[dim].values.tolist()) if dim in data.coords else list(range(1, data.sizes[dim] + 1))
