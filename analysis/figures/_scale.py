"""Scales of axes: logarithmic if values lie far apart, linear otherwise, with few and short tick labels."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from toysup.analysis.figures._text import number

Along = Literal["x", "y"]

# The least ratio of the largest to the smallest value on a log axis; a shorter axis could lack ticks.
_LOG_FROM = 5.0
_ROUNDING = 1e-8
# Values that differ by less, relative to the largest, are equal up to the rounding of float32.
_ALIKE = 1e-5


def scale_values(ax: Axes, drawn: ArrayLike, *, along: Along, log: bool) -> None:
    """Set the scale of an axis for the values that are drawn.

    If `log` is true, the axis is logarithmic if the values lie far apart or some of them are 0, for which it then has a
    place. Otherwise it is linear. A linear axis starts at 0 if `log` is true, or if the smallest value is at least 0
    and at most a third of the largest.
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
        show_constant(ax, values, along=along)
        _axis(ax, along).set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def constant(values: NDArray[np.float64]) -> bool:
    """Whether values differ by no more than rounding, as weights of float32 do."""
    return bool(values.size and np.ptp(values) <= _ALIKE * np.abs(values).max())


def show_constant(ax: Axes, values: NDArray[np.float64], *, along: Along) -> None:
    """Widen a linear axis whose values differ only by rounding, so that they look as alike as they are."""
    if constant(values):
        middle = float(values.mean())
        half = 0.05 * abs(middle) or 0.05
        (ax.set_xlim if along == "x" else ax.set_ylim)(middle - half, middle + half)


def above_rounding(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that are above 0 beyond rounding; the loss of a perfect model with float32 weights is about 1e-14."""
    largest = values.max(initial=0.0)
    return values[values > _ROUNDING * largest] if largest > 0 else values[:0]


def scale_sweep(ax: Axes, values: ArrayLike) -> None:
    """Make the x axis logarithmic if the values of a sweep are spaced by ratios."""
    swept = np.unique(np.asarray(values, dtype=float))
    if spaced_by_ratio(swept):
        _log(ax, "x", swept)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6))


def from_zero(ax: Axes, *, along: Along) -> None:
    """Make the axis linear, starting a little below 0."""
    high = (ax.get_xlim() if along == "x" else ax.get_ylim())[1]
    _start(ax, along, -0.02 * high)
    _axis(ax, along).set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def far_apart(positive: NDArray[np.float64]) -> bool:
    """Whether positive values lie so far apart that a log axis shows them better."""
    return bool(positive.size and positive.max() / positive.min() >= _LOG_FROM)


def spaced_by_ratio(values: NDArray[np.float64]) -> bool:
    """Whether the ratios of successive values vary less than their differences; `values` are sorted."""
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
    # A function of the module, unlike a lambda, can be pickled with the figure.
    return number(value, 1)


def _log_from_zero(ax: Axes, along: Along, positive: NDArray[np.float64]) -> None:
    """Make the axis logarithmic with a linear stretch from 0 to the smallest decade; ticks at 0 and at some decades.

    The linear stretch is as long as a decade. The axis ends a little below 0: the values themselves are not negative,
    though the interval of a mean may be.
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
