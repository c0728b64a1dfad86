"""Random words without state: a word follows from its seed, its purpose and its counter alone.

The generator is Philox4x32-7, a keyed bijection of 128-bit counters (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3"). According to that paper seven rounds are the fewest that pass all of BigCrush. Drawing is the largest
part of a training step, and ten rounds would take half as long again. The key is the seed. The counter consists of the
purpose, an index, and the number of the block of four words. So any engine, on any device and in any order, draws the
same sample j of seed s, and the draws of a seed do not depend on the other seeds that are trained with it.
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
    """The 32-bit code of the purpose of a draw, such as "feature" or "W"."""
    return zlib.crc32(purpose.encode())


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Four 32-bit words, as int64, for each counter; the counter is four 32-bit parts, the key two, and they broadcast.

    The parts are int64 NumPy arrays or torch tensors; only operators that both have are used. Their signed products
    give the same words as unsigned ones, because every high half is masked after the arithmetic shift.
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
    """(count,) uniform integers in [0, 2³²): the first words of `seed` for `purpose` at `index`."""
    blocks = np.arange(-(-count // 4), dtype=np.int64)
    low, high = index & _LOW, index >> 32
    counter = (blocks, np.full_like(blocks, low), np.full_like(blocks, high), purpose_code(purpose))
    return np.stack(philox(counter, (seed & _LOW, seed >> 32)), axis=-1).reshape(-1)[:count]


def normal(seed: int, purpose: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Standard normal draws of the given shape, by inversion of uniforms with 53 bits from two words each."""
    # SciPy is imported here, because it is slow to load and reading runs draws nothing.
    from scipy.special import ndtri

    count = int(np.prod(shape))
    pairs = words(seed, purpose, 2 * count).reshape(count, 2)
    uniform = ((pairs[:, 0] >> 5) * 2**26 + (pairs[:, 1] >> 6) + 0.5) / 2**53
    return np.asarray(ndtri(uniform)).reshape(shape)


def order(seed: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
    """(size,) order in which `seed` sees its dataset in `epoch`: a Fisher–Yates shuffle of 0 … size−1."""
    targets = (words(seed, "order", size, index=epoch) * np.arange(1, size + 1)) >> 32
    shuffled = list(range(size))
    for i, target in zip(range(size - 1, 0, -1), targets[:0:-1].tolist(), strict=True):
        shuffled[i], shuffled[target] = shuffled[target], shuffled[i]
    return np.array(shuffled, dtype=np.int64)
