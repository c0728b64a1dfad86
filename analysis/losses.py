"""The loss of trained models under their own regime and under others, on common samples."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.forward import Models
from toysup.analysis.labels import named
from toysup.errors import UsageError
from toysup.regimes import Regime
from toysup.sampling import draw, output_importance, sample_law, targets
from toysup.trajectories import regime_axes, regime_of

Array = npt.NDArray[np.float64]

DEFAULT_SAMPLES = 20_000
# Models are compared on a random stream of its own: no run may have this seed.
EVALUATION_SEED = 2**62
# Values of the largest layer of all models for a part of the samples: 1 MiB of float32.
_BLOCK_VALUES = 2**18


def losses(trained: xr.Dataset, under: xr.Dataset | None = None, *, n_samples: int = DEFAULT_SAMPLES) -> xr.DataArray:
    """The expected loss of each trained model, in its parts: P(c) I_i(c) E[(y_i − t_i)² | c], with the target t.

    Sum over `context` and `feature` for the loss Σ_c P(c) Σ_i I_i(c) E[(y_i − t_i)² | c]. A context that is independent
    of x is summed over with its probabilities; one that follows from x comes with the samples. All models, contexts
    and regimes meet the same draws. Outputs of the target z count for the feature that they are about.

    Parameters
    ----------
    trained : Dataset
        Trajectories with their parameters and tables; any leading dims (sweep axes, seed, step).
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
        If the regime shows the models other inputs or asks for other outputs, or the sweeps do not match.
    """
    under = trained if under is None else under
    _refuse_other_inputs(trained, under)
    axes = regime_axes(under)
    if missing := [axis for axis in axes if axis not in trained.dims or not trained[axis].equals(under[axis])]:
        raise UsageError(f"the regime varies along {', '.join(missing)}, but the models do not; select one value first")
    leading = [str(dim) for dim in trained["train_loss"].dims]
    rest = [dim for dim in leading if dim not in axes]
    sizes = [trained.sizes[axis] for axis in axes]
    parts = []
    for cell in np.ndindex(*sizes):
        at = dict(zip(axes, cell, strict=True))
        regime = regime_of(under.isel(at))
        models = Models(trained.isel(at), regime, rest, np.float32)
        weights = output_importance(regime.target, regime.importance)
        weighted = weights * _squared_errors(models, regime, n_samples)
        # z has an output for each context and feature; features run fastest.
        parts.append(weighted.reshape(*weighted.shape[:2], -1, len(regime.subset)).sum(axis=2))
    shape = [*sizes, *(trained.sizes[dim] for dim in rest), *parts[0].shape[1:]]
    result = xr.DataArray(np.asarray(parts).reshape(shape), dims=(*axes, *rest, "context", "feature"))
    result = result.transpose(*leading, ...)
    kept = {name: coord for name, coord in trained.coords.items() if set(coord.dims) <= {*leading, "feature"}}
    result = result.assign_coords(kept | {"context": under["context"].values})
    return named(result, "loss", "importance-weighted squared error per sample", n_samples=n_samples)


def comparable(trained: xr.Dataset, under: xr.Dataset) -> bool:
    """Whether the regime of `under` gives its models the inputs, and asks for the outputs, that `trained` knows."""
    return _inputs(trained) == _inputs(under)


def _inputs(dataset: xr.Dataset) -> tuple[object, ...]:
    shown = tuple(dataset["context_input"].values) if "context_input" in dataset.coords else ()
    attrs = (dataset.attrs.get("values", "uniform"), dataset.attrs.get("target", "x"))
    contexts = tuple(dataset["context"].values) if shown or attrs[1] == "z" else ()
    return dataset.sizes["feature"], shown, contexts, *attrs


def _refuse_other_inputs(trained: xr.Dataset, under: xr.Dataset) -> None:
    names = ("numbers of features", "inputs of the context", "contexts", "laws of values", "targets")
    for name, one, other in zip(names, _inputs(trained), _inputs(under), strict=True):
        if one != other:
            raise UsageError(f"models cannot be evaluated under a regime with other {name} ({one} and {other})")


def _squared_errors(models: Models, regime: Regime, n_samples: int) -> Array:
    """E[1{c} (y − t)²] of each model: (model, context, output)."""
    law = sample_law([regime], [EVALUATION_SEED])
    samples = np.arange(n_samples)[None, :]
    errors = np.zeros((len(models), len(regime.contexts), regime.n_outputs))
    if regime.rule is not None:
        x, context = (values[0] for values in draw(law, samples, np))
        for c in range(len(regime.contexts)):
            own = context == c
            errors[:, c] = _sum_of_squares(models, regime, x[own], c)
        return errors / n_samples
    for c in range(len(regime.contexts)):
        same = next(k for k in range(c + 1) if (law.threshold[0, k] == law.threshold[0, c]).all())
        if same < c and not regime.context_inputs and regime.target != "z":
            errors[:, c] = errors[:, same]
            continue
        x, _ = draw(law, samples, np, context=c)
        errors[:, c] = _sum_of_squares(models, regime, x[0], c) / n_samples
    return regime.context_probability[:, None] * errors


def _sum_of_squares(models: Models, regime: Regime, x: npt.NDArray[np.float32], context: int) -> Array:
    """Σ over samples of (y − t)²: (model, output), for x (sample, feature)."""
    import torch

    total = torch.zeros((len(models), regime.n_outputs), dtype=torch.float64)
    for part in _blocks(x, _BLOCK_VALUES // (len(models) * max(regime.n_outputs, len(regime.subset)))):
        index = torch.full(part.shape[:1], context)
        target = targets(regime.target, torch.from_numpy(part), index, len(regime.contexts), torch)
        error = models.outputs(part, context) - target
        total += error.square_().sum(dim=1)
    return total.numpy()


def _blocks(x: npt.NDArray[np.float32], rows: int) -> Iterator[npt.NDArray[np.float32]]:
    rows = max(1, rows)
    for start in range(0, len(x), rows):
        yield x[start : start + rows]
