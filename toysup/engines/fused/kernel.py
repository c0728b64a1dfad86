"""The compiled training loop: each instance is trained from start to stop by one thread, in the thread's caches.

Threads take portions of the instances. Nothing in the loop depends on the number of instances or on the thread, so
trajectories do not either.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from toysup.engines.compiled_code import kept_njit
from toysup.engines.compiled_samples.source_digest import SOURCES
from toysup.engines.compiled_samples.tiles import draw_contexts, group_by_context, next_rows, shuffle_if_new
from toysup.engines.fused.activations import CODES
from toysup.engines.fused.arguments import Batches, Kept, State, Tables, room_for
from toysup.engines.fused.buffers import new_work, plan
from toysup.engines.fused.gradient import copy, gradient
from toysup.engines.fused.update import Optimizer, update
from toysup.sampling.samples import NumpyArray

# The kernel and the functions that it calls allocate nothing, so `_nrt` switches reference counting off. numba refuses
# to compile code that needs counting. It took up to half of the step of a small model.
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}


def advance(
    state: State,
    tables: Tables,
    optimizer: Optimizer,
    batches: Batches,
    start: int,
    stop: int,
    *,
    kept: Kept | None = None,
    activation: str = "relu",
    threads: int | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Advance all instances from step `start` to `stop`, in place, and fill `kept`.

    Returns two arrays (I,): the summed loss of all samples, and the first 0-based step whose loss was not finite or −1.
    """
    n_instances = len(state.W)
    kept = room_for(state, ()) if kept is None else kept
    _check_shapes(state, tables, optimizer, batches, kept, stop - start, stop)
    threads = min(threads or os.cpu_count() or 1, n_instances)
    losses, diverged = np.zeros(n_instances), np.full(n_instances, -1)
    # Each thread gets several portions, so that no thread waits long for another at the end.
    portion = max(1, n_instances // (8 * threads))

    def work(first: int) -> None:
        last = min(first + portion, n_instances)
        buffers = new_work(state, tables, batches)
        _advance(
            state, tables, optimizer, batches, kept, CODES[activation], start, stop, first, last, buffers, losses,
            diverged,
        )  # fmt: skip

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(0, n_instances, portion)):
            pass
    return losses, diverged


def _check_shapes(
    state: State, tables: Tables, optimizer: Optimizer, batches: Batches, kept: Kept, steps: int, stop: int
) -> None:
    """Check shapes and dtypes, because compiled code does not check where it reads and writes."""
    count, m, n = state.W.shape
    n_contexts, dtype = tables.threshold.shape[1], state.W.dtype
    table = (count, n_contexts, n)
    expected: list[tuple[str, NumpyArray, tuple[int, ...], npt.DTypeLike]] = [
        ("seed", tables.seed, (count,), np.uint64),
        ("context_threshold", tables.context_threshold, (count, n_contexts - 1), np.uint32),
        ("threshold", tables.threshold, table, np.uint32),
        ("scale", tables.scale, table, np.float32),
        ("offset", tables.offset, (count,), np.float32),
        ("importance", tables.importance, table, dtype),
    ]
    if (groups := tables.groups) is not None:
        expected += [("of", groups.of, (count, n), np.int64), ("copies", groups.copies, (count, n), np.uint64)]
        expected += [("lower", groups.lower, table, np.uint32), ("upper", groups.upper, table, np.uint32)]
        expected.append(("groups.scale", groups.scale, (count,), np.float32))
    expected += [
        ("kept.W", kept.W, (count, len(kept.steps), m, n), dtype),
        ("kept.b", kept.b, (count, len(kept.steps), n), dtype),
        ("kept.loss", kept.loss, (count, len(kept.steps)), np.float64),
        ("kept.steps", kept.steps, (len(kept.steps),), np.int64),
    ]
    for name, part in state._asdict().items():
        expected.append((name, part, (count, m, n) if name.endswith("W") else (count, n), dtype))
    rates = ("learning_rate", "weight_decay", "momentum", "beta1", "beta2")
    expected += [(name, getattr(optimizer, name), (count,), np.float64) for name in rates]
    if batches.injected:
        shape = (count, steps, batches.size)
        expected += [("x", batches.x, (*shape, n), dtype), ("context", batches.context, shape, np.int64)]
    for name, part, wanted, kind in expected:
        if part.shape != wanted or part.dtype != kind or not part.flags.c_contiguous:
            raise ValueError(f"{name} must be C-contiguous {np.dtype(kind)} {wanted}, not {part.dtype} {part.shape}")
    if len(optimizer.factor) < stop:
        raise ValueError(f"factor has {len(optimizer.factor)} steps, fewer than {stop}")


def _compiled(sources: str) -> Any:
    """The kernel. Its closure has `sources`, which so becomes a part of its key in numba's cache."""

    @kept_njit(**_OPTIONS)
    def advance_some(
        state, tables, optimizer, batches, kept, activation, start, stop, first, last, work, losses, diverged
    ):
        """Advance the instances from `first` to before `last`, one after the other."""
        sources  # noqa: B018
        for i in range(first, last):
            plan(tables, i, batches.injected, work)
            order_epoch, n_kept, since = -1, 0, 0.0
            for step in range(start, stop):
                if batches.injected:
                    rows = _given_rows(batches.context[i, step - start], work)
                else:
                    order_epoch = shuffle_if_new(
                        step, batches.size, order_epoch, tables.seed[i], work.order, work.words
                    )
                    rows = next_rows(step, batches.size, work.order, work.sample)
                    draw_contexts(work.sample, rows, tables.context_threshold[i], tables.seed[i], work.context)
                group_by_context(rows, work.sample, work.context, work.grouped, work.group)
                loss = gradient(state, tables, batches, activation, i, step - start, rows, work)
                update(state, optimizer, i, step, work.grad_W, work.grad_b)
                losses[i] += loss
                since += loss
                if n_kept < len(kept.steps) and kept.steps[n_kept] == step + 1:
                    _keep(state, kept, i, n_kept, since)
                    n_kept, since = n_kept + 1, 0.0
                if diverged[i] < 0 and not np.isfinite(loss):
                    diverged[i] = step

    return advance_some


@njit
def _keep(state, kept, i, k, loss):
    copy(state.W[i].reshape(-1), kept.W[i, k].reshape(-1))
    copy(state.b[i], kept.b[i, k])
    kept.loss[i, k] = loss


@njit
def _given_rows(given_context, work):
    """Like `next_rows`, for a given batch, where the index of a sample is its place in the batch."""
    for r in range(len(given_context)):
        work.sample[r] = r
        work.context[r] = given_context[r]
    return len(given_context)


_advance = _compiled(SOURCES)
