"""The cheapest arrangement of features: each direction has one feature or an antipodal pair, the rest are dropped."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray, Regime
from toysup.theory.costs import dropping_cost, sharing_cost

# With more features than this the integer program takes too long.
MOST_EXACT = 100
# The solver's tolerances are absolute, and costs may be tiny.
_LARGEST_COST = 1e4


class Arrangement(NamedTuple):
    """The cheapest arrangement of features, as `best_arrangement` returns it.

    Features are given by their index, which starts at 0. A feature that is in no pair and not dropped has a direction
    of its own.

    Parameters
    ----------
    loss : float
        Importance-weighted squared error per sample, summed over features.
    pairs : array of int (pair, 2)
        The two features of each antipodal pair.
    dropped : array of int (dropped feature,)
        The features that no direction represents.
    exact : bool
        Whether `loss` is the least loss of all arrangements. If not, it is an upper bound of the least loss.

    Examples
    --------
    >>> from toysup import theory
    >>> best = theory.best_arrangement(theory.one_context(0.15, [1, 1, 0.1]), 1)
    >>> best.pairs.tolist(), best.dropped.tolist(), best.exact
    ([[0, 1]], [2], True)
    """

    loss: float
    pairs: npt.NDArray[np.int64]
    dropped: npt.NDArray[np.int64]
    exact: bool


def best_arrangement(regime: Regime, n_hidden: int) -> Arrangement:
    """The arrangement of least loss if each of m orthogonal directions holds no feature, one, or an antipodal pair.

    A feature with a direction of its own costs nothing, an antipodal pair costs its `sharing_cost`, and a dropped
    feature its `dropping_cost`. The least sum of these costs is a matching of least weight, found as an integer program
    for up to 100 features. For more features the result is an upper bound: features are ranked by `dropping_cost`, the
    first k get a direction of their own, the next 2(m − k) are paired, first with last, and the rest are dropped; the
    best k is chosen.

    Parameters
    ----------
    regime : Regime
        A regime with values uniform on [0, 1], features that are independent given the context, a context that does not
        follow from x, and target x; `one_context` makes one.
    n_hidden : int
        Number of hidden dimensions m, at least 1.

    Returns
    -------
    Arrangement
        The loss, the pairs and the dropped features. The loss is that of y = ReLU(WᵀW x + b) where each represented
        feature has ‖W_i‖ = 1 and b_i = 0, and each dropped feature has its best b_i.

    Raises
    ------
    UsageError
        If n_hidden is less than 1, or the regime has other values, groups of features, a context that follows from x,
        or another target.

    Source: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from toysup import theory
    >>> importance = np.tile(0.7 ** np.arange(1, 11), 2)
    >>> best = theory.best_arrangement(theory.one_context(0.15, importance), 10)
    >>> round(best.loss, 5), len(best.pairs), best.dropped.tolist()
    (0.01365, 6, [8, 9, 18, 19])
    """
    if n_hidden < 1:
        raise UsageError(f"n_hidden must be at least 1, not {n_hidden}")
    sharing, dropping = sharing_cost(regime), dropping_cost(regime)
    exact = len(dropping) <= MOST_EXACT
    pairs, dropped = (_matched if exact else _ranked)(sharing, dropping, n_hidden)
    loss = sharing[pairs[:, 0], pairs[:, 1]].sum() + dropping[dropped].sum()
    return Arrangement(float(loss), pairs, dropped, exact)


def _matched(sharing: FloatArray, dropping: FloatArray, m: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The arrangement of least loss, from an integer program.

    A variable is 0 or 1. There is one for each pair, one for each dropped feature and one for each single feature.
    Every feature is in exactly one of those that are 1, and at most m pairs and single features are 1.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack

    n = len(dropping)
    first, second = np.triu_indices(n, 1)
    count = len(first)
    cost = np.concatenate([sharing[first, second], dropping, np.zeros(n)])
    of_pairs = (np.ones(2 * count), (np.concatenate([first, second]), np.tile(np.arange(count), 2)))
    each_once = hstack([csr_array(of_pairs, shape=(n, count)), eye_array(n), eye_array(n)])
    directions = np.concatenate([np.ones(count), np.zeros(n), np.ones(n)])[None]
    found = milp(
        cost / (cost.max() or 1.0) * _LARGEST_COST,
        constraints=[LinearConstraint(each_once, 1, 1), LinearConstraint(directions, 0, m)],
        integrality=np.ones(len(cost), dtype=np.int64),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    chosen = np.asarray(found.x) > 0.5
    pairs = np.stack([first, second], axis=1)[chosen[:count]]
    return pairs, np.flatnonzero(chosen[count : count + n])


def _ranked(sharing: FloatArray, dropping: FloatArray, m: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    order = np.argsort(-dropping, kind="stable")
    best, least = (np.empty((0, 2), dtype=np.int64), order[m:]), np.inf
    for alone in range(m + 1):
        paired = order[alone : 2 * m - alone]
        half = len(paired) // 2
        # If there are fewer features than places, an odd number may remain: the middle one has its own direction.
        pairs = np.stack([paired[:half], paired[::-1][:half]], axis=1)
        dropped = order[2 * m - alone :]
        loss = sharing[pairs[:, 0], pairs[:, 1]].sum() + dropping[dropped].sum()
        if loss < least:
            best, least = (pairs, dropped), loss
    return best
