"""The built-in activations for compiled code: each function returns the value and the derivative.

Definitions are torch's, as are the derivatives at kinks. NaN stays NaN.
"""

import math

from numba import njit

from toysup.engines.fused.elementary import exp_negative, log1p_unit, normal_tail

# 1/√(2π)
_DENSITY = 1 / math.sqrt(2 * math.pi)


@njit(inline="always")
def relu(a):
    kind = type(a)
    if a <= 0:
        return kind(0), kind(0)
    return a, kind(1)


@njit(inline="always")
def leaky_relu(a):
    kind = type(a)
    slope = kind(0.01) if a <= 0 else kind(1)
    return slope * a, slope


@njit(inline="always")
def gelu(a):
    """a Φ(a) with the normal distribution's Φ; the derivative is Φ(a) + a Φ'(a)."""
    kind = type(a)
    gauss = exp_negative(-a * a / kind(2))
    tail = normal_tail(abs(a), gauss)
    below = tail if a < 0 else kind(1) - tail
    return a * below, below + a * gauss * kind(_DENSITY)


@njit(inline="always")
def silu(a):
    s, slope = sigmoid(a)
    return a * s, s + a * slope


@njit(inline="always")
def softplus(a):
    """log(1 + e^a); above 20 torch returns a."""
    kind = type(a)
    if a > 20:
        return a, kind(1)
    return (a if a > 0 else kind(0)) + log1p_unit(exp_negative(-abs(a))), sigmoid(a)[0]


@njit(inline="always")
def tanh(a):
    kind = type(a)
    e = exp_negative(kind(-2) * abs(a))
    y = (kind(1) - e) / (kind(1) + e)
    return -y if a < 0 else y, kind(1) - y * y


@njit(inline="always")
def sigmoid(a):
    kind = type(a)
    e = exp_negative(-abs(a))
    high = kind(1) / (kind(1) + e)
    return e * high if a < 0 else high, e * high * high


@njit(inline="always")
def absolute(a):
    kind = type(a)
    return abs(a), kind(1) if a > 0 else kind(-1) if a < 0 else kind(0)


@njit(inline="always")
def identity(a):
    return a, type(a)(1)


FUNCTIONS = {
    "relu": relu,
    "identity": identity,
    "leaky_relu": leaky_relu,
    "abs": absolute,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "silu": silu,
    "gelu": gelu,
    "softplus": softplus,
}
