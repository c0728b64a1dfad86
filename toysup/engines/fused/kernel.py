"""The compiled training loop: each instance is trained from start to stop by one thread, in the thread's caches.

Threads take portions of the instances. Nothing in the loop depends on the number of instances or on the thread, so
trajectories do not either.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from toysup.engines.compiled_code import kept_njit, part_njit
from toysup.engines.compiled_samples.source_digest import SOURCES
from toysup.engines.compiled_samples.tiles import next_rows, shuffle_if_new
from toysup.engines.fused.arguments import Batches, Kept, State, Tables, room_for
from toysup.engines.fused.buffers import new_work, plan
from toysup.engines.fused.formulation import FORMS, LISTS, TILES
from toysup.engines.fused.gradient import copy, gradient, row_errors_of
from toysup.engines.fused.sparse_gradient import errors_of, new_sparse_work, sparse_gradient, sparse_plan
from toysup.engines.fused.update import Optimizer, update
from toysup.sampling.samples import NumpyArray


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
    forms: npt.NDArray[np.int64] | None = None,
    threads: int | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Advance all instances from step `start` to `stop`, in place, and fill `kept`.

    `forms` (I,) are those of `formulation`; by default all instances are computed from lists if their samples are
    sparse, else in tiles. Returns two arrays (I,): the summed loss of all samples, and the first 0-based step whose
    loss was not finite or −1.
    """
    n_instances = len(state.W)
    kept = room_for(state, ()) if kept is None else kept
    _check_shapes(state, tables, optimizer, batches, kept, stop - start, stop)
    losses, diverged = np.zeros(n_instances), np.full(n_instances, -1)
    forms = np.full(n_instances, TILES if tables.sparse is None else LISTS) if forms is None else forms
    threads = min(threads or os.cpu_count() or 1, n_instances)
    # Each thread gets several portions, so that no thread waits long for another at the end.
    portion = max(1, n_instances // (8 * threads))

    def work(part: tuple[int, npt.NDArray[np.int64]]) -> None:
        form, members = part
        own = tables._replace(sparse=None) if form == TILES else tables
        buffers = (new_sparse_work if form == LISTS else new_work)(state, own, batches)
        errors = (errors_of if form == LISTS else row_errors_of)(activation, state.W.dtype.name)
        run = _kernel(form == LISTS)
        run(errors, state, own, optimizer, batches, kept, start, stop, members, buffers, losses, diverged)

    parts = [
        (form, members[first : first + portion])
        for form in FORMS
        for members in [np.flatnonzero(forms == form)]
        for first in range(0, len(members), portion)
    ]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, parts):
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
    if (sparse := tables.sparse) is not None:
        expected += [
            ("survival", sparse.survival, table, np.float64),
            ("sparse.scale", sparse.scale, (count,), np.float32),
        ]
        expected += [("sparse.offset", sparse.offset, (count,), np.float32), ("most", sparse.most, (count,), np.int64)]
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


@cache
def _kernel(sparse: bool) -> Any:
    """The loop with the gradient from lists of active features, or from whole tiles.

    Each is compiled when it is needed for the first time; the loops over errors are compiled apart for each activation.
    """
    prepare = sparse_plan if sparse else plan
    gradient_of = sparse_gradient if sparse else gradient

    # The kernel and the functions that it calls allocate nothing, so `_nrt` switches reference counting off. numba
    # refuses to compile code that needs counting. It took up to half of the step of a small model.
    @kept_njit(f"{SOURCES} {sparse}", nogil=True, _nrt=False)
    def advance_some(errors, state, tables, optimizer, batches, kept, start, stop, members, work, losses, diverged):
        """Advance the instances in `members`, one after the other."""
        for i in members:
            prepare(tables, i, batches.injected, work)
            order_epoch, n_kept, since = -1, 0, 0.0
            for step in range(start, stop):
                if batches.injected:
                    rows = _given_rows(batches.size, work.sample)
                else:
                    order_epoch = shuffle_if_new(
                        step, batches.size, order_epoch, tables.seed[i], work.order, work.words
                    )
                    rows = next_rows(step, batches.size, work.order, work.sample, not sparse)
                loss = gradient_of(errors, state, tables, batches, i, step - start, rows, work)
                update(state, optimizer, i, step, work.grad_W, work.grad_b)
                losses[i] += loss
                since += loss
                if n_kept < len(kept.steps) and kept.steps[n_kept] == step + 1:
                    _keep(state, kept, i, n_kept, since)
                    n_kept, since = n_kept + 1, 0.0
                if diverged[i] < 0 and not np.isfinite(loss):
                    diverged[i] = step

    return advance_some


@part_njit()
def _keep(state, kept, i, k, loss):
    copy(state.W[i].reshape(-1), kept.W[i, k].reshape(-1))
    copy(state.b[i], kept.b[i, k])
    kept.loss[i, k] = loss


@part_njit()
def _given_rows(rows, sample):
    """Like `next_rows`, for a given batch, where the index of a sample is its place in the batch."""
    for r in range(rows):
        sample[r] = r
    return rows
