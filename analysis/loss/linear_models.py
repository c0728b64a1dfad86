"""Models whose output is φ of a linear map of x, and the exact losses of linear ones, from second moments of x."""

import numpy as np

from toysup.analysis.loss.moments import Moments
from toysup.analysis.statistics.arrays import FloatArray
from toysup.analysis.statistics.forward_pass import Models
from toysup.experiments.model import ModelSpec


def is_affine(model: ModelSpec) -> bool:
    """Whether y = φ(A x + a) in each context, as all activations but the last are the identity."""
    layers = {model.layer_activation} if model.encoder_layers or model.decoder_layers else set()
    return model.architecture == "autoencoder" and {model.hidden_activation, *layers} == {"identity"}


def is_linear(model: ModelSpec) -> bool:
    """Whether y = A x + a in each context."""
    return is_affine(model) and model.activation == "identity"


def linear_losses(models: Models, moments: Moments) -> FloatArray:
    """E[1{c} (y_o − t_o)²] of linear models in double precision: (model, context, output)."""
    n, contexts = models.spec.n_features, range(len(moments.inputs))
    seen = contexts if models.regime.context_inputs else range(1)
    with np.errstate(all="ignore"):
        maps = [np.concatenate([a[..., None], A], axis=2) for A, a in (affine_map(models, c) for c in seen)]
        losses = []
        for c, inputs, cross, square in zip(contexts, moments.inputs, moments.cross, moments.square, strict=True):
            A = maps[c % len(maps)]
            quadratic = A @ inputs[: 1 + n, : 1 + n] - 2 * cross[:, : 1 + n]
            losses.append(np.einsum("mou,mou->mo", quadratic, A) + square)
    # A loss of nearly 0 may round to less; NaN stays NaN.
    positive: FloatArray = np.maximum(np.stack(losses, axis=1), 0)
    return positive


def affine_map(models: Models, context: int) -> tuple[FloatArray, FloatArray]:
    """A (model, output, feature) and a (model, output) of y = φ(A x + a) in a context."""
    n = models.spec.n_features
    _, before = models.states(np.eye(n + 1)[:, 1:], context)
    A: FloatArray = np.swapaxes(before[:, 1:] - before[:, :1], 1, 2)
    return A, before[:, 0]
