"""The losses of trained models under one regime or several: exact ones, and those from samples."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr

from toysup.analysis.loss.exact_losses import exact_errors, has_exact_losses
from toysup.analysis.loss.linear_models import is_linear, linear_losses
from toysup.analysis.loss.moments import exact_moments
from toysup.analysis.loss.predictors import WHOLE, Cell, Predictor, Slots
from toysup.analysis.loss.sampled_losses import SampledLosses, law_of_samples
from toysup.analysis.loss.samples import BATCHES
from toysup.analysis.statistics.arrays import FloatArray
from toysup.analysis.statistics.cells import regime_cells, regime_sizes
from toysup.analysis.statistics.forward_pass import Models
from toysup.analysis.statistics.labels import named
from toysup.errors import UsageError
from toysup.sampling.samples import output_importance
from toysup.storage.schema import leading_dims


def evaluated(
    trained: xr.Dataset,
    unders: Sequence[xr.Dataset],
    predictor: Predictor = WHOLE,
    *,
    kinds: tuple[str, Sequence[str]] | None = None,
    active: Sequence[str] | None = None,
    n_samples: int | None,
    by_batch: bool,
) -> Iterator[xr.DataArray]:
    """P(c) I_i(c) E[error | c] under each of the regimes `unders`.

    The dims are (..., [batch], [active], [kind], context, feature). `kinds` is the name of the kind dim and its labels,
    one for each output of the predictor. `active` are labels of numbers of active features, the last of which stands
    for that number and more. See `expected_loss` for the other parameters.
    """
    if n_samples is not None and (n_samples < 1 or (by_batch and n_samples % BATCHES)):
        multiple = f"a positive multiple of {BATCHES}" if by_batch else "at least 1"
        raise UsageError(f"n_samples must be {multiple}, got {n_samples}")
    cells = [_cells(trained, under) for under in unders]
    dim, labels = kinds or ("kind", [""])
    leading = leading_dims(trained)
    kept = {name: coord for name, coord in trained.coords.items() if set(coord.dims) <= {*leading, "feature"}}
    every = _losses(trained, unders, cells, predictor, (len(active or [""]), len(labels)), n_samples)
    for under, losses in zip(unders, every, strict=True):
        # For the target z, outputs are ordered by context, then feature. Their losses count for the feature.
        losses = losses.reshape(*losses.shape[:-1], -1, under.sizes["feature"]).sum(axis=-2)
        losses = losses if by_batch else losses.mean(axis=1, keepdims=True)
        losses = np.array(np.broadcast_to(losses, (len(losses), BATCHES if by_batch else 1, *losses.shape[2:])))
        own = {"batch": by_batch, "active": active, dim: kinds, "context": True, "feature": True}
        sizes = [size for size, is_dim in zip(losses.shape[1:], own.values(), strict=True) if is_dim]
        losses = losses.reshape(*(trained.sizes[name] for name in leading), *sizes)
        labelled = kept | {"context": under["context"].values}
        labelled |= ({"active": list(active)} if active else {}) | ({dim: list(labels)} if kinds else {})
        result = xr.DataArray(losses, labelled, (*leading, *(name for name, is_dim in own.items() if is_dim)))
        attrs = {} if n_samples is None else {"n_samples": n_samples}
        yield named(result, "loss", "importance-weighted squared error per sample", within=(0, np.inf), **attrs)


def _cells(trained: xr.Dataset, under: xr.Dataset) -> list[Cell]:
    """Which models are evaluated under which regime."""
    _refuse_other_inputs(trained, under)
    axes = regime_sizes(under)
    if missing := [
        axis
        for axis in axes
        if axis not in trained.dims or not np.array_equal(trained[axis].values, under[axis].values)
    ]:
        raise UsageError(f"the regime varies along {', '.join(missing)}, but the models do not; select one value first")
    leading = leading_dims(trained)
    sizes = [trained.sizes[dim] for dim in leading]
    members = np.arange(np.prod(sizes, dtype=int)).reshape(sizes)
    return [
        Cell(at, members[tuple(at.get(dim, slice(None)) for dim in leading)].ravel(), regime)
        for at, regime in regime_cells(under)
    ]


def _losses(
    trained: xr.Dataset,
    unders: Sequence[xr.Dataset],
    cells: Sequence[Sequence[Cell]],
    predictor: Predictor,
    sizes: tuple[int, int],
    n_samples: int | None,
) -> Iterator[FloatArray]:
    """P(c) I_i(c) E[error | c] under each of the regimes: (model, batch, active, kind, context, output).

    Where losses are exact, there is only one batch.
    """
    models = Models(trained, cells[0][0].regime, leading_dims(trained), np.float64)
    linear = [is_linear(models.spec) and sizes == (1, 1) and own[0].regime.rule is None for own in cells]
    exact = [has_exact_losses(models.spec, own[0].regime) for own in cells]
    exactly = [own for own, *how in zip(cells, linear, exact, strict=True) if how == [False, True]]
    sampled: dict[tuple[object, ...], SampledLosses] = {}
    uses = Counter(
        law_of_samples(cell) for own, is_exact in zip(cells, exact, strict=True) if not is_exact for cell in own
    )
    with _workers(models) as pool:
        errors = iter(exact_errors(models, exactly, predictor, sizes, pool) if exactly else ())
        for under, own, is_line, is_exact in zip(unders, cells, linear, exact, strict=True):
            known = next(errors) if is_exact and not is_line else None
            parts = []
            for cell in own:
                importance = output_importance(cell.regime.target, cell.regime.importance)
                if known is not None:
                    share = cell.regime.context_probability[:, None]
                    parts.append((importance * share * known[cell.members])[:, None])
                elif is_line:
                    line = linear_losses(
                        models.under(cell.members, cell.regime), exact_moments(under.isel(cell.at), cell.regime)
                    )
                    parts.append((importance * line)[:, None, None, None])
                else:
                    slots = Slots(*sizes, len(cell.regime.contexts), cell.regime.n_outputs)
                    law = law_of_samples(cell)
                    if law not in sampled:
                        some = models.under(cell.members, cell.regime).single()
                        sampled[law] = SampledLosses(some, predictor, slots, pool)
                    parts.append(sampled[law].losses(cell.regime, n_samples))
                    uses[law] -= 1
                    if not uses[law]:
                        del sampled[law]
            # The models, in the order of their cells, are put back in their own order.
            order = np.argsort(np.concatenate([cell.members for cell in own]))
            yield np.concatenate(parts)[order]


@contextmanager
def _workers(models: Models) -> Iterator[Executor]:
    """A pool of threads, in which torch, if models run in it, uses one thread per operation."""
    if not models.in_torch:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield pool
        return
    from toysup.engines.torch_engine.threads import one_thread_each

    with one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
        yield pool


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
