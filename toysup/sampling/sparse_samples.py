"""The definition of a sample of a sparse regime, which costs as much as it has active features.

Let S_f be the probability that none of the features 1 … f is active (the survival, S_0 = 1). From the feature f a
uniform number u leads to the next active one: the first g with S_g ≤ u S_f, since the chance that none of f + 1 … g is
active is S_g / S_f. If there is none, because u S_f < S_n, the sample ends. With the cumulative hazard H = −log S and
E = −log u that is the first g with H_g − H_f ≥ E; products of doubles are exact to the last bit on all machines, which
logarithms are not.

A sample has the words 0, 1, 2, … of its own. Word 2k gives the number that leads to the next active feature, and word
2k + 1 gives the value of that feature. The first number alone has its upper 16 bits from a block that eight samples
share, and its lower 16 bits from word 0. The upper bits nearly always tell a sample without active features, which
then costs an eighth of a block. Contexts are drawn as in `toysup.sampling.samples`, and probabilities are exact to
2⁻³², as there.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.experiments.regime import FloatArray, Regime
from toysup.sampling.random_words import WORD_VALUES, philox, purpose_code

# With a smaller chance than this a sample would have more active features than `most_active` allows.
_NEGLIGIBLE = 2.0**-64
_HALF = 2**16

AnyArray = Any


class SurvivalLaw(NamedTuple):
    """The survival (instance, context, feature) after each feature, and what `most_active` gives (instance,).

    `chosen` (instance,) tells which instances draw their samples so, and `every` whether all do. `rounds` is the
    largest of `most`.
    """

    chosen: AnyArray
    survival: AnyArray
    most: AnyArray
    rounds: int
    every: bool


def survival(probability: npt.ArrayLike) -> FloatArray:
    """(..., feature) probability that neither a feature nor one before it is active."""
    inactive = 1 - np.minimum(np.asarray(probability, np.float64), 1 - 1 / WORD_VALUES)
    # A running product from left to right is the same on every machine.
    return np.multiply.accumulate(inactive, axis=-1)


def most_active(probability: FloatArray) -> int:
    """The number of active features at which a sample ends; more would have a chance below 2⁻⁶⁴.

    The chance of k or more events of small probabilities, λ in the mean, is at most e^−λ (e λ/k)^k (Chernoff).
    """
    n, mean = probability.shape[-1], float(probability.sum(axis=-1).max())
    count = np.arange(1, n + 1)
    with np.errstate(divide="ignore"):
        bound = count - mean + count * (np.log(mean) - np.log(count)) if mean > 0 else np.full(n, -np.inf)
    enough = (count > mean) & (bound < np.log(_NEGLIGIBLE))
    return int(count[enough][0]) if enough.any() else n


def survival_law(regimes: Sequence[Regime]) -> SurvivalLaw | None:
    """The law of instances with these regimes; None if no regime is sparse."""
    # Instances of one cell have the same regime.
    sparse = {id(regime): regime.is_sparse for regime in regimes}
    chosen = np.array([sparse[id(regime)] for regime in regimes])
    if not chosen.any():
        return None
    ends = {id(regime): most_active(regime.activation_probability) for regime in regimes}
    most = np.array([ends[id(regime)] for regime in regimes], np.int64)
    probability = np.stack([regime.activation_probability for regime in regimes])
    return SurvivalLaw(chosen, survival(probability), most, int(most[chosen].max()), bool(chosen.all()))


def draw_by_survival(
    law: SurvivalLaw,
    key: tuple[AnyArray, AnyArray],
    samples: AnyArray,
    context: AnyArray,
    xp: ModuleType,
    *,
    low: float,
    scale: np.float32,
) -> AnyArray:
    """x (instance, row, feature), float32, of the samples (instance or 1, row) in these contexts (instance, row)."""
    instance = xp.arange(len(law.survival), device=samples.device)[:, None]
    after = law.survival[instance, context]
    feature = xp.arange(after.shape[-1], device=samples.device)
    x = xp.asarray(0 * after, dtype=xp.float32)
    own = _block(key, "active", samples, 0, xp)
    level = (_shared_half(key, samples, xp) * float(_HALF) + own[0] // _HALF) / WORD_VALUES
    most = law.most[:, None]
    for k in range(law.rounds):
        more = (level >= after[:, :, -1]) & (k < most)
        here = (feature == (after > level[:, :, None]).sum(-1)[:, :, None]) & more[:, :, None]
        value = xp.asarray(own[2 * k % 4 + 1], dtype=xp.float32) * scale + low
        x = xp.where(here, value[:, :, None], x)
        if 2 * k % 4 == 2:
            own = _block(key, "active", samples, (k + 1) // 2, xp)
        reached = xp.where(here, after, 0 * after).sum(-1)
        level = xp.where(more, own[(2 * k + 2) % 4] / WORD_VALUES * reached, -1 + 0 * level)
    return x


def _block(key: tuple[AnyArray, AnyArray], purpose: str, index: AnyArray, number: int, xp: ModuleType) -> Any:
    """The four words (instance, row) of a block for each index (instance or 1, row)."""
    zero = 0 * (index + key[0][:, None])
    counter = (zero + number, zero + (index & 0xFFFFFFFF), zero + (index >> 32), purpose_code(purpose))
    words = philox(counter, (key[0][:, None], key[1][:, None]))
    return tuple(xp.asarray(word, dtype=xp.float64) for word in words)


def _shared_half(key: tuple[AnyArray, AnyArray], samples: AnyArray, xp: ModuleType) -> AnyArray:
    """The half of a word (instance, row) that is the upper half of each sample's first word."""
    words = xp.stack(_block(key, "first", samples >> 3, 0, xp), -1)
    at = samples & 7
    word = xp.where(xp.arange(4, device=samples.device) == (at >> 1)[:, :, None], words, 0 * words).sum(-1)
    upper = word // _HALF
    return xp.where((at & 1) == 1, upper, word - upper * _HALF)
