"""Figures of a paper's quality: statistics in, a matplotlib Figure out.

Each function draws the statistics that it is given. It computes no statistic, changes none of its arguments, and
neither shows nor saves the figure. A figure looks the same whatever matplotlib's settings are, and needs no backend:

    figures.gram_grid(gram).savefig("gram.pdf")

Most functions take `summaries`, a dict from the name of a condition to the Dataset that `toysup.analysis.over_seeds`
returns. Functions that also draw each seed take `values`, a dict from the same names to the DataArrays that were
summarised.
"""

from toysup.analysis.figures import _backend  # noqa: F401 (before matplotlib is imported)
from toysup.analysis.figures._by_condition import by_condition
from toysup.analysis.figures._decomposition import loss_by_active, loss_parts
from toysup.analysis.figures._dimensionality import dimensionality_over_training, feature_dimensionality
from toysup.analysis.figures._dynamics import course_of_training, feature_events
from toysup.analysis.figures._gram import gram_grid
from toysup.analysis.figures._interference import feature_interference, quadrant_interference
from toysup.analysis.figures._losses import loss_by_entry, loss_comparison, loss_curves, loss_matrix
from toysup.analysis.figures._sweeps import along_sweep, sweep_map
from toysup.analysis.figures.style import DOUBLE_COLUMN, SINGLE_COLUMN, style

__all__ = [  # noqa: RUF022 (under headings)
    # The look of all figures
    "style",
    "SINGLE_COLUMN",
    "DOUBLE_COLUMN",
    # Weights: the Gram matrix and what follows from it
    "gram_grid",
    "feature_dimensionality",
    "quadrant_interference",
    "feature_interference",
    # Losses
    "loss_comparison",
    "loss_parts",
    "loss_by_active",
    "loss_by_entry",
    "loss_matrix",
    # Along training
    "loss_curves",
    "dimensionality_over_training",
    "course_of_training",
    "feature_events",
    # Any statistic: by condition, and along sweeps
    "by_condition",
    "along_sweep",
    "sweep_map",
]
