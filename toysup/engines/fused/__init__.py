"""The fused CPU engine: one compiled loop samples, computes gradients and updates, for many tied models at once."""

from toysup.experiments.activations import BUILT_IN
from toysup.experiments.experiment import Condition
from toysup.experiments.model import is_plain


def why_not(condition: Condition) -> str | None:
    """The reason why this engine cannot train `condition`, or None if it can; this imports no compiler."""
    model, regime = condition.model, condition.first_regime
    if not is_plain(model, regime):
        return "the model is not φ(WᵀW x + b)"
    if model.activation not in BUILT_IN:
        return f"the activation {model.activation!r} is not built in"
    if regime.target != "x":
        return f"the target is {regime.target}, not x"
    if regime.rule is not None:
        return "its context follows from x"
    return None
