"""Where losses come from: their parts, and the samples with so many active features."""

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
from toysup.analysis.figures.style import DOUBLE_COLUMN, FAINT, looks

_LOSS, _MEANING, _ = statistic("loss")
_PARTS = {
    "unrepresented": "not represented",
    "own": "own entry alone",
    "interference": "interference adds",
    "bias": "bias changes",
}


def loss_parts(values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the parts of each condition's loss: a panel for each on a common axis, a dot per seed, the mean.

    Parameters
    ----------
    values : mapping of DataArray (part, seed)
        Per condition: what each part adds to the loss per sample, which may be negative.
    summaries : mapping of Dataset (part)
        The same conditions' summaries over seeds.

    Raises
    ------
    UsageError
        If there are no conditions, different ones or other parts in the two arguments, or other dims.
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
    note(figure, f"{_MEANING} The parts sum to it. {key(summaries)}")
    return figure


def loss_by_active(summaries: Mapping[str, xr.Dataset], probability: Mapping[str, xr.DataArray]) -> Figure:
    """Draw the loss by how many features of a sample are active, beside how often so many are.

    Parameters
    ----------
    summaries : mapping of Dataset (active)
        Per condition a summary over seeds, of what samples with so many active features add to the loss per sample; on
        a log axis where these lie far apart, on which an interval is cut off a little below 0.
    probability : mapping of DataArray (active)
        The same conditions' probability of so many active features.

    Raises
    ------
    UsageError
        If there are no conditions, different ones or other numbers in the two arguments, or other dims.
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
    note(figure, f"{_MEANING} Right: what samples with so many active features add to it; mean over seeds.{bars}")
    return figure
