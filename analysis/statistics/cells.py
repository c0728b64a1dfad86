"""The cells of a regime: if a sweep varies the regime, each cell of these sweep axes has a regime of its own."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.statistics.labels import require_dataset
from toysup.experiments.regime import Regime
from toysup.storage.schema import regime_axes, regimes_of


class RegimeCell(NamedTuple):
    """One regime, and its index along each axis along which the regime varies, in the form that `isel` takes."""

    at: dict[str, int]
    regime: Regime

    @property
    def place(self) -> tuple[int, ...]:
        """The index of the regime in an array whose first axes are the axes along which the regime varies."""
        return tuple(self.at.values())


def regime_sizes(dataset: xr.Dataset) -> dict[str, int]:
    """The size of each axis along which the regime of `dataset` varies; empty if there is only one regime."""
    require_dataset(dataset)
    return {axis: dataset.sizes[axis] for axis in regime_axes(dataset)}


def regime_cells(dataset: xr.Dataset) -> Iterator[RegimeCell]:
    """Each regime of `dataset`, the last axis running fastest; one cell with an empty index if there is one regime."""
    sizes = regime_sizes(dataset)
    for place, regime in zip(np.ndindex(*sizes.values()), regimes_of(dataset), strict=True):
        yield RegimeCell(dict(zip(sizes, place, strict=True)), regime)
