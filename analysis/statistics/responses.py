"""Linear responses, which replace W and WᵀW in a model of any depth."""

import numpy as np
import xarray as xr

from toysup.analysis.statistics.forward_pass import Models
from toysup.analysis.statistics.gram import gram
from toysup.analysis.statistics.labels import named, require_dataset, with_other_feature
from toysup.errors import UsageError
from toysup.experiments.model import is_plain
from toysup.experiments.regime import Regime
from toysup.storage.schema import condition_of, leading_dims

# The attribute of a dataset with the value at which its responses are measured if no other is given.
_RESPONSE_VALUE = "response_value"


def linear_response(dataset: xr.Dataset, *, value: float | None = None) -> xr.Dataset:
    """The change of the hidden state and of the output when one feature is switched on, per unit of its value.

    H_j = [h(v e_j, c) − h(0, c)] / v and G_ij = [a_i(v e_j, c) − a_i(0, c)] / v, where h is the hidden state, a is the
    output before its activation, and v is the value of feature j while all other features are 0. For y = φ(WᵀW x + b)
    these responses are W and WᵀW, whatever v is. If the model sees its context c, there is one H and one G per context.

    A model with a nonlinearity before its output activation (a hidden activation, layers, or an architecture of yours)
    responds differently to −v than to v: a hidden ReLU may pass on one side of a feature only. If values can have both
    signs, such a model has one H and one G for 1 and for −1, and each sign of a feature is a direction of its own.

    Parameters
    ----------
    dataset : Dataset
        A trajectory; any leading dims (sweep axes, seed, step).
    value : float, optional
        The value v, finite and not 0. The default is both 1 and −1 if values can have both signs and the response can
        depend on the sign, −1 if values are never positive, and 1 otherwise.

    Returns
    -------
    Dataset
        `H` (..., [value,] [context,] hidden, feature) and `G` (..., [value,] [context,] feature, other_feature); the
        dim `value` has the labels 1 and −1 where the default is both. For the target z the rows of G have the dim
        `output`, labelled by `output_feature` and `output_context`. Dimensionless, float32; not finite for a model that
        is not finite.

    Raises
    ------
    UsageError
        If `value` is 0 or not finite, or if the model's activation or architecture is not registered.

    See Also
    --------
    gram : WᵀW from the weights alone.
    gram_quadrants : statistics of G for each pair of subsets.

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
    require_dataset(dataset)
    values = values_of_responses(dataset, value)
    condition = condition_of(dataset)
    regime = condition.first_regime
    if is_plain(condition.model, regime):
        H = dataset["W"]
        return xr.Dataset({"H": _labelled_H(H), "G": gram(H)})
    if len(values) == 1:
        return _response(dataset, regime, values[0])
    at_each: list[xr.Dataset] = [_response(dataset, regime, v) for v in values]
    both = xr.concat(at_each, "value").assign_coords(value=list(values))
    return both.transpose(*leading_dims(dataset), "value", ...)


def values_of_responses(dataset: xr.Dataset, value: float | None = None) -> tuple[float, ...]:
    """The values at which `linear_response` measures a dataset: the one that is given, (1,), (−1,), or (1, −1)."""
    value = dataset.attrs.get(_RESPONSE_VALUE) if value is None else value
    if value is not None:
        if not (np.isfinite(value) and value != 0):
            raise UsageError(f"value must be finite and non-zero, got {value}")
        return (float(value),)
    condition = condition_of(dataset)
    model, (low, high) = condition.model, condition.first_regime.value_range
    if high <= 0:
        return (-1.0,)
    layers = model.encoder_layers or model.decoder_layers or model.hidden_activation != "identity"
    depends = bool(layers) or model.architecture != "autoencoder"
    return (1.0, -1.0) if low < 0 and depends else (1.0,)


def with_response_value(dataset: xr.Dataset, value: float | None) -> xr.Dataset:
    """The dataset, whose responses are measured at this value wherever no other is given; None: the default."""
    return dataset if value is None else dataset.assign_attrs({_RESPONSE_VALUE: value})


def _response(dataset: xr.Dataset, regime: Regime, value: float) -> xr.Dataset:
    leading = leading_dims(dataset)
    models = Models(dataset, regime, leading, np.float64)
    contexts = range(len(regime.contexts)) if regime.context_inputs else range(1)
    responses = [_switched_on(models, value, context) for context in contexts]
    shape = [dataset.sizes[dim] for dim in leading]
    seen = ["context"] if regime.context_inputs else []

    def labelled(arrays: list[np.ndarray], dims: tuple[str, str]) -> xr.DataArray:
        # (model, context, row, column), or without the context axis if the model does not see its context.
        stacked = np.stack(arrays, axis=1).reshape(*shape, *[len(arrays)] * len(seen), *arrays[0].shape[1:])
        # A model that diverged may overflow here although its weights are finite. The result is then not finite.
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
    hidden, before = models.states(x, context)
    H, G = (np.swapaxes(state[:, :n] - state[:, n:], 1, 2) / value for state in (hidden, before))
    return H, G


def context_selectivity(dataset: xr.Dataset, *, value: float | None = None) -> xr.DataArray:
    """Whether each feature reaches the hidden state only in its own contexts, from −1 to 1.

    The selectivity of feature j is (‖H_j(own)‖² − ‖H_j(other)‖²) / (‖H_j(own)‖² + ‖H_j(other)‖²). "own" means the
    contexts of the feature's subset, and "other" means the other contexts; the squares are averaged over several such
    contexts. The selectivity is 0 if H_j is the same in all contexts, as in a model that does not see its context. It
    is 1 if the feature is switched off outside its own contexts, as in the post's translation.

    Parameters
    ----------
    dataset : Dataset
        A trajectory; any leading dims (sweep axes, seed, step).
    value : float, optional
        The value v at which `linear_response` computes H; its default by default.

    Returns
    -------
    DataArray (..., [value,] feature)
        Between −1 and 1, dimensionless, float32. NaN for a feature that reaches the hidden state in no context, for a
        feature that belongs to no subset or to all subsets, and for a model that is not finite.

    Raises
    ------
    UsageError
        As in `linear_response`.

    Source: the translation is that of james__p (2025), "Conditional Importance in Toy Models of Superposition".

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> toysup.analysis.context_selectivity(fixed.isel(step=-1, seed=0)).sel(feature=1).item()
    0.0
    """
    require_dataset(dataset)
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
    return named(share, "context_selectivity", "context selectivity", within=(-1, 1))
