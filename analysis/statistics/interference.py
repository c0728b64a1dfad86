"""Interference: what a model's features do to one another, feature by feature and between subsets."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.statistics.arrays import Mask, ModelArray
from toysup.analysis.statistics.gram import feature_norms, gram_kernel
from toysup.analysis.statistics.kernels import in_blocks, never_alone
from toysup.analysis.statistics.labels import named, require_dims, subset_labels, with_other_feature
from toysup.analysis.statistics.quadrants import QUADRANT_STATISTICS, QuadrantSums, quadrant_statistics
from toysup.experiments.feature_groups import TOGETHER

INTERFERING_THRESHOLD = 0.1
# What a block of models is summed up in: the fields of QuadrantSums but the number of pairs, which all models share.
_SUMS = ("negative", "interfering", "total", "energy", "largest")


def feature_interference(W: xr.DataArray) -> xr.DataArray:
    """Σ_{j≠i} (Ŵ_i·W_j)²: how strongly the other features project on feature i's direction; 0 for a zero column.

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
    # As in gram_kernel.
    with np.errstate(over="ignore", invalid="ignore"):
        total = _off_diagonal_projections(W).sum("other_feature", skipna=False)
    return named(total, "feature_interference", "interference Σ_{j≠i} (Ŵ_i·W_j)²")


def probability_weighted_interference(dataset: xr.Dataset, directions: xr.DataArray | None = None) -> xr.DataArray:
    """Σ_{j≠i} P(j active | i active) (Ŵ_i·W_j)²: the interference that feature i meets when it is active.

    P(j active | i active) is Q_ij / Q_i, where Q_ij = Σ_c P(c) P(i and j active | c), Q_i = Σ_c P(c) P(i active | c);
    it is p_j where features are independent. Where directions depend on the context, each is weighed in its own. 0 for
    a feature that is never active.

    Parameters
    ----------
    dataset : Dataset
        A trajectory with its tables of context and activation.
    directions : DataArray (..., [context,] hidden, feature), optional
        What stands for W, such as H of `linear_response`; W if not given.

    Returns
    -------
    DataArray (..., feature)
        Dimensionless.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> met = toysup.analysis.probability_weighted_interference(fixed.isel(step=-1))
    >>> met.dims, round(float(met.mean()), 2)
    (('seed', 'feature'), 0.14)
    """
    W = dataset["W"] if directions is None else directions
    together, context = active_together(dataset), dataset["context_probability"]
    marginal = (context * dataset["activation_probability"]).sum("context")
    given = (context * together / marginal.where(marginal > 0, 1)).where(marginal > 0, 0)
    summed = ["context", "other_feature"] if "context" in W.dims else ["other_feature"]
    given = given if "context" in W.dims else given.sum("context")
    order = [dim for dim in W.dims if dim not in ("context", "hidden", "feature")]
    # As in gram_kernel.
    with np.errstate(over="ignore", invalid="ignore"):
        total = (given * _off_diagonal_projections(W)).sum(summed, skipna=False)
        total = total.transpose(*order, "feature").astype(W.dtype)
    return named(total, "probability_weighted_interference", "interference that an active feature meets")


def active_together(dataset: xr.Dataset) -> xr.DataArray:
    """P(i and j active | c), dims (..., context, feature, other_feature)."""
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
    """Statistics of the Gram matrix G over the ordered pairs i≠j of each quadrant (i's subset, j's subset).

    Parameters
    ----------
    W : DataArray (..., hidden, feature)
        Weights onto the hidden state, with the coordinate subset(feature); without it there is one subset, "all".
    threshold : float
        A pair interferes if |G_ij| exceeds it.

    Returns
    -------
    Dataset (..., subset, other_subset)
        `energy` Σ G_ij²; `rms`; `mean_abs`; `max_abs`; `interfering_fraction`; `negative_fraction` of the interfering
        pairs (NaN where there are none); `energy_share` of the off-diagonal energy of the whole matrix (NaN where that
        is 0). Dimensionless, in the dtype of W. A quadrant without pairs has energy 0, the rest NaN.

    Raises
    ------
    UsageError
        If a dim is missing.

    Examples
    --------
    >>> import toysup
    >>> W = toysup.open_example("conditional-importance")["conditional-importance/anticorrelated"].W.isel(step=-1)
    >>> energy = toysup.analysis.quadrant_interference(W)['energy'].mean('seed')
    >>> energy.astype(float).values.round(1).tolist()
    [[0.0, 10.1], [10.1, 0.0]]
    """
    require_dims(W, ("hidden", "feature"), what="W")
    sides = _Side.of(subset_labels(W), range(W.sizes["feature"]))
    return _quadrants(W, ("hidden", "feature"), sides, sides, threshold)


def gram_quadrants(G: xr.DataArray, *, threshold: float = INTERFERING_THRESHOLD) -> xr.Dataset:
    """The statistics of `quadrant_interference` of any response G, such as that of a deeper model.

    Parameters
    ----------
    G : DataArray (..., feature, other_feature) or (..., output, other_feature)
        Responses of outputs to input features, as `gram` or `linear_response` give them, with the coordinate
        `other_subset`; an output belongs to the subset of the feature that it is about, and the diagonal, which is left
        out, is where it is about the input feature itself.
    threshold : float
        A pair interferes if |G_ij| exceeds it.

    Returns
    -------
    Dataset (..., subset, other_subset)
        As `quadrant_interference`.

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
    rows = "output" if "output" in G.dims else "feature"
    require_dims(G, (rows, "other_feature"), what="G")
    n = G.sizes["other_feature"]
    labels = [str(label) for label in G["other_subset"].values] if "other_subset" in G.coords else ["all"] * n
    about = features_of_rows(G)
    outputs = _Side.of([labels[place] for place in about], about)
    return _quadrants(G, (rows, "other_feature"), outputs, _Side.of(labels, range(n)), threshold)


def features_of_rows(G: xr.DataArray) -> list[int]:
    """The feature that each row of G is about, by its place among the columns."""
    if "output" not in G.dims:
        return list(range(G.sizes["feature"]))
    places = {label: place for place, label in enumerate(G["other_feature"].values.tolist())}
    return [places[label] for label in G["output_feature"].values.tolist()]


class _Side(NamedTuple):
    """The rows or the columns of G: their order by subset, how many each subset has, and the feature of each."""

    subsets: list[str]
    order: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]
    about: npt.NDArray[np.intp]

    @classmethod
    def of(cls, labels: Sequence[str], about: Sequence[int]) -> "_Side":
        subsets = list(dict.fromkeys(labels))
        codes = np.array([subsets.index(label) for label in labels])
        # Side by side, a subset's features are a slice.
        order = np.argsort(codes, kind="stable")
        return cls(subsets, order, np.bincount(codes), np.asarray(about)[order])

    @property
    def slices(self) -> list[slice]:
        return [slice(end - count, end) for end, count in zip(np.cumsum(self.counts), self.counts, strict=True)]


def _quadrants(
    array: xr.DataArray, dims: tuple[str, str], outputs: _Side, inputs: _Side, threshold: float
) -> xr.Dataset:
    """The statistics of G, or of WᵀW where `array` is W (its dims are then hidden and feature)."""
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
            name: named(statistics.isel(statistic=number), name, long_name, threshold=threshold)
            for number, (name, long_name) in enumerate(QUADRANT_STATISTICS.items())
        }
    )


def _off_diagonal_projections(W: xr.DataArray) -> xr.DataArray:
    """(Ŵ_i·W_j)² over (..., feature i, other_feature j), 0 on the diagonal and for a zero column i."""
    require_dims(W, ("hidden", "feature"), what="W")
    norms = feature_norms(W)
    unit = W / norms.where(norms != 0, 1)
    other = W.rename(feature="other_feature").drop_vars(["subset", "other_feature"], errors="ignore")
    projections = xr.dot(unit.drop_vars("feature", errors="ignore"), other, dim="hidden") ** 2
    off_diagonal = xr.DataArray(~np.eye(W.sizes["feature"], dtype=bool), dims=("feature", "other_feature"))
    labelled: xr.DataArray = projections.where(off_diagonal, 0)
    return labelled.assign_coords({"feature": W["feature"]} if "feature" in W.coords else {})


def _statistics(models: ModelArray, *, of_weights: bool, outputs: _Side, inputs: _Side, threshold: float) -> ModelArray:
    """QUADRANT_STATISTICS as (..., statistic, subset, other_subset); NaN throughout for a model that is not finite."""
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
    """Fill (model, sum, subset, other_subset), the sums being _SUMS."""
    together = never_alone(models)
    G = gram_kernel(together) if of_weights else together
    # Models last: sums over features then add up rows of models, which are long where subsets are short.
    G = _sorted(_sorted(G, outputs.order, axis=1), inputs.order, axis=2).transpose(1, 2, 0).copy()
    G[diagonal] = 0
    over_rows = np.empty((len(_SUMS), len(outputs.counts), *G.shape[1:]), dtype=G.dtype)
    add = partial(np.add.reduce, axis=0, dtype=G.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for subset, features in enumerate(outputs.slices):
            rows, (negative, interfering, total, energy, largest) = G[features], over_rows[:, subset]
            add(rows < -max(threshold, 0), out=negative)
            # In place, as what is left needs the sizes, and then their squares: new arrays cost more than their values.
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
