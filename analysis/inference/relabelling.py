"""The quadrant statistics of a model under many relabellings of its features at once."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from toysup.analysis.statistics.arrays import AnyArray, FloatArray, Mask
from toysup.analysis.statistics.quadrants import QUADRANT_STATISTICS, QuadrantSums, quadrant_statistics

# A product of matrices with so few columns is small enough that one core does it: on a busy machine threads would wait
# for one another.
_COLUMNS = 32
# Pairs looked up at once, at most 255.
_AT_ONCE = 64
# Sums held at once; bounds memory, not the result.
_VALUES = 4_000_000


class Relabelled:
    """Which entries of G each quadrant has under each relabelling, and what follows from it for a model.

    `labels` (relabelling, feature) are numbers of subsets, the first row the model's own; `about` (row,) is the feature
    that each row of G is about. A column is a statistic of a quadrant: (statistic, subset, other_subset), raveled.
    """

    def __init__(self, labels: npt.NDArray[np.intp], about: Sequence[int]) -> None:
        self.count = int(labels.max()) + 1
        self.n_relabellings, n_features = labels.shape
        self.n_columns = len(QUADRANT_STATISTICS) * self.count**2
        self.others = np.asarray(about)[:, None] != np.arange(n_features)
        # (row or column, relabelling): the subset of what it is about, in integers that are quick to look up.
        self.inputs = np.ascontiguousarray(labels.T, dtype=np.min_scalar_type(self.count**2))
        self.outputs = self.inputs[list(about)]
        self.n_pairs = self._sums(self.others.astype(np.float64))

    def statistics(self, models: AnyArray, threshold: float) -> Iterator[FloatArray]:
        """Of each model the statistics of QUADRANT_STATISTICS of each quadrant: (column, relabelling)."""
        at_once = max(1, _VALUES // (4 * self.count**2 * self.n_relabellings))
        for start in range(0, len(models), at_once):
            G = models[start : start + at_once]
            finite = np.all(np.isfinite(G), axis=(1, 2))
            size = np.where(self.others & finite[:, None, None], np.abs(G), 0)
            # Thresholds are met in the dtype of G, sums taken in float64.
            masks = size > threshold, (-max(threshold, 0) > G) & (size > 0)
            sums = self._sums(np.stack([*masks, size, size.astype(np.float64) ** 2], axis=1, dtype=np.float64))
            for is_finite, entries, of_model in zip(finite, size, sums, strict=True):
                yield self._of_sums(entries, of_model) if is_finite else np.full((self.n_columns, 1), np.nan)

    def _of_sums(self, size: AnyArray, sums: FloatArray) -> FloatArray:
        interfering, negative, total, energy = sums
        quadrant_sums = QuadrantSums(self.n_pairs, negative, interfering, total, energy, self._largest(size))
        statistics = quadrant_statistics(quadrant_sums, axes=(0, 1))
        return np.stack(list(statistics.values()), dtype=np.float64).reshape(self.n_columns, -1)

    def _sums(self, entries: FloatArray) -> FloatArray:
        """The sums of entries (..., row, column) over each quadrant: (..., subset, other_subset, relabelling).

        A sum over the pairs of a quadrant is uᵀA v, with u and v the indicators of its subsets: the product of A, as
        a vector, with a matrix of which pairs it has under each relabelling. The last subset has what others leave.
        """
        of_rows, of_columns, total = entries.sum(axis=-1), entries.sum(axis=-2), entries.sum(axis=(-1, -2))
        flat = entries.reshape(*entries.shape[:-2], -1)
        sums = np.empty((*entries.shape[:-2], self.count, self.count, self.n_relabellings))
        sums[..., -1, -1, :] = total[..., None]
        for subset in range(self.count - 1):
            u, v = self.outputs == subset, self.inputs == subset
            sums[..., subset, -1, :] = _product(of_rows, u)
            sums[..., -1, subset, :] = _product(of_columns, v)
            for other in range(self.count - 1):
                pairs = u[:, None] & (self.inputs == other)
                sums[..., subset, other, :] = _product(flat, pairs.reshape(-1, self.n_relabellings))
        sums[..., -1, :] -= sums[..., :-1, :].sum(axis=-2)
        sums[..., -1, :, :] -= sums[..., :-1, :, :].sum(axis=-3)
        # What is left of a difference of equal sums is rounding.
        sums[np.abs(sums) < 1e-13 * total[..., None, None, None]] = 0
        return sums

    def _largest(self, size: AnyArray) -> FloatArray:
        """The largest entry of each quadrant: (subset, other_subset, relabelling); NaN without pairs.

        The pairs of the largest entries are looked up first, until every relabelling has met one of each quadrant.
        """
        largest = np.full((self.count**2, self.n_relabellings), np.nan)
        order = np.argsort(size, axis=None)[::-1]
        order = order[self.others.ravel()[order]]
        values = size.ravel()[order]
        rows, columns = np.unravel_index(order, size.shape)
        missing = np.arange(self.n_relabellings)
        for start in range(0, len(order), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            outputs, inputs = self.outputs[rows[here]], self.inputs[columns[here]]
            if start:
                outputs, inputs = outputs[:, missing], inputs[:, missing]
            quadrant = outputs * self.count + inputs
            first = len(outputs) - np.arange(len(outputs), dtype=np.uint8)[:, None]
            ranked = np.append(np.nan, values[here][::-1])
            for number, row in enumerate(largest):
                # The first of those of the quadrant has the highest rank, and 0 stands for none.
                new = ranked[((quadrant == number) * first).max(axis=0)]
                row[missing] = np.where(np.isnan(row[missing]), new, row[missing])
            missing = missing[np.isnan(largest[:, missing]).any(axis=0)]
            if not len(missing):
                break
        return largest.reshape(self.count, self.count, -1)


def _product(entries: FloatArray, chosen: Mask) -> FloatArray:
    """Sums over the chosen: (..., kind, pair) by (pair, relabelling)."""
    starts = range(0, chosen.shape[1], _COLUMNS)
    blocks = [entries @ chosen[:, start : start + _COLUMNS].astype(np.float64) for start in starts]
    return np.concatenate(blocks, axis=-1)
