"""The axis of training: epochs if every condition has them, else steps."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from toysup.analysis.figures._scale import spaced_by_ratio
from toysup.errors import UsageError

Scale = Literal["linear", "log"]


class Time(NamedTuple):
    """The label of the axis, and the positions of each condition's snapshots on it."""

    label: str
    at: dict[str, NDArray[np.float64]]


def time_axis(summaries: Mapping[str, xr.Dataset]) -> Time:
    """Epochs if every condition has finite epochs, else steps, so that all conditions have the same unit."""
    epochs = {name: _finite_epochs(data) for name, data in summaries.items()}
    known = {name: at for name, at in epochs.items() if at is not None}
    if len(known) == len(epochs):
        return Time("epoch", known)
    return Time("training step", {name: np.asarray(data["step"].values, float) for name, data in summaries.items()})


def scale_of(time: Time) -> Scale:
    """Logarithmic if the snapshots of any condition are spaced by ratios, else linear."""
    later = (at[at > 0] for at in time.at.values())
    return "log" if any(spaced_by_ratio(at) for at in later) else "linear"


def scale_time(ax: Axes, time: Time, *, scale: Scale) -> None:
    """Set the scale and the label. A log scale is linear below the first snapshot, so that step 0 has a place."""
    if scale not in ("linear", "log"):
        raise UsageError(f"time_scale is {scale!r}: it must be 'linear' or 'log'")
    everything = np.concatenate(list(time.at.values()))
    if scale == "log" and (everything > 0).any():
        first, last = everything[everything > 0].min(), everything.max()
        ax.set_xscale("symlog", linthresh=first, linscale=0.3)
        # Room for the markers at either end.
        ax.set_xlim(-0.35 * first if everything.min() == 0 else everything.min() / 1.25, last * 1.25)
        low, high = int(np.floor(np.log10(first))) + 1, int(np.floor(np.log10(last)))
        every = max(1, -(-(high - low + 1) // 4))
        decades = [10.0**k for k in reversed(range(high, low - 1, -every))]
        ax.xaxis.set_major_locator(FixedLocator([0.0, *(decades or [first, last])]))
        if not decades:
            # If no power of ten lies in the range, the ticks are its ends, which need plain numbers as labels.
            ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(time.label)


def _finite_epochs(data: xr.Dataset) -> NDArray[np.float64] | None:
    if "epoch" not in data.coords:
        return None
    epochs = np.broadcast_to(np.asarray(data["epoch"].values, dtype=float), data.sizes["step"])
    return epochs if np.isfinite(epochs).all() else None
