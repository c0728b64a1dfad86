"""Gram matrices as images: a row per seed, a column per phase of training."""

from typing import NamedTuple, cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from toysup.analysis.figures._inputs import arranged, at_most
from toysup.analysis.figures._panels import blank, grid
from toysup.analysis.figures._subsets import Block, by_subset, labels_of
from toysup.analysis.figures._text import note, number, text_width, wrapped
from toysup.analysis.figures.style import DOUBLE_COLUMN, INK, SINGLE_COLUMN, styled
from toysup.errors import UsageError

ORANGE_BLUE = LinearSegmentedColormap.from_list(
    "toysup_orange_blue", ["#08306b", "#2f78b7", "#a6cbe6", "#ffffff", "#fdc58d", "#ee7f1b", "#9c3f00"]
).with_extremes(bad="#bbbbbb")
"""The post's colours: blue for negative entries, white for 0, orange for positive ones; grey for NaN."""

_MOST = 8
# The side of a matrix, in inches: three fill a page.
_LARGEST = 1.85
_LABEL_SIZE = 6.5


class _Name(NamedTuple):
    """A label on the edge of a matrix: its position in features, and its share of the length of the edge."""

    text: str
    at: float
    share: float


@styled
def gram_grid(
    gram: xr.DataArray, *, limit: float | None = None, title: str | None = None, ax: Axes | None = None
) -> Figure:
    """Draw Gram matrices G: a row per seed (or per condition, of one seed), a column per phase of training.

    Features are grouped by subset, with lines between subsets. All panels share one colour scale, symmetric about 0:
    orange entries are positive, blue ones negative.

    Parameters
    ----------
    gram : DataArray (seed, step, feature, other_feature)
        G, dimensionless, with its dims in any order. To compare conditions, give it a dim `condition` instead of
        `seed`. A single seed or step may be a scalar coord. At most 8 seeds (or conditions) and 8 steps can be drawn.
        The coords `epoch(step)`, `subset(feature)` and `other_subset(other_feature)`, if present, give the titles of
        the columns and the subsets.
    limit : float, optional
        The end of the colour scale, positive. Entries beyond it have the colour of the end, and the caption counts
        them. The default is the largest |G_ij| that is drawn.
    title : str, optional
        The title of the figure, such as the name of the condition. There is none by default.
    ax : Axes, optional
        Your own Axes, into which one matrix is drawn: G of one seed at one step, with or without these dims. The matrix
        then has neither caption nor colour bar; `ax.figure.colorbar(ax.images[-1], ax=ax)` adds the bar.

    Returns
    -------
    Figure
        The figure of `ax`, if given. Otherwise one panel per seed (or condition) and step, and a colour bar.

    Raises
    ------
    UsageError
        If a dim is missing or not drawn, there are too many panels (more than one for `ax`), or the limit is not
        positive.

    Examples
    --------
    >>> from toysup import analysis, open_example
    >>> W = open_example("conditional-importance")["conditional-importance/anticorrelated"]["W"]
    >>> G = analysis.gram(W.isel(seed=[0, 1], step=[0, 4, -1]))
    >>> with analysis.figures.style():
    ...     len(analysis.figures.gram_grid(G).axes)  # 2 × 3 matrices and a colour bar
    7
    """
    if ax is not None:
        gram = _one_matrix(gram)
    rows = "condition" if "condition" in gram.dims else "seed"
    gram = arranged(gram, rows, "step", "feature", "other_feature", what="gram")
    labels, phases = labels_of(gram, rows), _phases(gram)
    at_most(_MOST, labels, what=f"{rows}s")
    at_most(_MOST, phases, what="steps")
    outputs, output_blocks = by_subset(gram, dim="feature", coord="subset")
    inputs, input_blocks = by_subset(gram, dim="other_feature", coord="other_subset")
    values = np.asarray(gram.values, dtype=float)[:, :, outputs][..., inputs]
    largest = float(np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max())
    limit = _checked(limit, default=largest)

    if ax is not None:
        _picture(ax, values[0, 0], limit, output_blocks, input_blocks)
        _name_outputs([ax], _names(gram, "feature", outputs, output_blocks), _side_of(ax))
        _name_inputs([ax], _names(gram, "other_feature", inputs, input_blocks), _side_of(ax))
        if title:
            ax.set_title(title)
        return cast(Figure, ax.figure)
    figure, axes, side = _square_panels(len(labels), len(phases), title=title)
    beyond = _beyond(values, limit) if largest > limit else ""
    note(figure, f"{_shown(gram, rows)}. Rows of each matrix are outputs i, columns are inputs j.{beyond}")
    for i, row in enumerate(axes):
        row[0].set_ylabel(str(labels[i]) if rows == "condition" else f"seed {labels[i]}")
        for j, ax in enumerate(row):
            picture = _picture(ax, values[i, j], limit, output_blocks, input_blocks)
    for ax, phase in zip(axes[0], phases, strict=True):
        ax.set_title(phase)
    _name_outputs([row[0] for row in axes], _names(gram, "feature", outputs, output_blocks), side)
    _name_inputs(axes[-1], _names(gram, "other_feature", inputs, input_blocks), side)
    _colour_bar(figure, axes, picture, clipped=largest > limit)
    return figure


def _one_matrix(gram: xr.DataArray) -> xr.DataArray:
    """G with a seed and a step, of which there must be one at most."""
    for dim in ("seed", "step"):
        if dim not in gram.dims and dim not in gram.coords:
            gram = gram.expand_dims(dim)
        elif gram.sizes.get(dim, 1) > 1:
            raise UsageError(f"ax takes one matrix, but gram has {gram.sizes[dim]} along {dim!r}: select one first")
    return gram


def _side_of(ax: Axes) -> float:
    """The side of a square in these Axes, in points."""
    return 72 * float(min(ax.bbox.width, ax.bbox.height) / ax.figure.dpi)


def _shown(gram: xr.DataArray, rows: str) -> str:
    """The number of seeds in the figure, for the caption."""
    if rows == "condition":
        return f"n = 1, seed {gram['seed'].item()}" if gram.coords.get("seed", np.empty(2)).ndim == 0 else "n = 1"
    return f"n = {gram.sizes['seed']} {'seed' if gram.sizes['seed'] == 1 else 'seeds'} shown"


def _beyond(values: NDArray[np.float64], limit: float) -> str:
    """A sentence on the entries that lie beyond the colour scale."""
    size = np.abs(values[np.isfinite(values)])
    return (
        f" Colours end at ±{number(limit)}: {np.count_nonzero(size > limit):,} of {size.size:,} entries lie beyond; "
        f"the largest |Gᵢⱼ| is {number(float(size.max()))}."
    )


def _phases(gram: xr.DataArray) -> list[str]:
    epoch = gram.coords["epoch"].values if "epoch" in gram.coords else np.nan
    steps = [int(step) for step in gram["step"].values] if "step" in gram.coords else range(gram.sizes["step"])
    return [
        "initialisation" if step == 0 else f"step {step}" if np.isnan(at) else f"epoch {at:g}"
        for step, at in zip(steps, np.broadcast_to(epoch, gram.sizes["step"]), strict=True)
    ]


def _checked(limit: float | None, *, default: float) -> float:
    if limit is None:
        return default or 1.0
    if not (np.isfinite(limit) and limit > 0):
        raise UsageError(f"limit is {limit!r}: the end of the colour scale must be a positive number")
    return float(limit)


def _square_panels(rows: int, columns: int, *, title: str | None) -> tuple[Figure, list[list[Axes]], float]:
    """The figure, its panels, and the side of a panel in points."""
    page = SINGLE_COLUMN if columns < 3 else DOUBLE_COLUMN
    side = min(_LARGEST, (page - 1.5) / columns, 8.0 / rows)
    figure = blank(page, 0.8 + (side + 0.05) * rows + (0.2 if title else 0))
    figure.set_layout_engine("compressed")
    if title:
        figure.suptitle(wrapped(title, width=int(figure.get_figwidth() * 14)))
    return figure, grid(figure, rows, columns, sharex=False, sharey=False), side * 72


def _picture(
    ax: Axes, matrix: NDArray[np.float64], limit: float, output_blocks: list[Block], input_blocks: list[Block]
) -> AxesImage:
    """Draw one matrix, with lines between subsets."""
    for block in output_blocks[1:]:
        ax.axhline(block.start - 0.5, color=INK, linewidth=0.6, gid="boundary")
    for block in input_blocks[1:]:
        ax.axvline(block.start - 0.5, color=INK, linewidth=0.6, gid="boundary")
    ax.set(xticks=[], yticks=[])
    ax.spines[["top", "right"]].set_visible(True)
    return ax.imshow(matrix, cmap=ORANGE_BLUE, vmin=-limit, vmax=limit, interpolation="nearest", aspect="equal")


def _names(gram: xr.DataArray, dim: str, order: NDArray[np.intp], blocks: list[Block]) -> list[_Name]:
    """Labels of the subsets; of the first and the last feature if there is only one subset."""
    size = len(order)
    if len(blocks) > 1:
        return [_Name(b.subset, (b.start + b.stop - 1) / 2, (b.stop - b.start) / size) for b in blocks]
    labels = labels_of(gram, dim)
    return [_Name(str(labels[order[at]]), at, 0.5) for at in sorted({0, size - 1})]


def _name_outputs(axes: list[Axes], names: list[_Name], side: float) -> None:
    along = _fit(names, side) and not names[0].text.isdigit()
    shown = names if along else _with_room(names, side)
    for ax in axes:
        ax.set_yticks([name.at for name in shown], [name.text for name in shown], fontsize=_LABEL_SIZE, va="center")
        ax.tick_params(axis="y", length=0, labelrotation=90 if along else 0)


def _name_inputs(axes: list[Axes], names: list[_Name], side: float) -> None:
    along = _fit(names, side)
    shown = names if along else _with_room(names, side)
    for ax in axes:
        ax.set_xticks([name.at for name in shown], [name.text for name in shown], fontsize=_LABEL_SIZE)
        ax.tick_params(axis="x", length=0, labelrotation=0 if along else 90)


def _fit(names: list[_Name], side: float) -> bool:
    return all(text_width(name.text, size=_LABEL_SIZE) < name.share * side for name in names)


def _with_room(names: list[_Name], side: float) -> list[_Name]:
    """The labels that fit across their subset; a label of a subset lower than a line of text would hit the next one."""
    return [name for name in names if name.share * side > 1.2 * _LABEL_SIZE]


def _colour_bar(figure: Figure, axes: list[list[Axes]], picture: AxesImage, *, clipped: bool) -> Colorbar:
    bar = figure.colorbar(
        picture,
        ax=[ax for row in axes for ax in row],
        extend="both" if clipped else "neither",
        pad=0.01,
        shrink=1.0 if len(axes) < 3 else 0.6,
        aspect=15 if len(axes) < 3 else 25,
        label="Gᵢⱼ (dimensionless)" if len(axes) > 1 else "Gᵢⱼ\n(dimensionless)",
    )
    bar.outline.set_linewidth(0.6)
    return bar
