"""The losses of trained models: exact for samples with few active features, from common samples for the others."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.loss.active_counts import independent
from toysup.analysis.loss.characteristic import ROWS, Law, Rows, errors_by_active, expected_errors
from toysup.analysis.loss.linear_models import affine_map, is_affine, is_linear, linear_losses
from toysup.analysis.loss.moments import exact_moments
from toysup.analysis.loss.samples import (
    BATCHES,
    NODES,
    CommonSamples,
    Points,
    batch_sizes,
    evaluated_as,
    sampled_from,
    single_points,
    zero_point,
)
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.analysis.statistics.cells import regime_cells, regime_sizes
from toysup.analysis.statistics.forward_pass import Models
from toysup.analysis.statistics.labels import named
from toysup.errors import UsageError
from toysup.experiments.numpy_activations import FUNCTIONS
from toysup.experiments.regime import Regime
from toysup.sampling.samples import output_importance, targets
from toysup.storage.schema import leading_dims

FEWEST_SAMPLES, MOST_SAMPLES = 2**13, 2**17
# Samples are doubled until the standard error of a model's loss is at most this part of the loss, or this part of what
# predicting 0 loses.
ACCURACY, NEGLIGIBLE = 0.005, 1e-6
# How many values of the largest layer are computed at once, over models and points: 1 MiB of float32.
_BLOCK_VALUES = 2**18
# The time of the exact losses grows with the square of the number of features; beyond this, samples are faster.
MOST_EXACT = 200


class Predictor(NamedTuple):
    """What is evaluated of a model: one output or several, of which the last is the model's own.

    `outputs(models, x, context)` gives them as arrays (model, row, output). For models y = φ(A x + a), `maps(A, a)`
    gives the A (model, output, feature) and a (model, output) that have these outputs.
    """

    outputs: Callable[[Models, AnyArray, int], Sequence[AnyArray]]
    maps: Callable[[FloatArray, FloatArray], Sequence[tuple[FloatArray, FloatArray]]]


WHOLE = Predictor(lambda models, x, context: [models.outputs(x, context)], lambda A, a: [(A, a)])


class _Slots(NamedTuple):
    """The entries that errors are summed into: a number of active features, a predictor, a context and an output."""

    active: int
    kinds: int
    contexts: int
    outputs: int


def evaluated(
    trained: xr.Dataset,
    under: xr.Dataset | None,
    predictor: Predictor = WHOLE,
    *,
    kinds: tuple[str, Sequence[str]] | None = None,
    active: Sequence[str] | None = None,
    n_samples: int | None,
    by_batch: bool,
) -> xr.DataArray:
    """P(c) I_i(c) E[error | c] with the dims (..., [batch], [active], [kind], context, feature).

    `kinds` is the name of the kind dim and its labels, one for each output of the predictor. `active` are labels of
    numbers of active features, the last of which stands for that number and more. See `expected_loss` for the other
    parameters.
    """
    under = trained if under is None else under
    _refuse_other_inputs(trained, under)
    if n_samples is not None and (n_samples < 1 or (by_batch and n_samples % BATCHES)):
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
        models = Models(trained.isel(at), regime, rest, np.float64)
        if is_linear(models.spec) and not active and not kinds and regime.rule is None:
            exact = linear_losses(models, exact_moments(under.isel(at), regime))
            losses = (output_importance(regime.target, regime.importance) * exact)[:, None, None, None]
        else:
            losses = _losses(models, predictor, (len(active or [""]), len(labels)), n_samples)
        losses = np.broadcast_to(losses, (len(models), BATCHES, *losses.shape[2:]))
        losses = losses if by_batch else losses.mean(axis=1, keepdims=True)
        # For the target z, outputs are ordered by context, then feature. Their losses count for the feature.
        cells.append(losses.reshape(*losses.shape[:-1], -1, len(regime.subset)).sum(axis=-2))
    shape = [*axes.values(), *(trained.sizes[dim] for dim in rest), *cells[0].shape[1:]]
    dims = (*axes, *rest, "batch", "active", dim, "context", "feature")
    result = xr.DataArray(np.asarray(cells).reshape(shape), dims=dims).transpose(*leading, ...)
    kept = {name: coord for name, coord in trained.coords.items() if set(coord.dims) <= {*leading, "feature"}}
    result = result.assign_coords(kept | {"context": under["context"].values})
    result = result.assign_coords({dim: list(labels)}) if kinds else result.isel({dim: 0})
    result = result.assign_coords(active=list(active)) if active else result.isel(active=0)
    result = result if by_batch else result.isel(batch=0)
    loss = named(result, "loss", "importance-weighted squared error per sample", within=(0, np.inf))
    return loss if n_samples is None else loss.assign_attrs(n_samples=n_samples)


def _losses(models: Models, predictor: Predictor, sizes: tuple[int, int], n_samples: int | None) -> FloatArray:
    """P(c) I_i(c) E[error | c] of the models under their regime: (model, batch, active, kind, context, output).

    If the losses are exact, there is only one batch.
    """
    regime = models.regime
    slots = _Slots(*sizes, len(regime.contexts), regime.n_outputs)
    importance = output_importance(regime.target, regime.importance)
    with _workers(models) as pool:
        if _has_exact_losses(models):
            exact = _exact_losses(models, predictor, slots, pool)
            weighted: FloatArray = importance * regime.context_probability[:, None] * exact
            return weighted[:, None]
        return _Sampled(models.single(), predictor, slots).losses(importance, n_samples, pool)


def _has_exact_losses(models: Models) -> bool:
    regime, spec = models.regime, models.spec
    few = independent(regime) and len(regime.subset) <= MOST_EXACT
    return few and regime.rule is None and is_affine(spec) and spec.activation in FUNCTIONS


def _exact_losses(models: Models, predictor: Predictor, slots: _Slots, pool: Executor) -> FloatArray:
    """E[error | c] of models y = φ(A x + a): (model, active, kind, context, output)."""
    regime, n = models.regime, len(models.regime.subset)
    total = np.zeros((len(models), *slots))
    output = np.arange(slots.outputs)
    seen_as = evaluated_as(regime)
    for c in sorted(set(seen_as)):
        law = Law(regime.activation_probability[c], *regime.value_range, regime.target == "abs")
        wanted = (output // n == c) if regime.target == "z" else np.ones(slots.outputs)
        with np.errstate(all="ignore"):
            maps = predictor.maps(*affine_map(models, c))
        for kind, (A, a) in enumerate(maps):
            own, is_wanted = (np.tile(each, len(A)) for each in (output % n, wanted * 1.0))
            errors = _of_rows(Rows(A.reshape(-1, n), a.ravel(), own, is_wanted), law, models, slots.active, pool)
            by_output = errors.reshape(slots.active, len(models), slots.outputs).swapaxes(0, 1)
            total[:, :, kind, [k for k, same in enumerate(seen_as) if same == c]] = by_output[:, :, None]
    return total


def _of_rows(rows: Rows, law: Law, models: Models, n_active: int, pool: Executor) -> FloatArray:
    """E[error 1{k active}] of each row, some rows at a time: (active, row)."""

    def some(start: int) -> FloatArray:
        part = Rows(*(each[start : start + ROWS] for each in rows))
        # A warning about weights that are not finite would tell the user nothing more than their losses do.
        with np.errstate(all="ignore"):
            if n_active == 1:
                return expected_errors(part, law, models.spec.activation)[None]
            return errors_by_active(part, law, models.spec.activation, n_active - 1)

    return np.concatenate(list(pool.map(some, range(0, len(rows.a), ROWS))), axis=1)


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


class _Sampled:
    """Models under one regime: the exact part of their losses, and sums over samples of the other part.

    E[L | c] = Σ_k P(k active | c) E[L | c, k active]. Terms with fewer than `least` active features are exact.
    """

    def __init__(self, models: Models, predictor: Predictor, slots: _Slots) -> None:
        self.models, self.predictor, self.slots = models, predictor, slots
        self.regime = models.regime
        self.seen_as = [0] * slots.contexts if self.regime.rule is not None else evaluated_as(self.regime)
        # In a context that follows from x, a sample with an active feature may lie in either context.
        nodes = len(self.regime.subset) * NODES
        most = 2 if self.regime.rule is None and nodes <= FEWEST_SAMPLES else 1
        self.least = {c: sampled_from(self.regime, c, most) for c in sorted(set(self.seen_as))}

    def losses(self, importance: FloatArray, n_samples: int | None, pool: Executor) -> FloatArray:
        """(model, batch, active, kind, context, output), doubling the samples of each model until it is accurate."""
        with np.errstate(all="ignore"):
            exact = self._exact(pool)[:, None]
        sampling = {c: CommonSamples(self.regime, c, least) for c, least in self.least.items()}
        sums = np.zeros((len(self.models), BATCHES, *self.slots))
        counts = np.zeros(len(self.models))
        probability = 1.0 if self.regime.rule is not None else self.regime.context_probability[:, None]
        share = np.array([sampling[c].share for c in self.seen_as])[:, None]

        def weighted(members: AnyArray) -> FloatArray:
            # If the last batches have fewer samples, the mean over batches still weights each sample equally.
            mean = sums[members] * (BATCHES / np.maximum(counts[members], 1))[:, None, None, None, None, None]
            return importance * probability * (exact[members] + share * mean)

        members = np.arange(len(self.models))
        if not share.any():
            return weighted(members)
        floor = NEGLIGIBLE * _zero_loss(self.regime, importance)
        start, stop = 0, FEWEST_SAMPLES if n_samples is None else n_samples
        while len(members):
            self._add(sampling, members, (start, stop), sums, counts, pool)
            start, stop = stop, 2 * stop
            if n_samples is not None or start >= MOST_SAMPLES:
                break
            with np.errstate(all="ignore"):
                batches = weighted(members)[:, :, :, -1].sum(axis=(2, 3, 4))
                error, loss = batches.std(axis=1, ddof=1) / BATCHES**0.5, batches.mean(axis=1)
                members = members[error > np.maximum(ACCURACY * loss, floor)]
        return weighted(np.arange(len(self.models)))

    def _add(
        self,
        sampling: dict[int, CommonSamples],
        members: AnyArray,
        between: tuple[int, int],
        sums: FloatArray,
        counts: FloatArray,
        pool: Executor,
    ) -> None:
        """Add the samples from the first to the second of these numbers, of all batches, to the sums of members."""
        models = self.models.some(members)
        counts[members] += between[1] - between[0]
        for number, (first, last) in enumerate(zip(*map(batch_sizes, between), strict=True)):
            if last == first:
                continue
            for c, samples in sampling.items():
                if samples.share == 0:
                    continue
                at = [k for k, same in enumerate(self.seen_as) if same == c]
                for points in samples.batch(number, first, last):
                    found = self._at_points(models, points, c, pool)
                    sums[members[:, None], number, :, :, at] += np.moveaxis(found, 3, 1)

    def _at_points(self, models: Models, points: Points, context: int, pool: Executor) -> FloatArray:
        """Weighted sums of squared errors: (model, active, kind, context, output).

        The context axis has length 1 unless the context follows from x.
        """
        slot = np.minimum(points.active, self.slots.active - 1) == np.arange(self.slots.active)[:, None]
        groups = (slot[:, None] * points.weight).reshape(-1, len(points.x))
        width = max(self.slots.outputs, len(self.regime.subset))
        # The number of rows must not depend on the number of models: then neither does the rounding of their sums.
        rows = max(1, min(len(points.x), _BLOCK_VALUES // width))
        parts = list(models.parts(max(2, _BLOCK_VALUES // (rows * width))))
        total = partial(self._total, x=points.x, groups=groups, context=context, rows=rows)
        sums = np.concatenate(list(pool.map(total, parts)))[: len(models)]
        return np.moveaxis(sums.reshape(len(models), self.slots.kinds, self.slots.active, -1, self.slots.outputs), 1, 2)

    def _total(self, models: Models, *, x: AnyArray, groups: FloatArray, context: int, rows: int) -> FloatArray:
        """(model, kind, group, output): errors summed over the points of each group, with their weights."""
        total = np.zeros((len(models), self.slots.kinds, len(groups), self.slots.outputs))
        n_contexts = len(self.regime.contexts)
        with np.errstate(all="ignore"):
            for start in range(0, len(x), rows):
                some, weights = x[start : start + rows], groups[:, start : start + rows].astype(np.float32)
                target = targets(self.regime.target, some, np.full(len(some), context), n_contexts, np)
                for kind, output in enumerate(self.predictor.outputs(models, some, context)):
                    error = output - target
                    total[:, kind] += weights @ np.square(error, out=error)
        return total

    def _exact(self, pool: Executor) -> FloatArray:
        """The part of E[error | c] with fewer than `least` active features: (model, active, kind, context, output)."""
        total = np.zeros((len(self.models), *self.slots))
        for c, least in self.least.items():
            at = [k for k, same in enumerate(self.seen_as) if same == c]
            for points_of in (zero_point, single_points)[:least]:
                total[:, :, :, at] += self._at_points(self.models, points_of(self.regime, c), c, pool)
        return total


def _zero_loss(regime: Regime, importance: FloatArray) -> float:
    """About what predicting 0 loses: Σ P(c) I_i(c) p_i(c), times the mean square of a value."""
    _, square = regime.value_moments
    per_context = regime.activation_probability * importance.reshape(len(importance), -1, len(regime.subset)).max(
        axis=1
    )
    return float(square * (regime.context_probability @ per_context.sum(axis=1)))


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
