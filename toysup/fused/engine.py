"""The fused engine behind the interface that all engines have."""

import time
from collections.abc import Iterator

import numpy as np

from toysup.fused.arguments import State, Tables, drawn, new_state, tables_of
from toysup.fused.kernel import advance
from toysup.fused.update import OPTIMIZERS, Optimizer
from toysup.instances import Instances, Progress, Snapshot

# Between two calls of the kernel, progress is told and an interrupt is heard. A call must not be short: each one
# shuffles the epoch's order anew.
SECONDS_PER_CALL = 1.0


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
    total, count, stride = np.zeros(len(instances)), 0, 20
    yield _snapshot(0, state, total * np.nan, diverged)
    for start, stop in zip(instances.recorded_steps, instances.recorded_steps[1:], strict=False):
        total[:], count = 0, 0
        while start < stop:
            until = min(start + stride, stop)
            began = time.perf_counter()
            losses, found = advance(
                state, tables, optimizer, batches, start, until, activation=instances.model.activation, threads=threads
            )
            stride = _next_stride(until - start, time.perf_counter() - began)
            total += losses
            count += sum(training.rows(step) for step in range(start, until))
            diverged = np.where((diverged < 0) & (found >= 0), found + 1, diverged)
            start = until
            if progress is not None:
                progress(start, float(np.mean(total[diverged < 0])) / count if (diverged < 0).any() else np.nan)
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


def _next_stride(steps: int, seconds: float) -> int:
    """Steps that take about SECONDS_PER_CALL, judged by the last call; the growth is bounded as that may have been
    odd."""
    return max(1, min(10 * steps, int(steps * SECONDS_PER_CALL / max(seconds, 1e-6))))


def _snapshot(step: int, state: State, train_loss: np.ndarray, diverged: np.ndarray) -> Snapshot:
    parameters = {"W": state.W.astype(np.float32), "b": state.b.astype(np.float32)}
    return Snapshot(step=step, parameters=parameters, train_loss=train_loss.copy(), diverged_at=diverged.copy())
