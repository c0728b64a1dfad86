"""Permutation tests of each row of a table. The p-values are exact if the permuted values are exchangeable.

If there are at most `RESAMPLES` permutations, the test uses all of them, and p is the share that is at least as extreme
as the observation. Otherwise N = `RESAMPLES` permutations are drawn from a fixed stream, the same for all rows. Then
p = (k + 1)/(N + 1), where k counts the drawn permutations that are at least as extreme; this p is never 0.

Source: Phipson and Smyth (2010), "Permutation p-values should never be zero".
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, product
from math import comb

import numpy as np
import numpy.typing as npt

from toysup.analysis.statistics.arrays import FloatArray

RESAMPLES = 9999
# The number of permuted values and statistics held at once; it bounds memory and does not change the result's law.
_BATCH_VALUES = 4_000_000
# Rows are scaled to ±1. Statistics that differ by less than this differ by rounding only, and count as equal.
_EQUAL = 1e-9


def sign_flip_p(differences: FloatArray) -> FloatArray:
    """For each row of paired differences, how often random signs give a mean at least as far from 0 (two-sided p)."""
    n = differences.shape[1]
    # A pattern of signs and its opposite give the same |mean|, so the first sign can stay fixed.
    exact = 2 ** (n - 1) <= RESAMPLES
    if exact:
        blocks = iter([np.array([(1, *rest) for rest in product((1, -1), repeat=n - 1)], dtype=float).T])
    else:
        rng = np.random.default_rng(0)
        blocks = (rng.choice([1.0, -1.0], (n, count)) for count in _counts(n))
    return _share_as_far(differences, blocks, np.ones((n, 1)), lambda rows, s: np.abs(_sums(rows, s)), exact)


def relabelling_p(values: FloatArray, n_first: int) -> FloatArray:
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
        chosen = (rng.random((count, n)).argsort(axis=1)[:, :n_first] for count in _counts(n))
    seen = (np.arange(n) < n_first).astype(float)[:, None]
    return _share_as_far(values, (_indicators(members, n) for members in chosen), seen, _welch, exact)


def _counts(n: int) -> Iterator[int]:
    """The numbers of permutations of n values to draw at a time, `RESAMPLES` in total."""
    size = max(1, _BATCH_VALUES // n)
    return (min(size, RESAMPLES - start) for start in range(0, RESAMPLES, size))


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
    count, total = np.zeros(len(table)), 0
    for permuted in blocks:
        total += permuted.shape[1]
        size = max(1, _BATCH_VALUES // permuted.shape[1])
        for start in range(0, len(table), size):
            here = slice(start, start + size)
            count[here] += (statistic(unit[here], permuted) >= least[here]).sum(axis=1)
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
