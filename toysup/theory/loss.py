"""The expected loss of the tied ReLU model: exact for samples of at most two active features, bounded for the rest."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray, Regime
from toysup.theory.integrals import one_active, two_active
from toysup.theory.remainder import more_active_bound
from toysup.theory.tables import not_negative, require_independent

# Values at the nodes of all pairs of a block of outputs: 1 MiB of float64, 24 nodes each.
_BLOCK_VALUES = 2**17
_PAIR_NODES = 24


class LossParts(NamedTuple):
    """Σ_c P(c) I_i(c) E[(y_i − x_i)²; so many active features | c], each (..., feature).

    The expected loss of feature i is at least `none + one + two`, and at most that plus `more_at_most`.
    """

    none: FloatArray
    one: FloatArray
    two: FloatArray
    more_at_most: FloatArray


def loss_parts(W: npt.ArrayLike, b: npt.ArrayLike, regime: Regime) -> LossParts:
    """The loss Σ_i I_i (y_i − x_i)² of y = ReLU(WᵀW x + b), split by how many features of the sample are active.

    A set S of features is precisely the active one with probability Π_{j∈S} p_j Π_{j∉S} (1 − p_j), and active values
    are uniform on [0, 1]. Given S, E[(y_i − x_i)²] is max(b_i, 0)² for none, an integral over [0, 1] for one and over
    the unit square for two; all three are exact. What remains has no closed form, but with D = WᵀW − 1 the error
    y_i − x_i is at most b_i⁺ + Σ_j D_ij⁺ x_j and at least −(b_i⁻ + Σ_j D_ij⁻ x_j) and −x_i (u⁺ and u⁻ are the positive
    and the negative part of u), so it is at most the expectation, over samples with three or more active features, of
    the square of the first plus that of the second or the third, whichever is less.

    Parameters
    ----------
    W : array-like (..., hidden, feature)
        Weights; dimensionless, any leading dims.
    b : array-like (..., feature)
        Output bias; its leading dims broadcast against those of W.
    regime : Regime
        Values uniform on [0, 1], features independent given the context, target x; `one_context(p, I)` makes one of p
        and I.

    Returns
    -------
    LossParts of arrays (..., feature)
        Importance-weighted squared error per sample; NaN for weights that are not finite. Sum over features for the
        loss.

    Raises
    ------
    UsageError
        If the numbers of features or the leading dims differ, or the regime is not of that kind.
    """
    require_independent(regime)
    G, b = _gram_and_bias(W, b)
    n = len(regime.subset)
    if G.shape[-1] != n:
        raise UsageError(f"W has {G.shape[-1]} features, the regime {n}")
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
    """Σ_j P(j) I_i ∫₀¹ (x·1[i=j] − ReLU(G_ij x + b_i))² dx: the loss where precisely one feature is active.

    Parameters
    ----------
    W : array-like (..., hidden, feature)
        Weights; dimensionless, any leading dims.
    b : array-like (..., feature)
        Output bias.
    importance : array-like (feature,), optional
        I_i; one number stands for all features.
    feature_probability : array-like (feature,), optional
        P(j) that the active feature is j, sums to 1; uniform if not given. The part `one` of `loss_parts` is this with
        P(j) ∝ p_j / (1 − p_j), times the probability that one feature is active.

    Returns
    -------
    array (..., feature)
        Importance-weighted squared error per sample, exact. Sum over features for the loss.

    Raises
    ------
    UsageError
        If the numbers of features differ, or P is no distribution.

    Source: Chen et al. (2023), "Dynamical versus Bayesian Phase Transitions in a Toy Model of Superposition", there
    with I = 1 and uniform P.
    """
    G, b = _gram_and_bias(W, b)
    n = G.shape[-1]
    P = not_negative("feature_probability", 1 / n if feature_probability is None else feature_probability)
    importance = not_negative("importance", importance)
    if any(array.shape not in ((), (n,)) for array in (P, importance)):
        raise UsageError(f"importance and feature_probability need one number for each of {n} features, or one for all")
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
    # A model that diverged has no loss, and says so in all its features instead of by a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        G = W.swapaxes(-1, -2) @ W
    finite = np.isfinite(G).all(axis=(-2, -1)) & np.isfinite(b).all(axis=-1)
    n = b.shape[-1]
    return (
        np.where(finite[..., None, None], np.broadcast_to(G, (*leading, n, n)), np.nan),
        np.where(finite[..., None], np.broadcast_to(b, (*leading, n)), np.nan),
    )


def _rows(G: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The outputs of all models one below the other, as `integrals` takes them."""
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
    """Σ_c P(c) I_i(c) P(precisely this set is active | c): (feature, set), for sets (set, feature)."""
    p = regime.activation_probability[:, None, :]
    probability = np.where(sets, p, 1 - p).prod(axis=-1)
    weights: FloatArray = (regime.context_probability[:, None] * regime.importance).T @ probability
    return weights
