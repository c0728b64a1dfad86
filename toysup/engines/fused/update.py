"""The optimisers: torch's SGD with momentum, Adam and AdamW."""

from typing import NamedTuple

import numpy as np

from toysup.engines.compiled_code import part_njit
from toysup.sampling.samples import NumpyArray

# Sums may be reordered, but NaN and infinity keep their meaning, so that divergence is detected.
FAST = {"reassoc", "contract", "nsz", "arcp"}

OPTIMIZERS = {"sgd": 0, "adam": 1, "adamw": 2}


class Optimizer(NamedTuple):
    """An update rule as torch defines it. Hyperparameters are (I,); `factor` (step,) scales the learning rates."""

    kind: int
    factor: NumpyArray
    learning_rate: NumpyArray
    weight_decay: NumpyArray
    momentum: NumpyArray
    beta1: NumpyArray
    beta2: NumpyArray
    epsilon: float


@part_njit(forceinline=True)
def update(state, optimizer, i, step, grad_W, grad_b):
    """Move the parameters of instance `i` against their gradients; `step` counts from 0."""
    W, first_W, second_W = state.W[i].reshape(-1), state.first_W[i].reshape(-1), state.second_W[i].reshape(-1)
    _update_one(W, grad_W.reshape(-1), first_W, second_W, optimizer, i, step)
    _update_one(state.b[i], grad_b, state.first_b[i], state.second_b[i], optimizer, i, step)


@part_njit(fastmath=FAST, error_model="numpy", forceinline=True)
def _update_one(parameter, grad, first, second, optimizer, i, step):
    """One step of SGD, Adam or AdamW on a flat parameter; scalars are rounded where torch rounds them."""
    rate, decay = optimizer.learning_rate[i] * optimizer.factor[step], optimizer.weight_decay[i]
    beta1, beta2 = optimizer.beta1[i], optimizer.beta2[i]
    kind = parameter.dtype.type
    decoupled = optimizer.kind == 2
    keep, coupled = kind(1 - rate * decay if decoupled else 1.0), kind(0.0 if decoupled else decay)
    if optimizer.kind == 0:
        # At the first step torch's momentum buffer is the gradient itself.
        momentum, step_size = kind(optimizer.momentum[i] if step > 0 else 0.0), kind(rate)
        for j in range(len(parameter)):
            first[j] = momentum * first[j] + grad[j] + coupled * parameter[j]
            parameter[j] -= step_size * first[j]
        return
    new1, old2, new2 = kind(1 - beta1), kind(beta2), kind(1 - beta2)
    step_size = kind(rate / (1 - beta1 ** (step + 1)))
    root = kind(np.sqrt(1 - beta2 ** (step + 1)))
    epsilon = kind(optimizer.epsilon)
    for j in range(len(parameter)):
        g = grad[j] + coupled * parameter[j]
        first[j] += new1 * (g - first[j])
        second[j] = old2 * second[j] + new2 * g * g
        parameter[j] = keep * parameter[j] - step_size * first[j] / (np.sqrt(second[j]) / root + epsilon)
