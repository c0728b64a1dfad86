"""The statistics of a quadrant of G, each declared once: its name, what it is, and its formula.

NumPy is imported where statistics are computed, so that a command can list their names without it.
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


class QuadrantSums(NamedTuple):
    """What the statistics follow from, over the pairs i≠j of each quadrant: arrays that broadcast.

    `pairs`, `negative` and `interfering` are numbers of pairs: all, those with G_ij < −threshold, and those with
    |G_ij| > threshold. `total` is Σ |G_ij|, `energy` Σ G_ij², and `largest` max |G_ij|.
    """

    pairs: "ModelArray"
    negative: "ModelArray"
    interfering: "ModelArray"
    total: "ModelArray"
    energy: "ModelArray"
    largest: "ModelArray"


def quadrant_statistics(sums: QuadrantSums, *, axes: tuple[int, int]) -> "dict[str, ModelArray]":
    """Each of QUADRANT_STATISTICS, in their order; `axes` are those of (subset, other_subset) in the arrays.

    A quadrant without pairs has energy 0, the rest NaN; NaN is also a share of nothing.
    """
    import numpy as np

    pairs, negative, interfering, total, energy, largest = sums
    # What a model that diverged makes of them is not finite, which says so.
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
