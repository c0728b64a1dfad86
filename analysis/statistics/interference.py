"""Interference between the features of a model: for each feature, and for each pair of subsets."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.statistics.arrays import Mask, ModelArray
from toysup.analysis.statistics.gram import feature_norms, gram_kernel
from toysup.analysis.statistics.kernels import in_blocks, never_alone
from toysup.analysis.statistics.labels import (
    named,
    numbers,
    require_dataset,
    require_dims,
    subset_labels,
    with_other_feature,
)
from toysup.analysis.statistics.quadrants import QUADRANT_STATISTICS, SHARES, QuadrantSums, quadrant_statistics
from toysup.experiments.feature_groups import TOGETHER

INTERFERING_THRESHOLD = 0.1
# The sums computed for each model: the fields of QuadrantSums except the number of pairs, which all models share.
_SUMS = ("negative", "interfering", "total", "energy", "largest")


def feature_interference(W: xr.DataArray) -> xr.DataArray:
    """The interference with each feature: Σ_{j≠i} (Ŵ_i·W_j)², or 0 for a zero column.

    It measures how strongly the other features project onto the direction of feature i.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state; dimensionless, any leading dims.

    Returns
    -------
    DataArray (..., feature)
        Dimensionless, in the dtype of W.

    Raises
    ------
    UsageError
        If a dim is missing.

    Source: Elhage et al. (2022), "Toy Models of Superposition".

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> round(float(toysup.analysis.feature_interference(W).mean()), 1)
    1.0
    """
    # As in gram_kernel, a model that diverged may overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        total = _off_diagonal_projections(W).sum("other_feature", skipna=False)
    return named(total, "feature_interference", "interference Σ_{j≠i} (Ŵ_i·W_j)²", within=(0, np.inf))


def probability_weighted_interference(dataset: xr.Dataset, directions: xr.DataArray | None = None) -> xr.DataArray:
    """The interference that each feature meets when it is active: Σ_{j≠i} P(j active | i active) (Ŵ_i·W_j)².

    P(j active | i active) = Q_ij / Q_i with Q_ij = Σ_c P(c) P(i and j active | c) and Q_i = Σ_c P(c) P(i active | c).
    It is p_j if features are independent. If directions depend on the context, the sum also runs over contexts with the
    weights P(c and j active | i active). The interference is 0 for a feature that is never active.

    Parameters
    ----------
    dataset : Dataset
        A trajectory with its tables of context and activation.
    directions : DataArray (..., [context,] hidden, feature), optional
        Directions that replace W, such as H of `linear_response`; W of the dataset by default.

    Returns
    -------
    DataArray (..., feature)
        Dimensionless, in the dtype of the directions; NaN or infinite for a model that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    See Also
    --------
    feature_interference : the same sum without the probabilities.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> met = toysup.analysis.probability_weighted_interference(fixed.isel(step=-1))
    >>> met.dims, round(float(met.mean()), 2)
    (('seed', 'feature'), 0.14)
    """
    require_dataset(dataset)
    W = numbers(dataset["W"] if directions is None else directions, ("hidden", "feature"), what="directions")
    together, context = active_together(dataset), dataset["context_probability"]
    marginal = (context * dataset["activation_probability"]).sum("context")
    given = (context * together / marginal.where(marginal > 0, 1)).where(marginal > 0, 0)
    summed = ["context", "other_feature"] if "context" in W.dims else ["other_feature"]
    given = given if "context" in W.dims else given.sum("context")
    order = [dim for dim in W.dims if dim not in ("context", "hidden", "feature")]
    # As in gram_kernel, a model that diverged may overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        total = (given * _off_diagonal_projections(W)).sum(summed, skipna=False)
        total = total.transpose(*order, "feature").astype(W.dtype)
    long_name = "interference that an active feature meets"
    return named(total, "probability_weighted_interference", long_name, within=(0, np.inf))


def active_together(dataset: xr.Dataset) -> xr.DataArray:
    """P(i and j active | c) for i ≠ j, with the dims (..., context, feature, other_feature)."""
    active = dataset["activation_probability"]
    require_dims(active, ("context", "feature"), what="activation_probability")
    other = with_other_feature(active.rename(feature="other_feature").drop_vars("subset", errors="ignore"), active)
    both = active * other
    if "group" not in dataset.coords:
        return both
    labels = dataset["group"].values.astype(str)
    same = xr.DataArray((labels[:, None] == labels) & (labels[:, None] != ""), dims=("feature", "other_feature"))
    together = xr.DataArray(np.char.startswith(labels, TOGETHER), dims="feature")
    # Two indicators of probability p and correlation ρ are both 1 with probability p² + ρ p (1 − p).
    correlated = both + dataset["group_correlation"] * active * (1 - active)
    return both.where(~same, correlated.where(together, 0.0))


def quadrant_interference(W: xr.DataArray, *, threshold: float = INTERFERING_THRESHOLD) -> xr.Dataset:
    """Seven statistics of the Gram matrix G = WᵀW for each quadrant.

    A quadrant is the block of G between two subsets. Its statistics are computed over the ordered pairs i≠j with i in
    `subset` and j in `other_subset`.

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state, with the coordinate subset(feature). Without this coordinate all features belong
        to one subset, "all".
    threshold : float
        A pair interferes if |G_ij| exceeds the threshold; 0.1 by default.

    Returns
    -------
    Dataset (..., subset, other_subset)
        `energy` Σ G_ij²; `rms`, the root mean square of G_ij; `mean_abs` and `max_abs`, the mean and the largest
        |G_ij|; `interfering_fraction` of the pairs; `negative_fraction` of the interfering pairs (NaN if no pair
        interferes); `energy_share`, the quadrant's share of the off-diagonal energy of the whole matrix (NaN if that
        energy is 0). Dimensionless, in the dtype of W. In a quadrant without pairs the energy is 0 and the other
        statistics are NaN. All are NaN for a model that is not finite.

    Raises
    ------
    UsageError
        If a dim is missing.

    See Also
    --------
    gram_quadrants : the same statistics of a given response matrix G.
    pooled_quadrant_null : the same statistics with their null.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> energy = toysup.analysis.quadrant_interference(W)['energy'].mean('seed')
    >>> energy.astype(float).values.round(1).tolist()
    [[0.0, 10.1], [10.1, 0.0]]
    """
    W = numbers(W, ("hidden", "feature"), what="W")
    sides = _Side.of(subset_labels(W), range(W.sizes["feature"]))
    return _quadrants(W, ("hidden", "feature"), sides, sides, threshold)


def gram_quadrants(G: xr.DataArray, *, threshold: float = INTERFERING_THRESHOLD) -> xr.Dataset:
    """The seven statistics of `quadrant_interference` for a given response matrix G, such as that of a deeper model.

    An output belongs to the subset of the feature that the output is about. The diagonal, where an output is about the
    input feature itself, is excluded.

    Parameters
    ----------
    G : DataArray (..., feature, other_feature) or (..., output, other_feature)
        Responses of outputs to input features, as `gram` or `linear_response` gives them. Without the coordinate
        `other_subset` all features belong to one subset, "all".
    threshold : float
        A pair interferes if |G_ij| exceeds the threshold; 0.1 by default.

    Returns
    -------
    Dataset (..., subset, other_subset)
        The variables of `quadrant_interference`, in the dtype of G.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> energy = toysup.analysis.gram_quadrants(toysup.analysis.gram(W))['energy']
    >>> energy.mean('seed').astype(float).values.round(1).tolist()
    [[0.0, 10.1], [10.1, 0.0]]
    """
    rows = "output" if "output" in getattr(G, "dims", ()) else "feature"
    G = numbers(G, (rows, "other_feature"), what="G")
    n = G.sizes["other_feature"]
    labels = [str(label) for label in G["other_subset"].values] if "other_subset" in G.coords else ["all"] * n
    about = features_of_rows(G)
    outputs = _Side.of([labels[place] for place in about], about)
    return _quadrants(G, (rows, "other_feature"), outputs, _Side.of(labels, range(n)), threshold)


def features_of_rows(G: xr.DataArray) -> list[int]:
    """For each row of G, the place among the columns of the feature that the row is about."""
    if "output" not in G.dims:
        return list(range(G.sizes["feature"]))
    places = {label: place for place, label in enumerate(G["other_feature"].values.tolist())}
    return [places[label] for label in G["output_feature"].values.tolist()]


class _Side(NamedTuple):
    """The rows or the columns of G: the subsets, an order by subset, the size of each subset, and the feature of each.

    `about` has, in that order, the place of the feature that each row or column is about.
    """

    subsets: list[str]
    order: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]
    about: npt.NDArray[np.intp]

    @classmethod
    def of(cls, labels: Sequence[str], about: Sequence[int]) -> "_Side":
        subsets = list(dict.fromkeys(labels))
        codes = np.array([subsets.index(label) for label in labels])
        # In this order the features of a subset are neighbours, so that a slice takes them.
        order = np.argsort(codes, kind="stable")
        return cls(subsets, order, np.bincount(codes), np.asarray(about)[order])

    @property
    def slices(self) -> list[slice]:
        return [slice(end - count, end) for end, count in zip(np.cumsum(self.counts), self.counts, strict=True)]


def _quadrants(
    array: xr.DataArray, dims: tuple[str, str], outputs: _Side, inputs: _Side, threshold: float
) -> xr.Dataset:
    """The statistics of G; `array` is G, or W with `dims` hidden and feature, and then G = WᵀW."""
    statistics = xr.apply_ufunc(
        _statistics,
        array,
        kwargs={"of_weights": dims[0] == "hidden", "outputs": outputs, "inputs": inputs, "threshold": threshold},
        input_core_dims=[list(dims)],
        output_core_dims=[["statistic", "subset", "other_subset"]],
        dask="parallelized",
        dask_gufunc_kwargs={
            "allow_rechunk": True,
            "output_sizes": {
                "statistic": len(QUADRANT_STATISTICS),
                "subset": len(outputs.subsets),
                "other_subset": len(inputs.subsets),
            },
        },
        output_dtypes=[array.dtype],
    ).assign_coords(subset=outputs.subsets, other_subset=inputs.subsets)
    return xr.Dataset(
        {
            name: named(
                statistics.isel(statistic=number),
                name,
                long_name,
                within=(0, 1 if name in SHARES else np.inf),
                threshold=threshold,
            )
            for number, (name, long_name) in enumerate(QUADRANT_STATISTICS.items())
        }
    )


def _off_diagonal_projections(W: xr.DataArray) -> xr.DataArray:
    """(Ŵ_i·W_j)² with the dims (..., feature i, other_feature j); 0 on the diagonal and for a zero column i."""
    W = numbers(W, ("hidden", "feature"), what="W")
    norms = feature_norms(W)
    unit = W / norms.where(norms != 0, 1)
    other = W.rename(feature="other_feature").drop_vars(["subset", "other_feature"], errors="ignore")
    projections = xr.dot(unit.drop_vars("feature", errors="ignore"), other, dim="hidden") ** 2
    off_diagonal = xr.DataArray(~np.eye(W.sizes["feature"], dtype=bool), dims=("feature", "other_feature"))
    labelled: xr.DataArray = projections.where(off_diagonal, 0)
    return labelled.assign_coords({"feature": W["feature"]} if "feature" in W.coords else {})


def _statistics(models: ModelArray, *, of_weights: bool, outputs: _Side, inputs: _Side, threshold: float) -> ModelArray:
    """QUADRANT_STATISTICS as (..., statistic, subset, other_subset); all NaN for a model that is not finite."""
    diagonal = outputs.about[:, None] == inputs.about
    kernel = partial(
        _block_sums, of_weights=of_weights, outputs=outputs, inputs=inputs, diagonal=diagonal, threshold=threshold
    )
    out = (len(_SUMS), len(outputs.counts), len(inputs.counts))
    block_sums = in_blocks(kernel, models, out, values=diagonal.size)
    pairs = np.array([[(~diagonal[i, j]).sum() for j in inputs.slices] for i in outputs.slices], dtype=models.dtype)
    sums = QuadrantSums(pairs, **dict(zip(_SUMS, np.moveaxis(block_sums, -3, 0), strict=True)))
    statistics = quadrant_statistics(sums, axes=(-2, -1))
    finite = np.all(np.isfinite(sums.energy), axis=(-2, -1))
    return np.where(finite[..., None, None, None], np.stack(list(statistics.values()), axis=-3), np.nan)


def _block_sums(
    models: ModelArray,
    out: ModelArray,
    *,
    of_weights: bool,
    outputs: _Side,
    inputs: _Side,
    diagonal: Mask,
    threshold: float,
) -> None:
    """Fill `out` (model, sum, subset, other_subset) with the sums that _SUMS names."""
    together = never_alone(models)
    G = gram_kernel(together) if of_weights else together
    # With models on the last axis, a sum over features adds long rows of models instead of short runs of features.
    G = _sorted(_sorted(G, outputs.order, axis=1), inputs.order, axis=2).transpose(1, 2, 0).copy()
    G[diagonal] = 0
    over_rows = np.empty((len(_SUMS), len(outputs.counts), *G.shape[1:]), dtype=G.dtype)
    add = partial(np.add.reduce, axis=0, dtype=G.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for subset, features in enumerate(outputs.slices):
            rows, (negative, interfering, total, energy, largest) = G[features], over_rows[:, subset]
            add(rows < -max(threshold, 0), out=negative)
            # In place: the later sums need only |G|, then its squares, and allocating arrays costs more than computing.
            size = np.abs(rows, out=rows)
            add(size > threshold, out=interfering)
            add(size, out=total)
            np.maximum.reduce(size, axis=0, out=largest)
            add(np.square(size, out=size), out=energy)
        for subset, others in enumerate(inputs.slices):
            columns = over_rows[:, :, others]
            out[:, :-1, :, subset] = np.moveaxis(np.add.reduce(columns[:-1], axis=2), -1, 0)[: len(models)]
            out[:, -1, :, subset] = np.maximum.reduce(columns[-1], axis=1).T[: len(models)]


def _sorted(G: ModelArray, order: npt.NDArray[np.intp], *, axis: int) -> ModelArray:
    return G if (np.diff(order) == 1).all() else np.take(G, order, axis=axis)
