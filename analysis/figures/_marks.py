"""Marks: a dot is a seed, a marker with a bar is a mean with its interval."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from toysup.analysis.figures.style import INK, Look

_GREY = "#555555"
# With more seeds than this, their dots are one bitmap in a vector format.
_SHAPES = 1000
# Name, marker, size, and whether it is filled. References often coincide; their marks stay visible inside one another.
_REFERENCES = {
    "zero": ("zero", "o", 22.0, False),
    "constant": ("best constant", "o", 3.0, True),
    "best_features": ("best m features", "s", 20.0, False),
    "linear": ("best linear map", "+", 20.0, True),
    "antipodal": ("antipodal pairs", "d", 30.0, False),
}
_OTHER = ("", "v", 20.0, False)
_GOLDEN = (5**0.5 - 1) / 2


def seed_dots(
    ax: Axes, values: ArrayLike, position: ArrayLike, *, look: Look, along: Literal["x", "y"], width: float = 0.6
) -> None:
    """Draw a dot per seed: at its value `along` one axis, and side by side around `position` on the other.

    Values (seed, position) draw the dots of several positions at once.
    """
    data = np.asarray(values, dtype=float)
    count = len(data)
    # Multiples of the golden ratio spread evenly for any number of seeds, without random numbers.
    spread = width * ((np.arange(count) * _GOLDEN) % 1 - 0.5) * (count > 1)
    across = np.asarray(position, dtype=float) + spread.reshape(-1, *[1] * (data.ndim - 1))
    x, y = (data, across) if along == "x" else (across, data)
    size, alpha = (7.0, 0.55) if count <= 30 else (4.0, 0.4)
    # A vector file with thousands of shapes is too slow for viewers, so the dots become one bitmap.
    drawn: dict[str, Any] = {"rasterized": True} if count > _SHAPES else {}
    ax.scatter(x, y, s=size, color=look.colour, alpha=alpha, linewidths=0, zorder=2, gid="seeds", **drawn)


def means(
    ax: Axes, summary: xr.Dataset, positions: ArrayLike, *, look: Look, along: Literal["x", "y"], size: float = 14
) -> None:
    """Draw a marker at each mean, and a bar from `ci_low` to `ci_high` if both are finite.

    An entry in several modes has a marker at the mean of each; the area of a marker is the share of the seeds.
    """
    at = np.broadcast_to(np.asarray(positions, dtype=float), _flat(summary["mean"]).shape)
    mean, low, high = (_flat(summary[name]) for name in ("mean", "ci_low", "ci_high"))
    _markers(ax, mean, low, high, at, look=look, along=along, size=size)
    for one in _each_mode(summary):
        _markers(ax, one.mean, one.low, one.high, at, look=look, along=along, size=size * one.share)


class _Mode(NamedTuple):
    """The seeds of one mode of each entry: NaN for entries without it."""

    mean: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    share: NDArray[Any]


def _each_mode(summary: xr.Dataset) -> Iterator[_Mode]:
    names = ("mode_mean", "mode_low", "mode_high", "mode_share")
    for mode in range(summary.sizes.get("mode", 0)):
        yield _Mode(*(_flat(summary[name].isel(mode=mode)) for name in names))


def _markers(
    ax: Axes,
    mean: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    at: NDArray[Any],
    *,
    look: Look,
    along: Literal["x", "y"],
    size: float | NDArray[Any],
) -> None:
    known = np.isfinite(low) & np.isfinite(high)
    lines = ax.hlines if along == "x" else ax.vlines
    lines(at[known], low[known], high[known], color=INK, linewidth=1.1, zorder=3, gid="intervals")
    x, y = (mean, at) if along == "x" else (at, mean)
    ax.scatter(
        x, y, s=size, color=look.colour, marker=look.marker, edgecolors=INK, linewidths=0.6, zorder=4, gid="means"
    )


def reference_mark(ax: Axes, value: float, position: float, *, name: str) -> None:
    """Draw a grey mark, with the reference's own shape, at the loss of a reference; none if the loss is not finite."""
    _, marker, size, filled = _REFERENCES.get(name, _OTHER)
    # A cross has no face, and matplotlib warns if it is given a face colour.
    colours: dict[str, Any] = {"color": _GREY} if filled else {"facecolors": "none", "edgecolors": _GREY}
    if np.isfinite(value):
        ax.scatter(
            [value],
            [position],
            s=size,
            marker=marker,
            linewidths=0.8,
            zorder=5,
            label=reference_name(name),
            gid="references",
            **colours,
        )


def reference_name(name: str) -> str:
    """The name of a reference in the legend."""
    return _REFERENCES.get(name, _OTHER)[0] or name.replace("_", " ")


def line(ax: Axes, x: ArrayLike, summary: xr.Dataset, *, look: Look, label: str, every: int = 1) -> None:
    """Draw the means along x, a marker at every `every`-th mean, and the interval as a shaded band.

    Where seeds lie in several modes, the line has a gap, with a dot at the mean of each mode; the area of a dot is the
    share of the seeds.
    """
    mean, low, high = (_flat(summary[name]) for name in ("mean", "ci_low", "ci_high"))
    ax.plot(x, mean, color=look.colour, linestyle=look.line, marker=look.marker, markevery=every, label=label)
    ax.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0)
    for one in _each_mode(summary):
        ax.scatter(x, one.mean, s=12 * one.share, color=look.colour, linewidths=0, zorder=3, gid="modes")


def _flat(array: xr.DataArray) -> NDArray[Any]:
    return np.asarray(array.values, dtype=float).ravel()
