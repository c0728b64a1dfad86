"""A regime: the joint law of context, features, importance and target."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toysup.experiments.context_rules import Rule

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Regime:
    """Three tables and their labels: draw a context, then independent sparse features, then weigh squared errors.

    `context_probability` (context,), `activation_probability` and `importance` (context, feature); all dimensionless.
    `subset` names the group of each feature. What tables cannot say: `values`, the law of an active feature's value;
    `group` of each feature ("" if none), with `group_correlation` ρ of those that fire together; `rule`, if the
    context follows from x; `context_input`, how the model sees the context, if it does; `target`, what it is to say.
    """

    contexts: tuple[str, ...]
    subset: tuple[str, ...]
    context_probability: FloatArray
    activation_probability: FloatArray
    importance: FloatArray
    values: str | float = "uniform"
    group: tuple[str, ...] = ()
    group_correlation: float = 1.0
    context_rule: str | None = None
    rule: Rule | None = None
    context_input: str | None = None
    target: str = "x"

    @property
    def value_range(self) -> tuple[float, float]:
        """An active feature's value is uniform on [low, high]."""
        return value_range(self.values)

    @property
    def context_inputs(self) -> tuple[str, ...]:
        """The inputs that show the model its context, by name; none where it does not see it."""
        return {None: (), "flag": ("flag",), "one-hot": self.contexts}[self.context_input]

    @property
    def n_outputs(self) -> int:
        """One for each feature; z has one for each context and feature, features running fastest."""
        return len(self.subset) * (len(self.contexts) if self.target == "z" else 1)

    @property
    def output_dim(self) -> str:
        return "output" if self.target == "z" else "feature"


def value_range(values: str | float) -> tuple[float, float]:
    """[low, high] of a law of values: `uniform`, `signed`, `binary` (always 1) or a constant.

    A constant is what samples hold, in float32, so that a rule on x meets its ties.
    """
    named = {"uniform": (0.0, 1.0), "signed": (-1.0, 1.0), "binary": (1.0, 1.0)}
    return named[values] if isinstance(values, str) else (float(np.float32(values)),) * 2
