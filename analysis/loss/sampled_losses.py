"""Losses from samples: exact for samples with few active features, from common samples for the others."""

from concurrent.futures import Executor

import numpy as np

from toysup.analysis.loss.networks import Network, Targets
from toysup.analysis.loss.predictors import Cell, Predictor, Slots
from toysup.analysis.loss.samples import (
    BATCHES,
    NODES,
    CommonSamples,
    Points,
    batch_sizes,
    evaluated_as,
    sampled_from,
    single_points,
    zero_point,
)
from toysup.analysis.statistics.arrays import AnyArray, FloatArray, Mask
from toysup.analysis.statistics.forward_pass import Models
from toysup.analysis.statistics.kernels import never_alone
from toysup.experiments.regime import Regime
from toysup.sampling.samples import output_importance, targets

FEWEST_SAMPLES, MOST_SAMPLES = 2**13, 2**17
# Samples are doubled until the standard error of a model's loss is at most this part of the loss, or this part of what
# predicting 0 loses.
ACCURACY, NEGLIGIBLE = 0.005, 1e-6
# How many values of the largest layer torch computes at once, over models and points: 1 MiB of float32.
_BLOCK_VALUES = 2**18
# Models are divided into so many parts, for threads, of at least so many models.
_PARTS, _FEWEST_MODELS = 8, 8


class _Members:
    """Some of the models, with the networks that compute what a predictor predicts of them in a context."""

    def __init__(self, models: Models, predictor: Predictor) -> None:
        self.models, self.predictor = models, predictor
        self.known: dict[int, list[Network]] = {}

    def networks(self, context: int) -> list[Network]:
        if context not in self.known:
            self.known[context] = [Network(layers) for layers in self.predictor.layers(self.models, context)]
        return self.known[context]


class SampledLosses:
    """Models under one law of samples: the exact part of their errors, and sums over samples of the other part.

    E[L | c] = Σ_k P(k active | c) E[L | c, k active]. Terms with fewer than `least` active features are exact. Regimes
    that differ in importance and in the probability of their contexts alone have the same law, see `law_of_samples`.
    """

    def __init__(self, models: Models, predictor: Predictor, slots: Slots, pool: Executor) -> None:
        self.models, self.predictor, self.slots, self.pool = models, predictor, slots, pool
        self.regime = models.regime
        self.seen_as = [0] * slots.contexts if self.regime.rule is not None else evaluated_as(self.regime)
        # In a context that follows from x, a sample with an active feature may lie in either context.
        nodes = len(self.regime.subset) * NODES
        most = 2 if self.regime.rule is None and nodes <= FEWEST_SAMPLES else 1
        self.least = {c: sampled_from(self.regime, c, most) for c in sorted(set(self.seen_as))}
        self.sampling = {c: CommonSamples(self.regime, c, least) for c, least in self.least.items()}
        with np.errstate(all="ignore"):
            self.exact = self._exact(pool)[:, None]
        # The sums over the samples between two numbers, and the models whose sums are known.
        self.known: dict[tuple[int, int], tuple[FloatArray, Mask]] = {}

    def losses(self, regime: Regime, n_samples: int | None) -> FloatArray:
        """(model, batch, active, kind, context, output), doubling the samples of each model until it is accurate.

        The regime has the law of samples of the models.
        """
        importance = output_importance(regime.target, regime.importance)
        sums = np.zeros((len(self.models), BATCHES, *self.slots))
        counts = np.zeros(len(self.models))
        probability = 1.0 if regime.rule is not None else regime.context_probability[:, None]
        share = np.array([self.sampling[c].share for c in self.seen_as])[:, None]

        def weighted(members: AnyArray) -> FloatArray:
            # If the last batches have fewer samples, the mean over batches still weights each sample equally.
            mean = sums[members] * (BATCHES / np.maximum(counts[members], 1))[:, None, None, None, None, None]
            losses: FloatArray = importance * probability * (self.exact[members] + share * mean)
            return losses

        members = np.arange(len(self.models))
        if not share.any():
            return weighted(members)
        floor = NEGLIGIBLE * _zero_loss(regime, importance)
        start, stop = 0, FEWEST_SAMPLES if n_samples is None else n_samples
        while len(members):
            sums[members] += self._between(start, stop, members)
            counts[members] += stop - start
            start, stop = stop, 2 * stop
            if n_samples is not None or start >= MOST_SAMPLES:
                break
            with np.errstate(all="ignore"):
                batches = weighted(members)[:, :, :, -1].sum(axis=(2, 3, 4))
                error, loss = batches.std(axis=1, ddof=1) / BATCHES**0.5, batches.mean(axis=1)
                members = members[error > np.maximum(ACCURACY * loss, floor)]
        return weighted(np.arange(len(self.models)))

    def _between(self, start: int, stop: int, members: AnyArray) -> FloatArray:
        """The sums of members over the samples from `start` to before `stop` of all batches."""
        if (start, stop) not in self.known:
            none = np.zeros(len(self.models), dtype=bool)
            self.known[start, stop] = np.zeros((len(self.models), BATCHES, *self.slots)), none
        sums, known = self.known[start, stop]
        if len(missing := members[~known[members]]):
            self._add(missing, (start, stop), sums)
            known[missing] = True
        chosen: FloatArray = sums[members]
        return chosen

    def _add(self, members: AnyArray, between: tuple[int, int], sums: FloatArray) -> None:
        """Add the samples from the first to the second of these numbers, of all batches, to the sums of members."""
        chosen = _Members(self.models.some(members), self.predictor)
        for number, (first, last) in enumerate(zip(*map(batch_sizes, between), strict=True)):
            if last == first:
                continue
            for c, samples in self.sampling.items():
                if samples.share == 0:
                    continue
                at = [k for k, same in enumerate(self.seen_as) if same == c]
                for points in samples.batch(number, first, last):
                    found = self._at_points(chosen, points, c, self.pool)
                    sums[members[:, None], number, :, :, at] += np.moveaxis(found, 3, 1)

    def _at_points(self, members: _Members, points: Points, context: int, pool: Executor) -> FloatArray:
        """Weighted sums of squared errors: (model, active, kind, context, output).

        The context axis has length 1 unless the context follows from x.
        """
        slot = np.minimum(points.active, self.slots.active - 1) == np.arange(self.slots.active)[:, None]
        groups = (slot[:, None] * points.weight).reshape(-1, len(points.x))
        of_part = self._in_torch if members.models.in_torch else self._compiled
        size, count = max(_FEWEST_MODELS, -(-len(members.models) // _PARTS)), len(members.models)
        parts = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        found = pool.map(lambda part: of_part(part, members, points, groups, context), parts)
        sums = np.concatenate(list(found))
        by_kind = sums.reshape(count, self.slots.kinds, self.slots.active, -1, self.slots.outputs)
        return np.moveaxis(by_kind, 1, 2)

    def _compiled(self, part: slice, members: _Members, points: Points, groups: FloatArray, context: int) -> FloatArray:
        """(model, kind, group, output): errors summed over the points of each group, with their weights."""
        networks, wanted = members.networks(context), targets_of(self.regime, context)
        total = np.zeros((self.slots.kinds, len(members.models), len(groups), self.slots.outputs))
        with np.errstate(all="ignore"):
            for network, of_kind in zip(networks, total, strict=True):
                network.add_errors(part, points.x, groups, wanted, of_kind)
        return total[:, part].swapaxes(0, 1)

    def _in_torch(self, part: slice, members: _Members, points: Points, groups: FloatArray, context: int) -> FloatArray:
        """The same of models with registered functions."""
        models, x = members.models.some(never_alone(np.arange(part.start, part.stop))), points.x
        total = np.zeros((len(models), self.slots.kinds, len(groups), self.slots.outputs))
        n_contexts = len(self.regime.contexts)
        # The number of rows must not depend on the number of models: then neither does the rounding of their sums.
        rows = max(1, _BLOCK_VALUES // max(self.slots.outputs, len(self.regime.subset)))
        for start in range(0, len(x), rows):
            some, weights = x[start : start + rows], groups[:, start : start + rows].astype(np.float32)
            target = targets(self.regime.target, some, np.full(len(some), context), n_contexts, np)
            with np.errstate(all="ignore"):
                for kind, output in enumerate(self.predictor.outputs(models, some, context)):
                    error = output - target
                    total[:, kind] += weights @ np.square(error, out=error)
        return total[: part.stop - part.start]

    def _exact(self, pool: Executor) -> FloatArray:
        """The part of E[error | c] with fewer than `least` active features: (model, active, kind, context, output)."""
        total = np.zeros((len(self.models), *self.slots))
        members = _Members(self.models, self.predictor)
        for c, least in self.least.items():
            at = [k for k, same in enumerate(self.seen_as) if same == c]
            for points_of in (zero_point, single_points)[:least]:
                total[:, :, :, at] += self._at_points(members, points_of(self.regime, c), c, pool)
        return total


def law_of_samples(cell: Cell) -> tuple[object, ...]:
    """What the errors of the cell's models depend on, as a key: all but importance and the probability of contexts."""
    regime = cell.regime
    law = (regime.activation_probability.tobytes(), regime.values, regime.group, regime.group_correlation, regime.rule)
    return (*law, cell.members.tobytes())


def targets_of(regime: Regime, context: int) -> Targets:
    """What the outputs should be in a context."""
    n = len(regime.subset)
    output = np.arange(regime.n_outputs)
    wanted = (output // n == context) * 1.0 if regime.target == "z" else np.ones(len(output))
    return Targets(output % n, wanted, regime.target == "abs")


def _zero_loss(regime: Regime, importance: FloatArray) -> float:
    """About what predicting 0 loses: Σ P(c) I_i(c) p_i(c), times the mean square of a value."""
    _, square = regime.value_moments
    per_context = regime.activation_probability * importance.reshape(len(importance), -1, len(regime.subset)).max(
        axis=1
    )
    return float(square * (regime.context_probability @ per_context.sum(axis=1)))
