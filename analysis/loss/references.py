"""Reference losses: the losses of simple predictors under the same regime as the trained models."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.loss.evaluation import DEFAULT_SAMPLES, common_samples
from toysup.analysis.loss.linear_map import Moments, linear_loss
from toysup.analysis.statistics.arrays import FloatArray
from toysup.analysis.statistics.cells import regime_cells, regime_sizes
from toysup.analysis.statistics.interference import active_together
from toysup.analysis.statistics.labels import named
from toysup.experiments.regime import Regime
from toysup.sampling.samples import context_inputs, output_importance, targets
from toysup.storage.schema import condition_of
from toysup.theory import best_arrangement
from toysup.theory.tables import no_formula

REFERENCES = ("zero", "constant", "best_features", "linear", "antipodal")
KINDS = ("exact", "sampled", "bound", "undefined")


class _Reference(NamedTuple):
    loss: float
    kind: str
    reason: str = ""


def loss_references(dataset: xr.Dataset, *, n_samples: int = DEFAULT_SAMPLES) -> xr.Dataset:
    """The losses of simple predictors under the regime of `dataset`.

    Let m be the number of hidden dimensions of the models, and w = I_i(c) the importance of output i in the context of
    a sample. The predictors are:

    - `zero`: y = 0;
    - `constant`: y_i = k_i, where k_i is the value nearest to E[w t_i] / E[w] that the activation can output;
    - `best_features`: y_i = t_i for the m features whose constant costs most; the other outputs are constant;
    - `linear`: the best y = A x + b with rank A ≤ m, where x is everything that the model sees;
    - `antipodal`: the best arrangement of single features and antipodal pairs on m orthogonal directions, for ReLU
      (`toysup.theory.best_arrangement`).

    Parameters
    ----------
    dataset : Dataset
        A trajectory with its tables. Only the sizes and the activation of its models are used, not their weights.
    n_samples : int
        The number of samples for the moments if the context follows from x; 16,384 by default. Not used otherwise.

    Returns
    -------
    Dataset (sweep axes of the regime..., reference)
        `loss`, importance-weighted squared error per sample, float64; `kind`, a string: "exact", "sampled" (exact for
        sampled moments), "bound" (an upper bound that was found numerically), or "undefined". An undefined loss is NaN,
        and `reason` explains why it is undefined.

    Raises
    ------
    UsageError
        If the models' activation is not registered.

    See Also
    --------
    expected_loss : the loss of trained models.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> losses = toysup.analysis.loss_references(fixed)
    >>> dict(zip(losses.reference.values.tolist(), losses.loss.values.round(3).tolist()))
    {'zero': 0.227, 'constant': 0.201, 'best_features': 0.029, 'linear': 0.029, 'antipodal': 0.014}
    """
    axes = regime_sizes(dataset)
    cells = [list(_references(dataset.isel(cell.at), cell.regime, n_samples)) for cell in regime_cells(dataset)]
    dims, shape = (*axes, "reference"), (*axes.values(), len(REFERENCES))
    columns = {
        name: (dims, np.reshape([[getattr(reference, name) for reference in cell] for cell in cells], shape))
        for name in _Reference._fields
    }
    result = xr.Dataset(columns, {axis: dataset[axis] for axis in axes} | {"reference": list(REFERENCES)})
    return result.assign(loss=named(result["loss"], "loss", "importance-weighted squared error per sample"))


def _references(dataset: xr.Dataset, regime: Regime, n_samples: int) -> Iterator[_Reference]:
    """The references of one cell, in the order of REFERENCES."""
    model = condition_of(dataset).model
    moments = exact_moments(dataset, regime) if regime.rule is None else _sampled_moments(regime, n_samples)
    kind = "exact" if regime.rule is None else "sampled"
    low, high = _output_range(model.activation)
    constant = _constant_losses(moments, low, high)
    yield _Reference(float((moments.weight * moments.square).sum()), kind)
    yield _Reference(float(constant.sum()), kind)
    if regime.target != "x":
        yield _undefined(f"the target is {regime.target}, not x")
    elif low > min(0.0, regime.value_range[0]):
        yield _undefined(f"features can be negative, but outputs of {model.activation} cannot")
    elif high < max(0.0, regime.value_range[1]):
        yield _undefined(
            f"features can be {regime.value_range[1]:g}, but outputs of {model.activation} are at most {high:g}"
        )
    else:
        yield _Reference(float(np.sort(constant)[: max(0, len(constant) - model.n_hidden)].sum()), kind)
    loss, exact = linear_loss(moments, model.n_hidden)
    yield _Reference(loss, kind if exact else "bound")
    yield _antipodal(regime, model.activation, model.n_hidden)


def _antipodal(regime: Regime, activation: str, n_hidden: int) -> _Reference:
    if activation != "relu":
        return _undefined(f"the activation is {activation}, not relu")
    if reason := no_formula(regime):
        return _undefined(reason)
    best = best_arrangement(regime, n_hidden)
    return _Reference(best.loss, "exact" if best.exact else "bound")


def _undefined(reason: str) -> _Reference:
    return _Reference(np.nan, "undefined", reason)


def _constant_losses(moments: Moments, low: float, high: float) -> FloatArray:
    """For each output, the minimum of E[w (k − t)²] over k in [low, high]."""
    weight, first, square = (
        (moments.weight * moment).sum(axis=0)
        for moment in (moments.inputs[:, :1, 0], moments.cross[:, :, 0], moments.square)
    )
    best = np.clip(np.divide(first, weight, out=np.zeros_like(first), where=weight > 0), low, high)
    loss: FloatArray = best**2 * weight - 2 * best * first + square
    return loss


def _output_range(activation_name: str) -> tuple[float, float]:
    """The least and the largest output of an activation on a grid, which is finer near 0, where activations bend."""
    import torch

    from toysup.experiments.activations import activation

    outward = np.concatenate([np.linspace(0, 10, 10_001), np.geomspace(10, 1e6, 101)])
    outputs = activation(activation_name)(torch.from_numpy(np.concatenate([-outward[::-1], outward])))
    return float(outputs.min()), float(outputs.max())


def exact_moments(dataset: xr.Dataset, regime: Regime) -> Moments:
    """The moments of a regime whose context does not follow from x, computed from its tables."""
    p = regime.activation_probability
    together = active_together(dataset).transpose("context", "feature", "other_feature").values.astype(np.float64)
    (mean_value, mean_square), (size, signed) = _value_moments(*regime.value_range)
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


def _value_moments(low: float, high: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """(E[v], E[v²]) and (E[|v|], E[|v| v]) of a value v that is uniform on [low, high]."""
    if low == high:
        return (low, low**2), (abs(low), abs(low) * low)
    width = high - low
    plain = (low + high) / 2, (low**2 + low * high + high**2) / 3
    return plain, ((high * abs(high) - low * abs(low)) / (2 * width), (abs(high) ** 3 - abs(low) ** 3) / (3 * width))


def _with_diagonal(pairs: FloatArray, diagonal: FloatArray) -> FloatArray:
    filled = pairs.copy()
    np.einsum("cii->ci", filled)[:] = diagonal
    return filled


def _sampled_moments(regime: Regime, n_samples: int) -> Moments:
    x, context = common_samples(regime, n_samples)
    n_contexts = len(regime.contexts)
    of_context = context_inputs(regime.context_input, context, n_contexts, np)
    u = np.concatenate([np.ones((len(x), 1)), x, of_context], axis=1, dtype=np.float64)
    t = np.asarray(targets(regime.target, x, context, n_contexts, np), dtype=np.float64)
    of = [(u[context == c], t[context == c]) for c in range(n_contexts)]
    return Moments(
        np.stack([inputs.T @ inputs for inputs, _ in of]) / len(x),
        np.stack([target.T @ inputs for inputs, target in of]) / len(x),
        np.stack([(target**2).sum(axis=0) for _, target in of]) / len(x),
        _weight(regime),
    )


def _weight(regime: Regime) -> FloatArray:
    weight = output_importance(regime.target, regime.importance)
    return np.broadcast_to(weight, (len(regime.contexts), regime.n_outputs))
