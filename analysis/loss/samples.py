"""The points x at which models are evaluated: a few that are exact, and common samples in batches for the others.

Every model that is evaluated under a regime sees the same points. If features are independent given the context,
E[L | c] = Σ_k P(k active | c) E[L | c, k active]. The first terms are sums over single features and their values. The
other terms are estimated from samples with at least `least` active features, whose number active is spread evenly over
its law.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.analysis.loss.active_counts import MOST_FEATURES, CountLaw, independent, none_active, one_active
from toysup.analysis.statistics.arrays import AnyArray, FloatArray, Mask
from toysup.experiments.regime import Regime
from toysup.sampling.random_words import WORD_VALUES, words
from toysup.sampling.samples import draw, judged, sample_law

X = npt.NDArray[np.float32]
BATCHES = 16
# Evaluation has a random stream of its own. No training run may have this seed.
EVALUATION_SEED = 2**62
# How many values of x are drawn at once.
_DRAWN_VALUES = 2**22
# The values of a single active feature: so many pieces of [low, high], with so many nodes of Gauss–Legendre each.
_PIECES, _NODES = 4, 8
NODES = _PIECES * _NODES
# Samples are drawn given their number active if the chance of the others is above this.
_WORTHWHILE = 0.7


class Points(NamedTuple):
    """Points x (row, feature), and for each the number of active features and what it stands for.

    `weight` (context, row) is the probability that a point stands for, if the context follows from x; otherwise its
    first axis has length 1, and the probability is that given the context.
    """

    x: X
    active: npt.NDArray[np.int64]
    weight: FloatArray


def zero_point(regime: Regime, context: int) -> Points:
    """The sample without active features."""
    n = len(regime.subset)
    none = none_active(regime.activation_probability[context])
    weight = np.array([[none]])
    if regime.rule is not None:
        above = float(regime.rule.threshold < 0) if regime.rule.threshold else regime.rule.tie
        weight = none * np.array([[above], [1 - above]])
    return Points(np.zeros((1, n), np.float32), np.zeros(1, np.int64), weight)


def single_points(regime: Regime, context: int) -> Points:
    """The samples with one active feature: each feature alone, at the nodes of a quadrature rule over its values."""
    n = len(regime.subset)
    values, shares = _value_nodes(*regime.value_range)
    one = one_active(regime.activation_probability[context])
    x = (np.eye(n)[:, None, :] * values[:, None]).reshape(-1, n)
    return Points(x.astype(np.float32), np.ones(len(x), np.int64), (one[:, None] * shares).reshape(1, -1))


def _value_nodes(low: float, high: float) -> tuple[FloatArray, FloatArray]:
    if low == high:
        return np.array([low]), np.ones(1)
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(low, high, _PIECES + 1)
    half = np.diff(edges)[:, None] / 2
    values = edges[:-1, None] + half + half * node
    return values.ravel(), (half * weight / (high - low)).ravel()


def sampled_from(regime: Regime, context: int, most: int) -> int:
    """The least number of active features of the samples in a context, 0 to `most`; what has fewer is exact.

    It is 0 if features are in groups or are many, and if most samples have at least `most` active features. Samples as
    in training are then spread more evenly.
    """
    if not independent(regime) or len(regime.subset) > MOST_FEATURES:
        return 0
    p = regime.activation_probability[context]
    exact = none_active(p) + (one_active(p).sum() if most > 1 else 0)
    return most if exact > _WORTHWHILE else 0


class CommonSamples:
    """Samples of a regime in batches: independent of one another, and each evenly spread.

    Each batch is a Sobol' sequence with its own random digital shift. Every sample has the law of the regime, given
    that at least `least` features are active. Together the samples of a batch fill the space more evenly than
    independent samples, so means over a batch vary less. If `least` is 0, samples are drawn as in training. If features
    are very many, samples are independent.
    """

    def __init__(self, regime: Regime, context: int, least: int) -> None:
        """The samples in a context; in any context, if it follows from x. `least` is at most `sampled_from`."""
        self.regime = regime
        self.context = context if regime.rule is None else None
        self.least = least
        n = len(regime.subset)
        self.evenly = n <= MOST_FEATURES
        self.law = CountLaw(regime.activation_probability[context]) if least else None
        self.share = self.law.at_least(least) if self.law else 1.0
        """The probability of a sample with that many active features, given the context."""
        self._drawing = sample_law([regime], [EVALUATION_SEED], dense=True)
        # Of independent features: one word for the number active, one for each feature, and one for the rule's coin.
        self._words_each = n + 2 if self.law else n

    def batch(self, number: int, start: int, stop: int) -> Iterator[Points]:
        """The samples `start` … `stop` − 1 of a batch, some at a time; all weights are 1."""
        step = max(1, _DRAWN_VALUES // self._words_each)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            x, context = self._drawn(number, first, last)
            active = (x != 0).sum(axis=1)
            weight = np.ones((1, len(x)))
            if self.regime.rule is not None:
                weight = np.equal(context, np.arange(len(self.regime.contexts))[:, None]).astype(np.float64)
            yield Points(x, active, weight)

    def _drawn(self, number: int, start: int, stop: int) -> tuple[X, AnyArray]:
        spread = None
        if self.evenly:
            spread = _sobol(self._words_each, start, stop) ^ _shift(number, self._words_each)
        if self.law is None or spread is None:
            indices = number * 2**32 + np.arange(start, stop)[None, :]
            feature_words = None if spread is None else spread[None]
            x, context = draw(self._drawing, indices, np, context=self.context, feature_words=feature_words)
            return x[0], context[0]
        active, quantile = self.law.drawn((spread[:, :-1] + 0.5) / WORD_VALUES, self.least)
        low, high = self.regime.value_range
        x = np.where(active, low + (high - low) * quantile, 0).astype(np.float32)
        if self._drawing.rule is None:
            return x, np.full(len(x), self.context)
        return x, judged(self._drawing.rule, x[None], spread[None, :, -1], np)[0]


@lru_cache(maxsize=2)
def _sobol(dims: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Words (sample, dim) of a Sobol' sequence from `start` on; XOR with a uniform word keeps them evenly spread."""
    # scipy.stats takes as long to import as all the other parts of SciPy that toysup uses.
    from scipy.stats import qmc

    sequence = qmc.Sobol(dims, scramble=False, bits=32)
    return (sequence.random_base2((stop - 1).bit_length())[start:stop] * WORD_VALUES).astype(np.int64)


def _shift(number: int, dims: int) -> npt.NDArray[np.int64]:
    return words(EVALUATION_SEED, "shift", dims, index=number)


def batch_sizes(n_samples: int) -> list[int]:
    """The number of samples of each batch; the last ones have fewer if they do not divide evenly."""
    size = -(-n_samples // BATCHES)
    return [max(0, min(size, n_samples - number * size)) for number in range(BATCHES)]


def weighted_points(regime: Regime, context: int, n_samples: int) -> Iterator[Points]:
    """Points whose weights sum to 1: samples, and the one without active features where its chance is known.

    They are those of a context; of all contexts, if the context follows from x.
    """
    least = sampled_from(regime, context, 1)
    if least:
        yield zero_point(regime, context)
    samples = CommonSamples(regime, context, least)
    for number, size in enumerate(batch_sizes(n_samples)):
        for points in samples.batch(number, 0, size):
            yield points._replace(weight=points.weight * samples.share / n_samples)


def evaluated_as(regime: Regime) -> list[int]:
    """For each context, the first context in which every model has the same errors."""
    probability, n_contexts = regime.activation_probability, len(regime.contexts)
    if regime.context_inputs or regime.target == "z":
        return list(range(n_contexts))
    same: Mask = (probability[:, None] == probability).all(axis=-1)
    return [int(np.argmax(row)) for row in same]
