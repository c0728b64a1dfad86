"""exp, log(1 + e) and the normal tail: short polynomials in float32, whose loops vectorise, and libm in float64.

Their results are multiplied by numbers of about 1 and added up, so their absolute error matters. It is below 2e-7 in
float32.
"""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

_LOG2_E = np.float32(1 / math.log(2))
# Taylor coefficients of 2^f, the highest first.
_POWER = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(7, -1, -1))
# Coefficients of atanh(z)/z in z², for z up to 1/3.
_ATANH = tuple(np.float32(1 / (2 * k + 1)) for k in range(7, -1, -1))
# Abramowitz and Stegun, 7.1.26: erfc(z) = polynomial(t) e^(-z²), where t = 1 / (1 + p z).
_ERFC = tuple(np.float32(c) for c in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0))
_ERFC_P = np.float32(0.3275911 / math.sqrt(2))
_ONE, _TWO, _HALF, _LEAST = np.float32(1), np.float32(2), np.float32(0.5), np.float32(-100)


def exp_negative(a):
    """e^a for a ≤ 0. In float32 it is at least 2⁻¹⁰⁰, because arithmetic with denormal products is slow."""


def log1p_unit(e):
    """log(1 + e) for e from 0 to 1."""


def normal_tail(a, gauss):
    """The probability that a standard normal number exceeds a ≥ 0, given `gauss` = e^(−a²/2)."""


@overload(exp_negative)
def _exp_negative(a):
    return _exp_negative_float32 if a == types.float32 else lambda a: math.exp(a)


@overload(log1p_unit)
def _log1p_unit(e):
    return _log1p_unit_float32 if e == types.float32 else lambda e: math.log1p(e)


@overload(normal_tail)
def _normal_tail(a, gauss):
    return _normal_tail_float32 if a == types.float32 else lambda a, gauss: math.erfc(a * math.sqrt(0.5)) / 2


def _exp_negative_float32(a):
    power = a * _LOG2_E
    # Written so that NaN stays NaN.
    power = _LEAST if power < _LEAST else power
    whole = np.floor(power + _HALF)
    exponent = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return _polynomial(power - whole, _POWER) * exponent.view(np.float32)


def _log1p_unit_float32(e):
    z = e / (_TWO + e)
    return _TWO * z * _polynomial(z * z, _ATANH)


def _normal_tail_float32(a, gauss):
    return _HALF * _polynomial(_ONE / (_ONE + _ERFC_P * a), _ERFC) * gauss


@njit(inline="always")
def _polynomial(x, coefficients):
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value
