"""The samples of `toysup.sampling` for compiled engines, as tiles of values: one column for each sample."""

import numpy as np
from numba import njit, uint32, uint64

from toysup.engines.compiled_code import part_njit
from toysup.engines.compiled_samples.sizes import ceil_div
from toysup.engines.compiled_samples.vector_width import wide_vectors
from toysup.engines.compiled_samples.words import CONTEXT, FEATURE, ORDER, philox

_HALF = uint64(32)


@part_njit()
def next_rows(step, size, order, sample, all_of_stream):
    """Write the indices of the samples of this step to `sample`, and return their number.

    Those of a stream follow one another, and if `all_of_stream` is false only the first is written.
    """
    if len(order) == 0:
        first = uint64(step) * uint64(size)
        sample[0] = first
        for r in range(size if all_of_stream else 0):
            sample[r] = first + uint64(r)
        return size
    offset = step % ceil_div(len(order), size) * size
    rows = min(size, len(order) - offset)
    for r in range(rows):
        sample[r] = order[offset + r]
    return rows


@part_njit()
def shuffle_if_new(step, size, order_epoch, seed, order, words):
    """Return the epoch of this step, and shuffle `order` for it unless it is `order_epoch`, the last one shuffled."""
    if len(order) == 0:
        return order_epoch
    epoch = step // ceil_div(len(order), size)
    if epoch != order_epoch:
        shuffle(order, uint64(epoch), seed, words)
    return epoch


@part_njit()
def shuffle(order, epoch, seed, words):
    """Fisher–Yates shuffle of 0 … len−1 from the end, where word i of the epoch decides the place of i.

    `words` (4, any) is a buffer for the words.
    """
    for i in range(len(order)):
        order[i] = i
    top, chunk = len(order) - 1, words.shape[1]
    for first in range(top // 4 // chunk * chunk, -1, -chunk):
        _order_words(uint64(first), epoch, seed, words)
        for i in range(top, max(4 * first, 1) - 1, -1):
            r = (words[i & 3, (i >> 2) - first] * uint64(i + 1)) >> _HALF
            order[i], order[r] = order[r], order[i]
        top = 4 * first - 1


@part_njit()
def _order_words(first, epoch, seed, words):
    wide_vectors()
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    for k in range(words.shape[1]):
        w0[k], w1[k], w2[k], w3[k] = philox(first + uint64(k), epoch, ORDER, seed)


@part_njit()
def draw_contexts(sample, rows, context_threshold, seed, context):
    """Draw the context of each sample; with one context nothing is drawn."""
    if len(context_threshold) == 0:
        return
    wide_vectors()
    for r in range(rows):
        context[r] = philox(uint64(0), sample[r], CONTEXT, seed)[0]
    for r in range(rows):
        reached = 0
        for t in context_threshold:
            reached += context[r] >= t
        context[r] = reached


@part_njit()
def group_by_context(rows, sample, context, grouped, group):
    """Sort the samples by context, stably: those of context c become grouped[group[c] : group[c + 1]]."""
    n_contexts = len(group) - 1
    if n_contexts == 1:
        group[1] = rows
        for r in range(rows):
            grouped[r] = sample[r]
        return
    for c in range(n_contexts + 1):
        group[c] = 0
    for r in range(rows):
        group[context[r] + 1] += 1
    for c in range(n_contexts):
        group[c + 1] += group[c]
    for r in range(rows):
        c = context[r]
        grouped[group[c]] = sample[r]
        group[c] += 1
    # Each entry now holds the end of its group, which is the start of the next.
    for c in range(n_contexts, 0, -1):
        group[c] = group[c - 1]
    group[0] = 0


@part_njit()
def draw_tile(tile, input_row, threshold, scale, offset, seed, X):
    """Draw the values of all inputs of the samples in `tile` to X, one column for each sample."""
    zeros = len(X) - 4
    for block in range((len(input_row) + 3) // 4):
        r0, t0, s0 = _input(4 * block, input_row, threshold, scale, zeros)
        r1, t1, s1 = _input(4 * block + 1, input_row, threshold, scale, zeros)
        r2, t2, s2 = _input(4 * block + 2, input_row, threshold, scale, zeros)
        r3, t3, s3 = _input(4 * block + 3, input_row, threshold, scale, zeros)
        if min(r0, r1, r2, r3) < zeros:
            x = X[r0], X[r1], X[r2], X[r3]
            _draw_block(tile, uint64(block), seed, (t0, t1, t2, t3), (s0, s1, s2, s3), offset, x)


@part_njit()
def _input(f, input_row, threshold, scale, zeros):
    """The row, threshold and scale of feature f; beyond the last feature, those of one that is never active."""
    if f < len(input_row):
        return input_row[f], threshold[f], scale[f]
    return zeros + f % 4, uint32(0), np.float32(0)


@part_njit()
def _draw_block(tile, block, seed, threshold, scale, offset, x):
    wide_vectors()
    x0, x1, x2, x3 = x
    for j in range(len(tile)):
        w0, w1, w2, w3 = philox(block, tile[j], FEATURE, seed)
        x0[j] = value(w0, threshold[0], scale[0], offset)
        x1[j] = value(w1, threshold[1], scale[1], offset)
        x2[j] = value(w2, threshold[2], scale[2], offset)
        x3[j] = value(w3, threshold[3], scale[3], offset)


@njit(inline="always")
def value(word, threshold, scale, offset):
    """The value of a feature: the word of an active feature is uniform below the threshold, so it gives the value."""
    word = uint32(word)
    return np.float32(word) * scale + offset if word < threshold else np.float32(0)
