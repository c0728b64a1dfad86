"""The loss if two features share a direction, if one is dropped, or under a penalty: closed forms of a regime's tables.

Two features share a direction if they form an antipodal pair. A feature is dropped if no direction represents it.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from toysup.experiments.regime import FloatArray, Regime
from toysup.theory.tables import require_independent

Mask = npt.NDArray[np.bool_]


def sharing_cost(regime: Regime) -> FloatArray:
    """Σ_c P(c) p_i(c) p_j(c) (I_i(c) + I_j(c)) / 6: the loss of features i and j if they share a direction.

    It is exact for W_j = −W_i of length 1, orthogonal to all other features, with b_i = b_j = 0. An error occurs only
    if both features are active. Then y_i = ReLU(x_i − x_j), so y_i − x_i = −min(x_i, x_j), whose mean square is 1/6;
    the same holds for j.

    Parameters
    ----------
    regime : Regime
        A regime with values uniform on [0, 1], features that are independent given the context, a context that does not
        follow from x, and target x; `one_context` makes one.

    Returns
    -------
    array (feature, other_feature)
        Importance-weighted squared error per sample; symmetric, NaN on the diagonal. A trained pair can also change its
        length and b, so for trained pairs it is an upper bound.

    Raises
    ------
    UsageError
        If the regime has other values, groups of features, a context that follows from x, or another target.

    Source: derived.

    Examples
    --------
    >>> from toysup import theory
    >>> float(theory.sharing_cost(theory.one_context(0.3, [1, 1]))[0, 1].round(3))  # 0.3² · 2/6
    0.03
    """
    require_independent(regime)
    p, importance = regime.activation_probability, regime.importance
    # (p_i I_i) p_j summed over contexts is one side's error; the other side's is its transpose.
    side = np.einsum("c,ci,cj->ij", regime.context_probability, p * importance, p) / 6
    cost: FloatArray = side + side.T
    np.fill_diagonal(cost, np.nan)
    return cost


def dropping_cost(regime: Regime) -> FloatArray:
    """Σ_c w_c p_c/3 − (Σ_c w_c p_c)² / (4 Σ_c w_c) with w_c = P(c) I_i(c), p_c = p_i(c): the loss of a dropped feature.

    The output of a dropped feature is the constant of least loss, b_i = Σ_c w_c p_c / (2 Σ_c w_c). It is the same
    constant in all contexts, because the model does not see the context. With one context the loss is I (p/3 − p²/4).

    Parameters
    ----------
    regime : Regime
        A regime with values uniform on [0, 1], features that are independent given the context, a context that does not
        follow from x, and target x; `one_context` makes one.

    Returns
    -------
    array (feature,)
        Importance-weighted squared error per sample. It is 0 for a feature whose importance is 0 in every context in
        which it can be active.

    Raises
    ------
    UsageError
        If the regime has other values, groups of features, a context that follows from x, or another target.

    Source: derived.

    Examples
    --------
    >>> from toysup import theory
    >>> theory.dropping_cost(theory.one_context(0.3, [1, 0.5])).round(5).tolist()  # 0.3/3 − 0.3²/4, and half of it
    [0.0775, 0.03875]
    """
    require_independent(regime)
    weight, active = _weights(regime)
    return active / 3 - _offset(weight, active)


def sharing_limit(regime: Regime) -> FloatArray:
    """The factor s of all activation probabilities below which sharing costs less than dropping the cheaper feature.

    If all activation probabilities are multiplied by s, sharing a direction costs s² S_ij (`sharing_cost`), and
    dropping feature i costs s A_i − s² B_i (the two terms of `dropping_cost`). So sharing costs less than dropping
    either feature for s < min(A_i / (S_ij + B_i), A_j / (S_ij + B_j)).

    Parameters
    ----------
    regime : Regime
        A regime with values uniform on [0, 1], features that are independent given the context, a context that does not
        follow from x, and target x; `one_context` makes one.

    Returns
    -------
    array (feature, other_feature)
        The factor, dimensionless; symmetric, NaN on the diagonal. If it is above 1, sharing costs less than dropping in
        the regime as it is. It is 0 if one of the features has importance 0 in every context in which it can be active.
        A trained pair can also change its length and b, so for trained pairs it is a lower bound.

    Raises
    ------
    UsageError
        If the regime has other values, groups of features, a context that follows from x, or another target.

    Source: derived.

    Examples
    --------
    >>> from toysup import theory
    >>> float(theory.sharing_limit(theory.one_context(0.5, [1, 1]))[0, 1].round(4))  # 4/7 divided by p = 1/2
    1.1429
    """
    require_independent(regime)
    weight, active = _weights(regime)
    # Row i is the limit if i is the dropped feature. Where the cost is 0, so is the numerator.
    cost = sharing_cost(regime) + _offset(weight, active)[:, None]
    limit = np.divide(active[:, None] / 3, cost, out=np.zeros_like(cost), where=cost != 0)
    return np.minimum(limit, limit.T)


def output_floor(regime: Regime) -> FloatArray:
    """Σ_c P(c) I_i(c) p_i(c) / 6: a lower bound of the loss if no output is negative but features can be.

    Half of the active values are negative, the mean of x² is 1/3, and an output y ≥ 0 is at least |x| away from a
    negative x. The bound holds for ReLU, softplus, sigmoid and the absolute value, for any depth and any inputs.

    Parameters
    ----------
    regime : Regime
        A regime with values `signed` (uniform on [−1, 1]), a context that does not follow from x, and target x. It may
        have groups of features.

    Returns
    -------
    array (feature,)
        Importance-weighted squared error per sample. Its sum over features bounds the loss of the model.

    Raises
    ------
    UsageError
        If the regime has other values, a context that follows from x, or another target.

    Source: derived.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from toysup import theory
    >>> regime = replace(theory.one_context(0.3, [1, 0.5]), values="signed")
    >>> theory.output_floor(regime).round(3).tolist()
    [0.05, 0.025]
    """
    # Each feature's bound depends on its own law alone, so groups do not matter.
    require_independent(replace(regime, group=()), values="signed")
    return _weights(regime)[1] / 6


def outweighed_features(regime: Regime, penalty: float) -> Mask:
    """The features (feature,) that occur but lose more by an L2 penalty ½ λ ‖W‖² than they gain by a weight.

    A lone feature with ‖W_i‖² = q costs g (1 − q)² + ½ λ q with g = Σ_c P(c) I_i(c) p_i(c) E[x²]. The least is at
    q = 1 − λ/(4g), which is below 1/2 if g < λ/2: then the feature is not represented.
    """
    (_, active), (_, mean_square) = _weights(regime), regime.value_moments
    outweighed: Mask = (active > 0) & (active * mean_square < penalty / 2)
    return outweighed


def _weights(regime: Regime) -> tuple[FloatArray, FloatArray]:
    """Σ_c P(c) I_i(c) and Σ_c P(c) I_i(c) p_i(c), each (feature,)."""
    P, importance = regime.context_probability, regime.importance
    return P @ importance, P @ (importance * regime.activation_probability)


def _offset(weight: FloatArray, active: FloatArray) -> FloatArray:
    """(Σ_c w_c p_c)² / (4 Σ_c w_c): how much the best constant output lowers the loss of a dropped feature.

    0 for a feature whose importance is 0 in every context.
    """
    return np.divide(active**2, 4 * weight, out=np.zeros_like(weight), where=weight > 0)
