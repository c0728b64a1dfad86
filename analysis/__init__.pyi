# Weights: the Gram matrix and what follows from it
from .statistics.gram import gram as gram
from .statistics.gram import feature_norms as feature_norms
from .statistics.dimensionality import feature_dimensionality as feature_dimensionality
from .statistics.dimensionality import total_dimensionality as total_dimensionality
from .statistics.dimensionality import represented as represented
from .statistics.dimensionality import represented_count as represented_count
from .statistics.interference import feature_interference as feature_interference
from .statistics.interference import probability_weighted_interference as probability_weighted_interference
from .statistics.interference import quadrant_interference as quadrant_interference
from .statistics.interference import gram_quadrants as gram_quadrants

# Models of any depth
from .statistics.responses import linear_response as linear_response
from .statistics.responses import context_selectivity as context_selectivity

# Directions, and their course in training
from .statistics.directions import shared_directions as shared_directions
from .statistics.directions import shared_direction_count as shared_direction_count
from .statistics.directions import sharing_chance as sharing_chance
from .statistics.directions import merge_step as merge_step
from .statistics.directions import feature_onset as feature_onset
from .statistics.dynamics import plateaus as plateaus
from .statistics.dynamics import level_jumps as level_jumps

# Losses
from .loss.expected_loss import expected_loss as expected_loss
from .loss.expected_loss import sampling_error as sampling_error
from .loss.decomposition import loss_decomposition as loss_decomposition
from .loss.decomposition import loss_by_active as loss_by_active
from .loss.references import loss_references as loss_references

# Means and proportions over seeds
from .inference.seeds import over_seeds as over_seeds
from .inference.seeds import proportion_over_seeds as proportion_over_seeds
from .inference.seeds import bootstrap_over_seeds as bootstrap_over_seeds

# Differences between conditions
from .inference.comparisons import difference_over_seeds as difference_over_seeds
from .inference.comparisons import equivalence_over_seeds as equivalence_over_seeds
from .inference.pairing import paired_by_seed as paired_by_seed
from .inference.comparisons import holm_adjusted as holm_adjusted
from .inference.sampling_noise import widened as widened

# Interference against features that swap their subsets
from .inference.exchangeable_features import exchangeable_features as exchangeable_features
from .inference.quadrant_null import quadrant_null as quadrant_null
from .inference.quadrant_null import pooled_quadrant_null as pooled_quadrant_null

# More models than memory holds
from .statistics.piecewise import piecewise as piecewise

# What commands print and draw, and figures
from . import report as report
from . import figures as figures
