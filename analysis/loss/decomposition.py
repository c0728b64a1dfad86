"""Where a loss comes from: its four parts by cause, and the loss by the number of active features."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from toysup.analysis.loss.active_counts import MOST_FEATURES, CountLaw, independent
from toysup.analysis.loss.evaluation import evaluated
from toysup.analysis.loss.networks import Layer
from toysup.analysis.loss.predictors import Predictor
from toysup.analysis.loss.samples import weighted_points
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.analysis.statistics.cells import regime_cells, regime_sizes
from toysup.analysis.statistics.dimensionality import REPRESENTED_THRESHOLD, represented
from toysup.analysis.statistics.forward_pass import Models, elementwise
from toysup.analysis.statistics.labels import named, require_dataset
from toysup.errors import UsageError
from toysup.experiments.model import is_plain
from toysup.experiments.regime import Regime
from toysup.storage.schema import condition_of

PARTS = ("unrepresented", "own", "interference", "bias")
# Numbers of active features; the last label stands for 5 or more.
ACTIVE = ("0", "1", "2", "3", "4", "5+")
# Samples for probabilities that have no closed form.
_SHARE_SAMPLES = 2**14
# The outputs whose losses give the parts of a represented feature: own entry alone, without bias, and whole.
_STAGES = ("own", "linear", "whole")


def loss_decomposition(
    dataset: xr.Dataset,
    *,
    threshold: float = REPRESENTED_THRESHOLD,
    n_samples: int | None = None,
    by_batch: bool = False,
) -> xr.DataArray:
    """The loss of y = φ(WᵀW x + b), split for each feature into four parts that sum to the loss.

    Let G = WᵀW, and let e_i(y) = P(c) I_i(c) E[(y − t_i)² | c] be the cost of output i if its value is y. For a feature
    that is not represented (‖W_i‖² < threshold), `unrepresented` is the whole loss and the other parts are 0. For a
    represented feature, `unrepresented` is 0 and the other parts are, in this order:

    - `own` = e_i(φ(G_ii x_i)), the cost with the feature's own entry alone;
    - `interference` = e_i(φ(Σ_j G_ij x_j)) − own, the cost that the other features add;
    - `bias` = e_i(φ(Σ_j G_ij x_j + b_i)) − own − interference, the change that the bias makes, negative if it helps.

    Parameters
    ----------
    dataset : Dataset
        Trajectories of models y = φ(WᵀW x + b); any leading dims (sweep axes, seed, step).
    threshold : float
        The least ‖W_i‖² of a represented feature; 0.5 by default.
    n_samples : int
        As in `expected_loss`. All parts use the same samples.
    by_batch : bool
        Keep the 16 batches of samples apart, in a dim `batch`, for `sampling_error`. The default is their mean.

    Returns
    -------
    DataArray (..., [batch], part, context, feature)
        Importance-weighted squared error per sample, float64; NaN in all parts for a model that is not finite.

    Raises
    ------
    UsageError
        If the models have extra layers or a context input, or if the target is z: then a feature has no own entry of G.
        Also as in `expected_loss`.

    See Also
    --------
    expected_loss : the sum of the four parts, for any model.
    loss_by_active : the loss by the number of active features.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> parts = toysup.analysis.loss_decomposition(fixed.isel(step=-1)).sum(['context', 'feature'])
    >>> dict(zip(parts.part.values.tolist(), parts.mean('seed').values.round(3).tolist()))
    {'unrepresented': 0.005, 'own': 0.0, 'interference': 0.01, 'bias': -0.0}
    """
    require_dataset(dataset)
    if reason := no_parts(dataset):
        raise UsageError(f"the loss of {dataset.attrs['condition_name']} has no parts: {reason}")
    (stages,) = evaluated(dataset, [dataset], STAGES, kinds=("part", _STAGES), n_samples=n_samples, by_batch=by_batch)
    own, linear, whole = (stages.sel(part=stage, drop=True) for stage in _STAGES)
    is_represented = represented(dataset["W"], threshold=threshold)
    parts = [
        whole.where(~is_represented, 0),
        *(part.where(is_represented, 0) for part in (own, linear - own, whole - linear)),
    ]
    order = stages.dims
    result = xr.concat([part.where(np.isfinite(whole)) for part in parts], "part").assign_coords(part=list(PARTS))
    return named(result.transpose(*order), "loss", stages.attrs["long_name"], threshold=threshold)


def no_parts(dataset: xr.Dataset) -> str | None:
    """Why `loss_decomposition` is undefined for these models; None if it is defined."""
    condition = condition_of(dataset)
    regime = condition.first_regime
    if regime.target == "z":
        return "the target is z, which has several outputs about each feature"
    if not is_plain(condition.model, regime):
        return "the models are not y = φ(WᵀW x + b), so a feature has no own entry of G"
    return None


def _outputs(models: Models, x: AnyArray, context: int) -> Sequence[AnyArray]:
    W = models.parameters["W"]
    linear = (x @ W.mT) @ W
    before = ((W**2).sum(axis=1)[:, None] * x, linear, linear + models.parameters["b"])
    return [elementwise(models.spec.activation, a) for a in before]


def _maps(G: FloatArray, b: FloatArray) -> Sequence[tuple[FloatArray, FloatArray]]:
    own = np.eye(G.shape[-1]) * G
    return [(own, 0 * b), (G, 0 * b), (G, b)]


def _layers(models: Models, context: int) -> Sequence[Sequence[Layer]]:
    W, activation = models.parameters["W"], models.spec.activation
    linear, none = np.zeros(W.shape[:2], W.dtype), np.zeros(W.shape[::2], W.dtype)
    b = models.parameters["b"][:, 0]
    own = Layer(np.eye(W.shape[2]) * (W**2).sum(axis=1)[:, None], none, activation)
    hidden, out = Layer(W, linear, "identity"), np.swapaxes(W, 1, 2)
    return [[own], [hidden, Layer(out, none, activation)], [hidden, Layer(out, b, activation)]]


STAGES = Predictor(_layers, _outputs, _maps)


def loss_by_active(dataset: xr.Dataset, *, n_samples: int | None = None, by_batch: bool = False) -> xr.Dataset:
    """The loss by the number k of features that are active in a sample: P(c) I_i(c) E[(y_i − t_i)² 1{k active} | c].

    To get the expected loss given k, sum `loss` over context and feature, sum `probability` over context, and divide.

    Parameters
    ----------
    dataset : Dataset
        Trajectories of any models; any leading dims (sweep axes, seed, step).
    n_samples : int
        As in `expected_loss`.
    by_batch : bool
        Keep the 16 batches of samples apart, in a dim `batch`, for `sampling_error`. The default is their mean.

    Returns
    -------
    Dataset
        `loss` (..., [batch], active, context, feature), importance-weighted squared error per sample, float64; its sum
        over `active` ("0" to "4", "5+") is `expected_loss`. And `probability` (sweep axes..., active, context),
        P(c and k active): exact if features are independent given the context, else a share of samples. `loss` is not
        finite for a model that is not finite.

    Raises
    ------
    UsageError
        As in `expected_loss`.

    Examples
    --------
    >>> import toysup
    >>> fixed = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> by_active = toysup.analysis.loss_by_active(fixed.isel(step=-1).sel(seed=[0]))
    >>> by_active.probability.sum('context').values.round(2).tolist()
    [0.04, 0.14, 0.23, 0.24, 0.18, 0.17]
    """
    require_dataset(dataset)
    (loss,) = evaluated(dataset, [dataset], active=ACTIVE, n_samples=n_samples, by_batch=by_batch)
    axes = regime_sizes(dataset)
    shares = [_shares(cell.regime) for cell in regime_cells(dataset)]
    probability = xr.DataArray(
        np.reshape(shares, (*axes.values(), *shares[0].shape)),
        dims=(*axes, "active", "context"),
        coords={axis: dataset[axis] for axis in axes} | {"context": dataset["context"].values},
    )
    long_name = "probability of the context and of this number of active features"
    return xr.Dataset({"loss": loss, "probability": named(probability, "probability", long_name)})


def _shares(regime: Regime) -> FloatArray:
    """P(c and k active): (active, context)."""
    shares = np.zeros((len(regime.contexts), len(ACTIVE)))
    evenly = independent(regime) and len(regime.subset) <= MOST_FEATURES
    for c in range(len(regime.contexts)):
        if evenly and regime.rule is None:
            counts = CountLaw(regime.activation_probability[c]).counts
            np.add.at(shares[c], np.minimum(np.arange(len(counts)), len(ACTIVE) - 1), counts)
        else:
            shares[c] = _sampled_shares(regime, c)
    probability = 1.0 if regime.rule is not None else regime.context_probability
    return shares.T * probability


def _sampled_shares(regime: Regime, context: int) -> FloatArray:
    """P(k active | c), or P(c and k active) if the context follows from x, as a share of samples: (active,)."""
    own = context if regime.rule is not None else 0
    shares = np.zeros(len(ACTIVE))
    for points in weighted_points(regime, context, _SHARE_SAMPLES):
        np.add.at(shares, np.minimum(points.active, len(ACTIVE) - 1), points.weight[own])
    return shares
