"""The gradient of one batch from the lists of its samples' active features.

With K = WᵀW a sample with the active features F has the pre-activations A = b + Σ_F x_f K_f. If g is their gradient,
and M_f the sum of x_f g over samples, then dW = W (M + Mᵀ). Samples without active features have the pre-activations b,
so they are one row that weighs as much as all of them.

If fewer features are active in a batch than there are, K and M have the rows of those alone.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numba import types, uint64
from numba.np.numpy_support import from_dtype

from toysup.engines.compiled_code import kept_function, part_njit
from toysup.engines.compiled_samples.active_lists import MOST_ROWS, Drawing, draw_lists, new_drawing
from toysup.engines.compiled_samples.sizes import WORDS, ceil
from toysup.engines.compiled_samples.source_digest import SOURCES
from toysup.engines.compiled_samples.survival_tables import fill_guide
from toysup.engines.compiled_samples.vector_width import wide_vectors
from toysup.engines.fused.activations import FUNCTIONS
from toysup.engines.fused.arguments import Batches, State, Tables
from toysup.engines.fused.buffers import aligned_matrix
from toysup.engines.fused.row_vectors import add_rows, sum_rows
from toysup.engines.fused.update import FAST
from toysup.engines.fused.vectors import LANES, ROWS, correlate, narrow_product
from toysup.sampling.samples import NumpyArray

# Values of a tile, which stays in the L1 cache from the first to the last use of its rows.
_TILE_VALUES = 2**11
# Rows and columns of a block of M that is added to its transpose.
_SQUARE = 16


class SparseWork(NamedTuple):
    """Buffers for one instance at a time; rows are padded to `ROWS`, columns to `LANES`.

    `feature` (row of K,) is the feature of each row of K and M, and `place` the row of each feature, −1 if it has none.
    `weights` (C, n) are 2 I, and `row_g`, `row_x` and `row_weight` are a tile of one row.
    """

    sample: NumpyArray
    order: NumpyArray
    words: NumpyArray
    drawing: Drawing
    feature: NumpyArray
    place: NumpyArray
    W: NumpyArray
    W_in: NumpyArray
    W_in_T: NumpyArray
    b: NumpyArray
    zeros: NumpyArray
    weights: NumpyArray
    K: NumpyArray
    M: NumpyArray
    A: NumpyArray
    X: NumpyArray
    weight: NumpyArray
    row_g: NumpyArray
    row_x: NumpyArray
    row_weight: NumpyArray
    sum_g: NumpyArray
    WM: NumpyArray
    MW: NumpyArray
    grad_W: NumpyArray
    grad_b: NumpyArray


def new_sparse_work(state: State, tables: Tables, batches: Batches) -> SparseWork:
    """Buffers with the shapes and the dtype of these arguments."""
    assert tables.sparse is not None
    (_, m, n), n_contexts, dtype = state.W.shape, tables.threshold.shape[1], state.W.dtype
    wide, high_n, high_m = ceil(n, LANES), ceil(n, ROWS), ceil(m, ROWS)
    tile = max(ROWS, _TILE_VALUES // wide)

    matrix = partial(aligned_matrix, dtype=dtype)

    return SparseWork(
        sample=np.zeros(batches.size, np.uint64),
        order=np.zeros(batches.dataset_size, np.uint32),
        words=np.zeros((4, WORDS), np.uint64),
        drawing=new_drawing(tables.sparse, min(batches.size, MOST_ROWS), dtype),
        feature=np.zeros(high_n, np.uint32),
        place=np.full(n, -1, np.int64),
        W=matrix(high_m, wide),
        W_in=matrix(high_m, high_n),
        W_in_T=matrix(high_n, high_m),
        b=matrix(1, wide),
        zeros=matrix(max(high_m, high_n), 1),
        weights=matrix(n_contexts, wide),
        K=matrix(high_n, wide),
        M=matrix(high_n, wide),
        A=matrix(tile, wide),
        X=matrix(tile, wide),
        weight=matrix(tile, wide),
        row_g=matrix(1, wide),
        row_x=matrix(1, wide),
        row_weight=matrix(1, wide),
        sum_g=matrix(1, wide),
        WM=matrix(high_m, wide),
        MW=matrix(high_n, high_m),
        grad_W=np.zeros((m, n), dtype),
        grad_b=np.zeros(n, dtype),
    )


@part_njit(forceinline=True)
def sparse_plan(tables, i, injected, work):
    """Prepare the buffers for an instance."""
    fill_guide(tables.sparse.survival[i], work.drawing.guide)
    importance = tables.importance[i]
    for c in range(len(importance)):
        for o in range(importance.shape[1]):
            work.weights[c, o] = 2 * importance[c, o]
    # With several contexts the rows of a tile are weighed one by one.
    for r in range(len(work.weight)):
        for o in range(work.weight.shape[1]):
            work.weight[r, o] = work.weights[0, o]


@part_njit(forceinline=True)
def sparse_gradient(errors, state, tables, batches, i, at_step, rows, work):
    """Write the gradient of the batch's mean loss to `work.grad_W` and `work.grad_b`; return the summed loss.

    `errors` is that of the activation.
    """
    W, lists, n_in, loss, first = state.W[i], work.drawing.lists, 0, 0.0, 0
    n, stream = W.shape[1], batches.dataset_size == 0
    while first < rows:
        count = min(MOST_ROWS, rows - first)
        if batches.injected:
            _list_given(batches.x[i, at_step, first : first + count], batches.context[i, at_step, first:], lists)
        else:
            own, threshold = work.sample[first:], tables.context_threshold[i]
            if stream:
                own[0] = work.sample[0] + uint64(first)
            draw_lists(own, count, stream, tables.seed[i], threshold, tables.sparse, i, work.drawing)
        if first == 0:
            n_in = _inputs(lists, n, rows > MOST_ROWS, work.feature, work.place)
            _begin(W, state.b[i], n_in, work)
        loss += _add_samples(errors, n_in < n, work)
        first += count
    _collect(W, n_in, 1 / rows, work)
    return loss / 2


@part_njit(forceinline=True)
def _inputs(lists, n, every, feature, place):
    """Give a row to each feature that is active in the batch, or to every one; return the number of rows.

    If as many features are active in all samples together as there are, each feature gets a row.
    """
    total, entries = lists.ends[-1], 0
    for a in range(1, len(lists.ends)):
        entries += total - lists.ends[a - 1]
    if every or entries >= n:
        for f in range(n):
            feature[f] = f
        return n
    n_in = 0
    for a in range(len(lists.ends) - 1):
        # The samples with more than a features have an entry a.
        for k in range(lists.ends[a], total):
            s = lists.slot[k]
            f = lists.entry[a, s]
            if place[f] < 0:
                place[f], feature[n_in] = n_in, f
                n_in += 1
            lists.entry[a, s] = place[f]
    for t in range(n_in):
        place[feature[t]] = -1
    return n_in


@part_njit(forceinline=True)
def _begin(W, b, n_in, work):
    """Copy the model to the buffers, and compute K."""
    high = ceil(n_in, ROWS)
    _copy_weights(W, b, n_in, work.feature, work.W, work.W_in, work.W_in_T, work.b)
    narrow_product(work.zeros, work.W_in_T, work.W[: len(W)], work.K, high)
    _clear(work.M[:high], work.sum_g)


@part_njit(forceinline=True)
def _copy_weights(W, b, n_in, feature, W_wide, W_in, W_in_T, b_wide):
    for k in range(len(W)):
        for o in range(len(b)):
            W_wide[k, o] = W[k, o]
        for t in range(n_in):
            W_in[k, t] = W_in_T[t, k] = W[k, feature[t]]
    for t in range(n_in, ceil(n_in, ROWS)):
        for k in range(len(W)):
            W_in_T[t, k] = 0
    for o in range(len(b)):
        b_wide[0, o] = b[o]


@part_njit(forceinline=True)
def _clear(M, sum_g):
    for t in range(len(M)):
        for o in range(M.shape[1]):
            M[t, o] = 0
    for o in range(M.shape[1]):
        sum_g[0, o] = 0


@part_njit(forceinline=True)
def _add_samples(errors, some, work):
    """Add the samples in the lists to M and to the sum of g, both in units of 1/B; return their doubled loss."""
    lists, A, X, weight = work.drawing.lists, work.A, work.X, work.weight
    several, loss = len(lists.empty) > 1, 0.0
    for c in range(len(lists.empty)):
        if lists.empty[c] > 0:
            _set_row(work.b[0], work.weights[c], lists.empty[c], work.row_g[0], work.row_weight[0])
            loss += errors(work.row_g[0], work.row_x[0], work.row_weight[0], A.shape[1])
            _add_row(work.row_g[0], work.sum_g[0])
    place = 0
    for a in range(1, len(lists.ends)):
        while place < lists.ends[a]:
            count = min(len(A), lists.ends[a] - place)
            slot = lists.slot[place : place + count]
            sum_rows(work.b, work.K, lists.entry, lists.value, lists.slot, place, count, a, A)
            if several:
                _weigh(work.weights, lists.context, slot, weight)
            _spread(lists.entry, lists.value, slot, a, some, work.feature, X)
            loss += errors(A.reshape(-1), X.reshape(-1), weight.reshape(-1), count * A.shape[1])
            add_rows(A, lists.entry, lists.value, lists.slot, place, count, a, work.M, work.sum_g)
            place += count
    return loss


@part_njit(forceinline=True)
def _set_row(b, weights, times, a, weight):
    for o in range(len(a)):
        a[o], weight[o] = b[o], weights[o] * times


@part_njit(forceinline=True)
def _add_row(g, sum_g):
    for o in range(len(g)):
        sum_g[o] += g[o]


@part_njit()
def _weigh(weights, context, slot, weight):
    for r in range(len(slot)):
        c = context[slot[r]]
        for o in range(weight.shape[1]):
            weight[r, o] = weights[c, o]


@part_njit(forceinline=True)
def _spread(index, value, slot, count, some, feature, X):
    """Write the values of samples with `count` features to their rows of X, which are zero."""
    for a in range(count):
        for r in range(uint64(len(slot))):
            s = slot[r]
            f = index[a, s]
            X[r, feature[f] if some else f] = value[a, s]


@part_njit(forceinline=True)
def _collect(W, n_in, unit, work):
    """The gradient of W and b from M and the sum of g."""
    (m, n), high = W.shape, ceil(n_in, ROWS)
    if n_in == n:
        _add_transpose(work.M, n)
    narrow_product(work.zeros, work.W_in, work.M[:n_in], work.WM, ceil(m, ROWS))
    if n_in < n:
        work.MW[:high] = 0
        correlate(work.M[:high], work.W, work.MW, work.W.shape[1])
    _write(work.WM, work.MW, n_in, work.feature, work.sum_g, W.dtype.type(unit), work.grad_W, work.grad_b)


@part_njit()
def _add_transpose(M, n):
    for f in range(0, n, _SQUARE):
        for o in range(0, f + 1, _SQUARE):
            for p in range(f, min(f + _SQUARE, n)):
                for q in range(o, min(o + _SQUARE, p + 1)):
                    both = M[p, q] + M[q, p]
                    M[p, q] = M[q, p] = both


@part_njit(forceinline=True)
def _write(WM, MW, n_in, feature, sum_g, unit, grad_W, grad_b):
    m, n = grad_W.shape
    for k in range(m):
        for o in range(n):
            grad_W[k, o] = unit * WM[k, o]
        if n_in < n:
            for t in range(n_in):
                grad_W[k, feature[t]] += unit * MW[t, k]
    for o in range(n):
        grad_b[o] = unit * sum_g[0, o]


@cache
def errors_of(activation: str, dtype: str) -> Any:
    """The loop over the values of a tile, for an activation and a dtype."""
    activate, kind = FUNCTIONS[activation], from_dtype(np.dtype(dtype))
    row = types.Array(kind, 1, "C")

    @kept_function(kind(row, row, row, types.int64), f"{SOURCES} {activation}", fastmath=FAST, error_model="numpy")
    def errors(a, x, weight, count):
        """Replace the pre-activations by their gradient and the targets by zeros; return Σ weight · error²."""
        wide_vectors()
        loss = a.dtype.type(0)
        for j in range(count):
            y, slope = activate(a[j])
            error = y - x[j]
            weighted = weight[j] * error
            loss += weighted * error
            a[j], x[j] = weighted * slope, 0
        return loss

    return errors


@part_njit()
def _list_given(x, context, lists):
    """Make lists of given samples x (row, feature), as `draw_lists` does of drawn ones."""
    for c in range(len(lists.empty)):
        lists.empty[c] = 0
    n_listed = 0
    for r in range(len(x)):
        a = 0
        for f in range(x.shape[1]):
            if x[r, f] != 0:
                lists.entry[a, n_listed], lists.value[a, n_listed] = f, x[r, f]
                a += 1
        if a == 0:
            lists.empty[context[r]] += 1
        else:
            lists.row[n_listed], lists.context[n_listed] = r, context[r]
            n_listed += 1
    ended = 0
    lists.ends[0] = 0
    for a in range(1, len(lists.ends)):
        for s in range(n_listed):
            count = 0
            for f in range(x.shape[1]):
                count += x[lists.row[s], f] != 0
            if count == a:
                lists.slot[ended] = s
                ended += 1
        lists.ends[a] = ended
