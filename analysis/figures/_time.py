"""The axis of training: epochs where every condition has them, else steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

Scale = Literal["linear", "log"]


class Time(NamedTuple):
    """Where each condition's snapshots lie, and what the axis is called."""

    label: str
    at: dict[str, NDArray[np.float64]]


def time_axis(summaries: Mapping[str, xr.Dataset]) -> Time:
    """Epochs if all conditions were trained by them, else steps: one figure, one unit."""
    epochs = {name: _finite_epochs(data) for name, data in summaries.items()}
    known = {name: at for name, at in epochs.items() if at is not None}
    if len(known) == len(epochs):
        return Time("epoch", known)
    return Time("training step", {name: np.asarray(data["step"].values, float) for name, data in summaries.items()})


def scale_time(ax: Axes, time: Time, *, scale: Scale) -> None:
    """Set the scale; a logarithmic one is linear below the first snapshot, so that step 0 has a place."""
    if scale not in ("linear", "log"):
        raise ValueError(f"time_scale is {scale!r}: it is 'linear' or 'log'")
    everything = np.concatenate(list(time.at.values()))
    if scale == "log" and (everything > 0).any():
        ax.set_xscale("symlog", linthresh=everything[everything > 0].min(), linscale=0.3)
        ax.set_xlim(everything.min(), everything.max() * 1.05)
    ax.set_xlabel(time.label)


def _finite_epochs(data: xr.Dataset) -> NDArray[np.float64] | None:
    if "epoch" not in data.coords:
        return None
    epochs = np.broadcast_to(np.asarray(data["epoch"].values, dtype=float), data.sizes["step"])
    return epochs if np.isfinite(epochs).all() else None
