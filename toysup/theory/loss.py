"""The expected loss of the tied ReLU model: exact for samples with at most two active features, else bounded."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray, Regime
from toysup.theory.integrals import one_active, two_active
from toysup.theory.remainder import more_active_bound
from toysup.theory.tables import not_negative, require_independent

# The values that are held at once, 1 MiB of float64: 24 nodes for each pair of features and each output of a block.
_BLOCK_VALUES = 2**17
_PAIR_NODES = 24


class LossParts(NamedTuple):
    """The expected loss of each feature, split by the number of active features, as `loss_parts` returns it.

    Each part is Σ_c P(c) I_i(c) E[(y_i − x_i)² 1{k features are active} | c]. The loss of feature i is at least
    none + one + two and at most none + one + two + more_at_most.

    Parameters
    ----------
    none : array (..., feature)
        The part of samples without an active feature (k = 0), exact; importance-weighted squared error per sample.
    one : array (..., feature)
        The part of samples with one active feature, exact; in the same unit.
    two : array (..., feature)
        The part of samples with two active features, exact; in the same unit.
    more_at_most : array (..., feature)
        An upper bound of the part of samples with three or more active features, in the same unit.

    Examples
    --------
    >>> from toysup import theory
    >>> parts = theory.loss_parts([[1, -1]], [0, 0], theory.one_context(0.3, [1, 1]))
    >>> parts.none.tolist(), parts.one.tolist(), parts.two.round(3).tolist(), parts.more_at_most.tolist()
    ([0.0, 0.0], [0.0, 0.0], [0.015, 0.015], [0.0, 0.0])
    """

    none: FloatArray
    one: FloatArray
    two: FloatArray
    more_at_most: FloatArray


def loss_parts(W: npt.ArrayLike, b: npt.ArrayLike, regime: Regime) -> LossParts:
    """The expected loss Σ_i I_i (y_i − x_i)² of y = ReLU(WᵀW x + b), split by the number of active features.

    The active features are exactly the set S with probability Π_{j∈S} p_j Π_{j∉S} (1 − p_j). Given S, E[(y_i − x_i)²]
    is max(b_i, 0)² without active features, an integral over [0, 1] for one, and an integral over the unit square for
    two. All three are exact.

    The part of three or more active features has no closed form, but a bound. Let D = WᵀW − 1, and let u⁺ and u⁻ be the
    positive and the negative part of u. The error y_i − x_i is at most b_i⁺ + Σ_j D_ij⁺ x_j. It is at least −x_i, and
    at least −(b_i⁻ + Σ_j D_ij⁻ x_j). `more_at_most` is the expected square of the first bound, plus the lesser expected
    square of the other two, over samples with three or more active features.

    Parameters
    ----------
    W : array-like (..., hidden, feature)
        Weights, dimensionless; with any leading dims.
    b : array-like (..., feature)
        Output bias, dimensionless; its leading dims broadcast against those of W.
    regime : Regime
        A regime with values uniform on [0, 1], features that are independent given the context, a context that does not
        follow from x, and target x; `one_context` makes one.

    Returns
    -------
    LossParts
        Four arrays (..., feature), `none`, `one`, `two` and `more_at_most`: importance-weighted squared error per
        sample. All four are NaN for a model whose weights are not finite. Their sums over features are the parts of the
        loss of the model.

    Raises
    ------
    UsageError
        If W, b and the regime differ in the number of features, the leading dims of W and b do not broadcast, or the
        regime has other values, groups of features, a context that follows from x, or another target.

    Source: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from toysup import theory
    >>> parts = theory.loss_parts(theory.polygon(5), np.full(5, -0.1), theory.one_context(0.01, np.ones(5)))
    >>> low = parts.none.sum() + parts.one.sum() + parts.two.sum()
    >>> print(f"{low:.6f} to {low + parts.more_at_most.sum():.6f}")
    0.001599 to 0.001611
    """
    require_independent(regime)
    G, b = _gram_and_bias(W, b)
    n = len(regime.subset)
    if G.shape[-1] != n:
        raise UsageError(f"W has {G.shape[-1]} features, but the regime has {n}")
    none, alone = np.zeros((1, n), dtype=bool), np.eye(n, dtype=bool)
    pairs = np.triu_indices(n, 1)
    return LossParts(
        none=_set_weights(regime, none)[:, 0] * np.maximum(b, 0) ** 2,
        one=(_one_active_errors(G, b) * _set_weights(regime, alone)).sum(axis=-1),
        two=_two_active_part(G, b, pairs, _set_weights(regime, alone[pairs[0]] | alone[pairs[1]])),
        more_at_most=more_active_bound(G, b, regime),
    )


def one_hot_loss(
    W: npt.ArrayLike,
    b: npt.ArrayLike,
    importance: npt.ArrayLike = 1.0,
    *,
    feature_probability: npt.ArrayLike | None = None,
) -> FloatArray:
    """Σ_j P(j) I_i ∫₀¹ (x·1[i=j] − ReLU(G_ij x + b_i))² dx: the loss if exactly one feature is active.

    The model is y = ReLU(G x + b) with G = WᵀW, and the active value is uniform on [0, 1]. The part `one` of
    `loss_parts` is this loss with P(j) ∝ p_j / (1 − p_j), times the probability that exactly one feature is active.

    Parameters
    ----------
    W : array-like (..., hidden, feature)
        Weights, dimensionless; with any leading dims.
    b : array-like (..., feature)
        Output bias, dimensionless; its leading dims broadcast against those of W.
    importance : array-like (feature,), default 1
        I_i, finite and at least 0; one number stands for all features.
    feature_probability : array-like (feature,), optional
        P(j), the probability that feature j is the active one; it sums to 1. The default is uniform.

    Returns
    -------
    array (..., feature)
        Importance-weighted squared error per sample, exact; NaN for a model whose weights are not finite. Its sum over
        features is the loss of the model.

    Raises
    ------
    UsageError
        If the arguments differ in the number of features, the leading dims of W and b do not broadcast, an importance
        is negative or not finite, or feature_probability is not a distribution.

    Source: Chen et al. (2023), "Dynamical versus Bayesian Phase Transitions in a Toy Model of Superposition", who use
    I = 1 and uniform P.

    Examples
    --------
    >>> from toysup import theory
    >>> W, b = theory.polygon(5, 1.17046), [-0.28230] * 5
    >>> round(float(theory.one_hot_loss(W, b).sum()), 5)  # the pentagon of Chen et al.
    0.01583
    """
    G, b = _gram_and_bias(W, b)
    n = G.shape[-1]
    P = not_negative("feature_probability", 1 / n if feature_probability is None else feature_probability)
    importance = not_negative("importance", importance)
    if any(array.shape not in ((), (n,)) for array in (P, importance)):
        raise UsageError(f"importance and feature_probability must each be one number, or one for each of {n} features")
    if not np.isclose(np.broadcast_to(P, n).sum(), 1, rtol=0, atol=1e-9):
        raise UsageError(f"feature_probability must sum to 1, not {np.broadcast_to(P, n).sum():g}")
    loss: FloatArray = importance * (_one_active_errors(G, b) * P).sum(axis=-1)
    return loss


def _gram_and_bias(W: npt.ArrayLike, b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """G = WᵀW (..., feature, feature) and b (..., feature), with equal leading dims."""
    W, b = np.asarray(W, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if W.ndim < 2 or b.ndim < 1 or W.shape[-1] != b.shape[-1]:
        raise UsageError(f"W {W.shape} and b {b.shape} must be (..., hidden, feature) and (..., feature)")
    try:
        leading = np.broadcast_shapes(W.shape[:-2], b.shape[:-1])
    except ValueError:
        raise UsageError(f"the leading dims of W {W.shape} and b {b.shape} do not match") from None
    # The loss of a model that diverged is NaN; a warning about overflow would tell the user nothing more.
    with np.errstate(invalid="ignore", over="ignore"):
        G = W.swapaxes(-1, -2) @ W
    finite = np.isfinite(G).all(axis=(-2, -1)) & np.isfinite(b).all(axis=-1)
    n = b.shape[-1]
    return (
        np.where(finite[..., None, None], np.broadcast_to(G, (*leading, n, n)), np.nan),
        np.where(finite[..., None], np.broadcast_to(b, (*leading, n)), np.nan),
    )


def _rows(G: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The outputs of all models as rows, which `integrals` takes: rows of G, biases, and 1 at the own feature."""
    n = G.shape[-1]
    rows = G.reshape(-1, n)
    return rows, b.reshape(-1), np.eye(n)[np.arange(len(rows)) % n]


def _one_active_errors(G: FloatArray, b: FloatArray) -> FloatArray:
    """E[(y_i − x_i)² | only feature j is active]: (..., feature i, feature j)."""
    return one_active(*_rows(G, b)).reshape(G.shape)


def _two_active_part(
    G: FloatArray, b: FloatArray, pairs: tuple[np.ndarray, np.ndarray], weights: FloatArray
) -> FloatArray:
    """Σ_pairs weights[i, pair] · E[(y_i − x_i)² | the pair is active]: (..., feature)."""
    rows, bias, own = _rows(G, b)
    part = np.empty(b.size)
    step = max(1, _BLOCK_VALUES // (_PAIR_NODES * max(1, len(pairs[0]))))
    for start in range(0, b.size, step):
        block = slice(start, start + step)
        errors = two_active(rows[block], bias[block], own[block], pairs)
        feature = np.arange(start, start + len(errors)) % len(weights)
        part[block] = (errors * weights[feature]).sum(axis=-1)
    return part.reshape(b.shape)


def _set_weights(regime: Regime, sets: npt.NDArray[np.bool_]) -> FloatArray:
    """Σ_c P(c) I_i(c) P(exactly the features of this set are active | c): (feature, set), for sets (set, feature)."""
    p = regime.activation_probability[:, None, :]
    probability = np.where(sets, p, 1 - p).prod(axis=-1)
    weights: FloatArray = (regime.context_probability[:, None] * regime.importance).T @ probability
    return weights
