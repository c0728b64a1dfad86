"""Layers of many models, with samples along the last axis, and sums of their squared errors.

Nothing that is computed of a model depends on the other models.
"""

from toysup.engines.compiled_code import kept_njit
from toysup.engines.compiled_samples.source_digest import SOURCES
from toysup.engines.fused.vectors import COLUMNS, ROWS, product

# Numbers of outputs and of samples are multiples of these.
OUTPUTS, SAMPLES = ROWS, COLUMNS


@kept_njit(SOURCES, nogil=True)
def apply_layer(W, b, before, after, relu):
    """after = W before + b: W (model, output, input), b (model, output, 1), `after` (model, output, sample).

    `before` (model, input, sample) may have one entry for all models. With `relu`, what is negative becomes 0.
    """
    for m in range(len(W)):
        into = after[m]
        product(b[m], W[m], before[m % len(before)], into, into.shape[1])
        for o in range(into.shape[0] if relu else 0):
            for s in range(into.shape[1]):
                # NaN stays NaN.
                into[o, s] = 0 if into[o, s] < 0 else into[o, s]


@kept_njit(nogil=True, fastmath={"contract", "reassoc", "nsz"})
def add_errors(y, x, share, own, wanted, absolute, total):
    """Add Σ share (y − t)² over samples to `total` (model, group, output), for y (model, output, sample).

    The target t of an output is its own feature in x (feature, sample) times `wanted`, or the absolute value of that.
    `share` (group, sample) has as many samples as count.
    """
    for m in range(len(y)):
        for o in range(len(own)):
            output, feature, scale = y[m, o], x[own[o]], wanted[o]
            for g in range(len(share)):
                part = share[g, 0] * 0
                for s in range(share.shape[1]):
                    error = output[s] - scale * (abs(feature[s]) if absolute else feature[s])
                    part += share[g, s] * (error * error)
                total[m, g, o] += part
