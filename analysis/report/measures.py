"""Statistics of selected conditions that several tables and figures show."""

import numpy as np
import xarray as xr

from toysup.analysis.inference.quadrant_null import pooled_quadrant_null
from toysup.analysis.loss.decomposition import loss_by_active, loss_decomposition
from toysup.analysis.loss.expected_loss import summed, values_held
from toysup.analysis.report.selection import Selected, computed_once
from toysup.analysis.statistics.interference import gram_quadrants
from toysup.analysis.statistics.responses import linear_response


def counted_response(models: xr.Dataset, whole: xr.Dataset) -> xr.DataArray:
    """G of `linear_response` of some models of a condition, without the outputs of z that nothing trains.

    These are the outputs whose errors weigh nothing in any cell of the `whole` condition's sweep.
    """
    G = linear_response(models)["G"]
    if "output" not in G.dims:
        return G
    importance = whole["importance"]
    weights = importance.max([dim for dim in importance.dims if dim not in ("context", "feature")])
    own = weights.sel(context=G["output_context"], feature=G["output_feature"])
    return G.isel(output=np.flatnonzero(own.values > 0))


@computed_once
def quadrants(item: Selected) -> xr.Dataset:
    """The quadrant statistics of each model at the chosen step."""
    return item.each(lambda models: gram_quadrants(counted_response(models, item.dataset)))


@computed_once
def quadrant_null(item: Selected) -> xr.Dataset:
    """The null of the quadrant statistics at the chosen step, pooled over seeds."""
    return pooled_quadrant_null(item.at_step, response=lambda models: counted_response(models, item.dataset))


@computed_once
def loss_parts(item: Selected) -> xr.DataArray:
    """The parts of the loss under its own regime at the chosen step, by batch of samples: (..., batch, part)."""
    return item.each(lambda models: summed(loss_decomposition(models, by_batch=True)), values=values_held(item.dataset))


@computed_once
def loss_by_active_features(item: Selected) -> xr.Dataset:
    """The loss under its own regime at the chosen step by the number of active features, by batch of samples.

    `loss` (..., batch, active) and the `probability` (..., active, context) of that number of active features.
    """

    def totals(models: xr.Dataset) -> xr.Dataset:
        by_active = loss_by_active(models, by_batch=True)
        return by_active.assign(loss=summed(by_active["loss"]))

    return item.each(totals, values=values_held(item.dataset))
