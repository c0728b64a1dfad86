# Arguments: a regime of one context, and weights that form a polygon
from .tables import one_context as one_context
from .polygons import polygon as polygon

# The expected loss of given weights
from .loss import LossParts as LossParts
from .loss import loss_parts as loss_parts
from .loss import one_hot_loss as one_hot_loss

# Two features share a direction, or one of them is dropped
from .costs import sharing_cost as sharing_cost
from .costs import dropping_cost as dropping_cost
from .costs import sharing_limit as sharing_limit

# The cheapest arrangement, and a bound that no weights can beat
from .arrangements import Arrangement as Arrangement
from .arrangements import best_arrangement as best_arrangement
from .costs import output_floor as output_floor

# Two features in one hidden dimension
from .two_features import TwoFeatureLosses as TwoFeatureLosses
from .two_features import two_feature_losses as two_feature_losses
from .two_features import two_feature_phase as two_feature_phase
from .two_features import antipodal_limit as antipodal_limit

# Between conditional importance and exclusion
from .outside import OutsideCosts as OutsideCosts
from .outside import outside_costs as outside_costs
from .outside import OutsideLimits as OutsideLimits
from .outside import outside_limits as outside_limits
