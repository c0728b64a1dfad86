"""Whole batches of samples, drawn by compiled code for engines that are not compiled."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint32, uint64

from toysup.engines.compiled_code import kept_njit, part_njit
from toysup.engines.compiled_samples.active_lists import MOST_ROWS, draw_lists, new_drawing
from toysup.engines.compiled_samples.sizes import WORDS
from toysup.engines.compiled_samples.source_digest import SOURCES
from toysup.engines.compiled_samples.survival_tables import fill_guide, sparse_tables
from toysup.engines.compiled_samples.tiles import draw_contexts, shuffle
from toysup.engines.compiled_samples.words import CONTEXT, COPY, FEATURE, GROUP, philox
from toysup.sampling.random_words import WORD_VALUES
from toysup.sampling.samples import NumpyArray, SampleLaw


class _Law(NamedTuple):
    """`SampleLaw` as arrays of fixed types; `of` is empty without groups, and `rule_feature` is −1 without a rule."""

    seed: NumpyArray
    context_threshold: NumpyArray
    threshold: NumpyArray
    scale: NumpyArray
    low: NumpyArray
    copied_scale: NumpyArray
    of: NumpyArray
    copies: NumpyArray
    lower: NumpyArray
    upper: NumpyArray
    rule_feature: int
    rule_threshold: NumpyArray
    rule_tie: NumpyArray


def draw_batch(law: SampleLaw, samples: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """x (instance, row, feature) and context (instance, row) of the samples (instance or 1, row)."""
    indices = np.ascontiguousarray(samples, np.uint64)
    shape = (len(law.threshold), indices.shape[1])
    x = np.empty((*shape, law.threshold.shape[2]), np.float32)
    context = np.zeros(shape, np.int64)
    if law.sparse is None or not law.sparse.every:
        _draw(_typed(law), indices, x, context)
    if (tables := sparse_tables(law)) is not None and law.sparse is not None:
        drawing = new_drawing(tables, min(shape[1], MOST_ROWS), np.float32)
        thresholds = np.ascontiguousarray(law.context_threshold, np.uint32)
        for i in np.flatnonzero(law.sparse.chosen):
            seed = np.uint64(law.key[1][i] << 32 | law.key[0][i])
            _draw_sparse(indices[i % len(indices)], seed, thresholds[i], tables, i, drawing, x[i], context[i])
    return x, context


def _typed(law: SampleLaw) -> _Law:
    def words(array: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        return np.ascontiguousarray(array, np.uint64)

    group, rule = law.group, law.rule
    nowhere = np.zeros((1, 1, 1), np.uint64)
    return _Law(
        seed=words(law.key[1]) << np.uint64(32) | words(law.key[0]),
        context_threshold=words(law.context_threshold if rule is None else law.context_threshold[:, :0]),
        threshold=words(law.threshold),
        scale=np.ascontiguousarray(law.scale),
        low=np.array([law.low], np.float32),
        copied_scale=np.array([law.width / WORD_VALUES], np.float32),
        of=np.zeros(0, np.int64) if group is None else np.ascontiguousarray(group.of),
        copies=nowhere[0] if group is None else words(group.copies),
        lower=nowhere if group is None else words(group.lower),
        upper=nowhere if group is None else words(group.upper),
        rule_feature=-1 if rule is None else rule.feature,
        rule_threshold=np.zeros(0) if rule is None else np.ascontiguousarray(rule.threshold),
        rule_tie=nowhere[0, 0] if rule is None else words(rule.tie),
    )


def order(seed: int, epoch: int, size: int) -> npt.NDArray[np.uint32]:
    """The order of samples in an epoch, equal to that of `toysup.sampling.random_words.order`."""
    places = np.empty(size, np.uint32)
    _order(places, np.uint64(epoch), np.uint64(seed), np.empty((4, WORDS), np.uint64))
    return places


@part_njit()
def _fill(words, purpose, sample, seed):
    for block in range((len(words) + 3) // 4):
        four = philox(uint64(block), sample, purpose, seed)
        for q, f in enumerate(range(4 * block, min(4 * block + 4, len(words)))):
            words[f] = four[q]


@part_njit()
def _judged(law, i, x, sample):
    """The context that follows from x by the rule."""
    statistic = 0.0
    for f in range(len(x)):
        if law.rule_feature in (0, f + 1):
            statistic += np.float64(x[f])
    if statistic > law.rule_threshold[i]:
        return 0
    if statistic < law.rule_threshold[i]:
        return 1
    return 0 if philox(uint64(0), sample, CONTEXT, law.seed[i])[0] < law.rule_tie[i] else 1


@kept_njit(SOURCES, nogil=True)
def _draw(law, samples, x, context):
    n = x.shape[2]
    word, shared, copy = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    for i in range(len(x)):
        own, seed = samples[i % len(samples)], law.seed[i]
        draw_contexts(own, len(own), law.context_threshold[i], seed, context[i])
        for r in range(len(own)):
            c = context[i, r]
            _fill(word, FEATURE, own[r], seed)
            if len(law.of) > 0:
                _fill(shared, GROUP, own[r], seed)
                _fill(copy, COPY, own[r], seed)
            for f in range(n):
                active, scale = word[f] < law.threshold[i, c, f], law.scale[i, c, f]
                if len(law.of) > 0 and copy[f] < law.copies[i, f]:
                    among = shared[law.of[f]]
                    active = law.lower[i, c, f] <= among < law.upper[i, c, f]
                    scale = law.copied_scale[0]
                x[i, r, f] = np.float32(uint32(word[f])) * scale + law.low[0] if active else np.float32(0)
            if law.rule_feature >= 0:
                context[i, r] = _judged(law, i, x[i, r], own[r])


@kept_njit(SOURCES, nogil=True)
def _draw_sparse(samples, seed, context_threshold, tables, i, drawing, x, context):
    fill_guide(tables.survival[i], drawing.guide)
    lists, several = drawing.lists, len(context_threshold) > 0
    x[:] = 0
    for first in range(0, len(samples), MOST_ROWS):
        rows = min(MOST_ROWS, len(samples) - first)
        draw_lists(samples[first:], rows, False, seed, context_threshold, tables, i, drawing)
        if several:
            for r in range(rows):
                context[first + r] = drawing.words.context[r]
        for a in range(len(lists.ends) - 1):
            # The samples with more than a features have an entry a.
            for k in range(lists.ends[a], lists.ends[-1]):
                s = lists.slot[k]
                x[first + lists.row[s], lists.entry[a, s]] = lists.value[a, s]


@kept_njit(SOURCES, nogil=True)
def _order(places, epoch, seed, words):
    shuffle(places, epoch, seed, words)
