"""The fused engine behind the interface that all engines have."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from toysup.fused.arguments import State, Tables, drawn, new_state, tables_of
from toysup.fused.kernel import advance
from toysup.fused.update import OPTIMIZERS, Optimizer
from toysup.instances import Instances, Progress, Snapshot

Arguments = TypeVar("Arguments", State, Tables, Optimizer)

# Multiply-adds and their like in one call of the kernel, about a second's: between two calls progress is told and an
# interrupt is heard.
_WORK_PER_CALL = 6e10
# What drawing and judging a value costs, in multiply-adds.
_WORK_PER_VALUE = 40
# A call shuffles the epoch's order of each instance anew, so it takes so many steps at least.
_STEPS_PER_ORDER = 500


def train(
    instances: Instances,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    threads: int | None = None,
    dtype: type[np.floating] = np.float32,
) -> Iterator[Snapshot]:
    """Train `instances` and yield their snapshots, the initial state first.

    Each instance is trained by one thread, so a trajectory is the same to the bit in any company and on any number of
    `threads` (all cores, if not given). `dtype` is that of the parameters.
    """
    state = new_state(instances.parameters["W"].astype(dtype), instances.parameters["b"].astype(dtype))
    tables, optimizer = tables_of(instances, dtype), optimizer_of(instances)
    training = instances.training
    batches = drawn(training.batch_size, training.dataset_size or 0, dtype)
    diverged = np.full(len(instances), -1)
    total, stride, groups = np.zeros(len(instances)), _stride(instances), _groups(instances)
    losses, found = np.zeros(len(instances)), np.zeros(len(instances), np.int64)
    yield _snapshot(0, state, total * np.nan, diverged)
    for start, stop in zip(instances.recorded_steps, instances.recorded_steps[1:], strict=False):
        total[:], count = 0, 0
        while start < stop:
            until = min(start + stride, stop)
            for group in groups:
                losses[group], found[group] = advance(
                    _part(state, group),
                    _part(tables, group),
                    _part(optimizer, group),
                    batches,
                    start,
                    until,
                    activation=instances.model.activation,
                    threads=threads,
                )
                if progress is not None and group.stop < len(instances):
                    progress(start + (until - start) * group.stop // len(instances), _mean(total, diverged, count))
            total += losses
            count += sum(training.rows(step) for step in range(start, until))
            diverged = np.where((diverged < 0) & (found >= 0), found + 1, diverged)
            start = until
            if progress is not None:
                progress(start, _mean(total, diverged, count))
        yield _snapshot(stop, state, total / count, diverged)


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
    """The state, tables or recipe of a group of instances; views, so that the state is advanced in place."""
    own: dict[str, Any] = arguments._asdict()
    shared = ("kind", "factor", "epsilon")
    return type(arguments)(**{name: value if name in shared else value[group] for name, value in own.items()})


def _mean(total: np.ndarray, diverged: np.ndarray, count: int) -> float:
    """The loss per sample of the instances that did not diverge; NaN before any is known."""
    finite = diverged < 0
    return float(np.mean(total[finite])) / count if count and finite.any() else float("nan")


def _snapshot(step: int, state: State, train_loss: np.ndarray, diverged: np.ndarray) -> Snapshot:
    parameters = {"W": state.W.astype(np.float32), "b": state.b.astype(np.float32)}
    return Snapshot(step=step, parameters=parameters, train_loss=train_loss.copy(), diverged_at=diverged.copy())
