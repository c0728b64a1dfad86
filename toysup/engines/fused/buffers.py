"""The plan and the buffers of one instance, small enough to stay in the caches of a core."""

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.engines.compiled_code import part_njit
from toysup.engines.compiled_samples.active_lists import Drawing, new_drawing
from toysup.engines.compiled_samples.grouped_tiles import rows_of_words
from toysup.engines.compiled_samples.sizes import WORDS, ceil
from toysup.engines.compiled_samples.survival_tables import fill_guide
from toysup.engines.fused.arguments import Batches, State, Tables
from toysup.engines.fused.vectors import COLUMNS, ROWS
from toysup.sampling.samples import NumpyArray

# Most values and most samples of a tile. It fits into the L2 cache, and is long enough that the end of a loop over
# samples costs little.
_TILE_VALUES = 2**16
_TILE_SAMPLES = 1024


class Work(NamedTuple):
    """The plan and the buffers of one instance; rows are padded to `ROWS`, columns to `COLUMNS`."""

    n_inputs: NumpyArray  # per context
    n_outputs: NumpyArray
    input_row: NumpyArray  # (C, n) row of X of a feature; one of the last four, which are zero, if never active
    output: NumpyArray  # (C, n) the features whose errors have a weight
    sample: NumpyArray
    context: NumpyArray
    grouped: NumpyArray
    group: NumpyArray
    order: NumpyArray
    words: NumpyArray
    tile: NumpyArray
    group_words: NumpyArray
    drawing: Drawing | None
    X: NumpyArray
    A: NumpyArray
    H: NumpyArray
    D: NumpyArray
    W_in: NumpyArray
    W_out: NumpyArray
    W_out_T: NumpyArray
    b_out: NumpyArray
    K: NumpyArray
    M: NumpyArray
    HG: NumpyArray
    DX: NumpyArray
    zeros: NumpyArray
    grad_W: NumpyArray
    grad_b: NumpyArray


class Layer(NamedTuple):
    """The part of the model for one context: views of the buffers of `Work`."""

    gram: bool
    X: NumpyArray
    A: NumpyArray
    H: NumpyArray
    D: NumpyArray
    W_in: NumpyArray
    W_out: NumpyArray
    W_out_T: NumpyArray
    b_out: NumpyArray
    K: NumpyArray
    M: NumpyArray
    HG: NumpyArray
    DX: NumpyArray
    zeros: NumpyArray


def aligned_matrix(height: int, width: int, dtype: npt.DTypeLike) -> NumpyArray:
    """A matrix of zeros that begins on a cache line."""
    flat = np.zeros(height * width + 64, dtype)
    skip = -flat.ctypes.data % 64 // flat.itemsize
    return flat[skip : skip + height * width].reshape(height, width)


def new_work(state: State, tables: Tables, batches: Batches) -> Work:
    """Buffers for one instance at a time, with the shapes and the dtype of these arguments."""
    n_contexts = tables.threshold.shape[1]
    _, m, n = state.W.shape
    wide, high_m, high_n = ceil(n, COLUMNS), ceil(m, ROWS), ceil(n, ROWS)
    tile = ceil(min(_TILE_SAMPLES, max(1, _TILE_VALUES // n), batches.size), COLUMNS)

    matrix = partial(aligned_matrix, dtype=state.W.dtype)

    return Work(
        n_inputs=np.zeros(n_contexts, np.int64),
        n_outputs=np.zeros(n_contexts, np.int64),
        input_row=np.zeros((n_contexts, n), np.int64),
        output=np.zeros((n_contexts, n), np.int64),
        sample=np.zeros(batches.size, np.uint64),
        context=np.zeros(batches.size, np.int64),
        grouped=np.zeros(batches.size, np.uint64),
        group=np.zeros(n_contexts + 1, np.int64),
        order=np.zeros(batches.dataset_size, np.uint32),
        words=np.zeros((4, WORDS), np.uint64),
        tile=np.zeros(tile, np.uint64),
        group_words=np.zeros((0 if tables.groups is None else rows_of_words(n), tile), np.uint32),
        drawing=None if tables.sparse is None else new_drawing(tables.sparse, tile, state.W.dtype),
        X=matrix(high_n + 4, tile),
        A=matrix(high_n, tile),
        H=matrix(high_m, tile),
        D=matrix(high_m, tile),
        W_in=matrix(high_m, wide),
        W_out=matrix(high_m, wide),
        W_out_T=matrix(high_n, high_m),
        b_out=matrix(high_n, 1),
        K=matrix(high_n, wide),
        M=matrix(high_n, wide),
        HG=matrix(high_m, wide),
        DX=matrix(high_m, wide),
        zeros=matrix(max(high_m, high_n), 1),
        grad_W=np.zeros((m, n), state.W.dtype),
        grad_b=np.zeros(n, state.W.dtype),
    )


@part_njit()
def plan(tables, i, injected, work):
    """Find the inputs and outputs of each context of an instance; in an injected batch any feature may be active."""
    threshold, importance = tables.threshold[i], tables.importance[i]
    zeros = len(work.X) - 4
    _fill_guide(tables.sparse, i, work.drawing)
    for c in range(len(threshold)):
        n_inputs = n_outputs = 0
        for f in range(threshold.shape[1]):
            if injected or threshold[c, f] > 0 or _follows_group(tables.groups, i, c, f):
                work.input_row[c, f] = n_inputs
                n_inputs += 1
            else:
                work.input_row[c, f] = zeros + f % 4
            if importance[c, f] != 0:
                work.output[c, n_outputs] = f
                n_outputs += 1
        work.n_inputs[c], work.n_outputs[c] = n_inputs, n_outputs


@part_njit()
def _fill_guide(sparse, i, drawing):
    # numba leaves the branch out that the type of `sparse` excludes.
    if sparse is not None:
        fill_guide(sparse.survival[i], drawing.guide)


@part_njit()
def _follows_group(groups, i, c, f):
    """Whether a word of its group can activate a feature; the ends of the interval are rounded by themselves."""
    # numba leaves the branch out that the type of `groups` excludes.
    if groups is None:
        return False
    return groups.lower[i, c, f] < groups.upper[i, c, f]
