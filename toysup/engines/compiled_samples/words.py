"""The random generator of `toysup.sampling.random_words` for compiled code.

Words are stored in 64-bit integers, so that a 32×32→64 bit product is one instruction per vector.
"""

import numpy as np
from numba import njit, uint64

from toysup.sampling.random_words import ROUNDS, purpose_code

_MULTIPLIER_0 = uint64(0xD2511F53)
_MULTIPLIER_1 = uint64(0xCD9E8D57)
_WEYL_0 = uint64(0x9E3779B9)
_WEYL_1 = uint64(0xBB67AE85)
_LOW = uint64(0xFFFFFFFF)
_HALF = uint64(32)


CONTEXT, FEATURE, ORDER, GROUP, COPY, FIRST, ACTIVE = (
    np.uint64(purpose_code(name)) for name in ("context", "feature", "order", "group", "copy", "first", "active")
)


@njit(inline="always")
def philox(block, sample, what, seed):
    """The four words of `block`, as uint64, for a `sample` (64 bits), the purpose `what` and a `seed` (64 bits)."""
    c0, c1, c2, c3 = block & _LOW, sample & _LOW, sample >> _HALF, what
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(ROUNDS):
        p0 = _MULTIPLIER_0 * c0
        p1 = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3
