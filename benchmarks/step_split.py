"""Where the time of the fused engine's step goes: each part repeated by itself, on buffers as they are in training."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numba import njit

from benchmarks.measurements import Measurement
from benchmarks.timing import seconds, turns_within
from benchmarks.training_speed import Case, condition
from toysup.engines.compiled_code import kept_njit
from toysup.engines.compiled_samples.sizes import ceil
from toysup.engines.compiled_samples.source_digest import SOURCES
from toysup.engines.compiled_samples.tiles import draw_contexts, draw_tile, group_by_context, next_rows
from toysup.engines.fused import engine, gradient, kernel
from toysup.engines.fused.arguments import drawn, new_state, tables_of
from toysup.engines.fused.buffers import new_work, plan
from toysup.engines.fused.update import update
from toysup.engines.fused.vectors import COLUMNS
from toysup.engines.instances import instances_of

PARTS = ("generation", "forward", "errors", "backward", "gather and collect", "optimiser")
# In the order of `PARTS`; the first four are done tile by tile.
_GENERATION, _FORWARD, _ERRORS, _BACKWARD, _COLLECT, _OPTIMISER = range(len(PARTS))
CASES = (
    Case(20, 10, 1024, 1, 0.15),
    Case(20, 10, 256, 1, 0.15),
    Case(5, 2, 1024, 1, 0.15),
    Case(80, 20, 1024, 1, 0.05),
    Case(400, 30, 1024, 1, 0.05),
)
QUICK_CASES = (Case(5, 2, 64, 1, 0.15),)


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Time of each part and of a whole step on one thread; the parts' sum differs from it by what caches remember."""
    del threads
    # A trial of one would be mostly what it costs to begin.
    budget, repeats, trial = (0.001, 2, 1) if quick else (0.1, 9, 50)
    for case in QUICK_CASES if quick else CASES:
        new = partial(Measurement, "split", {**case.setting, "formulation": _formulation(case)})
        for name, call in calls(case).items():
            call(trial)
            times = turns_within(budget, seconds(partial(call, trial)) / trial)
            yield new(name, "µs", [1e6 * _per_call(call, times) for _ in range(repeats)])


def calls(case: Case) -> dict[str, Callable[[int], object]]:
    """Each part, and the whole step, as a call that repeats it so many times."""
    instances = instances_of(condition(case, 10**6).drawn_densely(), [0])
    state = new_state(instances.parameters["W"], instances.parameters["b"])
    tables, optimizer = tables_of(instances), engine.optimizer_of(instances)
    batches = drawn(case.batch_size, 0, np.float32)
    work = new_work(state, tables, batches)
    _plan(tables, work)
    arguments = (gradient.row_errors_of("relu", "float32"), state, tables, optimizer, batches, work)
    parts = {name: partial(_repeat, number, *arguments) for number, name in enumerate(PARTS)}
    whole = partial(kernel.advance, state, tables, optimizer, batches, 0, threads=1)
    return {**parts, "whole step": whole}


def _per_call(call: Callable[[int], object], times: int) -> float:
    began = time.perf_counter()
    call(times)
    return (time.perf_counter() - began) / times


def _formulation(case: Case) -> str:
    return "Gram" if 2 * case.n_features <= 5 * case.n_hidden else "direct"


@njit
def _plan(tables, work):
    plan(tables, 0, False, work)


@kept_njit(SOURCES, _nrt=False)
def _repeat(part, errors, state, tables, optimizer, batches, work, times):
    """One part of the step of instance 0, which has one context, `times` over."""
    rows, importance, tile = batches.size, tables.importance[0, 0], work.tile
    threshold, scale = tables.threshold[0, 0], tables.scale[0, 0]
    offset, seed = tables.offset[0], tables.seed[0]
    layer = gradient._layer(state.W[0], state.b[0], 0, work)
    for _ in range(times):
        if part == _GENERATION:
            next_rows(0, rows, work.order, work.sample, True)
            draw_contexts(work.sample, rows, tables.context_threshold[0], seed, work.context)
            group_by_context(rows, work.sample, work.context, work.grouped, work.group)
        elif part == _COLLECT:
            gradient._layer(state.W[0], state.b[0], 0, work)
            gradient._collect(layer, 0, work)
        elif part == _OPTIMISER:
            update(state, optimizer, 0, 1, work.grad_W, work.grad_b)
        for first in range(0, rows if part <= _BACKWARD else 0, len(tile)):
            count = min(len(tile), rows - first)
            length = ceil(count, COLUMNS)
            if part == _GENERATION:
                gradient.copy(work.grouped[first : first + count], tile)
                draw_tile(tile[:length], work.input_row[0], threshold, scale, offset, seed, work.X)
            elif part == _FORWARD:
                gradient._forward(layer, length)
            elif part == _ERRORS:
                gradient._errors(errors, importance, 0, count, length, rows, work)
            elif part == _BACKWARD:
                gradient._backward(layer, length)
