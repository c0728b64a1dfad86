"""Whole batches of samples for engines that are not compiled, by the compiled generator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, uint64

from toysup.fused.arguments import Tables
from toysup.fused.buffers import WORDS
from toysup.fused.philox import FEATURE, philox
from toysup.fused.sampling import draw_contexts, shuffle, value
from toysup.fused.sources import SOURCES


def draw_batch(
    tables: Tables, samples: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """x (instance, row, feature) and context (instance, row) of the samples (instance or 1, row)."""
    shape = (len(tables.seed), samples.shape[1])
    x = np.empty((*shape, tables.threshold.shape[2]), np.float32)
    context = np.zeros(shape, np.int64)
    _draw(tables, np.ascontiguousarray(samples), x, context)
    return x, context


def order(seed: int, epoch: int, size: int) -> npt.NDArray[np.uint32]:
    """The order of `toysup.draws.order`."""
    places = np.empty(size, np.uint32)
    _order(places, np.uint64(epoch), np.uint64(seed), np.empty((4, WORDS), np.uint64))
    return places


def _compiled(sources: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    @njit(nogil=True, cache=True)
    def draw(tables, samples, x, context):
        sources  # noqa: B018 — see toysup.fused.sources
        n = x.shape[2]
        for i in range(len(x)):
            own = samples[i % len(samples)]
            draw_contexts(own, len(own), tables.context_threshold[i], tables.seed[i], context[i])
            for r in range(len(own)):
                threshold, scale = tables.threshold[i, context[i, r]], tables.scale[i, context[i, r]]
                for block in range((n + 3) // 4):
                    words = philox(uint64(block), own[r], FEATURE, tables.seed[i])
                    for q, f in enumerate(range(4 * block, min(4 * block + 4, n))):
                        x[i, r, f] = value(words[q], threshold[f], scale[f], tables.offset[i])

    @njit(nogil=True, cache=True)
    def fill_order(places, epoch, seed, words):
        sources  # noqa: B018
        shuffle(places, epoch, seed, words)

    return draw, fill_order


_draw, _order = _compiled(SOURCES)
