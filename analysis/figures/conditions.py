"""Conditions side by side: a line for each, a panel for each statistic."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toysup.analysis.figures._conditions import condition_lines, key, lines_high, name_lines
from toysup.analysis.figures._inputs import all_summaries, all_values, same_conditions, same_labels
from toysup.analysis.figures._panels import blank, flow
from toysup.analysis.figures._scale import scale_values
from toysup.analysis.figures._statistics import meanings, statistic
from toysup.analysis.figures._text import note, wrapped
from toysup.analysis.figures.style import DOUBLE_COLUMN, SINGLE_COLUMN

_MOST_COLUMNS = 4


def by_condition(values: Mapping[str, xr.DataArray], summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Draw statistics of each condition: a dot per seed, the mean with its interval.

    Conditions are lines, the first at the top; each statistic has a panel. Losses that lie far apart have a log axis,
    on which a loss of exactly 0 is drawn at the line marked 0, left of a linear stretch that ends at the smallest
    decade; the axis ends a little below 0, where an interval that reaches further is cut off. A statistic that is NaN
    for a condition leaves its line empty.

    Parameters
    ----------
    values : mapping of DataArray (statistic, seed)
        Per condition; `statistic` may be a scalar coord where there is one. Its labels, such as "loss" or
        "represented", are what the axes are named by.
    summaries : mapping of Dataset (statistic)
        The same conditions' summaries over seeds.

    Raises
    ------
    UsageError
        If there are no conditions, different ones or other statistics in the two arguments, or other dims.
    """
    same_conditions(values, summaries)
    values, summaries = all_values(values, "statistic", "seed"), all_summaries(summaries, "statistic")
    names = same_labels({**values, **{f"summary of {name}": data for name, data in summaries.items()}}, "statistic")
    columns = min(len(names), _MOST_COLUMNS)
    width = SINGLE_COLUMN if columns == 1 else DOUBLE_COLUMN
    rows = -(-len(names) // columns)
    figure = blank(width, 0.35 + rows * (0.4 + lines_high(summaries)))
    axes = flow(figure, len(names), columns=columns)
    for at, (ax, name) in enumerate(zip(axes, names, strict=True)):
        of = {c: array.sel(statistic=name) for c, array in values.items()}
        over = {c: data.sel(statistic=name) for c, data in summaries.items()}
        condition_lines(ax, of, over)
        drawn = [part.values for c in of for part in (of[c], over[c]["ci_low"])]
        scale_values(ax, np.concatenate([np.ravel(part) for part in drawn]), along="x", log=statistic(name).log)
        ax.set_xlabel(wrapped(statistic(name).label, width=84 // columns if columns > 1 else 44))
        if at == 0:
            name_lines(ax, summaries)
    note(figure, f"{meanings(names)} {key(summaries)}".strip())
    return figure
