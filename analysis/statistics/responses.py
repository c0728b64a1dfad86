"""Responses: what stands for W and WᵀW in a model of any depth."""

import numpy as np
import xarray as xr

from toysup.analysis.statistics.forward_pass import Models
from toysup.analysis.statistics.gram import gram
from toysup.analysis.statistics.labels import named, with_other_feature
from toysup.errors import UsageError
from toysup.experiments.model import is_plain
from toysup.storage.schema import condition_of, leading_dims


def linear_response(dataset: xr.Dataset, *, value: float = 1.0) -> xr.Dataset:
    """How the hidden state and the output change when feature j is switched on, per unit of its value v.

    H_j = [h(v e_j, c) − h(0, c)] / v and G_ij = [a_i(v e_j, c) − a_i(0, c)] / v, with h the hidden state and a the
    output before its activation. For the tied model these are W and WᵀW. Where the model sees its context c, there is
    one of each per context.

    Parameters
    ----------
    dataset : Dataset
        A trajectory; any leading dims (sweep axes, seed, step).
    value : float
        v, not 0; what a linear hidden state and output do not depend on.

    Returns
    -------
    Dataset
        `H` (..., [context,] hidden, feature) and `G` (..., [context,] feature, other_feature); for the target z the
        rows of G are `output`, which `output_feature` and `output_context` label. Dimensionless, float32.

    Raises
    ------
    UsageError
        If `value` is 0, or the model's activation or architecture is not registered.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> response = toysup.analysis.linear_response(fixed.isel(step=-1))
    >>> response.G.dims
    ('seed', 'feature', 'other_feature')
    >>> bool((response.H == fixed.W.isel(step=-1)).all())
    True
    """
    if not np.isfinite(value) or value == 0:
        raise UsageError(f"a response is that to a value that is finite and not 0, unlike {value}")
    condition = condition_of(dataset)
    regime = condition.first_regime
    if is_plain(condition.model, regime):
        H = dataset["W"]
        return xr.Dataset({"H": _labelled_H(H), "G": gram(H)})
    leading = leading_dims(dataset)
    models = Models(dataset, regime, leading, np.float64)
    contexts = range(len(regime.contexts)) if regime.context_inputs else range(1)
    responses = [_switched_on(models, value, context) for context in contexts]
    shape = [dataset.sizes[dim] for dim in leading]
    seen = ["context"] if regime.context_inputs else []

    def labelled(arrays: list[np.ndarray], dims: tuple[str, str]) -> xr.DataArray:
        # (model, context, row, column), or without the contexts where there is nothing to tell apart.
        stacked = np.stack(arrays, axis=1).reshape(*shape, *[len(arrays)] * len(seen), *arrays[0].shape[1:])
        # Of a model that diverged more may overflow than its weights do; that it is not finite is in the result.
        with np.errstate(over="ignore"):
            array = xr.DataArray(stacked.astype(np.float32), dims=(*leading, *seen, *dims))
        kept = {name: coord for name, coord in dataset.coords.items() if set(coord.dims) <= set(array.dims)}
        return array.assign_coords(kept)

    H = labelled([hidden for hidden, _ in responses], ("hidden", "feature"))
    G = labelled([output for _, output in responses], (regime.output_dim, "other_feature"))
    G = with_other_feature(G, dataset["activation_probability"])
    return xr.Dataset({"H": _labelled_H(H), "G": named(G, "G", "response of the output")})


def _labelled_H(H: xr.DataArray) -> xr.DataArray:
    return named(H, "H", "response of the hidden state")


def _switched_on(models: Models, value: float, context: int) -> tuple[np.ndarray, np.ndarray]:
    """H (model, hidden, feature) and G (model, output, feature) in one context."""
    n = models.spec.n_features
    x = np.concatenate([value * np.eye(n), np.zeros((1, n))])
    hidden, before = (state.numpy() for state in models.states(x, context))
    return tuple(np.swapaxes(state[:, :n] - state[:, n:], 1, 2) / value for state in (hidden, before))


def context_selectivity(dataset: xr.Dataset, *, value: float = 1.0) -> xr.DataArray:
    """(‖H_j(own)‖² − ‖H_j(other)‖²) / (‖H_j(own)‖² + ‖H_j(other)‖²): 0 for an untranslated feature, 1 for a translated.

    The own contexts of feature j are those whose subset it belongs to; over several contexts the squares are averaged.

    Parameters
    ----------
    dataset : Dataset
        A trajectory; any leading dims.
    value : float
        The value at which the response H is taken.

    Returns
    -------
    DataArray (..., feature)
        Between −1 and 1, dimensionless; NaN for a feature that no context answers to, that belongs to no subset or to
        all. 0 where the model does not see its context.

    Raises
    ------
    UsageError
        As `linear_response`.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> toysup.analysis.context_selectivity(fixed.isel(step=-1, seed=0)).sel(feature=1).item()
    0.0
    """
    squares = (linear_response(dataset, value=value)["H"].astype(np.float64) ** 2).sum("hidden", skipna=False)
    if "context" not in squares.dims:
        squares = squares.expand_dims(context=dataset["context"].values)
    belongs = np.array([label.split("+") for label in map(str, dataset["subset"].values)], dtype=object)
    in_own_context = xr.DataArray(
        [[str(context) in labels for labels in belongs] for context in dataset["context"].values],
        dims=("context", "feature"),
    )
    inside = squares.where(in_own_context).mean("context")
    outside = squares.where(~in_own_context).mean("context")
    total = inside + outside
    share = ((inside - outside) / total.where(total > 0)).astype(np.float32)
    return named(share, "context_selectivity", "context selectivity")
