"""How the samples and the gradient of each instance are computed, and what a step costs."""

import numpy as np
import numpy.typing as npt

from toysup.engines.instances import Instances
from toysup.experiments.regime import Regime

# Samples and gradients in tiles; samples of sparse regimes in lists, with gradients in tiles or from the lists.
TILES, LISTS_IN_TILES, LISTS = range(3)
FORMS = (TILES, LISTS_IN_TILES, LISTS)

# Costs in units of a multiply-add of a product of matrices, measured once with 512-bit vectors: of a value in a tile
# with its error; of a sample, of an active feature and of a multiply-add in lists; of an error there; of an entry of M.
_TILE_VALUE = 40
_SAMPLE, _ACTIVE, _LISTED, _ERROR, _ENTRY = 12, 350, 3, 5, 15
# K and M have a row and a column for each feature: with this many they take 64 MiB each.
_MOST_FEATURES = 4096


def forms_of(instances: Instances) -> npt.NDArray[np.int64]:
    """The form (instance,) of each instance, which follows from its sizes and its table of activation alone."""
    law = instances.law.sparse
    if law is None:
        return np.full(len(instances), TILES)
    n, m, rows = instances.model.n_features, instances.model.n_hidden, instances.training.batch_size
    known = {id(regime): form_of(regime, n, m, rows) for regime in instances.regimes}
    forms = np.array([known[id(regime)] for regime in instances.regimes])
    return np.where(law.chosen, forms, TILES)


def form_of(regime: Regime, n: int, m: int, rows: int) -> int:
    """The cheaper form for a sparse regime, n features, m hidden dimensions and batches of so many rows."""
    cheaper = n <= _MOST_FEATURES and lists_cost(regime, n, m, rows) <= tiles_cost(n, m, rows)
    return LISTS if cheaper else LISTS_IN_TILES


def tiles_cost(n: int, m: int, rows: int) -> float:
    """The cost of a step in tiles, in multiply-adds."""
    return rows * (min(2 * n * n, 5 * n * m) + _TILE_VALUE * n)


def lists_cost(regime: Regime, n: int, m: int, rows: int) -> float:
    """The cost of a step from lists, in multiply-adds."""
    of_context, probability = regime.context_probability, regime.activation_probability
    active = float(of_context @ probability.sum(axis=1))
    listed = float(of_context @ (1 - np.prod(1 - probability, axis=1)))
    a_sample = _SAMPLE + _ACTIVE * active + 2 * _LISTED * active * n + _ERROR * listed * n
    # Rows of K and M, of which each takes a product of W with a vector, two if some are left out.
    products = 2 * n if rows * active >= n else 3 * rows * active
    return rows * a_sample + products * n * m + _ENTRY * min(n, rows * active) * n
