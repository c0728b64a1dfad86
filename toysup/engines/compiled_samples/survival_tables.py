"""The law of samples of sparse regimes as tables for compiled code, and where to begin a search in them."""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from toysup.engines.compiled_code import part_njit
from toysup.sampling.random_words import WORD_VALUES
from toysup.sampling.samples import NumpyArray, SampleLaw


class SparseTables(NamedTuple):
    """The law of the samples of sparse regimes, as `toysup.sampling.sparse_samples` defines it.

    `survival` is (I, C, n) float64, `scale` and `offset` are (I,) float32, `most` is (I,) int64.
    """

    survival: NumpyArray
    scale: NumpyArray
    offset: NumpyArray
    most: NumpyArray


class Guide(NamedTuple):
    """Where a search in the survival of each context begins: at first[c, key − base[c]].

    The key of a level is made of its exponent and the highest bits of its mantissa.
    """

    first: NumpyArray
    base: NumpyArray
    shift: NumpyArray


def sparse_tables(law: SampleLaw) -> SparseTables | None:
    """The tables of all instances; None if no regime is sparse."""
    if law.sparse is None:
        return None
    count = len(law.threshold)
    return SparseTables(
        survival=np.ascontiguousarray(law.sparse.survival),
        scale=np.full(count, law.width / WORD_VALUES, np.float32),
        offset=np.full(count, law.low, np.float32),
        most=np.ascontiguousarray(law.sparse.most),
    )


def new_guide(n_contexts: int, n: int) -> Guide:
    """A guide to fill, with several entries for each feature."""
    key = np.zeros(n_contexts, np.int64)
    return Guide(np.zeros((n_contexts, 8 * n + 64), np.uint32), key, key.copy())


@intrinsic
def bits(typing_context, value):
    """The bits of a float64 as an integer."""

    def emit(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), emit


@part_njit()
def fill_guide(survival, guide):
    """Fill the guide to the survival (context, feature) of an instance."""
    n, size = survival.shape[1], guide.first.shape[1]
    for c in range(len(survival)):
        one, least, shift = bits(1.0), bits(survival[c, n - 1]), 20
        while (one >> shift) - (least >> shift) >= size:
            shift += 1
        base = least >> shift
        f = n - 1
        for key in range((one >> shift) - base + 1):
            while f > 0 and (bits(survival[c, f - 1]) >> shift) - base <= key:
                f -= 1
            guide.first[c, key] = f
        guide.base[c], guide.shift[c] = base, shift
