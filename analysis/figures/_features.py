"""A number of every feature: a panel for each condition, a dot per seed, the mean with its interval."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from toysup.analysis.figures._inputs import all_summaries, all_values, same_conditions
from toysup.analysis.figures._marks import means, seed_dots
from toysup.analysis.figures._panels import TALLEST, blank, flow
from toysup.analysis.figures._subsets import Block, by_subset, labels_of
from toysup.analysis.figures._text import fitted, n_of, wrapped
from toysup.analysis.figures.style import DOUBLE_COLUMN, FAINT, INK, SINGLE_COLUMN, looks

_SMALL = 6.5


def features_by_condition(
    values: Mapping[str, xr.DataArray],
    summaries: Mapping[str, xr.Dataset],
    *,
    label: str,
    frame: Callable[[Axes, str], None],
) -> Figure:
    """Draw values (seed, feature) and summaries (feature); `frame` finishes the panel of a condition."""
    same_conditions(values, summaries)
    values, summaries = all_values(values, "seed", "feature"), all_summaries(summaries, "feature")
    figure, axes, columns = _panels(len(values), most=max(array.sizes["feature"] for array in values.values()))
    for ax, (name, array), look in zip(axes, values.items(), looks(len(values)), strict=True):
        order, blocks = by_subset(array, dim="feature", coord="subset")
        x = np.concatenate([np.arange(b.start, b.stop) + gap for gap, b in enumerate(blocks)]).astype(float)
        for position, at in zip(x, order, strict=True):
            seed_dots(ax, array.values[:, at], position, look=look, along="y", width=0.5)
        size = float(np.clip(250 / len(order), 3, 12))
        means(ax, summaries[name].isel(feature=order), x, look=look, along="y", size=size)
        _name_features(ax, x, [labels_of(array, "feature")[at] for at in order])
        title = wrapped(f"{name} ({n_of(summaries[name])})", width=44)
        ax.set_title(title, loc="left", pad=11 if len(blocks) > 1 else None)
        _name_subsets(ax, blocks, points=figure.get_figwidth() * 72 / columns - 30)
        frame(ax, name)
    figure.supylabel(label)
    return figure


def _panels(count: int, *, most: int) -> tuple[Figure, list[Axes], int]:
    columns = 1 if count == 1 or (most > 50 and count <= 5) else 2
    width = SINGLE_COLUMN if count == 1 and most <= 20 else DOUBLE_COLUMN
    rows = -(-count // columns)
    figure = blank(width, 0.5 + rows * min(1.55, (TALLEST - 0.5) / rows))
    return figure, flow(figure, count, columns=columns), columns


def _name_features(ax: Axes, x: NDArray[np.float64], labels: list[object]) -> None:
    step = next(step for step in (1, 5, 10, 20, 50, 100, len(x)) if len(x) <= 12 * step)
    shown = [at for at in range(len(x)) if at == 0 or (at + 1) % step == 0]
    ax.set_xticks(x[shown], [str(labels[at]) for at in shown])
    ax.set_xlim(x[0] - 0.8, x[-1] + 0.8)
    ax.set_xlabel("feature")


def _name_subsets(ax: Axes, blocks: list[Block], *, points: float) -> None:
    """Draw a line between subsets, and write the name of each above its features, cut to the room there is."""
    for gap, block in enumerate(blocks if len(blocks) > 1 else []):
        if gap:
            ax.axvline(block.start + gap - 1, color=FAINT, linewidth=0.6, gid="boundary")
        room = points * (block.stop - block.start) / (blocks[-1].stop + len(blocks))
        ax.annotate(
            fitted(block.subset, room=room, size=_SMALL),
            ((block.start + block.stop - 1) / 2 + gap, 1),
            xytext=(0, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=_SMALL,
            color=INK,
        )
