"""The fused CPU engine: many tied one-layer models, sampling, forward, backward and optimiser in one compiled loop."""

from toysup.activations import BUILT_IN
from toysup.experiments import Condition


def why_not(condition: Condition) -> str | None:
    """Why this engine cannot train `condition`, or None where it can; asking imports no compiler."""
    if condition.model.activation not in BUILT_IN:
        return f"the activation {condition.model.activation!r} is not built in"
    return None
