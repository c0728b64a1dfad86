"""Second moments of the inputs and targets of a regime, of which best linear maps and linear models' losses consist."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.loss.samples import weighted_points
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.analysis.statistics.interference import active_together
from toysup.experiments.regime import Regime
from toysup.sampling.samples import context_inputs, output_importance, targets


class Moments(NamedTuple):
    """Second moments of u = (1, inputs of the model) and of the target t, with 1{c} the indicator of context c.

    `inputs` (context, input, input) is E[1{c} u uᵀ], `cross` (context, output, input) is E[1{c} t uᵀ], and `square`
    (context, output) is E[1{c} t²]. `weight` (context, output) is the importance.
    """

    inputs: FloatArray
    cross: FloatArray
    square: FloatArray
    weight: FloatArray


def target_moments(regime: Regime) -> Moments:
    """As `exact_moments` with u = (1,) alone, which takes no matrix over the features."""
    p, P = regime.activation_probability, regime.context_probability
    (mean_value, mean_square), (size, _) = regime.value_moments, _absolute_moments(*regime.value_range)
    mean, square = p * (size if regime.target == "abs" else mean_value), p * mean_square
    if regime.target == "z":
        one_hot = np.eye(len(p))[:, :, None]
        mean, square = ((one_hot * each[:, None]).reshape(len(p), -1) for each in (mean, square))
    return Moments(P[:, None, None], (P[:, None] * mean)[:, :, None], P[:, None] * square, _weight(regime))


def exact_moments(dataset: xr.Dataset, regime: Regime) -> Moments:
    """The moments of a regime whose context does not follow from x, computed from its tables."""
    p = regime.activation_probability
    together = active_together(dataset).transpose("context", "feature", "other_feature").values.astype(np.float64)
    (mean_value, mean_square), (size, signed) = regime.value_moments, _absolute_moments(*regime.value_range)
    of_x = _with_diagonal(together * mean_value * mean_value, p * mean_square)
    of_context = np.asarray(context_inputs(regime.context_input, np.arange(len(p)), len(p), np), dtype=np.float64)
    given = np.concatenate([np.ones((len(p), 1)), of_context], axis=1)
    # u is (1, x, inputs that show the context). Given the context, only x is random.
    mean = np.concatenate([given[:, :1], p * mean_value, given[:, 1:]], axis=1)
    inputs = mean[:, :, None] * mean[:, None, :]
    features = slice(1, 1 + p.shape[1])
    inputs[:, features, features] = of_x
    cross, square = inputs[:, features], p * mean_square
    if regime.target == "abs":
        cross = mean[:, None, :] * (p * size)[:, :, None]
        cross[:, :, features] = _with_diagonal(together * size * mean_value, p * signed)
    elif regime.target == "z":
        one_hot = np.eye(len(p))
        cross = (one_hot[:, :, None, None] * cross[:, None]).reshape(len(p), -1, mean.shape[1])
        square = (one_hot[:, :, None] * square[:, None]).reshape(len(p), -1)
    P = regime.context_probability
    return Moments(P[:, None, None] * inputs, P[:, None, None] * cross, P[:, None] * square, _weight(regime))


def _absolute_moments(low: float, high: float) -> tuple[float, float]:
    """E[|v|] and E[|v| v] of a value v that is uniform on [low, high]."""
    if low == high:
        return abs(low), abs(low) * low
    width = high - low
    return (high * abs(high) - low * abs(low)) / (2 * width), (abs(high) ** 3 - abs(low) ** 3) / (3 * width)


def _with_diagonal(pairs: FloatArray, diagonal: FloatArray) -> FloatArray:
    filled = pairs.copy()
    np.einsum("cii->ci", filled)[:] = diagonal
    return filled


def sampled_moments(regime: Regime, n_samples: int) -> Moments:
    """The moments of a regime whose context follows from x, from the common samples of all models."""
    parts = [moments_of(regime, points.x, points.weight) for points in weighted_points(regime, 0, n_samples)]
    inputs, cross, square = (sum(getattr(part, name) for part in parts) for name in ("inputs", "cross", "square"))
    return Moments(inputs, cross, square, parts[0].weight)


def moments_of(regime: Regime, x: AnyArray, weight: FloatArray) -> Moments:
    """The moments of points x (row, feature), of which each stands for the probability `weight` (context, row)."""
    sums: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    n_contexts = len(regime.contexts)
    for c, share in enumerate(weight):
        context = np.full(len(x), c)
        seen = context_inputs(regime.context_input, context, n_contexts, np)
        u = np.concatenate([np.ones((len(x), 1)), x, seen], axis=1, dtype=np.float64)
        t = np.asarray(targets(regime.target, x, context, n_contexts, np), dtype=np.float64)
        sums.append(((u.T * share) @ u, (t.T * share) @ u, share @ t**2))
    inputs, cross, square = (np.stack(of) for of in zip(*sums, strict=True))
    return Moments(inputs, cross, square, _weight(regime))


def _weight(regime: Regime) -> FloatArray:
    weight = output_importance(regime.target, regime.importance)
    return np.broadcast_to(weight, (len(regime.contexts), regime.n_outputs))
