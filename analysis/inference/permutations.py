"""Permutation tests of each row of a table. The p-values are exact if the permuted values are exchangeable.

If there are at most `RESAMPLES` permutations, the test uses all of them, and p is the share that is at least as extreme
as the observation. Otherwise N = `RESAMPLES` permutations are drawn from a fixed stream, the same for all rows. Then
p = (k + 1)/(N + 1), where k counts the drawn permutations that are at least as extreme; this p is never 0.

Such a p is at least 1/(N + 1), which an adjustment for many comparisons multiplies by their number. So rows with k < 10
go on: N grows, batch by batch, until k reaches 10 or N reaches `most_draws(comparisons)`. This p is valid at every
level: P(p ≤ α) ≤ α under the null. Proof for two stages, N' < N: a row that stops has p ≥ 11/(N' + 1). If α is less
than that, only rows that go on can have p ≤ α, and their p is that of N draws, which is valid. If α is larger, all rows
with p ≤ α had p' ≤ α after N' draws, which is valid too. Further stages follow by induction.

Sources: Phipson and Smyth (2010), "Permutation p-values should never be zero"; Besag and Clifford (1991), "Sequential
Monte Carlo p-values".
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, product
from math import comb

import numpy as np
import numpy.typing as npt
from scipy import special

from toysup.analysis.statistics.arrays import FloatArray

RESAMPLES = 9999
MOST_RESAMPLES = 999_999
# With 100 draws for each comparison, the least adjusted p-value is 0.01.
_FOR_EACH_COMPARISON = 100
# A row goes on while fewer draws than this are as extreme as its observation.
_FEW = 10
# The number of permuted values and statistics held at once; it bounds memory and does not change the result's law.
_BATCH_VALUES = 4_000_000
# Rows are scaled to ±1. Statistics that differ by less than this differ by rounding only, and count as equal.
_EQUAL = 1e-9


def most_draws(comparisons: int) -> int:
    """The most permutations that are drawn for a row that is one of so many comparisons."""
    return int(np.clip(_FOR_EACH_COMPARISON * comparisons - 1, RESAMPLES, MOST_RESAMPLES))


def least_sign_flip_p(n: FloatArray, comparisons: int = 1) -> FloatArray:
    """The least p-value that `sign_flip_p` can have with n pairs."""
    return _least(np.asarray(2.0 ** (n - 1), dtype=np.float64), np.ones(np.shape(n)), comparisons)


def least_relabelling_p(n_first: FloatArray, n_other: FloatArray, comparisons: int = 1) -> FloatArray:
    """The least p-value that `relabelling_p` can have with groups of these sizes."""
    # If groups are equally large, exchanging them gives the same |t|.
    equal = np.where(n_first == n_other, 2.0, 1.0)
    permutations = np.asarray(special.comb(n_first + n_other, n_first), dtype=np.float64)
    return _least(permutations, equal, comparisons)


def _least(permutations: FloatArray, equal: FloatArray, comparisons: int) -> FloatArray:
    return np.where(permutations <= RESAMPLES, equal / permutations, 1 / (most_draws(comparisons) + 1))


def sign_flip_p(differences: FloatArray, comparisons: int = 1) -> FloatArray:
    """For each row of paired differences, how often random signs give a mean at least as far from 0 (two-sided p)."""
    n = differences.shape[1]
    # A pattern of signs and its opposite give the same |mean|, so the first sign can stay fixed.
    exact = 2 ** (n - 1) <= RESAMPLES
    if exact:
        blocks = iter([np.array([(1, *rest) for rest in product((1, -1), repeat=n - 1)], dtype=float).T])
    else:
        rng = np.random.default_rng(0)
        blocks = (rng.choice([1.0, -1.0], (n, count)) for count in _counts(n, comparisons))
    return _share_as_far(differences, blocks, np.ones((n, 1)), lambda rows, s: np.abs(_sums(rows, s)), exact)


def relabelling_p(values: FloatArray, n_first: int, comparisons: int = 1) -> FloatArray:
    """For each row, how often random group labels give Welch's |t| at least as large; the first `n_first` are a group.

    The p-value is exact if both groups have the same law. As t is studentized, it is also valid for large groups whose
    laws share only their mean.

    Source: Janssen (1997), "Studentized permutation tests for non-iid hypotheses".
    """
    n = values.shape[1]
    exact = comb(n, n_first) <= RESAMPLES
    if exact:
        chosen = iter([np.array(list(combinations(range(n), n_first)))])
    else:
        rng = np.random.default_rng(0)
        chosen = (rng.random((count, n)).argsort(axis=1)[:, :n_first] for count in _counts(n, comparisons))
    seen = (np.arange(n) < n_first).astype(float)[:, None]
    return _share_as_far(values, (_indicators(members, n) for members in chosen), seen, _welch, exact)


def _counts(n: int, comparisons: int) -> Iterator[int]:
    """The numbers of permutations of n values to draw at a time: `RESAMPLES` in total, then the further ones."""
    size, start = max(1, _BATCH_VALUES // n), 0
    for end in (RESAMPLES, most_draws(comparisons)):
        yield from (min(size, end - at) for at in range(start, end, size))
        start = end


def _indicators(members: npt.NDArray[np.int64], n: int) -> FloatArray:
    """An array (value, permutation): 1 for the members of the first group, 0 for the other values."""
    first = np.zeros((n, len(members)))
    np.put_along_axis(first, members.T, 1.0, axis=0)
    return first


def _share_as_far(
    table: FloatArray,
    blocks: Iterable[FloatArray],
    seen: FloatArray,
    statistic: Callable[[FloatArray, FloatArray], FloatArray],
    exact: bool,
) -> FloatArray:
    unit = table / np.abs(table).max(axis=1, keepdims=True)
    least = statistic(unit, seen) * (1 - _EQUAL) - _EQUAL
    count, total, rows = np.zeros(len(table)), np.zeros(len(table)), np.arange(len(table))
    for permuted in blocks:
        total[rows] += permuted.shape[1]
        size = max(1, _BATCH_VALUES // permuted.shape[1])
        for start in range(0, len(rows), size):
            here = rows[start : start + size]
            count[here] += (statistic(unit[here], permuted) >= least[here]).sum(axis=1)
        # The number of draws is the same for all rows that are left.
        rows = rows[(count[rows] < _FEW) | (total[rows] < RESAMPLES)]
        if not len(rows):
            break
    return count / total if exact else (count + 1) / (total + 1)


def _welch(rows: FloatArray, first: FloatArray) -> FloatArray:
    """Welch's |t| for each row and each column of labels; infinite if neither group varies."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred /= np.abs(centred).max(axis=1, keepdims=True)
    squares = centred**2
    n = first.sum(axis=0)
    other = len(first) - n
    total, first_squares = _sums(centred, first), _sums(squares, first)
    all_squares = squares.sum(axis=1, keepdims=True)
    # Rows are centred, so the sum of the other group is −total.
    first_variance = (first_squares - total**2 / n) / (n * (n - 1))
    other_variance = (all_squares - first_squares - total**2 / other) / (other * (other - 1))
    variance = first_variance + other_variance
    variance[variance < _EQUAL**1.5 * all_squares] = 0
    with np.errstate(divide="ignore"):
        return np.asarray(np.abs(total) * (1 / n + 1 / other) / np.sqrt(variance))


def _sums(rows: FloatArray, weights: FloatArray) -> FloatArray:
    # Not `@`: its threads wait for one another on a busy machine, and its rounding depends on their number.
    return np.asarray(np.einsum("rn,nb->rb", rows, weights))
