"""The law of the number of active features of a sample, where features are independent given the context."""

import numpy as np

from toysup.analysis.statistics.arrays import FloatArray
from toysup.experiments.regime import Regime

# A table of this many features and as many numbers active is the largest that is made: 32 MiB.
MOST_FEATURES = 2000
# Numbers of active features that are rarer than this are left out.
_NEGLIGIBLE = 1e-15


def independent(regime: Regime) -> bool:
    """Whether features are independent given the context (or, under a rule, before the context is known)."""
    return not any(regime.group)


def most_active(probability: FloatArray) -> int:
    """A number of active features that is exceeded with a chance below 1e-12."""
    counts = np.ones(1)
    for p in probability[probability > 0]:
        counts = np.convolve(counts, [1 - p, p])
    beyond = np.cumsum(counts[::-1])[::-1]
    return int((beyond > 1e-12).sum() - 1)


class CountLaw:
    """P(exactly r of the features j, j+1, … are active), which gives samples with at least a given number active."""

    def __init__(self, probability: FloatArray) -> None:
        """`probability` (feature,) is the chance that each feature is active."""
        self.probability = probability
        n = len(probability)
        table = np.zeros((n + 1, n + 1))
        table[n, 0] = 1
        for j in reversed(range(n)):
            table[j] = (1 - probability[j]) * table[j + 1]
            table[j, 1:] += probability[j] * table[j + 1, :-1]
        counts = table[0]
        most = int(np.flatnonzero(counts > _NEGLIGIBLE).max())
        self.counts: FloatArray = counts[: most + 1]
        """P(k features are active) for k = 0 … the most that ever are."""
        # The chance that feature j is active if exactly r of the features from j on are.
        ways = probability[:, None] * table[1:, :most]
        self._turn = np.zeros((n, most + 1))
        np.divide(ways, table[:-1, 1 : most + 1], out=self._turn[:, 1:], where=table[:-1, 1 : most + 1] > 0)

    def at_least(self, least: int) -> float:
        """P(at least this many features are active)."""
        return float(self.counts[least:].sum())

    def drawn(self, uniform: FloatArray, least: int) -> tuple[FloatArray, FloatArray]:
        """Samples with at least `least` active features: which are active, and their values' quantiles.

        `uniform` (sample, 1 + feature) are numbers in [0, 1). The first gives the number of active features; the other
        ones decide, feature by feature, whether it is active given how many are still to come. A number below its
        probability q is uniform on [0, q), so that it gives the value too, as words do for the samples of a training.
        """
        cumulative = np.cumsum(self.counts[least:])
        left = least + np.searchsorted(cumulative, uniform[:, 0] * cumulative[-1], side="right")
        left = np.minimum(left, len(self.counts) - 1)
        active = np.zeros((len(uniform), len(self.probability)), dtype=bool)
        quantile = np.zeros(active.shape)
        for j, turn in enumerate(self._turn):
            chance, u = turn[left], uniform[:, 1 + j]
            active[:, j] = u < chance
            np.divide(u, chance, out=quantile[:, j], where=active[:, j])
            left = left - active[:, j]
        return active, quantile


def none_active(probability: FloatArray) -> float:
    """P(no feature is active)."""
    return float((1 - probability).prod())


def one_active(probability: FloatArray) -> FloatArray:
    """P(this feature alone is active): (feature,); products, without a quotient that could be 0/0."""
    before, after = np.ones(len(probability)), np.ones(len(probability))
    before[1:] = np.cumprod(1 - probability[:-1])
    after[:-1] = np.cumprod(1 - probability[:0:-1])[::-1]
    alone: FloatArray = probability * before * after
    return alone
