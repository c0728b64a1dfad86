"""Figures of a paper's quality: statistics in, a matplotlib Figure out.

Each function draws what it is given: it computes no statistic, changes none of its arguments, and neither shows nor
saves. Draw and save within `style()`:

    with figures.style():
        figures.gram_grid(gram).savefig("gram.pdf")
"""

from toysup.analysis.figures.conditions import by_condition
from toysup.analysis.figures.decomposition import loss_by_active, loss_parts
from toysup.analysis.figures.dimensionality import dimensionality_over_training, feature_dimensionality
from toysup.analysis.figures.dynamics import course_of_training, feature_events
from toysup.analysis.figures.gram import gram_grid
from toysup.analysis.figures.interference import quadrant_interference
from toysup.analysis.figures.losses import loss_comparison, loss_curves, loss_matrix
from toysup.analysis.figures.style import DOUBLE_COLUMN, SINGLE_COLUMN, style
from toysup.analysis.figures.sweeps import along_sweep, sweep_map

__all__ = [
    "DOUBLE_COLUMN",
    "SINGLE_COLUMN",
    "along_sweep",
    "by_condition",
    "course_of_training",
    "dimensionality_over_training",
    "feature_dimensionality",
    "feature_events",
    "gram_grid",
    "loss_by_active",
    "loss_comparison",
    "loss_curves",
    "loss_matrix",
    "loss_parts",
    "quadrant_interference",
    "style",
    "sweep_map",
]
