"""Interference: what a model's features do to one another, feature by feature and between subsets."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.blocks import Array, in_blocks
from toysup.analysis.gram import gram_kernel
from toysup.analysis.labels import named, require_dims, subset_labels, with_other_feature

INTERFERING_THRESHOLD = 0.1
QUADRANT_STATISTICS = {
    "energy": "energy Σ G_ij²",
    "rms": "root mean square of G_ij",
    "mean_abs": "mean |G_ij|",
    "max_abs": "largest |G_ij|",
    "interfering_fraction": "share of pairs that interfere",
    "negative_fraction": "share of interfering pairs that are negative",
    "energy_share": "share of the off-diagonal energy",
}


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
    """
    total = _off_diagonal_projections(W).sum("other_feature", skipna=False)
    return named(total, "feature_interference", "interference Σ_{j≠i} (Ŵ_i·W_j)²")


def probability_weighted_interference(dataset: xr.Dataset) -> xr.DataArray:
    """Σ_{j≠i} P(j active | i active) (Ŵ_i·W_j)²: the interference that feature i meets when it is active.

    With Q_ij = Σ_c P(c) a_ci a_cj, P(j active | i active) is Q_ij / Q_i, where Q_i = Σ_c P(c) a_ci; it is p_j where
    features are independent. 0 for a feature that is never active.

    Parameters
    ----------
    dataset : Dataset
        A trajectory with W (..., hidden, feature) and its tables of context and activation.

    Returns
    -------
    DataArray (..., feature)
        Dimensionless.

    Raises
    ------
    UsageError
        If a dim is missing.
    """
    active, context = dataset["activation_probability"], dataset["context_probability"]
    require_dims(active, ("context", "feature"), what="activation_probability")
    other = with_other_feature(active.rename(feature="other_feature").drop_vars("subset", errors="ignore"), active)
    marginal = (context * active).sum("context")
    both = (context * active * other).sum("context")
    given = (both / marginal.where(marginal > 0, 1)).where(marginal > 0, 0)
    total = (given * _off_diagonal_projections(dataset["W"])).sum("other_feature", skipna=False)
    order = [dim for dim in dataset["W"].dims if dim not in ("hidden", "feature")]
    total = total.transpose(*order, "feature").astype(dataset["W"].dtype)
    return named(total, "probability_weighted_interference", "interference that an active feature meets")


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
    """
    require_dims(W, ("hidden", "feature"), what="W")
    labels = subset_labels(W)
    subsets = list(dict.fromkeys(labels))
    results = xr.apply_ufunc(
        _quadrants,
        W,
        kwargs={"codes": np.array([subsets.index(label) for label in labels]), "threshold": threshold},
        input_core_dims=[["hidden", "feature"]],
        output_core_dims=[["subset", "other_subset"]] * len(QUADRANT_STATISTICS),
        dask="parallelized",
        dask_gufunc_kwargs={
            "allow_rechunk": True,
            "output_sizes": {"subset": len(subsets), "other_subset": len(subsets)},
        },
        output_dtypes=[W.dtype] * len(QUADRANT_STATISTICS),
    )
    coords = {"subset": subsets, "other_subset": subsets}
    return xr.Dataset(
        {
            name: named(result.assign_coords(coords), name, long_name, threshold=threshold)
            for (name, long_name), result in zip(QUADRANT_STATISTICS.items(), results, strict=True)
        }
    )


def _off_diagonal_projections(W: xr.DataArray) -> xr.DataArray:
    """(Ŵ_i·W_j)² over (..., feature i, other_feature j), 0 on the diagonal and for a zero column i."""
    require_dims(W, ("hidden", "feature"), what="W")
    norms = (W**2).sum("hidden", skipna=False) ** 0.5
    unit = W / norms.where(norms != 0, 1)
    other = W.rename(feature="other_feature").drop_vars(["subset", "other_feature"], errors="ignore")
    projections = xr.dot(unit.drop_vars("feature", errors="ignore"), other, dim="hidden") ** 2
    off_diagonal = xr.DataArray(~np.eye(W.sizes["feature"], dtype=bool), dims=("feature", "other_feature"))
    labelled: xr.DataArray = projections.where(off_diagonal, 0)
    return labelled.assign_coords({"feature": W["feature"]} if "feature" in W.coords else {})


def _quadrants(W: Array, *, codes: np.ndarray, threshold: float) -> tuple[Array, ...]:
    """The statistics of QUADRANT_STATISTICS, each (..., subset, other_subset), from W (..., hidden, feature)."""
    # Side by side, a subset's features are a slice.
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    kernel = partial(_block_quadrants, counts=counts, threshold=threshold)
    sorted_W = W if (np.diff(order) == 1).all() else np.take(W, order, axis=-1)
    out = (len(QUADRANT_STATISTICS), len(counts), len(counts))
    return tuple(np.moveaxis(in_blocks(kernel, sorted_W, out, values=len(codes) ** 2), -3, 0))


def _block_quadrants(W: Array, out: Array, *, counts: np.ndarray, threshold: float) -> None:
    """Fill (model, statistic, subset, other_subset); NaN throughout for a model that is not finite."""
    # Models last: sums over features then add up rows of models, which are long where subsets are short.
    G = gram_kernel(W).transpose(1, 2, 0).copy()
    diagonal = np.arange(len(G))
    G[diagonal, diagonal] = 0
    slices = [slice(end - count, end) for end, count in zip(np.cumsum(counts), counts, strict=True)]

    def over_pairs(reduce: np.ufunc, entries: npt.NDArray[Any]) -> Array:
        """(subset, other_subset, model)"""
        entries = entries.astype(W.dtype, copy=False)
        by_subset = np.stack([reduce.reduce(entries[features], axis=0) for features in slices])
        return np.stack([reduce.reduce(by_subset[:, others], axis=1) for others in slices], axis=1)

    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = (counts[:, None] * counts - np.diag(counts))[..., None]
        most_negative = -max(threshold, 0)
        n_negative = over_pairs(np.add, most_negative > G)
        # In place, as what is left needs the sizes, and then their squares: new arrays cost more than their values.
        size = np.abs(G, out=G)
        n_interfering = over_pairs(np.add, size > threshold)
        total, largest = over_pairs(np.add, size), over_pairs(np.maximum, size)
        energy = over_pairs(np.add, np.square(size, out=size))
        statistics = [
            energy,
            np.sqrt(energy / pairs),
            total / pairs,
            np.where(pairs > 0, largest, np.nan),
            n_interfering / pairs,
            n_negative / n_interfering,
            energy / energy.sum(axis=(0, 1)),
        ]
    for number, statistic in enumerate(statistics):
        out[:, number] = np.moveaxis(statistic, -1, 0)
    out[~np.isfinite(energy).all(axis=(0, 1))] = np.nan
