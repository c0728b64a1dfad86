"""The samples of sparse regimes in compiled code: the active features of the samples that have any.

`toysup.sampling.sparse_samples` defines them. A sample without active features costs an eighth of a block of words and
a comparison, in vectors. The others are followed in rounds: a round finds one more feature of each sample that has one.
So a round is a loop without unpredictable branches, and samples come out in the order of their number of features.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types, uint32, uint64
from numba.core import cgutils
from numba.extending import intrinsic

from toysup.engines.compiled_code import part_njit
from toysup.engines.compiled_samples.sizes import ceil
from toysup.engines.compiled_samples.survival_tables import Guide, SparseTables, bits, new_guide
from toysup.engines.compiled_samples.vector_width import wide_vectors
from toysup.engines.compiled_samples.words import ACTIVE, CONTEXT, FIRST, philox
from toysup.sampling.random_words import WORD_VALUES
from toysup.sampling.samples import NumpyArray

_UNIT = 1 / WORD_VALUES
_HALF_VALUES = 2.0**16
_HALF = uint32(16)
# Halves of words that are compared at once.
_TOGETHER = 32
# Loops over blocks of words go on to a multiple of this, since single rounds of a vector loop are slow.
_VECTOR = 16
# Room beyond the rows in every buffer: whole vectors are read and written.
_SLACK = 64
# Most samples that are drawn to lists at once.
MOST_ROWS = 2048


class Words(NamedTuple):
    """Buffers: words of all samples, and the state of those that have further features."""

    first: NumpyArray
    first_half: NumpyArray
    context: NumpyArray
    alive: NumpyArray
    which: NumpyArray
    level: NumpyArray
    block: NumpyArray


class ActiveLists(NamedTuple):
    """The samples that have active features, in the order of their number.

    `slot[ends[a − 1] : ends[a]]` are the samples with a active features. Sample s is in `row[s]`, has the context
    `context[s]`, and its features (from 0, ascending) and their values are the first in `entry[:, s]` and
    `value[:, s]`. `empty` (context,) counts the samples without active features.
    """

    slot: NumpyArray
    ends: NumpyArray
    row: NumpyArray
    context: NumpyArray
    entry: NumpyArray
    value: NumpyArray
    empty: NumpyArray


class Drawing(NamedTuple):
    """The buffers that `draw_lists` needs."""

    guide: Guide
    words: Words
    lists: ActiveLists


def new_drawing(tables: SparseTables, rows: int, dtype: npt.DTypeLike) -> Drawing:
    """Buffers for at most `rows` samples of one instance at a time; values of the lists have this dtype."""
    _, n_contexts, n = tables.survival.shape
    # An odd number of cache lines, so that neighbouring entries of a sample lie in different sets of the cache.
    room, most = 16 * ((rows + _SLACK) // 16 | 1), int(tables.most.max())
    first = np.zeros(room, np.uint32)

    def zeros(kind: npt.DTypeLike, *shape: int) -> NumpyArray:
        return np.zeros((*shape, room), kind)

    words = Words(
        first, first.view(np.uint16), zeros(np.uint32), zeros(np.uint64), zeros(np.uint64), zeros(np.float64),
        zeros(np.uint32, 5),
    )  # fmt: skip
    lists = ActiveLists(
        zeros(np.uint64), np.zeros(most + 1, np.int64), zeros(np.int64), zeros(np.uint64), zeros(np.uint32, most),
        zeros(dtype, most), np.zeros(n_contexts, np.int64),
    )  # fmt: skip
    return Drawing(new_guide(n_contexts, n), words, lists)


@part_njit(forceinline=True)
def draw_lists(sample, rows, stream, seed, context_threshold, tables, i, drawing):
    """Draw `rows` samples of an instance, whose guide is filled, to the lists.

    The samples have the indices in `sample`, or in a `stream` those that follow `sample[0]`.
    """
    survival, words, lists = tables.survival[i], drawing.words, drawing.lists
    skipped = np.int64(sample[0] & uint64(7)) if stream else np.int64(0)
    if stream:
        _draw_run(sample[0] >> uint64(3), (rows + skipped + 7) // 8, seed, words.first)
    else:
        _draw_singly(sample, rows, seed, words.first_half)
    if len(survival) == 1:
        count = _candidates(words.first_half[skipped:], rows, survival[0, -1], words.level, lists.row)
        lists.empty[0] = rows
    else:
        _draw_contexts(sample, rows, stream, context_threshold, seed, words.context)
        count = _candidates_in_context(words.first_half[skipped:], rows, survival, words, lists)
    _follow(sample, stream, count, seed, survival, tables, i, drawing)


@part_njit(forceinline=True)
def draw_lists_in(c, sample, rows, seed, tables, i, drawing):
    """`draw_lists` for samples that all have the context `c`."""
    survival, words, lists = tables.survival[i, c : c + 1], drawing.words, drawing.lists
    guide = drawing.guide
    guide = Guide(guide.first[c : c + 1], guide.base[c : c + 1], guide.shift[c : c + 1])
    _draw_singly(sample, rows, seed, words.first_half)
    count = _candidates(words.first_half, rows, survival[0, -1], words.level, lists.row)
    _follow(sample, False, count, seed, survival, tables, i, Drawing(guide, words, lists))


@part_njit(forceinline=True)
def _draw_run(first, count, seed, words):
    """The halves of words that samples which follow one another share, from a block on."""
    wide_vectors()
    for k in range(count):
        a, b, c, d = philox(uint64(0), first + uint64(k), FIRST, seed)
        words[4 * k], words[4 * k + 1] = uint32(a), uint32(b)
        words[4 * k + 2], words[4 * k + 3] = uint32(c), uint32(d)


@part_njit()
def _draw_singly(sample, rows, seed, halves):
    wide_vectors()
    for r in range(rows):
        j = sample[r]
        a, b, c, d = philox(uint64(0), j >> uint64(3), FIRST, seed)
        low, high = (c, d) if j & uint64(4) else (a, b)
        word = uint32(high if j & uint64(2) else low)
        halves[r] = np.uint16(word >> _HALF if j & uint64(1) else word)


@part_njit()
def _draw_contexts(sample, rows, stream, threshold, seed, context):
    wide_vectors()
    for r in range(rows):
        j = sample[0] + uint64(r) if stream else sample[r]
        context[r] = uint32(philox(uint64(0), j, CONTEXT, seed)[0])
    for r in range(rows):
        reached = uint32(0)
        for t in threshold:
            reached += uint32(context[r] >= t)
        context[r] = reached


@intrinsic
def _not_below(typing_context, halves, at, limit):
    """One bit for each of `_TOGETHER` halves of words from `at`: whether it is at least the limit."""

    def emit(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        kind = ir.VectorType(ir.IntType(16), _TOGETHER)
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), kind.as_pointer())
        undefined = ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(undefined, arguments[2], ir.IntType(32)(0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), _TOGETHER), [0] * _TOGETHER)
        limits = builder.shuffle_vector(first, undefined, everywhere)
        found = builder.icmp_unsigned(">=", builder.load(pointer, align=2), limits)
        return builder.zext(builder.bitcast(found, ir.IntType(_TOGETHER)), ir.IntType(64))

    return types.int64(halves, types.int64, types.uint16), emit


@intrinsic
def _lowest_bit(typing_context, mask):
    """The number of the lowest bit that is set."""

    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), emit


@njit(inline="always")
def _least_half(last):
    """The least half word with which a sample can have active features, where `last` is the last survival."""
    return np.uint16(min(np.floor(last * _HALF_VALUES), _HALF_VALUES - 1))


@part_njit(forceinline=True)
def _reaching(halves, start, rows, limit):
    """`_not_below` for those of the words from `start` that are of the first `rows` samples."""
    mask = _not_below(halves, start, limit)
    return mask & ((1 << (rows - start)) - 1) if rows - start < _TOGETHER else mask


@part_njit(forceinline=True)
def _candidates(halves, rows, last, level, row):
    """Find the samples that can have active features by their half word; `_first_levels` leaves the others out."""
    limit, count = _least_half(last), 0
    for start in range(0, rows, _TOGETHER):
        mask = _reaching(halves, start, rows, limit)
        while mask != 0:
            r = start + _lowest_bit(mask)
            mask &= mask - 1
            row[count], level[count] = r, halves[r]
            count += 1
    return count


@part_njit()
def _candidates_in_context(halves, rows, survival, words, lists):
    """`_candidates` for several contexts; the lists get the context of each, and the samples of each context."""
    context, level, row = words.context, words.level, lists.row
    limit = _least_half(1.0)
    for c in range(len(survival)):
        limit = min(limit, _least_half(survival[c, -1]))
        lists.empty[c] = 0
    for r in range(rows):
        lists.empty[context[r]] += 1
    count = 0
    for start in range(0, rows, _TOGETHER):
        mask = _reaching(halves, start, rows, limit)
        while mask != 0:
            r = start + _lowest_bit(mask)
            mask &= mask - 1
            c = context[r]
            row[count], level[count], lists.context[count] = r, halves[r], c
            count += halves[r] >= _least_half(survival[c, -1])
    return count


@part_njit(forceinline=True)
def _follow(sample, stream, count, seed, survival, tables, i, drawing):
    """Find the active features of the candidates, round by round, and put them into the lists."""
    words, lists = drawing.words, drawing.lists
    scale, offset, most = tables.scale[i], tables.offset[i], tables.most[i]
    _take(sample, stream, count, lists.row, words.alive, words.which)
    _draw_blocks(words.which, count, uint64(0), seed, words.block)
    count = _first_levels(count, survival, words, lists)
    ended = found = 0
    lists.ends[0] = 0
    while count > 0:
        again = found + 1 < most
        if found % 2 == 0:
            left = _even_round(count, found, ended, again, survival, scale, offset, drawing)
        else:
            _next_blocks(sample, stream, count, found, seed, words, lists.row)
            left = _odd_round(count, found, ended, again, survival, scale, offset, drawing)
        found += 1
        ended += count - left
        lists.ends[found] = ended
        count = left
    for a in range(found + 1, len(lists.ends)):
        lists.ends[a] = ended


@part_njit(forceinline=True)
def _take(sample, stream, count, row, alive, which):
    for s in range(count):
        alive[s] = uint64(s)
    if stream:
        for s in range(count):
            which[s] = sample[0] + uint64(row[s])
    else:
        for s in range(count):
            which[s] = sample[row[s]]


@part_njit(forceinline=True)
def _draw_blocks(which, count, number, seed, block):
    """A block of words of each of these samples."""
    wide_vectors()
    w0, w1, w2, w3 = block[0], block[1], block[2], block[3]
    for k in range(ceil(count, _VECTOR)):
        a, b, c, d = philox(number, which[k], ACTIVE, seed)
        w0[k], w1[k], w2[k], w3[k] = uint32(a), uint32(b), uint32(c), uint32(d)


@part_njit()
def _next_blocks(sample, stream, count, found, seed, words, row):
    """Draw the next block of each sample; its value for this round is the last word of the block before."""
    last, kept = words.block[3], words.block[4]
    for k in range(count):
        r = row[words.alive[k]]
        words.which[k], kept[k] = sample[0] + uint64(r) if stream else sample[r], last[k]
    _draw_blocks(words.which, count, uint64((found + 1) // 2), seed, words.block)


@part_njit(forceinline=True)
def _first_levels(count, survival, words, lists):
    """Complete the first level of each sample, and leave out the rare ones without active features."""
    level, low = words.level, words.block[0]
    if len(survival) == 1:
        out = _complete(count, survival[0, -1], low, level)
    else:
        out = _complete_in_context(count, survival, low, lists.context, level)
    if out > 0:
        count = _leave_out(count, survival, words, lists)
    if len(survival) == 1:
        lists.empty[0] -= count
    else:
        for k in range(count):
            lists.empty[lists.context[k]] -= 1
    return count


@part_njit(forceinline=True)
def _complete(count, last, low, level):
    wide_vectors()
    out = 0
    for k in range(count):
        level[k] = (level[k] * _HALF_VALUES + (low[k] >> _HALF)) * _UNIT
        out += level[k] < last
    return out


@part_njit()
def _complete_in_context(count, survival, low, context, level):
    out = 0
    for k in range(count):
        level[k] = (level[k] * _HALF_VALUES + (low[k] >> _HALF)) * _UNIT
        out += level[k] < survival[context[k], -1]
    return out


@part_njit()
def _leave_out(count, survival, words, lists):
    level, several, left = words.level, len(survival) > 1, 0
    for k in range(count):
        c = lists.context[k] if several else uint64(0)
        lists.row[left], lists.context[left], level[left] = lists.row[k], c, level[k]
        for w in range(1, 4):
            words.block[w, left] = words.block[w, k]
        left += level[k] >= survival[c, -1]
    return left


def _round(odd):
    """The loop of one round, compiled apart for the words that it takes and for those that later rounds will take."""

    @part_njit(forceinline=True)
    def next_features(count, found, ended, again, survival, scale, offset, drawing):
        """Find the next feature of each sample; return how many samples have a further one."""
        guide, words, lists = drawing.guide, drawing.words, drawing.lists
        alive, level, context, slot = words.alive, words.level, lists.context, lists.slot
        w1, w2, w3 = words.block[1], words.block[2], words.block[3]
        value, gap = (words.block[4], words.block[0]) if odd else (w1, w2)
        entry, values = lists.entry[found], lists.value[found]
        several = len(survival) > 1
        after, first, base, shift = survival[0], guide.first[0], guide.base[0], guide.shift[0]
        last = after[-1]
        left, done = uint64(0), uint64(ended)
        for k in range(uint64(count)):
            s, at = alive[k], level[k]
            if several:
                c = context[s]
                after, first, base, shift = survival[c], guide.first[c], guide.base[c], guide.shift[c]
                last = after[-1]
            f = uint64(first[uint64((bits(at) >> shift) - base)])
            while after[f] > at:
                f += uint64(1)
            entry[s], values[s] = f, np.float32(value[k]) * scale + offset
            below = gap[k] * _UNIT * after[f]
            more = uint64(again and below >= last)
            # Both lists are written to, and one of them grows.
            slot[done] = s
            done += uint64(1) - more
            alive[left], level[left], w3[left] = s, below, w3[k]
            if odd:
                w1[left], w2[left] = w1[k], w2[k]
            left += more
        return np.int64(left)

    return next_features


_even_round, _odd_round = _round(False), _round(True)
