"""Trained models evaluated on common samples: sums of errors, by context and by batch of samples."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.statistics.arrays import FloatArray
from toysup.analysis.statistics.cells import regime_cells, regime_sizes
from toysup.analysis.statistics.forward_pass import Models
from toysup.analysis.statistics.labels import named
from toysup.errors import UsageError
from toysup.experiments.regime import Regime
from toysup.sampling.random_words import WORD_VALUES, words
from toysup.sampling.samples import draw, output_importance, sample_law, targets
from toysup.storage.schema import leading_dims

if TYPE_CHECKING:
    from torch import Tensor

Samples = npt.NDArray[np.float32]
"""x of several samples, (sample, feature); the dim is called row for a part of a batch."""
# A function of models, x (row, feature) and the index of a context: squared errors summed over rows, by kind, as
# (model, kind, output).
Errors = Callable[[Models, Samples, int], "Tensor"]

DEFAULT_SAMPLES = 2**14
BATCHES = 16
# Evaluation has a random stream of its own. No training run may have this seed.
EVALUATION_SEED = 2**62
# How many values of the largest layer are computed at once, over models and samples: 1 MiB of float32.
_BLOCK_VALUES = 2**18


def evaluated(
    trained: xr.Dataset,
    under: xr.Dataset | None,
    errors: Errors,
    *,
    kinds: tuple[str, Sequence[str]] | None = None,
    n_samples: int,
    by_batch: bool,
) -> xr.DataArray:
    """P(c) I_i(c) E[error | c] with the dims (..., [batch], [kind], context, feature); `errors` sums over samples.

    `kinds` is the name of the kind dim and its labels; without `kinds` the errors have a single kind and no such dim.
    See `expected_loss` for the other parameters.
    """
    under = trained if under is None else under
    _refuse_other_inputs(trained, under)
    if n_samples < 1 or (by_batch and n_samples % BATCHES):
        multiple = f"a positive multiple of {BATCHES}" if by_batch else "at least 1"
        raise UsageError(f"n_samples must be {multiple}, got {n_samples}")
    axes = regime_sizes(under)
    if missing := [axis for axis in axes if axis not in trained.dims or not trained[axis].equals(under[axis])]:
        raise UsageError(f"the regime varies along {', '.join(missing)}, but the models do not; select one value first")
    leading = leading_dims(trained)
    rest = [dim for dim in leading if dim not in axes]
    dim, labels = kinds or ("kind", [""])
    cells = []
    for at, regime in regime_cells(under):
        models = Models(trained.isel(at), regime, rest, np.float32)
        sums = _sums(models, regime, errors, len(labels), n_samples)
        if not by_batch:
            sums = sums.mean(axis=1, keepdims=True)
        weighted = output_importance(regime.target, regime.importance) * sums
        # For the target z, outputs are ordered by context, then feature. Their losses count for the feature.
        cells.append(weighted.reshape(*weighted.shape[:-1], -1, len(regime.subset)).sum(axis=-2))
    shape = [*axes.values(), *(trained.sizes[dim] for dim in rest), *cells[0].shape[1:]]
    result = xr.DataArray(np.asarray(cells).reshape(shape), dims=(*axes, *rest, "batch", dim, "context", "feature"))
    result = result.transpose(*leading, ...)
    kept = {name: coord for name, coord in trained.coords.items() if set(coord.dims) <= {*leading, "feature"}}
    result = result.assign_coords(kept | {"context": under["context"].values})
    result = result.assign_coords({dim: list(labels)}) if kinds else result.isel({dim: 0})
    result = result if by_batch else result.isel(batch=0)
    return named(result, "loss", "importance-weighted squared error per sample", n_samples=n_samples)


def squared_error(models: Models, outputs: "Tensor", x: Samples, context: int) -> "Tensor":
    """(y − t)² for the outputs y (model, row, output) of x (row, feature); overwrites `outputs`."""
    import torch

    regime = models.regime
    index = torch.full((len(x),), context)
    return outputs.sub_(targets(regime.target, torch.from_numpy(x), index, len(regime.contexts), torch)).square_()


def common_samples(regime: Regime, n_samples: int, context: int | None = None) -> tuple[Samples, npt.NDArray[np.int64]]:
    """The samples on which all models are evaluated: x (sample, feature) and the context (sample,), batch by batch.

    Each batch is a Sobol' sequence with its own random digital shift. Every sample has the law of the regime, and the
    batches are independent. Together the samples of a batch fill the space more evenly than independent samples, so
    sums over a batch vary less.
    """
    law = sample_law([regime], [EVALUATION_SEED])
    evenly_spread = _evenly_spread(n_samples, len(regime.subset))[None]
    x, contexts = draw(law, np.arange(n_samples)[None, :], np, context=context, feature_words=evenly_spread)
    return x[0], contexts[0]


def batch_of(n_samples: int) -> npt.NDArray[np.int64]:
    """The index of the batch of each sample: (sample,)."""
    return np.arange(n_samples) // -(-n_samples // BATCHES)


def _evenly_spread(n_samples: int, n_features: int) -> npt.NDArray[np.int64]:
    """Words (sample, feature) of Sobol' sequences; XOR with a uniform word keeps them even and makes each uniform."""
    # scipy.stats takes as long to import as all the other parts of SciPy that toysup uses.
    from scipy.stats import qmc

    size = -(-n_samples // BATCHES)
    sequence = qmc.Sobol(n_features, scramble=False, bits=32).random_base2((size - 1).bit_length())[:size]
    shifts = words(EVALUATION_SEED, "shift", BATCHES * n_features).reshape(BATCHES, 1, n_features)
    shifted = (sequence * WORD_VALUES).astype(np.int64) ^ shifts
    return shifted.reshape(-1, n_features)[:n_samples]


def _sums(models: Models, regime: Regime, errors: Errors, n_kinds: int, n_samples: int) -> FloatArray:
    """E[1{c} error] of each model, by batch: (model, batch, kind, context, output)."""
    from toysup.engines.torch_engine.threads import one_thread_each

    sums = np.zeros((len(models), BATCHES, n_kinds, len(regime.contexts), regime.n_outputs))
    width = max(regime.n_outputs, len(regime.subset))
    # The number of rows must not depend on the number of models: then neither does the rounding of a model's sums.
    rows = max(1, min(-(-n_samples // BATCHES), _BLOCK_VALUES // width))
    parts = list(models.parts(max(2, _BLOCK_VALUES // (rows * width))))
    with one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
        for c, batches in _samples(regime, n_samples):
            totals = partial(_totals, errors=errors, context=c, batches=batches, rows=rows)
            sums[:, :, :, c] = np.concatenate(list(pool.map(totals, parts)))[: len(models)]
    # If the last batch has fewer samples, the mean over batches still weights each sample equally.
    sums *= BATCHES / n_samples
    if regime.rule is not None:
        return sums
    return regime.context_probability[:, None] * sums[:, :, :, _evaluated_as(regime)]


def _totals(models: Models, *, errors: Errors, context: int, batches: Sequence[Samples], rows: int) -> FloatArray:
    """Sums over the samples of each batch, `rows` samples at a time: (model, batch, kind, output)."""
    sums = [sum(errors(models, x, context).double().numpy() for x in _parts(batch, rows)) for batch in batches]
    return np.stack(sums, axis=1)


def _samples(regime: Regime, n_samples: int) -> Iterator[tuple[int, list[Samples]]]:
    """The index of each context in which models are evaluated, and its samples by batch."""
    batch = batch_of(n_samples)
    if regime.rule is not None:
        x, context = common_samples(regime, n_samples)
        for c in range(len(regime.contexts)):
            yield c, [x[(batch == b) & (context == c)] for b in range(BATCHES)]
        return
    for c in sorted(set(_evaluated_as(regime))):
        x, _ = common_samples(regime, n_samples, c)
        yield c, [x[batch == b] for b in range(BATCHES)]


def _evaluated_as(regime: Regime) -> list[int]:
    """For each context, the first context in which every model has the same errors."""
    probability, n_contexts = regime.activation_probability, len(regime.contexts)
    if regime.context_inputs or regime.target == "z":
        return list(range(n_contexts))
    return [next(k for k in range(n_contexts) if (probability[k] == probability[c]).all()) for c in range(n_contexts)]


def _parts(x: Samples, rows: int) -> Iterator[Samples]:
    """The samples in parts of at most `rows`; without samples, one empty part."""
    for start in range(0, max(1, len(x)), rows):
        yield x[start : start + rows]


def comparable(trained: xr.Dataset, under: xr.Dataset) -> bool:
    """Whether the regime of `under` has the same inputs and outputs as the regime that `trained` was trained under."""
    return _inputs(trained) == _inputs(under)


def _inputs(dataset: xr.Dataset) -> tuple[Any, ...]:
    context_inputs = tuple(dataset["context_input"].values) if "context_input" in dataset.coords else ()
    attrs = (dataset.attrs.get("values", "uniform"), dataset.attrs.get("target", "x"))
    contexts = tuple(dataset["context"].values) if context_inputs or attrs[1] == "z" else ()
    return dataset.sizes["feature"], context_inputs, contexts, *attrs


def _refuse_other_inputs(trained: xr.Dataset, under: xr.Dataset) -> None:
    names = ("numbers of features", "inputs of the context", "contexts", "laws of values", "targets")
    for name, one, other in zip(names, _inputs(trained), _inputs(under), strict=True):
        if one != other:
            raise UsageError(f"models cannot be evaluated under a regime with different {name}: {one} and {other}")
