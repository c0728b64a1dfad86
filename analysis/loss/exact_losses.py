"""Exact losses of models y = φ(A x + a) under several regimes: every model once for each law of features."""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from toysup.analysis.loss.active_counts import independent
from toysup.analysis.loss.characteristic import ROWS, Laws, Rows, errors_by_active
from toysup.analysis.loss.linear_models import affine_map, is_affine
from toysup.analysis.loss.predictors import Cell, Predictor, Slots
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.analysis.statistics.forward_pass import Models
from toysup.experiments.model import ModelSpec
from toysup.experiments.numpy_activations import FUNCTIONS
from toysup.experiments.regime import Regime

# The time of the exact losses grows with the square of the number of features; beyond this, samples are faster.
MOST_EXACT = 200
# How many entries of A are held at once: 16 MiB.
_HELD = 2**21
# How many rows a thread computes in one go.
_PORTION = 4 * ROWS


def has_exact_losses(spec: ModelSpec, regime: Regime) -> bool:
    few = independent(regime) and len(regime.subset) <= MOST_EXACT
    return few and regime.rule is None and is_affine(spec) and spec.activation in FUNCTIONS


class _Pairs(NamedTuple):
    """Models, the contexts that they see, and the laws that they are evaluated under; each (pair,)."""

    model: AnyArray
    seen: AnyArray
    law: AnyArray

    def some(self, places: AnyArray) -> "_Pairs":
        return _Pairs(*(each[places] for each in self))


def exact_errors(
    models: Models, unders: Sequence[Sequence[Cell]], predictor: Predictor, sizes: tuple[int, int], pool: Executor
) -> list[FloatArray]:
    """E[error | c] of all models under each of the regimes: (model, active, kind, context, output)."""
    laws, tables = _laws_of(len(models), unders)
    first = unders[0][0].regime
    # A model has the same outputs in all contexts, unless it sees its context or its outputs are about contexts.
    contexts = len(first.contexts) if first.context_inputs or first.target == "z" else 1
    codes = [
        (np.arange(len(models))[:, None] * contexts + np.arange(table.shape[1]) % contexts) * len(laws.probability)
        + table
        for table in tables
    ]
    unique, place = np.unique(np.concatenate([code.ravel() for code in codes]), return_inverse=True)
    model_and_context, law = np.divmod(unique, len(laws.probability))
    pairs = _Pairs(*np.divmod(model_and_context, contexts), law)
    errors = _of_pairs(models, pairs, laws, predictor, Slots(*sizes, contexts, first.n_outputs), pool)
    found, start = [], 0
    for code in codes:
        own = errors[place[start : start + code.size].reshape(code.shape)]
        found.append(np.moveaxis(own, 1, 3))
        start += code.size
    return found


def _laws_of(n_models: int, unders: Sequence[Sequence[Cell]]) -> tuple[Laws, list[AnyArray]]:
    """All laws of features in a context, and which of them each model is evaluated under: (model, context) each."""
    known: dict[bytes, int] = {}
    rows: list[FloatArray] = []
    tables = []
    for cells in unders:
        table = np.zeros((n_models, len(cells[0].regime.contexts)), np.int64)
        for _, members, regime in cells:
            for c, probability in enumerate(regime.activation_probability):
                number = known.setdefault(probability.tobytes(), len(known))
                if number == len(rows):
                    rows.append(probability)
                table[members, c] = number
        tables.append(table)
    regime = unders[0][0].regime
    return Laws(np.array(rows), *regime.value_range, regime.target == "abs"), tables


def _of_pairs(
    models: Models, pairs: _Pairs, laws: Laws, predictor: Predictor, slots: Slots, pool: Executor
) -> FloatArray:
    """(pair, active, kind, output); pairs are in the order of their models."""
    n = laws.probability.shape[1]
    errors = np.zeros((len(pairs.law), slots.active, slots.kinds, slots.outputs))
    size = max(1, _HELD // (slots.outputs * n))
    for start in range(0, len(models), size):
        some = models.some(np.arange(start, min(start + size, len(models))))
        first, last = np.searchsorted(pairs.model, (start, start + size))
        for c in np.unique(pairs.seen[first:last]).tolist():
            here = first + np.flatnonzero(pairs.seen[first:last] == c)
            own = pairs.some(here)._replace(model=pairs.model[here] - start)
            wanted = np.ones(slots.outputs)
            if models.regime.target == "z":
                wanted = (np.arange(slots.outputs) // n == c) * 1.0
            with np.errstate(all="ignore"):
                maps = predictor.maps(*affine_map(some, c))
            for kind, (A, a) in enumerate(maps):
                found = _of_maps(A, a, own, wanted, laws, models.spec.activation, slots.active, pool)
                errors[here, :, kind] = found.swapaxes(0, 1)
    return errors


def _of_maps(
    A: FloatArray,
    a: FloatArray,
    pairs: _Pairs,
    wanted: FloatArray,
    laws: Laws,
    activation: str,
    n_active: int,
    pool: Executor,
) -> FloatArray:
    """(active, pair, output), some pairs at a time."""
    outputs, n = A.shape[1:]
    size = max(1, _PORTION // outputs)

    def some(start: int) -> FloatArray:
        model, law = pairs.model[start : start + size], pairs.law[start : start + size]
        own, is_wanted = (np.tile(each, len(law)) for each in (np.arange(outputs) % n, wanted))
        rows = Rows(A[model].reshape(-1, n), a[model].ravel(), own, is_wanted, np.repeat(law, outputs))
        # A warning about weights that are not finite would tell the user nothing more than their losses do.
        with np.errstate(all="ignore"):
            return errors_by_active(rows, laws, activation, n_active - 1)

    parts = list(pool.map(some, range(0, len(pairs.law), size)))
    return np.concatenate(parts, axis=1).reshape(n_active, len(pairs.law), outputs)
