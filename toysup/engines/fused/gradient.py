"""The gradient of one batch, by forward and backward passes over tiles of samples.

Samples of a batch are grouped by context, because the context decides which features can be active (the *inputs*) and
which errors have a weight (the *outputs*). The products leave out all other features. With X the inputs and g the
gradient of the pre-activations, one column for each sample, there are two ways to compute the gradient:

* *Gram*: K = WᵀW once per step, then K X, and M = g Xᵀ, from which dW = W Mᵀ + W M once per step;
* *direct*: H = W X, then Wᵀ H, and dW = H gᵀ + (W g) Xᵀ.

For each sample the first takes 2·outputs·inputs multiply-adds, the second m (3·outputs + 2·inputs). Each context takes
the cheaper way.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.np.numpy_support import from_dtype

from toysup.engines.compiled_code import kept_function, part_njit
from toysup.engines.compiled_samples.active_lists import draw_lists_in
from toysup.engines.compiled_samples.grouped_tiles import GroupedLaw, draw_grouped_tile
from toysup.engines.compiled_samples.sizes import ceil
from toysup.engines.compiled_samples.source_digest import SOURCES
from toysup.engines.compiled_samples.tiles import draw_contexts, draw_tile, group_by_context
from toysup.engines.compiled_samples.vector_width import wide_vectors
from toysup.engines.fused.activations import FUNCTIONS
from toysup.engines.fused.buffers import Layer
from toysup.engines.fused.update import FAST
from toysup.engines.fused.vectors import COLUMNS, ROWS, correlate, product


@part_njit(forceinline=True)
def gradient(row_errors, state, tables, batches, i, at_step, rows, work):
    """Write the gradient of the batch's mean loss to `work.grad_W` and `work.grad_b`; return the summed loss.

    `row_errors` is that of the activation.
    """
    W, b = state.W[i], state.b[i]
    work.grad_W[:] = 0
    work.grad_b[:] = 0
    if batches.injected:
        copy(batches.context[i, at_step], work.context)
    else:
        draw_contexts(work.sample, rows, tables.context_threshold[i], tables.seed[i], work.context)
    group_by_context(rows, work.sample, work.context, work.grouped, work.group)
    loss = 0.0
    for c in range(len(work.n_inputs)):
        if work.group[c] == work.group[c + 1] or work.n_outputs[c] == 0:
            continue
        layer = _layer(W, b, c, work)
        for first in range(work.group[c], work.group[c + 1], len(work.tile)):
            count = min(len(work.tile), work.group[c + 1] - first)
            # The products take whole vectors. Columns beyond `count` hold any samples, and get gradient 0.
            tile = work.tile[: ceil(count, COLUMNS)]
            copy(work.grouped[first : first + count], tile)
            if batches.injected:
                _copy_tile(tile, batches.x[i, at_step], work.X)
            else:
                _draw(tables.groups, tables.sparse, tables, i, c, tile, work)
            _forward(layer, len(tile))
            loss += _errors(row_errors, tables.importance[i, c], c, count, len(tile), rows, work)
            _backward(layer, len(tile))
        _collect(layer, c, work)
    return loss


@part_njit(forceinline=True)
def _draw(groups, sparse, tables, i, c, tile, work):
    threshold, scale = tables.threshold[i, c], tables.scale[i, c]
    # numba leaves the branches out that the types of `groups` and `sparse` exclude.
    if sparse is not None:
        draw_lists_in(c, tile, len(tile), tables.seed[i], sparse, i, work.drawing)
        _spread_lists(work.drawing.lists, work.input_row[c], work.X[: work.n_inputs[c], : len(tile)])
    elif groups is None:
        draw_tile(tile, work.input_row[c], threshold, scale, tables.offset[i], tables.seed[i], work.X)
    else:
        interval = groups.lower[i, c], groups.upper[i, c]
        law = GroupedLaw(threshold, scale, groups.of[i], groups.copies[i], *interval, groups.scale[i])
        draw_grouped_tile(tile, work.input_row[c], law, tables.offset[i], tables.seed[i], work.group_words, work.X)


@part_njit()
def _spread_lists(lists, input_row, X):
    """Write listed samples to X, one column for each sample."""
    X[:] = 0
    for a in range(len(lists.ends) - 1):
        # The samples with more than a features have an entry a.
        for k in range(lists.ends[a], lists.ends[-1]):
            s = lists.slot[k]
            X[input_row[lists.entry[a, s]], lists.row[s]] = lists.value[a, s]


@part_njit()
def copy(source, target):
    for j in range(len(source)):
        target[j] = source[j]


@part_njit()
def _copy_tile(tile, given, X):
    for j in range(len(tile)):
        for f in range(given.shape[1]):
            X[f, j] = given[tile[j], f]


@part_njit()
def _layer(W, b, c, work):
    """Copy the part of the model for context `c` to the buffers."""
    n_inputs, n_outputs = work.n_inputs[c], work.n_outputs[c]
    high_in, high_out = ceil(n_inputs, ROWS), ceil(n_outputs, ROWS)
    m = len(W)
    gram = 2 * n_inputs * n_outputs <= m * (2 * n_inputs + 3 * n_outputs)
    W_in, W_out, W_out_T, b_out = work.W_in, work.W_out, work.W_out_T[:high_out], work.b_out[:high_out]
    _gather(W, b, n_inputs, work.input_row[c], work.output[c, :n_outputs], W_in, W_out, W_out_T, b_out)
    K, M = work.K[:high_out], work.M[:high_out]
    if gram:
        product(work.zeros, W_out_T, W_in, K, ceil(n_inputs, COLUMNS))
        M[:] = 0
    else:
        work.HG[:] = 0
        work.DX[:] = 0
    X, A = work.X[:high_in], work.A[:high_out]
    return Layer(gram, X, A, work.H, work.D, W_in, W_out, W_out_T, b_out, K, M, work.HG, work.DX, work.zeros)


@part_njit()
def _gather(W, b, n_inputs, input_row, outputs, W_in, W_out, W_out_T, b_out):
    """Copy the columns of W and b that are inputs or outputs; padding becomes zero."""
    m, n_outputs, high_out = len(W), len(outputs), len(b_out)
    for k in range(m):
        for f, row in enumerate(input_row):
            if row < n_inputs:
                W_in[k, row] = W[k, f]
        # Padding that a product reads. Another model may have left infinity there, and 0 · ∞ is NaN.
        for row in range(n_inputs, ceil(n_inputs, COLUMNS)):
            W_in[k, row] = 0
        for o, f in enumerate(outputs):
            W_out[k, o] = W[k, f]
            W_out_T[o, k] = W[k, f]
        for o in range(n_outputs, high_out):
            W_out[k, o] = 0
            W_out_T[o, k] = 0
    for o, f in enumerate(outputs):
        b_out[o, 0] = b[f]
    for o in range(n_outputs, high_out):
        b_out[o, 0] = 0


@part_njit(forceinline=True)
def _forward(layer, length):
    """Compute the pre-activations A of the outputs."""
    if layer.gram:
        product(layer.b_out, layer.K, layer.X, layer.A, length)
    else:
        product(layer.zeros, layer.W_in, layer.X, layer.H, length)
        product(layer.b_out, layer.W_out_T, layer.H, layer.A, length)


@part_njit(forceinline=True)
def _backward(layer, length):
    """Add this tile to the products that give the gradient; A holds the gradient of the pre-activations."""
    if layer.gram:
        correlate(layer.A, layer.X, layer.M, length)
    else:
        product(layer.zeros, layer.W_out, layer.A, layer.D, length)
        correlate(layer.H, layer.A, layer.HG, length)
        correlate(layer.D, layer.X, layer.DX, length)


@part_njit(forceinline=True)
def _collect(layer, c, work):
    """Add the part of one context to the gradient of W."""
    n_inputs, input_row, outputs = work.n_inputs[c], work.input_row[c], work.output[c, : work.n_outputs[c]]
    if layer.gram:
        length = ceil(n_inputs, COLUMNS)
        work.HG[:] = 0
        correlate(layer.W_in, layer.M, work.HG, length)
        product(layer.zeros, layer.W_out, layer.M, work.DX, length)
    _spread(n_inputs, input_row, outputs, work.HG, work.DX, work.grad_W)


@part_njit()
def _spread(n_inputs, input_row, outputs, HG, DX, grad_W):
    for k in range(len(grad_W)):
        for f, row in enumerate(input_row):
            if row < n_inputs:
                grad_W[k, f] += DX[k, row]
        for o, f in enumerate(outputs):
            grad_W[k, f] += HG[k, o]


@part_njit(forceinline=True)
def _errors(row_errors, importance, c, count, length, rows, work):
    """Replace the pre-activations by their gradient, add it to the gradient of b, and return the summed loss."""
    A, X, input_row, output, grad_b = work.A, work.X, work.input_row[c], work.output[c], work.grad_b
    loss = 0.0
    for o in range(work.n_outputs[c]):
        f = output[o]
        row_loss, row_grad = row_errors(A[o], X[input_row[f]], count, importance[f], rows)
        for j in range(count, length):
            A[o, j] = 0
        loss += row_loss
        grad_b[f] += row_grad
    return loss


@cache
def row_errors_of(activation: str, dtype: str) -> Any:
    """The loop over the samples of one output, for an activation and a dtype."""
    activate, kind = FUNCTIONS[activation], from_dtype(np.dtype(dtype))
    row = types.Array(kind, 1, "C")
    signature = types.UniTuple(kind, 2)(row, row, types.int64, kind, types.int64)

    @kept_function(signature, f"{SOURCES} {activation}", fastmath=FAST, error_model="numpy")
    def row_errors(a, x, count, importance, rows):
        wide_vectors()
        loss = grad = a.dtype.type(0)
        weight = a.dtype.type(2.0 * importance / rows)
        for j in range(count):
            y, slope = activate(a[j])
            error = y - x[j]
            loss += error * error
            a[j] = weight * error * slope
            grad += a[j]
        return importance * loss, grad

    return row_errors
