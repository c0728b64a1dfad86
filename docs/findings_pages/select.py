"""Picking means and statistics out of what was measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import xarray as xr

Values = Mapping[str, xr.DataArray]
Summaries = Mapping[str, xr.Dataset]
Data = TypeVar("Data", xr.DataArray, xr.Dataset)


def only(data: Mapping[str, Data], statistics: Sequence[str]) -> dict[str, Data]:
    """These statistics of each condition."""
    return {name: one.sel(statistic=list(statistics)) for name, one in data.items()}


def means_of(summaries: Summaries) -> Callable[[str, str], float]:
    """The mean of a condition's statistic, as a function of both names."""
    return lambda condition, statistic: float(summaries[condition]["mean"].sel(statistic=statistic))
