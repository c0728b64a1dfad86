"""The definition of a sample, which every engine follows to the bit, for NumPy arrays and torch tensors.

Sample j of a seed has one random word of 32 bits for its context and one for each feature. Feature i is active if its
word is below the threshold t = min(⌊2³² p⌋, 2³² − 1), and then has the value low + (high − low) · word / t. Given that
the feature is active, word / t is uniform on [0, 1], so one word decides both. Regimes with equal tables of context and
activation therefore have equal samples, and a zero in the activation table only removes a feature. Probabilities are
exact to 2⁻³². `toysup.sampling.sparse_samples` has another definition, for regimes whose features are seldom active.

A feature of a group shares the word of its group, and is active if that word lies in an interval of the feature. The
intervals of features that fire together all start at 0; those of features that exclude one another lie side by side.
With correlation ρ a feature takes its group's word with probability √ρ, and its own word otherwise, so the activity of
any two features of the group has correlation ρ. A context that follows from x is computed last, in double precision.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.experiments.feature_groups import EXCLUSIVE, first_of_group, lower_ends
from toysup.experiments.regime import FloatArray, Regime
from toysup.sampling.random_words import WORD_VALUES, philox, purpose_code
from toysup.sampling.sparse_samples import SurvivalLaw, draw_by_survival, survival_law

IntArray = npt.NDArray[np.int64]
# An array of any dtype.
NumpyArray = npt.NDArray[np.generic]
# A NumPy array or a torch tensor.
AnyArray = Any


class GroupLaw(NamedTuple):
    """The law of features in groups, as thresholds of words.

    `of` (feature,) is the index of the word of each feature's group. A feature takes that word if its copy word is
    below `copies` (instance, feature), and is then active if the group's word lies from `lower` to below `upper`
    (instance, context, feature).
    """

    of: AnyArray
    copies: AnyArray
    lower: AnyArray
    upper: AnyArray


class RuleLaw(NamedTuple):
    """A context rule: `feature` as in `Rule`, `threshold` (instance,) float64, `tie` (instance,) as a threshold."""

    feature: int
    threshold: AnyArray
    tie: AnyArray


class SampleLaw(NamedTuple):
    """The law that samples are drawn from: thresholds of words, and the factors that turn words into values.

    The first axis is the instance. `key` has the low and the high half of the seeds (instance,). `context_threshold`
    is (instance, context − 1), `threshold` and `scale` are (instance, context, feature). Values are uniform from `low`
    to `low` + `width`. `group` and `rule` are None if the regime has no groups, or no context rule. `sparse` is None if
    no instance has the definition for sparse regimes.
    """

    key: tuple[AnyArray, AnyArray]
    context_threshold: AnyArray
    threshold: AnyArray
    scale: AnyArray
    low: float
    width: float
    group: GroupLaw | None
    rule: RuleLaw | None
    sparse: SurvivalLaw | None = None


def thresholds(probability: npt.ArrayLike) -> IntArray:
    """The threshold of each probability: a feature is active if its word is below the threshold."""
    scaled = np.floor(np.asarray(probability, dtype=np.float64) * WORD_VALUES)
    return np.minimum(scaled, WORD_VALUES - 1).astype(np.int64)


def value_scale(threshold: IntArray) -> npt.NDArray[np.float32]:
    """1/threshold in float32, and 0 for threshold 0: the factor on the word of an active feature."""
    return np.divide(1, threshold, out=np.zeros(threshold.shape), where=threshold > 0).astype(np.float32)


def context_thresholds(context_probability: npt.ArrayLike) -> IntArray:
    """(..., C−1) cumulative thresholds: the context is the number of thresholds that the word reaches."""
    return thresholds(np.cumsum(np.asarray(context_probability, dtype=np.float64), axis=-1)[..., :-1])


def sample_law(regimes: Sequence[Regime], seeds: npt.ArrayLike, *, dense: bool = False) -> SampleLaw:
    """The law of each seed under the regime at the same position; only numbers differ between the regimes.

    With `dense`, sparse regimes have the definition of all others.
    """
    first = regimes[0]
    keys = np.asarray(seeds, dtype=np.int64)
    probability = np.stack([regime.activation_probability for regime in regimes])
    threshold = thresholds(probability)
    low, high = first.value_range
    rule = None
    if first.rule is not None:
        rules = [regime.rule for regime in regimes if regime.rule is not None]
        rule = RuleLaw(
            first.rule.feature, np.array([each.threshold for each in rules]), thresholds([each.tie for each in rules])
        )
    return SampleLaw(
        key=(keys & 0xFFFFFFFF, keys >> 32),
        context_threshold=context_thresholds(np.stack([regime.context_probability for regime in regimes])),
        threshold=threshold,
        scale=value_scale(threshold) * np.float32(high - low),
        low=low,
        width=high - low,
        group=_group_law(first.group, np.array([r.group_correlation for r in regimes]), probability),
        rule=rule,
        sparse=None if dense else survival_law(regimes),
    )


def _group_law(labels: tuple[str, ...], correlation: FloatArray, probability: FloatArray) -> GroupLaw | None:
    if not labels:
        return None
    copies = np.zeros((len(correlation), len(labels)), dtype=np.int64)
    for i, label in enumerate(labels):
        if label:
            copies[:, i] = WORD_VALUES if label.startswith(EXCLUSIVE) else np.floor(correlation**0.5 * WORD_VALUES)
    lower = lower_ends(labels, probability)
    return GroupLaw(first_of_group(labels), copies, thresholds(lower), thresholds(lower + probability))


def draw(
    law: SampleLaw,
    samples: AnyArray,
    xp: ModuleType,
    *,
    context: int | None = None,
    feature_words: AnyArray | None = None,
) -> tuple[AnyArray, AnyArray]:
    """x (instance, row, feature) and context (instance, row) of the samples (instance or 1, row).

    `xp` is the module of the arrays: numpy or torch. If `context` is given, every sample has that context. If
    `feature_words` (instance or 1, row, feature) are given, features follow from these words instead of the seed's.
    """
    n = law.threshold.shape[-1]
    instance = xp.arange(len(law.threshold), device=samples.device)[:, None]
    given = samples * 0 + instance * 0 + (context or 0)
    if context is None and law.rule is None and law.threshold.shape[1] > 1:
        word = _words(law.key, "context", samples, 1, xp)
        given = (word >= law.context_threshold[:, None, :]).sum(-1)
    sparse = law.sparse if feature_words is None else None
    x = None if sparse is None else _drawn_sparsely(law, sparse, samples, given, xp)
    if sparse is not None and sparse.every:
        return x, given
    words = _words(law.key, "feature", samples, n, xp) if feature_words is None else feature_words
    active, scale = words < law.threshold[instance, given], law.scale[instance, given]
    if law.group is not None:
        group_word = _words(law.key, "group", samples, n, xp)[:, :, law.group.of]
        copying = _words(law.key, "copy", samples, n, xp) < law.group.copies[:, None, :]
        among = (group_word >= law.group.lower[instance, given]) & (group_word < law.group.upper[instance, given])
        active = xp.where(copying, among, active)
        scale = xp.where(copying, scale * 0 + law.width / WORD_VALUES, scale)
    dense = xp.where(active, xp.asarray(words, dtype=xp.float32) * scale + law.low, 0 * scale)
    x = dense if sparse is None else xp.where(sparse.chosen[:, None, None], x, dense)
    if context is None and law.rule is not None:
        given = judged(law.rule, x, _words(law.key, "context", samples, 1, xp)[:, :, 0], xp)
    return x, given


def _drawn_sparsely(
    law: SampleLaw, sparse: SurvivalLaw, samples: AnyArray, context: AnyArray, xp: ModuleType
) -> AnyArray:
    scale = np.float32(law.width / WORD_VALUES)
    return draw_by_survival(sparse, law.key, samples, context, xp, low=law.low, scale=scale)


def judged(rule: RuleLaw, x: AnyArray, coin: AnyArray, xp: ModuleType) -> AnyArray:
    """The context (instance, row) that follows from x (instance, row, feature); `coin` are words that decide ties."""
    exact = xp.asarray(x, dtype=xp.float64)
    statistic = exact.sum(-1) if rule.feature == 0 else exact[:, :, rule.feature - 1]
    threshold = rule.threshold[:, None]
    loses = xp.asarray(coin >= rule.tie[:, None], dtype=xp.int64)
    return xp.where(statistic > threshold, 0 * loses, xp.where(statistic < threshold, 0 * loses + 1, loses))


def _words(key: tuple[AnyArray, AnyArray], purpose: str, samples: AnyArray, count: int, xp: ModuleType) -> AnyArray:
    """(instance, row, count) words."""
    blocks = xp.arange(-(-count // 4), device=samples.device)
    j = samples[:, :, None] + 0 * blocks
    counter = (blocks + 0 * j, j & 0xFFFFFFFF, j >> 32, purpose_code(purpose))
    words = philox(counter, (key[0][:, None, None], key[1][:, None, None]))
    whole = xp.stack(words, -1)
    return whole.reshape(*whole.shape[:2], -1)[:, :, :count]


def sample(
    regime: Regime, seed: int, samples: npt.ArrayLike, *, draws: str = "sparse"
) -> tuple[npt.NDArray[np.float32], IntArray]:
    """The samples that a seed sees under a regime.

    Sample j of a seed is always the same, whatever the engine, the device or the batch. In an infinite stream step s
    (from 0) has the samples s·batch_size … (s+1)·batch_size − 1. A finite dataset has the samples 0 … dataset_size − 1,
    in an order that differs from epoch to epoch.

    Parameters
    ----------
    regime : Regime
        The regime.
    seed : int
        The seed, from 0 to 2⁶² − 1.
    samples : array_like of int (sample,)
        Indices of the samples, from 0.
    draws : {"sparse", "dense"}, default "sparse"
        `training.draws` of the condition, which only matters for sparse regimes.

    Returns
    -------
    x : array (sample, feature)
        Values of the features, float32.
    context : array (sample,)
        Index of each sample's context, from 0, int64.

    Examples
    --------
    >>> import toysup
    >>> regime = toysup.load_experiment("conditional-importance").conditions[0].first_regime
    >>> x, context = toysup.sample(regime, seed=0, samples=range(4))
    >>> x.shape, context.shape
    ((4, 20), (4,))
    """
    indices = np.asarray(samples, dtype=np.int64)[None, :]
    x, context = draw(sample_law([regime], [seed], dense=draws == "dense"), indices, np)
    return x[0], context[0]


def context_inputs(kind: str | None, context: AnyArray, n_contexts: int, xp: ModuleType) -> AnyArray:
    """(..., input) float32 inputs that show contexts (...) to the model: one-hot, or a flag of +1 (the first) or −1."""
    if kind is None:
        return xp.asarray(context, dtype=xp.float32)[..., None][..., :0]
    if kind == "flag":
        return 1 - 2 * xp.asarray(context, dtype=xp.float32)[..., None]
    return xp.asarray(context[..., None] == xp.arange(n_contexts, device=context.device), dtype=xp.float32)


def targets(kind: str, x: AnyArray, context: AnyArray, n_contexts: int, xp: ModuleType) -> AnyArray:
    """(..., output) targets of x (..., feature): x, |x|, or z = (x·1[c = 1], …, x·1[c = K])."""
    if kind == "x":
        return x
    if kind == "abs":
        return xp.abs(x)
    one_hot = context_inputs("one-hot", context, n_contexts, xp)
    z = one_hot[..., :, None] * x[..., None, :]
    return z.reshape(*z.shape[:-2], -1)


def output_importance(target: str, importance: AnyArray) -> AnyArray:
    """(..., context, output) weights of the squared errors of outputs, from the table (..., context, feature).

    Output (k, i) of z has the weight I_ki in every context, as in the post's translation of conditional importance.
    """
    if target != "z":
        return importance
    flat = importance.reshape(*importance.shape[:-2], 1, -1)
    return flat + 0 * importance[..., :1]
