"""Statistics by condition: a horizontal line for each condition, a panel for each statistic."""

import numpy as np
from matplotlib.figure import Figure

from toysup.analysis.figures._conditions import condition_lines, key, lines_high, name_lines
from toysup.analysis.figures._inputs import (
    Summaries,
    Values,
    all_summaries,
    all_values,
    by_name,
    same_conditions,
    same_labels,
)
from toysup.analysis.figures._panels import blank, flow
from toysup.analysis.figures._scale import scale_values
from toysup.analysis.figures._statistics import meanings, statistic
from toysup.analysis.figures._text import note, wrapped
from toysup.analysis.figures.style import DOUBLE_COLUMN, SINGLE_COLUMN, styled

_MOST_COLUMNS = 4


@styled
def by_condition(values: Values, summaries: Summaries) -> Figure:
    """Draw statistics of each condition: a dot per seed, the mean with its interval.

    Each statistic has a panel. In it each condition has a horizontal line, the first at the top. The line is empty if
    the statistic is NaN for the condition.

    Losses that lie far apart have a log axis, with a linear stretch from 0 to the smallest decade, so that a loss of
    exactly 0 has a place. The axis ends a little below 0; an interval that reaches further down is cut off there.

    Parameters
    ----------
    values : mapping of str to DataArray (statistic, seed), or one such DataArray
        For each condition, the statistics of each seed, in the units of the statistics. The labels of `statistic`, such
        as "loss" or "represented", name the axes. `statistic` may be a scalar coord.
    summaries : mapping of str to Dataset (statistic), or one such Dataset
        For the same conditions, the summaries over seeds that `toysup.analysis.over_seeds` returns.

    Returns
    -------
    Figure
        One panel per statistic, at most four in a row.

    Raises
    ------
    UsageError
        If there are no conditions, the arguments differ in their conditions or statistics, a dim is missing or not
        drawn, or a summary lacks a variable.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> W = open_example("conditional-importance")["conditional-importance/fixed"]["W"].isel(step=-1)
    >>> count = analysis.represented_count(W).assign_coords(statistic="represented")
    >>> with analysis.figures.style():
    ...     len(analysis.figures.by_condition({"fixed": count}, {"fixed": analysis.over_seeds(count)}).axes)
    1
    """
    values, summaries = by_name(values, what="values"), by_name(summaries, what="summaries")
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
