"""Whether the seeds of two conditions are counterparts of one another."""

import numpy as np
import xarray as xr

from toysup.analysis.statistics.labels import require_dataset
from toysup.storage.schema import leading_dims


def paired_by_seed(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether a seed of one condition is paired with the same seed of the other.

    Two models with the same seed are paired if three things hold. They start from equal weights: their parameters have
    equal shapes. They see equal samples: the regimes have the same law of context and features (probabilities, values,
    groups and rule), while importance and target may differ. And both conditions share more than half of the seeds of
    the side that has fewer, since pairs would otherwise leave out most of the models.

    Parameters
    ----------
    one, other : Dataset
        Trajectories, or a step of them.

    Returns
    -------
    bool

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example('conditional-importance')['conditional-importance']
    >>> fixed, conditional, anticorrelated = (runs[name].to_dataset() for name in list(runs)[:3])
    >>> toysup.analysis.paired_by_seed(fixed, conditional), toysup.analysis.paired_by_seed(fixed, anticorrelated)
    (True, False)
    """
    require_dataset(one, what="one")
    require_dataset(other, what="other")
    if _shapes(one) != _shapes(other) or _labels(one) != _labels(other) or not _share_seeds(one, other):
        return False
    tables = ("context_probability", "activation_probability", "group_correlation", "rule_threshold", "rule_tie")
    return all(_equal(one.get(name), other.get(name)) for name in tables)


def _share_seeds(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether both datasets share more than half of the seeds of the smaller side.

    Two or more seeds are then shared, unless the smaller side has only one.
    """
    seeds = [set(np.ravel(dataset["seed"].values).tolist()) for dataset in (one, other)]
    return 2 * len(set.intersection(*seeds)) > min(map(len, seeds))


def _shapes(dataset: xr.Dataset) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of one model, without sweep axes, seeds and steps."""
    leading = {*leading_dims(dataset), "step"}
    tables = {"context_probability", "activation_probability", "importance"}
    names = [str(name) for name, v in dataset.data_vars.items() if "seed" in v.dims and name not in tables]
    return {
        name: tuple(size for dim, size in dataset[name].sizes.items() if dim not in leading)
        for name in names
        if set(map(str, dataset[name].dims)) - leading
    }


def _labels(dataset: xr.Dataset) -> tuple[object, ...]:
    group = tuple(map(str, dataset["group"].values)) if "group" in dataset.coords else ()
    return dataset.attrs.get("values", "uniform"), dataset.attrs.get("context_rule"), group


def _equal(one: xr.DataArray | None, other: xr.DataArray | None) -> bool:
    """Whether two tables are equal in all cells of a sweep; the names of subsets may differ."""
    if one is None or other is None:
        return one is other
    bare = [table.reset_coords(drop=True) for table in (one, other)]
    return bool(bare[0].broadcast_equals(bare[1]))
