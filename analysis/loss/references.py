"""Reference losses: the losses of simple predictors under the same regime as the trained models."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from toysup.analysis.loss.active_counts import MOST_FEATURES
from toysup.analysis.loss.linear_map import linear_loss
from toysup.analysis.loss.moments import Moments, exact_moments, sampled_moments, target_moments
from toysup.analysis.statistics.arrays import FloatArray
from toysup.analysis.statistics.cells import regime_cells, regime_sizes
from toysup.analysis.statistics.forward_pass import elementwise
from toysup.analysis.statistics.labels import named
from toysup.experiments.regime import Regime
from toysup.storage.schema import condition_of
from toysup.theory import best_arrangement
from toysup.theory.tables import no_formula

REFERENCES = ("zero", "constant", "best_features", "linear", "antipodal")
# Samples for the moments of a regime whose context follows from x.
MOMENT_SAMPLES = 2**16
KINDS = ("exact", "sampled", "bound", "undefined")


class _Reference(NamedTuple):
    loss: float
    kind: str
    reason: str = ""


def loss_references(dataset: xr.Dataset, *, n_samples: int = MOMENT_SAMPLES) -> xr.Dataset:
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
        The number of samples for the moments if the context follows from x; 65,536 by default. Not used otherwise.

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
    many = len(regime.subset) > MOST_FEATURES
    if regime.rule is None:
        moments = target_moments(regime) if many else exact_moments(dataset, regime)
    else:
        moments = sampled_moments(regime, n_samples)
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
    if many:
        for _ in ("linear", "antipodal"):
            yield _undefined(f"it is not computed for more than {MOST_FEATURES:,} features")
        return
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
    outward = np.concatenate([np.linspace(0, 10, 10_001), np.geomspace(10, 1e6, 101)])
    outputs = elementwise(activation_name, np.concatenate([-outward[::-1], outward]))
    return float(outputs.min()), float(outputs.max())
