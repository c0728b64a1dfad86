"""How statistics are written: the label of each, its definition for the caption, and whether it gets a log scale."""

from collections.abc import Iterable
from typing import NamedTuple


class Statistic(NamedTuple):
    """The label of a statistic, its definition as a sentence, and whether it gets a log scale."""

    label: str
    meaning: str = ""
    log: bool = False


# Unicode letters, not mathtext: mathtext embeds two more fonts, which takes longer than drawing.
_ENERGY = "Energy: Σ Gᵢⱼ² over pairs i ≠ j, dimensionless."
_KNOWN = {
    "loss": Statistic("loss per sample", "Loss: importance-weighted squared error, dimensionless.", log=True),
    "train_loss": Statistic("training loss", log=True),
    "represented": Statistic("represented features"),
    "represented_directions": Statistic("represented directions, of either sign"),
    "total_dimensionality": Statistic("total dimensionality Σ Dᵢ"),
    "sharing_pairs": Statistic("pairs that share a direction"),
    "context_selectivity": Statistic("context selectivity"),
    "energy": Statistic("energy, Σ Gᵢⱼ² over i ≠ j (dimensionless)"),
    "energy_within": Statistic("energy within subsets", _ENERGY),
    "energy_across": Statistic("energy across subsets", _ENERGY),
    "share_across": Statistic("share of energy across subsets", _ENERGY),
    "rms": Statistic("root mean square Gᵢⱼ (dimensionless)"),
    "mean_abs": Statistic("mean |Gᵢⱼ| (dimensionless)"),
    "max_abs": Statistic("largest |Gᵢⱼ| (dimensionless)"),
    "interfering_fraction": Statistic("fraction of pairs that interfere"),
    "interfering_within": Statistic("interfering fraction within subsets"),
    "interfering_across": Statistic("interfering fraction across subsets"),
    "negative_fraction": Statistic("negative fraction of interfering pairs"),
    "energy_share": Statistic("share of off-diagonal energy of G"),
}


def statistic(name: str) -> Statistic:
    """How the statistic of this name is written. The label of an unknown statistic is its name."""
    return _KNOWN.get(name, Statistic(name.replace("_", " ")))


def meanings(names: Iterable[str]) -> str:
    """The definitions of the statistics that need one, as sentences, each once."""
    return " ".join(dict.fromkeys(filter(None, (statistic(name).meaning for name in names))))
