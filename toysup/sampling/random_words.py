"""Randomness without state: a word follows from (seed, what it is for, counter) and from nothing else.

The generator is Philox4x32-7 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a keyed bijection
of 128-bit counters. Seven rounds are the fewest with which it passes all of BigCrush, by that paper's count; drawing is
the largest part of a training step, and ten rounds would make it half as long again. The key is the seed; the counter
holds what the word is for, an index, and the number of the block of four words. So any engine, on any device, in any
order, recreates sample j of seed s, and a seed's draws cannot depend on its company.
"""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 7
_LOW = 0xFFFFFFFF
WORD_VALUES = 2**32


def purpose_code(purpose: str) -> int:
    """The 32-bit number of what a draw is for, such as "feature" or "W"."""
    return zlib.crc32(purpose.encode())


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Four 32-bit words (as int64) for each counter, given as four and the key as two 32-bit parts; they broadcast.

    Of numpy int64 arrays or torch int64 tensors: it needs only operators that both have, and their products wrap like
    unsigned ones because every high half is masked after the arithmetic shift.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = ((product1 >> 32) & _LOW) ^ c1 ^ k0, ((product0 >> 32) & _LOW) ^ c3 ^ k1
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def words(seed: int, purpose: str, count: int, *, index: int = 0) -> npt.NDArray[np.int64]:
    """(count,) uniform integers in [0, 2³²): the words of `seed` for `purpose` at `index`, four to a block."""
    blocks = np.arange(-(-count // 4), dtype=np.int64)
    low, high = index & _LOW, index >> 32
    counter = (blocks, np.full_like(blocks, low), np.full_like(blocks, high), purpose_code(purpose))
    return np.stack(philox(counter, (seed & _LOW, seed >> 32)), axis=-1).reshape(-1)[:count]


def normal(seed: int, purpose: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Standard normal draws, by inversion of 53-bit uniforms made of two words each."""
    # Here, as SciPy takes a while to load and what reads runs does not draw.
    from scipy.special import ndtri

    count = int(np.prod(shape))
    pairs = words(seed, purpose, 2 * count).reshape(count, 2)
    uniform = ((pairs[:, 0] >> 5) * 2**26 + (pairs[:, 1] >> 6) + 0.5) / 2**53
    return np.asarray(ndtri(uniform)).reshape(shape)


def order(seed: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
    """(size,) the order in which `seed` sees its dataset in `epoch`: a Fisher–Yates shuffle of 0 … size−1."""
    targets = (words(seed, "order", size, index=epoch) * np.arange(1, size + 1)) >> 32
    shuffled = list(range(size))
    for i, target in zip(range(size - 1, 0, -1), targets[:0:-1].tolist(), strict=True):
        shuffled[i], shuffled[target] = shuffled[target], shuffled[i]
    return np.array(shuffled, dtype=np.int64)
