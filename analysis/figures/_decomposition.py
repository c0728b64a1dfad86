"""Splits of a loss: by part, and by the number of active features."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toysup.analysis.figures._conditions import condition_lines, key, lines_high, name_lines
from toysup.analysis.figures._inputs import all_summaries, all_values, arranged, same_conditions, same_labels
from toysup.analysis.figures._legend import legend_above
from toysup.analysis.figures._marks import means
from toysup.analysis.figures._panels import blank, grid
from toysup.analysis.figures._scale import from_zero, scale_values
from toysup.analysis.figures._statistics import statistic
from toysup.analysis.figures._text import interval_of, n_of, note, wrapped
from toysup.analysis.figures.style import DOUBLE_COLUMN, FAINT, looks, styled

_LOSS, _MEANING, _ = statistic("loss")
_PARTS = {
    "unrepresented": "not represented",
    "own": "own entries",
    "interference": "interference",
    "bias": "bias",
}
_LEFT_AND_RIGHT = (
    "Left: probability of each number of active features. "
    "Right: what these samples contribute to the loss, mean over seeds."
)


@styled
def loss_parts(values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the parts of each condition's loss: a dot per seed, the mean with its interval.

    Each part has a panel, and all panels share their x axis. The parts are those of
    `toysup.analysis.loss_decomposition`, summed over contexts and features.

    Parameters
    ----------
    values : mapping of str to DataArray (part, seed)
        For each condition, the parts of the loss of each seed: importance-weighted squared error per sample. A part is
        negative if it lowers the loss.
    summaries : mapping of str to Dataset (part)
        For the same conditions, the summaries over seeds that `toysup.analysis.over_seeds` returns.

    Returns
    -------
    Figure
        One panel per part, side by side.

    Raises
    ------
    UsageError
        If there are no conditions, the arguments differ in their conditions or parts, a dim is missing or not drawn, or
        a summary lacks a variable.

    Examples
    --------
    >>> from xarray import DataArray
    >>> from toysup.analysis import figures, over_seeds
    >>> parts = DataArray([[0.3, 0.1], [0.2, 0.1]], {"part": ["unrepresented", "interference"]}, ["seed", "part"])
    >>> with figures.style():
    ...     [ax.get_title() for ax in figures.loss_parts({"fixed": parts}, {"fixed": over_seeds(parts)}).axes]
    ['not represented', 'interference']
    """
    same_conditions(values, summaries)
    values, summaries = all_values(values, "part", "seed"), all_summaries(summaries, "part")
    names = same_labels({**values, **{f"summary of {name}": data for name, data in summaries.items()}}, "part")
    figure = blank(DOUBLE_COLUMN, 0.75 + lines_high(summaries))
    (axes,) = grid(figure, 1, len(names))
    for ax, name in zip(axes, names, strict=True):
        of = {condition: array.sel(part=name) for condition, array in values.items()}
        condition_lines(ax, of, {condition: data.sel(part=name) for condition, data in summaries.items()})
        ax.axvline(0, color=FAINT, linewidth=0.6, zorder=1)
        ax.set_xlabel(_LOSS)
        ax.set_title(wrapped(_PARTS.get(name, name), width=84 // len(names)))
    scale_values(axes[0], np.concatenate([np.ravel(array) for array in values.values()]), along="x", log=False)
    name_lines(axes[0], summaries)
    note(figure, f"{_MEANING} The parts sum to the loss. {key(summaries)}")
    return figure


@styled
def loss_by_active(summaries: Mapping[str, xr.Dataset], probability: Mapping[str, xr.DataArray]) -> Figure:
    """Draw the probability of each number of active features, and the loss that these samples contribute.

    Both are those of `toysup.analysis.loss_by_active`, summed over contexts and features. The losses have a log axis if
    they lie far apart; it ends a little below 0, where an interval that reaches further down is cut off.

    Parameters
    ----------
    summaries : mapping of str to Dataset (active)
        For each condition, the summary over seeds of the contributions to the loss: importance-weighted squared error
        per sample. `toysup.analysis.over_seeds` returns it.
    probability : mapping of str to DataArray (active)
        For the same conditions, the probability of each number of active features.

    Returns
    -------
    Figure
        Two panels, the probabilities on the left and the losses on the right.

    Raises
    ------
    UsageError
        If there are no conditions, the arguments differ in their conditions or numbers of active features, a dim is
        missing or not drawn, or a summary lacks a variable.

    Examples
    --------
    >>> from xarray import DataArray
    >>> from toysup.analysis import figures, over_seeds
    >>> loss = DataArray([[0.0, 0.1], [0.0, 0.2]], {"active": ["0", "1"]}, ["seed", "active"])
    >>> often = {"fixed": DataArray([0.9, 0.1], {"active": ["0", "1"]}, ["active"])}
    >>> len(figures.loss_by_active({"fixed": over_seeds(loss)}, often).axes)
    2
    """
    same_conditions(summaries, probability)
    summaries = all_summaries(summaries, "active")
    probability = {name: arranged(probability[name], "active", what=f"probability of {name!r}") for name in summaries}
    numbers = same_labels({**summaries, **{f"probability of {name}": p for name, p in probability.items()}}, "active")
    figure = blank(DOUBLE_COLUMN, 2.0)
    often, loss = figure.subplots(1, 2)
    at = np.arange(len(numbers))
    for number, ((name, data), look) in enumerate(zip(summaries.items(), looks(len(summaries)), strict=True)):
        beside = at + 0.36 * ((number + 0.5) / len(summaries) - 0.5)
        for ax, y in ((often, probability[name].values), (loss, data["mean"].values)):
            ax.plot(beside, y, color=look.colour, linestyle=look.line, linewidth=0.8, zorder=2)
        label = f"{name} ({n_of(data)})"
        often.plot(beside, probability[name].values, color=look.colour, marker=look.marker, linestyle="")
        means(loss, data, beside, look=look, along="y")
        loss.plot([], [], color=look.colour, linestyle=look.line, marker=look.marker, label=label)
    from_zero(often, along="y")
    drawn = [np.ravel(data[part]) for data in summaries.values() for part in ("mean", "ci_low")]
    scale_values(loss, np.concatenate(drawn), along="y", log=True)
    for ax, name in ((often, "probability"), (loss, _LOSS)):
        ax.set_xticks(at, numbers)
        ax.set(xlabel="active features", ylabel=name)
        ax.grid(axis="y")
    legend_above(figure, *loss.get_legend_handles_labels())
    bars = interval_of(summaries.values(), drawn_as="Bars")
    note(figure, f"{_MEANING} {_LEFT_AND_RIGHT}{bars}")
    return figure
