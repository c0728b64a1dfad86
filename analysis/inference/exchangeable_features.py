"""Exchangeable features, which differ by their contexts alone, and the relabellings that swap their subsets."""

from collections.abc import Hashable, Sequence
from itertools import combinations
from math import factorial, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.statistics.cells import RegimeCell, regime_cells, regime_sizes
from toysup.analysis.statistics.labels import named
from toysup.experiments.regime import Regime
from toysup.storage.schema import sweep_axes

MOST_RELABELLINGS = 1024
"""If there are more relabellings than this, the model's own and random ones are used, this many in total."""

Labels = npt.NDArray[np.intp]


def exchangeable_features(dataset: xr.Dataset) -> xr.DataArray:
    """The class of exchangeable features that each feature belongs to, named by the first feature of the class.

    Two features i and j are exchangeable if their tables are equal after a renaming of the contexts: some bijection π
    of the contexts maps (P(c), p_i(c), I_i(c)) to (P(πc), p_j(πc), I_j(πc)) for every c. Training never sees subset
    labels, and subsets affect it only through these tables.

    Three restrictions apply. The features must be in the same group. If a rule derives the context from x, or a flag
    shows it to the model, their tables must be equal in every context. And the feature that a rule uses is exchangeable
    with no other feature.

    Parameters
    ----------
    dataset : Dataset
        A trajectory with its regime; any of its steps.

    Returns
    -------
    DataArray (sweep axes along which the regime varies..., feature)
        Labels of features, in the dtype of the coordinate `feature`. Features with the same label are exchangeable.

    See Also
    --------
    quadrant_null : the null of quadrant statistics if exchangeable features swap their subset labels.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].to_dataset()
    >>> toysup.analysis.exchangeable_features(dataset).sel(feature=[1, 11, 2]).values.tolist()
    [1, 1, 2]
    """
    axes = regime_sizes(dataset)
    features = dataset["feature"].values
    classes = np.empty((*axes.values(), len(features)), features.dtype)
    for cell in regime_cells(dataset):
        for members in exchangeable_classes(cell.regime):
            classes[cell.place][list(members)] = features[members[0]]
    coords = {name: dataset[name] for name in (*axes, "feature", "subset")}
    return named(
        xr.DataArray(classes, coords, (*axes, "feature")), "exchangeable_features", "first feature with equal tables"
    )


class NoNull(NamedTuple):
    """Why subset labels cannot be swapped, and in which cells of the sweep, in words; `cells` is "" for all cells."""

    cells: str
    reason: str


def no_null(dataset: xr.Dataset) -> NoNull | None:
    """Where and why subset labels cannot be swapped; None if they can be swapped in all cells of the sweep."""
    without = [cell for cell in regime_cells(dataset) if not _swapped(cell.regime)]
    return NoNull(_some_cells(dataset, without), _reason(without[0].regime)) if without else None


def _swapped(regime: Regime) -> bool:
    """Whether some exchangeable features have different subsets, so that swapping their labels changes something."""
    return any(len({regime.subset[i] for i in members}) > 1 for members in exchangeable_classes(regime))


def _some_cells(dataset: xr.Dataset, cells: Sequence[RegimeCell]) -> str:
    """How many cells of the sweep have one of these regimes, with the first cell as an example; "" if all have."""
    axes = regime_sizes(dataset)
    total = prod(axes.values())
    if len(cells) == total:
        return ""
    # Along the other sweep axes, such as a learning rate, one regime occurs in several cells.
    of_each = prod(dataset.sizes[axis] for axis in sweep_axes(dataset) if axis not in axes)
    at = ", ".join(f"{axis} = {dataset[axis].values[place].item()!r}" for axis, place in cells[0].at.items())
    return f"in {of_each * len(cells)} of {of_each * total} cells (such as {at})"


def _reason(regime: Regime) -> str:
    if len(set(regime.subset)) == 1:
        return "its features are all of one subset"
    what = [
        *(["its context follows from x"] if regime.rule is not None else []),
        *(["a flag shows the context"] if regime.context_input == "flag" else []),
        *(["it has groups of features"] if regime.group else []),
    ]
    return ", and ".join([*what, "no features of different subsets are alike up to the context"])


def exchangeable_classes(regime: Regime) -> list[tuple[int, ...]]:
    """The places of the features of each class, in the order of their first features."""
    classes: dict[Hashable, list[int]] = {}
    for i in range(len(regime.subset)):
        classes.setdefault(_kind(regime, i), []).append(i)
    return [tuple(members) for members in classes.values()]


def _kind(regime: Regime, i: int) -> Hashable:
    """A key that is equal for two features if and only if they are exchangeable."""
    tables = (regime.context_probability, regime.activation_probability[:, i], regime.importance[:, i])
    rows = list(zip(*(table.tolist() for table in tables), strict=True))
    # Contexts can be renamed unless a rule or a flag distinguishes them. Sorted rows are equal for any such renaming.
    alike = regime.rule is None and regime.context_input != "flag"
    singled_out = regime.rule is not None and regime.rule.feature == i + 1
    return tuple(sorted(rows) if alike else rows), regime.group[i] if regime.group else "", singled_out


def relabellings(labels: Sequence[int], classes: Sequence[Sequence[int]]) -> Labels:
    """All distinct ways to permute the labels within each class, as an array (relabelling, feature).

    The first row is `labels` itself. If there are more than MOST_RELABELLINGS ways, the other rows are random
    relabellings from a fixed stream, MOST_RELABELLINGS rows in total.
    """
    own_labels = np.asarray(labels)
    mixed = [np.asarray(members) for members in classes if len(set(own_labels[list(members)])) > 1]
    if prod(_count(own_labels[members]) for members in mixed) > MOST_RELABELLINGS:
        rng = np.random.default_rng(0)
        drawn = np.tile(own_labels, (MOST_RELABELLINGS, 1))
        for members in mixed:
            drawn[1:, members] = rng.permuted(drawn[1:, members], axis=1)
        return drawn
    orders = [_orders(own_labels[members]) for members in mixed]
    each = np.unravel_index(np.arange(prod(map(len, orders))), [len(those) for those in orders] or [1])
    relabelled = np.tile(own_labels, (prod(map(len, orders)), 1))
    for members, those, which in zip(mixed, orders, each, strict=False):
        relabelled[:, members] = those[which]
    is_own = (relabelled == own_labels).all(axis=1)
    return np.concatenate([relabelled[is_own], relabelled[~is_own]])


def _count(labels: Labels) -> int:
    return factorial(len(labels)) // prod(factorial(int(count)) for count in np.bincount(labels))


def _orders(labels: Labels) -> Labels:
    """Every distinct order of the labels: (order, place)."""
    first = labels.min()
    rest = labels[labels != first]
    if not len(rest):
        return labels[None]
    others = _orders(rest)
    orders = []
    for places in combinations(range(len(labels)), len(rest)):
        order = np.full((len(others), len(labels)), first)
        order[:, places] = others
        orders.append(order)
    return np.concatenate(orders)
