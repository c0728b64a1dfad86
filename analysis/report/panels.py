"""What figures show side by side: conditions, the cells of their sweeps, and contexts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import xarray as xr

from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.report.selection import Selected, label_of
from toysup.analysis.report.tidy_rows import stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The most conditions (or cells of a sweep) that one figure shows side by side.
MAX_SERIES = 12

# Figures under their names, and what draws those of an experiment's conditions.
Figures: TypeAlias = "Iterator[tuple[str, Figure]]"
Drawn = Callable[[list[Selected]], Figures]
Labelled = TypeVar("Labelled", xr.DataArray, xr.Dataset)


def series(group: Sequence[Selected]) -> Iterator[tuple[str, dict[str, Selected]]]:
    """What is drawn side by side: an experiment's conditions and the cells of their sweeps, so many at a time.

    Gives a suffix for the figures' names, and each condition or cell under its label. Where sweeps have more cells,
    only what is not swept stands side by side: `over_sweep` draws the rest.
    """
    together = [(label_of(item, len(group)), item) for condition in group for item in condition.cells()]
    if len(together) > MAX_SERIES and any(item.cell for _, item in together):
        together = [(label, item) for label, item in together if not item.cell]
    if not together:
        return
    count = -(-len(together) // MAX_SERIES)
    size = -(-len(together) // count)
    for number in range(count):
        yield f"-{number + 1}" if count > 1 else "", dict(together[number * size : (number + 1) * size])


def over_sweep(
    group: Sequence[Selected],
    name: str,
    statistics: Callable[[Selected], Mapping[str, xr.DataArray]],
    summarise: Callable[[xr.DataArray], xr.Dataset] = over_seeds,
) -> Figures:
    """Statistics, each (sweep axes..., seed), over the axes of a sweep: lines over one axis, a map over two.

    Conditions that sweep the same one axis and have the same statistics share a figure; of further axes than two, each
    value has a map of its own.
    """
    # matplotlib takes a quarter of a second to import; rows need none of it.
    from toysup.analysis import figures

    lines: dict[str, dict[tuple[str, ...], dict[str, xr.Dataset]]] = {}
    for item in group:
        if not item.sweeps:
            continue
        summaries = {statistic: summarise(values) for statistic, values in statistics(item).items()}
        for label, summary in by_context({item.condition: stacked(summaries)}).items():
            if len(item.sweeps) == 1:
                names = tuple(summary["statistic"].values.tolist())
                lines.setdefault(item.sweeps[0], {}).setdefault(names, {})[label] = summary
                continue
            rest = item.sweeps[2:]
            for cell in product(*(summary[axis].values.tolist() for axis in rest)):
                at = dict(zip(rest, cell, strict=True))
                suffix = "-".join(filter(None, [label.replace(", ", "-"), in_a_name(at)]))
                yield f"{name}-map-{suffix}", figures.sweep_map({label: summary.sel(at)})
    for axis, groups in lines.items():
        for number, summaries in enumerate(groups.values(), start=1):
            end = f"-{number}" if len(groups) > 1 else ""
            yield f"{name}-over-{axis.replace('_', '-')}{end}", figures.along_sweep(summaries)


def in_a_name(cell: Mapping[str, float]) -> str:
    return "-".join(f"{axis.replace('_', '-')}-{value}" for axis, value in cell.items())


def by_context(values: Mapping[str, Labelled]) -> dict[str, Labelled]:
    """Values that depend on the context, or on the sign of a feature, as one entry for each; all others as they are."""
    entries: dict[str, Labelled] = {}
    for label, array in values.items():
        for sign, of_sign in _each(array, "value"):
            for context, of_context in _each(of_sign, "context"):
                entries[", ".join(filter(None, [label, _SIGNS.get(sign), context]))] = of_context
    return entries


_SIGNS = {1.0: "positive", -1.0: "negative"}


def _each(array: Labelled, dim: str) -> Iterator[tuple[Any, Labelled]]:
    if dim not in array.dims:
        yield None, array
        return
    for label in array[dim].values.tolist():
        yield label, array.sel({dim: label}, drop=True)


def summaries_of(values: Mapping[str, xr.DataArray]) -> dict[str, xr.Dataset]:
    return {label: over_seeds(array) for label, array in values.items()}
