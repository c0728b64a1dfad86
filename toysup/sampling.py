"""What a sample is: the definition that every engine follows to the bit, in plain NumPy.

Sample j of a seed takes one word for its context and one per feature. Feature i is active iff its word is below
t = min(⌊2³² p⌋, 2³² − 1), and then has the value word / t: given that it is active this is uniform on [0, 1], so one
word decides both. Regimes with equal tables of context and activation therefore see equal samples, and a table that is
zero in one context only removes features. Probabilities are realised to 2⁻³².
"""

import numpy as np
import numpy.typing as npt

from toysup.draws import WORD_VALUES, philox, purpose_code
from toysup.regimes import Regime

IntArray = npt.NDArray[np.int64]


def thresholds(probability: npt.ArrayLike) -> IntArray:
    """t of each probability: a feature is active iff its word is below t."""
    scaled = np.floor(np.asarray(probability, dtype=np.float64) * WORD_VALUES)
    return np.minimum(scaled, WORD_VALUES - 1).astype(np.int64)


def value_scale(threshold: IntArray) -> npt.NDArray[np.float32]:
    """1/t in float32, 0 where t is 0: what an active feature's word is multiplied with."""
    return np.divide(1, threshold, out=np.zeros(threshold.shape), where=threshold > 0).astype(np.float32)


def context_thresholds(context_probability: npt.ArrayLike) -> IntArray:
    """(..., C−1) cumulative thresholds: the context is the number of them that the word reaches."""
    return thresholds(np.cumsum(np.asarray(context_probability, dtype=np.float64), axis=-1)[..., :-1])


def sample_words(seed: int, purpose: str, samples: IntArray, count: int) -> IntArray:
    """(len(samples), count) words of the samples with these indices."""
    blocks = np.arange(-(-count // 4), dtype=np.int64)[None, :]
    j = samples[:, None] + np.zeros_like(blocks)
    counter = (blocks + np.zeros_like(j), j & 0xFFFFFFFF, j >> 32, purpose_code(purpose))
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return np.stack(words, axis=-1).reshape(len(samples), -1)[:, :count]


def feature_values(words: IntArray, threshold: IntArray) -> npt.NDArray[np.float32]:
    """x in [0, 1], 0 where inactive; `threshold` broadcasts against `words`."""
    active = words < threshold
    return np.where(active, words.astype(np.float32) * value_scale(threshold), np.float32(0))


def sample(regime: Regime, seed: int, samples: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], IntArray]:
    """The samples of these indices that `seed` sees under `regime`: x (sample, feature) and each one's context index.

    In an infinite stream the indices of step s (from 0) are s·batch_size … (s+1)·batch_size − 1; a finite dataset is
    0 … dataset_size − 1 in the epoch's order.
    """
    samples = np.asarray(samples, dtype=np.int64)
    word = sample_words(seed, "context", samples, 1)
    context = (word >= context_thresholds(regime.context_probability)).sum(axis=1)
    words = sample_words(seed, "feature", samples, len(regime.subset))
    return feature_values(words, thresholds(regime.activation_probability)[context]), context
