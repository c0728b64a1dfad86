"""Which experiment is shown how, in the order of the index."""

from collections.abc import Callable

from .page import Finding
from .questions import activations, context_deducible, context_visible, z_target
from .select import Summaries, Values
from .sweeps import contexts_3, feature_probability, leaky_context

PAGES: dict[str, Callable[[Values, Summaries], Finding]] = {
    "context-visible": context_visible,
    "activations": activations,
    "context-deducible": context_deducible,
    "z-target": z_target,
    "leaky-context": leaky_context,
    "contexts-3": contexts_3,
    "feature-probability": feature_probability,
}
