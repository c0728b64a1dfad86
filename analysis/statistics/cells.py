"""The cells of a regime: where a sweep varies it, one regime at each place along the axes that do."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.experiments.regime import Regime
from toysup.storage.schema import regime_axes, regime_of


class RegimeCell(NamedTuple):
    """One regime, and where it stands: its index along each axis along which regimes vary, as `isel` takes it."""

    at: dict[str, int]
    regime: Regime

    @property
    def place(self) -> tuple[int, ...]:
        """The same for an array whose first axes these are."""
        return tuple(self.at.values())


def regime_sizes(dataset: xr.Dataset) -> dict[str, int]:
    """How many values each axis has along which the regime of `dataset` varies; empty where it has one regime."""
    return {axis: dataset.sizes[axis] for axis in regime_axes(dataset)}


def regime_cells(dataset: xr.Dataset) -> Iterator[RegimeCell]:
    """Each regime of `dataset`, the last axis running fastest; one cell, of no index, where it has one regime."""
    sizes = regime_sizes(dataset)
    for place in np.ndindex(*sizes.values()):
        at = dict(zip(sizes, place, strict=True))
        yield RegimeCell(at, regime_of(dataset.isel(at)))
