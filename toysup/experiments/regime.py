"""A regime: the joint law of context, features, importance and target."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toysup.experiments.context_rules import Rule
from toysup.experiments.feature_values import uniform_moments, value_range

FloatArray = npt.NDArray[np.float64]
# A regime is sparse if at most this share, and at most this number, of its features is active in the mean.
_SPARSE_SHARE, _SPARSE_NUMBER = 1 / 16, 8


@dataclass(frozen=True, eq=False)
class Regime:
    """The joint law of context, features, importance and target: three tables and a few additions.

    A sample is drawn in three steps. A context is drawn; then features that are independent given the context; then the
    squared error of each output is weighted by its importance. `RegimeSpec.resolve` makes a regime from the keys of an
    experiment file, and `toysup.regime_of` reads it from a dataset. All tables are dimensionless.

    Parameters
    ----------
    contexts : tuple of str
        Name of each context.
    subset : tuple of str
        Subset of each feature, such as "comedy". A feature of several subsets has "comedy+tragedy", a feature of no
        subset "none", and every feature "all" if there are no subsets.
    context_probability : array (context,)
        Probability of each context.
    activation_probability : array (context, feature)
        Probability that a feature is active, given the context.
    importance : array (context, feature)
        Weight of a feature's squared error, given the context.
    values : str or float, default "uniform"
        Law of the value of an active feature: "uniform" on [0, 1], "signed" (uniform on [−1, 1]), "binary" (always 1),
        or a number that every active feature has.
    group : tuple of str, default ()
        Group of each feature, such as "together-1" or "exclusive-2", and "" for a feature without one. It is empty if
        no feature has a group.
    group_correlation : float, default 1.0
        Correlation ρ of whether two features of a "together" group are active.
    context_rule : str, optional
        Rule by which the context follows from x, such as "sum(x) > median". The default is a context that is drawn.
    rule : Rule, optional
        The same rule, resolved: its `feature` (0 for the sum), its `threshold`, and the probability `tie` of the first
        context where the statistic equals the threshold.
    context_input : {"one-hot", "flag"}, optional
        Inputs that show the model its context. The default is a model that does not see its context.
    target : {"x", "abs", "z"}, default "x"
        What the outputs should be: x, |x|, or z = (x·1[c = 1], …, x·1[c = K]) for K contexts.

    Examples
    --------
    >>> import toysup
    >>> (condition,) = toysup.load_experiment("conditional-importance").select(["anticorrelated"])
    >>> regime = condition.first_regime
    >>> regime.contexts, regime.activation_probability.shape
    (('comedy', 'tragedy'), (2, 20))
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
        """The ends of the interval on which the value of an active feature is uniform."""
        return value_range(self.values)

    @property
    def value_moments(self) -> tuple[float, float]:
        """The mean and the mean square of the value of an active feature."""
        return uniform_moments(*self.value_range)

    @property
    def is_sparse(self) -> bool:
        """Whether at most 8 features and one in 16 are active in the mean, with neither groups nor a context rule.

        Its samples can then be drawn at the cost of their active features (`toysup.sampling.sparse_samples`).
        """
        if self.group or self.rule is not None:
            return False
        active = float(self.context_probability @ self.activation_probability.sum(axis=1))
        return active <= min(_SPARSE_SHARE * len(self.subset), _SPARSE_NUMBER)

    @property
    def context_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that show the model its context; empty if the model does not see it."""
        return {None: (), "flag": ("flag",), "one-hot": self.contexts}[self.context_input]

    @property
    def n_outputs(self) -> int:
        """One output for each feature; for target z one for each context and feature, features varying fastest."""
        return len(self.subset) * (len(self.contexts) if self.target == "z" else 1)

    @property
    def output_dim(self) -> str:
        return "output" if self.target == "z" else "feature"
