"""The statistics of a quadrant of G: their names, descriptions and formulas.

NumPy is imported only when statistics are computed, so that a command can list the names without NumPy.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from toysup.analysis.statistics.arrays import ModelArray

QUADRANT_STATISTICS = {
    "energy": "energy Σ G_ij²",
    "rms": "root mean square of G_ij",
    "mean_abs": "mean |G_ij|",
    "max_abs": "largest |G_ij|",
    "interfering_fraction": "share of pairs that interfere",
    "negative_fraction": "share of interfering pairs that are negative",
    "energy_share": "share of the off-diagonal energy",
}
# Those between 0 and 1; the others have no upper bound.
SHARES = ("interfering_fraction", "negative_fraction", "energy_share")


class QuadrantSums(NamedTuple):
    """The sums over the pairs i≠j of each quadrant from which the statistics are computed: arrays that broadcast.

    Three are counts: `pairs` of all pairs, `negative` of pairs with G_ij < −threshold, and `interfering` of pairs with
    |G_ij| > threshold. `total` is Σ |G_ij|, `energy` is Σ G_ij², and `largest` is max |G_ij|.
    """

    pairs: "ModelArray"
    negative: "ModelArray"
    interfering: "ModelArray"
    total: "ModelArray"
    energy: "ModelArray"
    largest: "ModelArray"


def quadrant_statistics(sums: QuadrantSums, *, axes: tuple[int, int]) -> "dict[str, ModelArray]":
    """The statistics in the order of QUADRANT_STATISTICS; `axes` are the axes of (subset, other_subset).

    In a quadrant without pairs the energy is 0 and the other statistics are NaN. A fraction of no pairs, and a share of
    no energy, are NaN.
    """
    import numpy as np

    pairs, negative, interfering, total, energy, largest = sums
    # For a model that diverged the statistics are not finite, so NumPy's warnings add nothing.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        statistics = {
            "energy": energy,
            "rms": np.sqrt(energy / pairs),
            "mean_abs": total / pairs,
            "max_abs": np.where(pairs > 0, largest, np.nan),
            "interfering_fraction": interfering / pairs,
            "negative_fraction": negative / interfering,
            "energy_share": energy / energy.sum(axis=axes, keepdims=True),
        }
    return {name: statistics[name] for name in QUADRANT_STATISTICS}
