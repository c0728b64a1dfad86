"""The `[regime]` table of an experiment file, and how it becomes the tables of a regime."""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from toysup.experiments import context_rules
from toysup.experiments.context_rules import Rule
from toysup.experiments.feature_groups import EXCLUSIVE, ROUNDING, TOGETHER, group_labels
from toysup.experiments.feature_ranges import as_range, feature_range
from toysup.experiments.feature_values import value_range
from toysup.experiments.regime import FloatArray, Regime
from toysup.experiments.spec import NOT_NEGATIVE, POSITIVE, PROBABILITY, Number, Spec, Swept, Whole, single

_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

# Most numbers that a table of contexts and features may have.
MAX_TABLE = 10**7

ValueLaw = Literal["uniform", "signed", "binary"] | Number
Target = Literal["x", "abs", "z"]
ContextInput = Literal["one-hot", "flag"]


class RegimeSpec(Spec):
    """The `[regime]` table of an experiment file: keys from which the tables of a `Regime` follow.

    A feature is inside the contexts whose subset it belongs to, and outside all others; a feature of no subset is
    inside every context. Inside, feature i has activation probability p_i and importance I_i. Outside, it has λ p_i and
    μ I_i. `docs/experiments.md` explains each key with examples. Keys that are marked as *sweep* take one number or a
    list of different numbers.

    Parameters
    ----------
    context_probability : dict of str to float, optional
        The contexts and their probabilities, which sum to 1. The default is one context, "all".
    contexts : list of str, optional
        Instead of `context_probability`: contexts that are equally likely, or that follow from `context_rule`.
    subsets : dict of str to (str or list of int), default {}
        Labels of the features that belong to each context, from 1, such as {"comedy": "1-10", "tragedy": [11, 12]}.
    feature_probability : float or list of float, sweep
        p, the same for all features, from 0 to 1. Either this or `activation_probability` is required.
    importance_decay : float or list of float, sweep, optional
        r > 0 in I_i = r^(start + k) for the k-th feature of its subset, k = 0, 1, …; the default is I_i = 1.
    importance_start : int, default 1
        start in that formula, from −10,000 to 10,000.
    outside_probability : float or list of float, sweep, default 1.0
        λ, from 0 to 1.
    outside_importance : float or list of float, sweep, default 1.0
        μ, at least 0.
    activation_probability : list of float, or list of lists of float, optional
        Instead of `feature_probability`: p_i of each feature, or the table (context, feature), to which λ does not
        apply.
    importance : list of float, or list of lists of float, optional
        Instead of `importance_decay`: I_i of each feature, or the table (context, feature), to which μ does not apply.
    values : {"uniform", "signed", "binary"} or float, default "uniform"
        Law of the value of an active feature: on [0, 1], on [−1, 1], always 1, or always this number.
    together : list of (str or list of int), default []
        Groups of features that fire together, such as ["1-2", "5, 8"].
    exclusive : list of (str or list of int), default []
        Groups of features of which at most one is active.
    correlation : float or list of float, sweep, default 1.0
        ρ from 0 to 1, the correlation of whether two features of a group in `together` are active.
    context_rule : str, optional
        Rule by which the context follows from x: "sum(x) > t" or "x_k > t", where t is a number or "median".
    context_input : {"flag", "one-hot"}, optional
        Inputs that show the model its context: one that is ±1, or one for each context. The default is none.
    target : {"x", "abs", "z"}, default "x"
        What the outputs should be: x, |x|, or the post's translation z, which has one output per context and feature.

    Raises
    ------
    ValueError
        If a key is unknown, a value is of the wrong type or range, or two keys exclude one another (pydantic's
        ValidationError). `resolve` raises it if a key does not fit the number of features.

    Examples
    --------
    >>> import toysup
    >>> spec = toysup.RegimeSpec(contexts=["a", "b"], subsets={"a": "1-2", "b": "3"}, feature_probability=0.1,
    ...                          outside_probability=0.0)
    >>> spec.resolve(3).activation_probability
    array([[0.1, 0.1, 0. ],
           [0. , 0. , 0.1]])
    """

    alternatives: ClassVar = (
        ("feature_probability", "activation_probability"),
        ("importance_decay", "importance"),
        ("context_probability", "contexts"),
    )

    context_probability: dict[str, Number] | None = None
    contexts: tuple[str, ...] | None = None
    subsets: dict[str, str | tuple[Whole, ...]] = Field(default_factory=dict)
    feature_probability: Annotated[Swept | None, PROBABILITY] = None
    importance_decay: Annotated[Swept | None, POSITIVE] = None
    importance_start: Annotated[Whole, Field(ge=-10_000, le=10_000)] = 1
    outside_probability: Annotated[Swept, PROBABILITY] = 1.0
    outside_importance: Annotated[Swept, NOT_NEGATIVE] = 1.0
    activation_probability: tuple[Number, ...] | tuple[tuple[Number, ...], ...] | None = None
    importance: tuple[Number, ...] | tuple[tuple[Number, ...], ...] | None = None
    values: ValueLaw = "uniform"
    together: tuple[str | tuple[Whole, ...], ...] = ()
    exclusive: tuple[str | tuple[Whole, ...], ...] = ()
    correlation: Annotated[Swept, PROBABILITY] = 1.0
    context_rule: str | None = None
    context_input: ContextInput | None = None
    target: Target = "x"

    @field_validator("context_probability")
    @classmethod
    def _is_a_law(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is None:
            return value
        total = sum(value.values())
        if not value or min(value.values()) < 0 or abs(total - 1) > ROUNDING:
            raise ValueError(f"must be probabilities that sum to 1, one for each context; these sum to {total:.8g}")
        # Written digits, such as 0.3333333 three times, sum to 1 only up to rounding.
        return value if math.isclose(total, 1, abs_tol=1e-9) else {name: p / total for name, p in value.items()}

    @field_validator("context_probability", "contexts")
    @classmethod
    def _are_names(cls, value: Any) -> Any:
        if value is not None and any(not re.fullmatch(r"[\w-]+", name) or name == "none" for name in value):
            raise ValueError("a context's name consists of letters, digits, - and _, and is not none")
        if value is not None and (not value or len(set(value)) < len(value)):
            raise ValueError("needs at least one name, and names that differ")
        if value is not None and len(value) > 1 and "all" in value:
            raise ValueError("names a context 'all', which is the subset of all features if there are no subsets")
        return value

    @field_validator("context_rule")
    @classmethod
    def _is_a_rule(cls, value: str | None) -> str | None:
        return None if value is None else context_rules.canonical(value)

    @field_validator("values", mode="before")
    @classmethod
    def _is_a_law_of_values(cls, value: object) -> object:
        if value in ("uniform", "signed", "binary"):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be 'uniform', 'signed', 'binary' or a number, the value of every active feature")
        if not _SMALLEST <= abs(value) <= _LARGEST:
            raise ValueError("must be a number that float32 can hold, and not 0")
        return "binary" if value == 1 else value

    @field_validator("activation_probability")
    @classmethod
    def _are_probabilities(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and any(not 0 <= p <= 1 for row in _rows(value) for p in row):
            raise ValueError("must hold numbers from 0 to 1, one for each feature, or a row of them for each context")
        return value

    @field_validator("importance")
    @classmethod
    def _are_weights(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and any(weight < 0 for row in _rows(value) for weight in row):
            raise ValueError("must hold numbers that are 0 or more")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "RegimeSpec":
        self.check_alternatives()
        if self.feature_probability is None and self.activation_probability is None:
            raise ValueError("feature_probability or activation_probability is missing")
        if unknown := set(self.subsets) - set(self.context_names):
            known = ", ".join(self.context_names)
            raise ValueError(f"subsets names the context {min(unknown)}, which is none of {known}")
        if _is_table(self.activation_probability) and "outside_probability" in self.sweeps:
            raise ValueError(
                "outside_probability does not apply to a table activation_probability, so it cannot be swept"
            )
        if _is_table(self.importance) and "outside_importance" in self.sweeps:
            raise ValueError("outside_importance does not apply to a table importance, so it cannot be swept")
        if self.correlation != 1 and not self.together:
            raise ValueError("correlation needs groups of features in together")
        if self.target == "abs" and value_range(self.values)[0] >= 0:
            raise ValueError("target = 'abs' is x itself where values cannot be negative; give values = 'signed'")
        self._check_contexts()
        return self

    def _check_contexts(self) -> None:
        if self.context_rule is not None:
            if self.context_probability is not None or len(self.context_names) != 2:
                raise ValueError(
                    "a context_rule needs contexts = [name where it holds, name of the other], whose probabilities "
                    "follow from it"
                )
            if self.outside_probability != 1 or _is_table(self.activation_probability):
                raise ValueError("a context that follows from x cannot decide which features are active")
        if self.context_input is not None and len(self.context_names) == 1:
            raise ValueError("context_input shows the model nothing where there is one context; give contexts")
        if self.context_input == "flag" and len(self.context_names) != 2:
            raise ValueError(f"context_input = 'flag' needs 2 contexts, not {len(self.context_names)}; 'one-hot' fits")

    @property
    def context_names(self) -> tuple[str, ...]:
        """Names of the contexts, in the order of the tables' rows."""
        return tuple(self.context_probability or self.contexts or ("all",))

    def resolve(self, n_features: int) -> Regime:
        """The regime of `n_features` features; ValueError if a key does not fit that number, or is swept."""
        contexts = self.context_names
        if len(contexts) * n_features > MAX_TABLE:
            raise ValueError(
                f"{len(contexts)} contexts of {n_features} features make tables of more than {MAX_TABLE} numbers"
            )
        inside, subset = self._members(n_features)
        activation = self._activation(inside)
        context_probability, rule = self._context_law(activation[0])
        together, exclusive = (
            sorted(feature_range(text, n_features, key=key) for text in getattr(self, key))
            for key in (TOGETHER, EXCLUSIVE)
        )
        return Regime(
            contexts=contexts,
            subset=subset,
            context_probability=context_probability,
            activation_probability=activation,
            importance=self._importance(inside, subset),
            values=self.values,
            group=group_labels(together, exclusive, activation, contexts),
            group_correlation=single(self.correlation),
            context_rule=self.context_rule,
            rule=rule,
            context_input=self.context_input,
            target=self.target,
        )

    def ranges(self, n_features: int) -> dict[str, Any]:
        """The keys that name features, in their canonical form: ranges in ascending order."""
        subsets = {
            name: as_range(feature_range(text, n_features, key="subsets")) for name, text in self.subsets.items()
        }
        groups = {
            key: [as_range(members) for members in sorted(feature_range(t, n_features, key=key) for t in own)]
            for key in (TOGETHER, EXCLUSIVE)
            if (own := getattr(self, key))
        }
        return {"subsets": subsets} | groups

    def _context_law(self, probability: FloatArray) -> tuple[FloatArray, Rule | None]:
        if self.context_rule is None:
            equal = dict.fromkeys(self.context_names, 1 / len(self.context_names))
            return np.array(list((self.context_probability or equal).values())), None
        if (self.together or self.exclusive) and context_rules.parse(self.context_rule)[0] == 0:
            raise ValueError("a rule on sum(x) needs independent features; a rule on x_k goes with groups")
        rule, first = context_rules.resolve(self.context_rule, probability, *value_range(self.values))
        return np.array([first, 1 - first]), rule

    def _members(self, n_features: int) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
        """Whether each feature is inside each context (context, feature), and the label of each feature's subset."""
        of: list[list[str]] = [[] for _ in range(n_features)]
        inside = np.zeros((len(self.context_names), n_features), np.bool_)
        for context, text in self.subsets.items():
            own = feature_range(text, n_features, key="subsets")
            inside[self.context_names.index(context), np.array(own, np.int64) - 1] = True
            for feature in own:
                of[feature - 1].append(context)
        none = "none" if self.subsets else "all"
        return inside | ~inside.any(axis=0), tuple("+".join(names) or none for names in of)

    def _activation(self, inside: npt.NDArray[np.bool_]) -> FloatArray:
        if _is_table(self.activation_probability):
            return _table(self.activation_probability, inside.shape, "activation_probability")
        share = np.where(inside, 1.0, single(self.outside_probability))
        if self.activation_probability is None:
            return share * single(self.feature_probability)
        return share * _table(self.activation_probability, inside.shape[1:], "activation_probability")

    def _importance(self, inside: npt.NDArray[np.bool_], subset: tuple[str, ...]) -> FloatArray:
        if _is_table(self.importance):
            return _table(self.importance, inside.shape, "importance")
        share = np.where(inside, 1.0, single(self.outside_importance))
        if self.importance is not None:
            return share * _table(self.importance, inside.shape[1:], "importance")
        decay = 1.0 if self.importance_decay is None else single(self.importance_decay)
        counts = {label: itertools.count() for label in subset}
        rank = np.array([next(counts[label]) for label in subset])
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            importance = np.asarray(share * decay ** (self.importance_start + rank), dtype=np.float64)
        if not np.isfinite(importance).all():
            raise ValueError("importance_decay and importance_start give an importance that is not finite")
        return importance


def _is_table(value: tuple[Any, ...] | None) -> bool:
    return bool(value) and isinstance(value[0], tuple)  # type: ignore[index]


def _rows(value: tuple[Any, ...]) -> tuple[tuple[float, ...], ...]:
    return value if _is_table(value) else (value,)


def _table(rows: Sequence[object] | None, shape: tuple[int, ...], name: str) -> FloatArray:
    rows = rows or ()
    lengths = {len(row) if isinstance(row, tuple) else 0 for row in rows}
    table = np.asarray(rows, dtype=np.float64) if len(lengths) == 1 else np.empty(0)
    if table.shape != shape:
        wanted = f"{shape[-1]} numbers" + (f" in each of {shape[0]} rows (contexts)" if len(shape) > 1 else "")
        raise ValueError(f"{name} does not fit: it needs {wanted}, one for each of model.n_features")
    return table
