"""The quadrant statistics of a model under many relabellings of its features at once."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from toysup.analysis.statistics.arrays import AnyArray, FloatArray, Mask
from toysup.analysis.statistics.quadrants import QUADRANT_STATISTICS, QuadrantSums, quadrant_statistics

# Products of matrices are split into blocks of this many columns. One core computes such a small block; on a busy
# machine the threads of a larger product would wait for one another.
_COLUMNS = 32
# How many pairs are looked up at once. Their ranks are uint8, so at most 255.
_AT_ONCE = 64
# How many sums are held at once; it bounds memory and does not change the result.
_VALUES = 4_000_000


class Relabelled:
    """Which entries of G belong to each quadrant under each relabelling, and the quadrant statistics that follow.

    `labels` (relabelling, feature) has the number of each feature's subset, the model's own labelling first. `about`
    (row,) has the feature that each row of G is about. A column is one statistic of one quadrant: the dims (statistic,
    subset, other_subset), flattened.
    """

    def __init__(self, labels: npt.NDArray[np.intp], about: Sequence[int]) -> None:
        self.count = int(labels.max()) + 1
        self.n_relabellings, n_features = labels.shape
        self.n_columns = len(QUADRANT_STATISTICS) * self.count**2
        self.others = np.asarray(about)[:, None] != np.arange(n_features)
        # (row or column, relabelling): the subset of the feature that it is about, in integers of few bytes for speed.
        self.inputs = np.ascontiguousarray(labels.T, dtype=np.min_scalar_type(self.count**2))
        self.outputs = self.inputs[list(about)]
        self.n_pairs = self._sums(self.others.astype(np.float64))

    def statistics(self, models: AnyArray, threshold: float) -> Iterator[FloatArray]:
        """For each model, the QUADRANT_STATISTICS of each quadrant under each relabelling: (column, relabelling)."""
        at_once = max(1, _VALUES // (4 * self.count**2 * self.n_relabellings))
        for start in range(0, len(models), at_once):
            G = models[start : start + at_once]
            finite = np.all(np.isfinite(G), axis=(1, 2))
            size = np.where(self.others & finite[:, None, None], np.abs(G), 0)
            # Entries are compared with the threshold in the dtype of G, and summed in float64.
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

        A sum over the pairs of a quadrant is uᵀA v, where u and v are the indicators of its two subsets. It is computed
        for all relabellings at once as a product of A, flattened, with a matrix that has a 1 for each pair of the
        quadrant. The sums of the last subset are the totals minus the sums of the other subsets.
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
        # The difference of two equal sums is not exactly 0, because of rounding.
        sums[np.abs(sums) < 1e-13 * total[..., None, None, None]] = 0
        return sums

    def _largest(self, size: AnyArray) -> FloatArray:
        """The largest entry of each quadrant: (subset, other_subset, relabelling); NaN for a quadrant without pairs.

        Pairs are looked up in descending order of their entries, until every relabelling has a pair in each quadrant.
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
                # The first pair in the quadrant has the highest rank; rank 0 means that there is none.
                new = ranked[((quadrant == number) * first).max(axis=0)]
                row[missing] = np.where(np.isnan(row[missing]), new, row[missing])
            missing = missing[np.isnan(largest[:, missing]).any(axis=0)]
            if not len(missing):
                break
        return largest.reshape(self.count, self.count, -1)


def _product(entries: FloatArray, chosen: Mask) -> FloatArray:
    """Sums of `entries` (..., pair) over the chosen pairs (pair, relabelling): (..., relabelling)."""
    starts = range(0, chosen.shape[1], _COLUMNS)
    blocks = [entries @ chosen[:, start : start + _COLUMNS].astype(np.float64) for start in starts]
    return np.concatenate(blocks, axis=-1)
