"""Tiles of values of a regime with groups: features that fire together, or exclude one another.

A feature of a group follows its group's word where its copy word says so, and its own word otherwise. Words are drawn
in blocks of four, as everywhere, to buffers; then the values of each feature follow from its words in one loop.
"""

from typing import NamedTuple

import numpy as np
from numba import uint32, uint64

from toysup.engines.compiled_code import part_njit
from toysup.engines.compiled_samples.vector_width import wide_vectors
from toysup.engines.compiled_samples.words import COPY, FEATURE, GROUP, philox
from toysup.sampling.random_words import WORD_VALUES
from toysup.sampling.samples import NumpyArray

# Rows of the buffer of words: those of a block of features, those of their copies, then each feature's group's.
_OWN, _COPY, _SHARED = 0, 4, 8
# A feature with this number of copies always follows its group's word.
_ALWAYS = np.uint64(WORD_VALUES)


class GroupedLaw(NamedTuple):
    """The law of the features (feature,) of one instance in one context, as `toysup.sampling.samples` defines it.

    An active feature that follows its group's word has the value word · `copied_scale` + offset, any other active
    feature word · `scale` + offset.
    """

    threshold: NumpyArray
    scale: NumpyArray
    of: NumpyArray
    copies: NumpyArray
    lower: NumpyArray
    upper: NumpyArray
    copied_scale: np.float32


def rows_of_words(n_features: int) -> int:
    """Rows of the buffer of words for `draw_grouped_tile`, which has a column for each sample of a tile."""
    return _SHARED + -(-n_features // 4) * 4


@part_njit()
def draw_grouped_tile(tile, input_row, law, offset, seed, words, X):
    """Draw the values of all inputs of the samples in `tile` to X, one column for each sample."""
    zeros = len(X) - 4
    for first in range(0, len(input_row), 4):
        # The first feature of a group has the word of the group.
        if _has_first_of_group(law.of, first):
            _draw_words(tile, uint64(first // 4), GROUP, seed, words[_SHARED + first : _SHARED + first + 4])
    for first in range(0, len(input_row), 4):
        last = min(first + 4, len(input_row))
        if min(input_row[first:last]) >= zeros:
            continue
        _draw_words(tile, uint64(first // 4), FEATURE, seed, words[_OWN:_COPY])
        if _any_copies_sometimes(law.copies[first:last]):
            _draw_words(tile, uint64(first // 4), COPY, seed, words[_COPY:_SHARED])
        for f in range(first, last):
            if input_row[f] < zeros:
                _draw_feature(len(tile), f, law, offset, words, X[input_row[f]])


@part_njit()
def _has_first_of_group(of, first):
    found = False
    for f in range(first, min(first + 4, len(of))):
        found |= of[f] == f
    return found


@part_njit()
def _any_copies_sometimes(copies):
    found = False
    for count in copies:
        found |= 0 < count < _ALWAYS
    return found


@part_njit()
def _draw_words(tile, block, purpose, seed, words):
    wide_vectors()
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    for j in range(len(tile)):
        a, b, c, d = philox(block, tile[j], purpose, seed)
        w0[j], w1[j], w2[j], w3[j] = uint32(a), uint32(b), uint32(c), uint32(d)


@part_njit()
def _draw_feature(count, f, law, offset, words, x):
    """The values of one feature, from its own word, its copy word and its group's word of each sample."""
    wide_vectors()
    own, copies = words[_OWN + f % 4], law.copies[f]
    threshold, scale = law.threshold[f], law.scale[f]
    if copies == 0:
        for j in range(count):
            x[j] = np.float32(own[j]) * scale + offset if own[j] < threshold else np.float32(0)
        return
    shared, copy = words[_SHARED + law.of[f]], words[_COPY + f % 4]
    lower, upper, copied_scale = law.lower[f], law.upper[f], law.copied_scale
    if copies == _ALWAYS:
        for j in range(count):
            x[j] = np.float32(own[j]) * copied_scale + offset if lower <= shared[j] < upper else np.float32(0)
        return
    # It is below 2³², so it is a word.
    copies32 = uint32(copies)
    for j in range(count):
        among, below, copying = lower <= shared[j] < upper, own[j] < threshold, copy[j] < copies32
        active, factor = (among, copied_scale) if copying else (below, scale)
        x[j] = np.float32(own[j]) * factor + offset if active else np.float32(0)
