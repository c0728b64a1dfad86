"""Scales on which values can be compared: logarithmic where they lie far apart, with ticks that can be read."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from toysup.analysis.figures._text import number

Along = Literal["x", "y"]

# A log axis shorter than this would have one tick or none.
_LOG_FROM = 5.0
_ROUNDING = 1e-8


def scale_values(ax: Axes, drawn: ArrayLike, *, along: Along, log: bool) -> None:
    """A scale for these values: where `log` asks for it and they lie far apart, log, with a place for 0 if some are.

    A linear one starts at 0 where values spread as far as that.
    """
    values = np.asarray(drawn, dtype=float)
    values = values[np.isfinite(values)]
    above = above_rounding(values)
    if log and above.size and above.size < values.size:
        _log_from_zero(ax, along, above)
    elif log and far_apart(above):
        _log(ax, along, above)
    elif log or (values.size and values.min() >= 0 and 3 * values.min() <= values.max()):
        from_zero(ax, along=along)
    else:
        _axis(ax, along).set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def above_rounding(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those that are not 0 up to rounding; the loss of a perfect model with float32 weights is 1e-14 or so."""
    largest = values.max(initial=0.0)
    return values[values > _ROUNDING * largest] if largest > 0 else values[:0]


def scale_sweep(ax: Axes, values: ArrayLike) -> None:
    """Log along x where the values of a sweep are spaced so."""
    swept = np.unique(np.asarray(values, dtype=float))
    if spaced_by_ratio(swept):
        _log(ax, "x", swept)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6))


def from_zero(ax: Axes, *, along: Along) -> None:
    """A linear axis that starts a little below 0."""
    high = (ax.get_xlim() if along == "x" else ax.get_ylim())[1]
    _start(ax, along, -0.02 * high)
    _axis(ax, along).set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def far_apart(positive: NDArray[np.float64]) -> bool:
    """Whether positive values are compared by their ratios rather than their differences."""
    return bool(positive.size and positive.max() / positive.min() >= _LOG_FROM)


def spaced_by_ratio(values: NDArray[np.float64]) -> bool:
    """Whether rising values are spaced more evenly by their ratios than by their differences."""
    if len(values) < 3 or values[0] <= 0 or not far_apart(values):
        return False
    by_ratio, by_difference = np.diff(np.log(values)), np.diff(values)
    return bool(np.std(by_ratio) / np.mean(by_ratio) < np.std(by_difference) / np.mean(by_difference))


def _log(ax: Axes, along: Along, positive: NDArray[np.float64]) -> None:
    _set_scale(ax, along, "log")
    spread = positive.max() / positive.min()
    if spread < 100:
        axis = _axis(ax, along)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if spread < 12 else (1, 3)))
        axis.set_major_formatter(FuncFormatter(_one_digit))
        axis.set_minor_formatter(NullFormatter())


def _one_digit(value: float, _: object) -> str:
    # A function of the module, so that a figure can be handed to another process.
    return number(value, 1)


def _log_from_zero(ax: Axes, along: Along, positive: NDArray[np.float64]) -> None:
    """Linear up to the smallest decade, which takes as much room as another; ticks at 0 and every so many decades.

    It ends a little below 0: what is drawn so cannot be negative, though an interval of its mean may reach there.
    """
    low, high = int(np.floor(np.log10(positive.min()))), int(np.ceil(np.log10(positive.max())))
    _set_scale(ax, along, "symlog", linthresh=10.0**low, linscale=1.0)
    _start(ax, along, -0.5 * 10.0**low)
    every = -(-(high - low + 1) // 4)
    decades = [decade for decade in range(high, low - 1, -every) if decade - low + 1 >= 0.8 * every]
    _axis(ax, along).set_major_locator(FixedLocator([0.0, *(10.0**decade for decade in reversed(decades))]))


def _start(ax: Axes, along: Along, low: float) -> None:
    (ax.set_xlim if along == "x" else ax.set_ylim)(low, None)


def _set_scale(ax: Axes, along: Along, scale: str, **options: float) -> None:
    (ax.set_xscale if along == "x" else ax.set_yscale)(scale, **options)


def _axis(ax: Axes, along: Along) -> Axis:
    return ax.xaxis if along == "x" else ax.yaxis
