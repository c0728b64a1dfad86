"""What it costs to let two features share a direction, or to drop one, in closed form from a regime's tables."""

from dataclasses import replace

import numpy as np

from toysup.experiments.regime import FloatArray, Regime
from toysup.theory.tables import require_independent


def sharing_cost(regime: Regime) -> FloatArray:
    """Σ_c P(c) p_i(c) p_j(c) (I_i(c) + I_j(c)) / 6: the loss of features i and j if they are antipodal.

    Exact for W_j = −W_i of length 1, orthogonal to the other features, and b = 0: an error occurs only where both are
    active; there y_i = ReLU(x_i − x_j), so y_i − x_i = −min(x_i, x_j), and E[min(x_i, x_j)²] = 1/6 on either side.

    Parameters
    ----------
    regime : Regime
        Values uniform on [0, 1], features independent given the context, target x.

    Returns
    -------
    array (feature, other_feature)
        Importance-weighted squared error per sample; NaN on the diagonal. A trained pair may move b and its length, so
        this is an upper bound of what sharing costs it.

    Raises
    ------
    UsageError
        If the regime is not of that kind.

    Source: derived.
    """
    require_independent(regime)
    p, importance = regime.activation_probability, regime.importance
    # (p_i I_i) p_j summed over contexts is one side's error; the other side's is its transpose.
    side = np.einsum("c,ci,cj->ij", regime.context_probability, p * importance, p) / 6
    cost: FloatArray = side + side.T
    np.fill_diagonal(cost, np.nan)
    return cost


def dropping_cost(regime: Regime) -> FloatArray:
    """Σ_c w_c p_c/3 − (Σ_c w_c p_c)² / (4 Σ_c w_c) with w_c = P(c) I_i(c): the loss of a feature left out.

    Its output is the best constant, b_i = Σ_c w_c p_c / (2 Σ_c w_c): one number for all contexts, which the model does
    not see. With one context the loss is I (p/3 − p²/4).

    Parameters
    ----------
    regime : Regime
        Values uniform on [0, 1], features independent given the context, target x.

    Returns
    -------
    array (feature,)
        Importance-weighted squared error per sample; 0 for a feature that never matters.

    Raises
    ------
    UsageError
        If the regime is not of that kind.

    Source: derived.
    """
    require_independent(regime)
    weight, active = _weights(regime)
    return active / 3 - _offset(weight, active)


def sharing_limit(regime: Regime) -> FloatArray:
    """The factor of all activation probabilities below which sharing costs less than dropping the cheaper of the two.

    With all probabilities times s, sharing costs s² S_ij (`sharing_cost`) and dropping i costs s A_i − s² B_i
    (`dropping_cost`), so sharing pays for s < min(A_i / (S_ij + B_i), A_j / (S_ij + B_j)).

    Parameters
    ----------
    regime : Regime
        Values uniform on [0, 1], features independent given the context, target x.

    Returns
    -------
    array (feature, other_feature)
        Dimensionless; above 1, sharing pays as things are; 0 where a feature never matters, NaN on the diagonal.
        A lower bound for trained pairs, which sharing may cost less.

    Raises
    ------
    UsageError
        If the regime is not of that kind.

    Source: derived.
    """
    require_independent(regime)
    weight, active = _weights(regime)
    # Row i is the limit where i is the one that is dropped; the cost is 0 only of a feature that never matters.
    cost = sharing_cost(regime) + _offset(weight, active)[:, None]
    limit = np.divide(active[:, None] / 3, cost, out=np.zeros_like(cost), where=cost != 0)
    return np.minimum(limit, limit.T)


def output_floor(regime: Regime) -> FloatArray:
    """Σ_c P(c) I_i(c) p_i(c) / 6: the least loss of any model whose outputs are never negative, on values in [−1, 1].

    Half of the active values are negative, E[x²] is 1/3, and an output y ≥ 0 is at least |x| away from a negative x. So
    ReLU, softplus, sigmoid and |·| cannot go below, however deep the model is and whatever it sees.

    Parameters
    ----------
    regime : Regime
        Values `signed` (uniform on [−1, 1]), a context that does not follow from x, target x; groups are fine.

    Returns
    -------
    array (feature,)
        Importance-weighted squared error per sample. Sum over features for the loss.

    Raises
    ------
    UsageError
        If the regime is not of that kind.

    Source: derived.
    """
    # A sum over features asks nothing about how they fire together.
    require_independent(replace(regime, group=()), values="signed")
    return _weights(regime)[1] / 6


def _weights(regime: Regime) -> tuple[FloatArray, FloatArray]:
    """Σ_c P(c) I_i(c) and Σ_c P(c) I_i(c) p_i(c), each (feature,)."""
    P, importance = regime.context_probability, regime.importance
    return P @ importance, P @ (importance * regime.activation_probability)


def _offset(weight: FloatArray, active: FloatArray) -> FloatArray:
    """What the best constant output takes off the loss of a feature that is not represented; 0 where none matters."""
    return np.divide(active**2, 4 * weight, out=np.zeros_like(weight), where=weight > 0)
