"""The loss of trained models under their own regime and under others, on common samples."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup import activations
from toysup.analysis.gram import gram_kernel
from toysup.analysis.labels import named, require_dims
from toysup.errors import UsageError
from toysup.regimes import Regime
from toysup.sampling import feature_values, sample_words, thresholds
from toysup.trajectories import TABLES, condition_of, regime_of

Array = npt.NDArray[np.float32]

DEFAULT_SAMPLES = 20_000
# Models are compared on a random stream of its own: no training sample has this purpose.
EVALUATION = "evaluation"
EVALUATION_SEED = 0

# Values of the outputs of all models for a part of the samples: 1 MiB of float32.
_BLOCK_VALUES = 2**18


def losses(trained: xr.Dataset, under: xr.Dataset | None = None, *, n_samples: int = DEFAULT_SAMPLES) -> xr.DataArray:
    """The expected loss of each trained model, in its parts: P(c) I_i(c) E[(y_i − x_i)² | c].

    Sum over `context` and `feature` for the loss Σ_c P(c) Σ_i I_i(c) E[(y_i − x_i)² | c]. The context is summed over
    with its probabilities, the features are sampled; all models, contexts and regimes meet the same draws.

    Parameters
    ----------
    trained : Dataset
        Trajectories with W, b and their tables; any leading dims (sweep axes, seed, step).
    under : Dataset, optional
        The trajectories whose regime the models are evaluated under; their own if not given. Its sweep axes are those
        of `trained`, or none.
    n_samples : int
        Samples for each context.

    Returns
    -------
    DataArray (..., context, feature)
        Importance-weighted squared error per sample, float64; `context` is the regime's that is evaluated.

    Raises
    ------
    UsageError
        If the numbers of features differ, the sweeps do not match, W lacks a dim, or the models' activation is not
        known here.
    """
    require_dims(trained["W"], ("hidden", "feature"), what="W")
    under = trained if under is None else under
    if trained.sizes["feature"] != under.sizes["feature"]:
        raise UsageError(
            f"models with {trained.sizes['feature']} features cannot be evaluated under a regime with "
            f"{under.sizes['feature']}"
        )
    axes = _sweep_axes(under)
    if missing := [axis for axis in axes if axis not in trained.dims or not trained[axis].equals(under[axis])]:
        raise UsageError(f"the regime varies along {', '.join(missing)}, but the models do not; select one value first")
    stacked = trained[["W", "b"]].transpose(*axes, ..., "hidden", "feature")
    cells = np.ndindex(*(trained.sizes[axis] for axis in axes))
    parts = [_cell_losses(stacked, under, dict(zip(axes, cell, strict=True)), n_samples) for cell in cells]
    shape = [trained.sizes[axis] for axis in axes]
    first = parts[0]
    result = xr.DataArray(
        np.asarray([part.values for part in parts]).reshape(*shape, *first.shape), dims=(*axes, *first.dims)
    )
    result = result.transpose(*(dim for dim in trained["W"].dims if dim not in ("hidden", "feature")), ...)
    result = result.assign_coords(stacked.drop_vars("hidden", errors="ignore").coords)
    result = result.assign_coords(context=under["context"].values)
    return named(result, "loss", "importance-weighted squared error per sample", n_samples=n_samples)


def _sweep_axes(dataset: xr.Dataset) -> list[str]:
    dims = [str(dim) for name in TABLES for dim in dataset[name].dims if dim not in ("context", "feature")]
    return list(dict.fromkeys(dims))


def _cell_losses(models: xr.Dataset, under: xr.Dataset, cell: dict[str, int], n_samples: int) -> xr.DataArray:
    """(remaining leading dims..., context, feature) of one cell of the sweep."""
    regime = regime_of(under.isel(cell))
    W, b = models["W"].isel(cell), models["b"].isel(cell)
    leading = W.dims[:-2]
    b = b.transpose(*leading, "feature")
    flat = W.values.reshape(-1, *W.shape[-2:]), b.values.reshape(-1, b.shape[-1])
    errors = _squared_errors(*flat, regime, n_samples, condition_of(models).model.activation)
    parts = errors * (regime.context_probability[:, None] * regime.importance)
    return xr.DataArray(parts.reshape(*W.shape[:-2], *parts.shape[1:]), dims=(*leading, "context", "feature"))


def _squared_errors(W: Array, b: Array, regime: Regime, n_samples: int, activation: str) -> npt.NDArray[np.float64]:
    """E[(y_i − x_i)² | context] of each model: (model, context, feature)."""
    words = sample_words(EVALUATION_SEED, EVALUATION, np.arange(n_samples), len(regime.subset))
    table = thresholds(regime.activation_probability)
    errors = np.empty((len(W), *table.shape))
    for context, threshold in enumerate(table):
        same = next(c for c in range(context + 1) if (table[c] == threshold).all())
        if same < context:
            errors[:, context] = errors[:, same]
            continue
        errors[:, context] = _mean_squares(W, b, feature_values(words, threshold), activation)
    return errors


def _mean_squares(W: Array, b: Array, x: Array, activation: str) -> npt.NDArray[np.float64]:
    """mean over samples of (y_i − x_i)²: (model, feature), for x (sample, feature)."""
    models, _, n = W.shape
    total = np.zeros((models, n))
    # One product with the Gram matrices of all models side by side, for so many samples that it stays in cache.
    gram = gram_kernel(W).transpose(1, 0, 2).reshape(n, models * n)
    rows = max(1, _BLOCK_VALUES // (models * n))
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        y = (part @ gram).reshape(len(part), models, n)
        y += b
        y = _activated(y, activation)
        y -= part[:, None, :]
        np.square(y, out=y)
        total += y.sum(axis=0)
    return total / len(x)


def _activated(before: npt.NDArray[Any], activation: str) -> npt.NDArray[Any]:
    import torch

    with torch.no_grad():
        after: npt.NDArray[Any] = activations.activation(activation)(torch.from_numpy(before)).numpy()
    return after
