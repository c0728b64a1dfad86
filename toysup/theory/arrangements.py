"""The cheapest way to place features on a few directions: one each, an antipodal pair each, and the rest left out."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.errors import UsageError
from toysup.experiments.regime import FloatArray, Regime
from toysup.theory.costs import dropping_cost, sharing_cost

# Beyond so many features the search for the cheapest arrangement takes too long.
MOST_EXACT = 100
# The solver's tolerances are absolute, and costs may be tiny.
_LARGEST_COST = 1e4


class Arrangement(NamedTuple):
    """`loss`; the `pairs` (pair, 2) and what is `dropped` (feature,), by index from 0; `exact`, or an upper bound."""

    loss: float
    pairs: npt.NDArray[np.int64]
    dropped: npt.NDArray[np.int64]
    exact: bool


def best_arrangement(regime: Regime, n_hidden: int) -> Arrangement:
    """The least loss where each of m orthogonal directions has no feature, one, or an antipodal pair.

    A feature alone costs nothing, a pair `sharing_cost`, a feature that is left out `dropping_cost`: which pairs and
    which features is a matching of least weight, solved as an integer program. Beyond 100 features the best of these
    is taken, an upper bound: features in the order of what dropping them costs, so many alone, the next ones paired
    first with last, the rest left out.

    Parameters
    ----------
    regime : Regime
        Values uniform on [0, 1], features independent given the context, target x.
    n_hidden : int
        m, at least 1.

    Returns
    -------
    Arrangement
        Its loss is an importance-weighted squared error per sample, that of the tied ReLU model with unit directions
        and the best bias for each feature that is left out.

    Raises
    ------
    UsageError
        If the regime is not of that kind, or there is no hidden dimension.

    Source: derived.
    """
    if n_hidden < 1:
        raise UsageError(f"n_hidden must be at least 1, not {n_hidden}")
    sharing, dropping = sharing_cost(regime), dropping_cost(regime)
    exact = len(dropping) <= MOST_EXACT
    pairs, dropped = (_matched if exact else _ranked)(sharing, dropping, n_hidden)
    loss = sharing[pairs[:, 0], pairs[:, 1]].sum() + dropping[dropped].sum()
    return Arrangement(float(loss), pairs, dropped, exact)


def _matched(sharing: FloatArray, dropping: FloatArray, m: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """0/1 for each pair, each feature left out, each one alone: every feature is in one, at most m pairs and alone."""
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
        # An odd one out, where there are fewer features than places, has a direction of its own.
        pairs = np.stack([paired[:half], paired[::-1][:half]], axis=1)
        dropped = order[2 * m - alone :]
        loss = sharing[pairs[:, 0], pairs[:, 1]].sum() + dropping[dropped].sum()
        if loss < least:
            best, least = (pairs, dropped), loss
    return best
