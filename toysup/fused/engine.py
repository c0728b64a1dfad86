"""The fused engine behind the interface that all engines have."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from toysup.fused.arguments import Array, Kept, State, Tables, drawn, new_state, room_for, tables_of
from toysup.fused.kernel import advance
from toysup.fused.update import OPTIMIZERS, Optimizer
from toysup.instances import EngineState, Instances, OfferState, Progress, Snapshot

Arguments = TypeVar("Arguments", State, Tables, Optimizer, Kept)

# Multiply-adds and their like in one call of the kernel, about a second's: between two calls progress is told and an
# interrupt is heard.
_WORK_PER_CALL = 6e10
# What drawing and judging a value costs, in multiply-adds.
_WORK_PER_VALUE = 40
# A call shuffles the epoch's order of each instance anew, so it takes so many steps at least.
_STEPS_PER_ORDER = 500
# Room for the states that one call keeps.
_KEPT_BYTES = 2**26


def train(
    instances: Instances,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    resume: EngineState | None = None,
    offer: OfferState | None = None,
    threads: int | None = None,
    dtype: type[np.floating] = np.float32,
) -> Iterator[Snapshot]:
    """Train `instances` and yield their snapshots, the initial state first, or those after the state to `resume` from.

    Each instance is trained by one thread, so a trajectory is the same to the bit in any company and on any number of
    `threads` (all cores, if not given), and so is one that is resumed from a state that was on `offer`. `dtype` is
    that of the parameters.
    """
    state = new_state(instances.parameters["W"].astype(dtype), instances.parameters["b"].astype(dtype))
    tables, optimizer = tables_of(instances, dtype), optimizer_of(instances)
    training, recorded, groups = instances.training, set(instances.recorded_steps), _groups(instances)
    batches = drawn(training.batch_size, training.dataset_size or 0, dtype)
    diverged, found = np.full(len(instances), -1), np.full(len(instances), -1)
    total, start, count = np.zeros(len(instances)), 0, 0
    if resume is None:
        yield _snapshot(0, state.W, state.b, total * np.nan, diverged)
    else:
        state = State(*(resume[name].copy() for name in State._fields))
        total, diverged = resume["total"].astype(np.float64), resume["diverged"].astype(np.int64)
        start, count = int(resume["step"]), int(resume["count"])
    for leg in _legs(instances):
        if leg[-1] <= start:
            continue
        if offer is not None and start:
            offer(partial(_state, state, start, total, count, diverged))
        kept = room_for(state, leg)
        for group in groups:
            _, found[group] = advance(
                _part(state, group),
                _part(tables, group),
                _part(optimizer, group),
                batches,
                start,
                leg[-1],
                kept=_part(kept, group),
                activation=instances.model.activation,
                threads=threads,
            )
            if progress is not None and group.stop < len(instances):
                progress(start + (leg[-1] - start) * group.stop // len(instances), _mean(total, diverged, count))
        for k, stop in enumerate(leg):
            total += kept.loss[:, k]
            count += sum(training.rows(step) for step in range(start, stop))
            start = stop
            diverged = np.where((diverged < 0) & (found >= 0) & (found < stop), found + 1, diverged)
            if progress is not None:
                progress(stop, _mean(total, diverged, count))
            if stop in recorded:
                yield _snapshot(stop, kept.W[:, k], kept.b[:, k], total / count, diverged)
                total[:], count = 0, 0


def _state(state: State, step: int, total: np.ndarray, count: int, diverged: np.ndarray) -> EngineState:
    further = {"step": np.array(step), "count": np.array(count), "total": total, "diverged": diverged}
    return {**state._asdict(), **further}


def prepare() -> None:
    """Compile the kernel, or load it from numba's cache: 20 to 40 s once, then half a second."""
    weights = np.zeros((1, 1, 1), np.float32)
    zeros = np.zeros((1, 1, 1))
    tables = Tables(
        seed=np.zeros(1, np.uint64),
        context_threshold=np.zeros((1, 0), np.uint32),
        threshold=zeros.astype(np.uint32),
        scale=weights,
        offset=weights[0, 0],
        importance=weights,
    )
    zero = np.zeros(1)
    optimizer = Optimizer(OPTIMIZERS["sgd"], zero, zero, zero, zero, zero, zero, epsilon=1.0)
    advance(new_state(weights, weights[0]), tables, optimizer, drawn(1, 0, np.float32), 0, 1, threads=1)


def optimizer_of(instances: Instances) -> Optimizer:
    return Optimizer(
        kind=OPTIMIZERS[instances.training.optimizer],
        factor=instances.training.learning_rate_factor(),
        epsilon=instances.training.epsilon,
        **instances.hyperparameters,
    )


def _legs(instances: Instances) -> Iterator[list[int]]:
    """The steps after which states are kept, by calls of the kernel: those recorded, and more where they lie far apart.

    A call starts threads, and shuffles the order of the epoch anew, so it goes on from snapshot to snapshot as long as
    there is room for them.
    """
    stride = _stride(instances)
    most = max(1, _KEPT_BYTES // sum(part.nbytes for part in instances.parameters.values()))
    leg: list[int] = []
    start = 0
    for last, recorded in pairwise(instances.recorded_steps):
        for step in (*range(last + stride, recorded, stride), recorded):
            if leg and (step - start > stride or len(leg) == most):
                yield leg
                leg, start = [], leg[-1]
            leg.append(step)
    if leg:
        yield leg


def _stride(instances: Instances) -> int:
    """Steps in a call: at least what makes the shuffle cheap, at most what fills a call with one instance."""
    alone = int(_WORK_PER_CALL / _work_per_step(instances))
    at_least = min(instances.training.steps_per_epoch or 1, _STEPS_PER_ORDER)
    return max(1, at_least, alone // len(instances))


def _groups(instances: Instances) -> list[slice]:
    """The instances that one call takes, so that many of them do not make it long."""
    size = max(16, int(_WORK_PER_CALL / _work_per_step(instances) / _stride(instances)))
    return [slice(first, min(first + size, len(instances))) for first in range(0, len(instances), size)]


def _work_per_step(instances: Instances) -> float:
    n, m = instances.model.n_features, instances.model.n_hidden
    return instances.training.batch_size * n * (min(2 * n, 5 * m) + _WORK_PER_VALUE)


def _part(arguments: Arguments, group: slice) -> Arguments:
    """What belongs to a group of instances; views, so that the state is advanced and kept in place."""
    own: dict[str, Any] = arguments._asdict()
    shared = ("kind", "factor", "epsilon", "steps")
    return type(arguments)(**{name: value if name in shared else value[group] for name, value in own.items()})


def _mean(total: np.ndarray, diverged: np.ndarray, count: int) -> float:
    """The loss per sample of the instances that did not diverge; NaN before any is known."""
    finite = diverged < 0
    return float(np.mean(total[finite])) / count if count and finite.any() else float("nan")


def _snapshot(step: int, W: Array, b: Array, train_loss: np.ndarray, diverged: np.ndarray) -> Snapshot:
    parameters = {"W": W.astype(np.float32), "b": b.astype(np.float32)}
    return Snapshot(step=step, parameters=parameters, train_loss=train_loss.copy(), diverged_at=diverged.copy())
