"""Regimes: the joint law of context, features and importance, as three tables and as the spec they are made from."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from toysup.spec import NOT_NEGATIVE, POSITIVE, PROBABILITY, Number, Spec, Swept, Whole, single

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Regime:
    """Three tables and their labels: draw a context, then independent sparse features, then weigh squared errors.

    `context_probability` (context,), `activation_probability` and `importance` (context, feature); all dimensionless.
    `subset` names the group of each feature. An active feature's value is uniform on [0, 1].
    """

    contexts: tuple[str, ...]
    subset: tuple[str, ...]
    context_probability: FloatArray
    activation_probability: FloatArray
    importance: FloatArray


class RegimeSpec(Spec):
    """The `[regime]` table of an experiment file.

    Feature i has probability p_i and importance I_i in the contexts whose subset it belongs to (in every context, if
    it belongs to none); in the others it keeps a share `outside_probability` (λ) of p_i and `outside_importance` (μ)
    of I_i. `importance_decay` r means I_i = r^(start + k) for the k-th feature (k = 0, 1, ...) of its subset.
    Explicit tables, `activation_probability` and `importance`, are taken as they are; an importance that is a plain
    list holds I_i and is still subject to μ.
    """

    alternatives: ClassVar = (("feature_probability", "activation_probability"), ("importance_decay", "importance"))

    context_probability: dict[str, Number] = Field(default_factory=lambda: {"all": 1.0})
    subsets: dict[str, str | tuple[Whole, ...]] = Field(default_factory=dict)
    feature_probability: Annotated[Swept | None, PROBABILITY] = None
    importance_decay: Annotated[Swept | None, POSITIVE] = None
    importance_start: Whole = 1
    outside_probability: Annotated[Swept, PROBABILITY] = 1.0
    outside_importance: Annotated[Swept, NOT_NEGATIVE] = 1.0
    activation_probability: tuple[tuple[Number, ...], ...] | None = None
    importance: tuple[Number, ...] | tuple[tuple[Number, ...], ...] | None = None

    @field_validator("context_probability")
    @classmethod
    def _is_a_law(cls, value: dict[str, float]) -> dict[str, float]:
        if not value or min(value.values()) < 0 or not math.isclose(sum(value.values()), 1, abs_tol=1e-9):
            raise ValueError("must be probabilities that sum to 1, one for each context")
        if any(not re.fullmatch(r"[\w-]+", name) or name == "none" for name in value):
            raise ValueError("a context's name is made of letters, digits, - and _ (and is not none)")
        return value

    @field_validator("activation_probability")
    @classmethod
    def _are_probabilities(cls, value: tuple[tuple[float, ...], ...] | None) -> tuple[tuple[float, ...], ...] | None:
        if value is not None and any(not 0 <= p <= 1 for row in value for p in row):
            raise ValueError("must hold numbers from 0 to 1, one row for each context")
        return value

    @field_validator("importance")
    @classmethod
    def _are_weights(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        rows = value if value and isinstance(value[0], tuple) else (value or (),)
        if any(weight < 0 for row in rows for weight in row):
            raise ValueError("must hold numbers of 0 or more")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "RegimeSpec":
        self.check_alternatives()
        if self.feature_probability is None and self.activation_probability is None:
            raise ValueError("feature_probability is missing (or the whole table activation_probability)")
        if unknown := set(self.subsets) - set(self.context_probability):
            known = ", ".join(self.context_probability)
            raise ValueError(f"subsets names the context {min(unknown)}, which is none of {known}")
        if self.activation_probability is not None and "outside_probability" in self.sweeps:
            raise ValueError("a sweep over outside_probability changes nothing beside a whole activation_probability")
        if self.importance and isinstance(self.importance[0], tuple) and "outside_importance" in self.sweeps:
            raise ValueError("a sweep over outside_importance changes nothing beside a whole table of importance")
        return self

    def resolve(self, n_features: int) -> Regime:
        """The tables for `n_features` features; ValueError where a key does not fit that number or is swept."""
        contexts = tuple(self.context_probability)
        members = {name: _labels(text, n_features) for name, text in self.subsets.items()}
        inside = np.array([[self._is_inside(members, c, i + 1) for i in range(n_features)] for c in contexts])
        subset = tuple(self._subset(members, i + 1) for i in range(n_features))
        return Regime(
            contexts=contexts,
            subset=subset,
            context_probability=np.array(list(self.context_probability.values())),
            activation_probability=self._activation(inside),
            importance=self._importance(inside, subset),
        )

    def _is_inside(self, members: dict[str, set[int]], context: str, feature: int) -> bool:
        return feature in members.get(context, set()) or not any(feature in group for group in members.values())

    def _subset(self, members: dict[str, set[int]], feature: int) -> str:
        if not members:
            return "all"
        return "+".join(context for context, group in members.items() if feature in group) or "none"

    def _activation(self, inside: npt.NDArray[np.bool_]) -> FloatArray:
        if self.activation_probability is not None:
            return _table(self.activation_probability, inside.shape, "activation_probability")
        share = np.where(inside, 1.0, single(self.outside_probability))
        return share * single(self.feature_probability)

    def _importance(self, inside: npt.NDArray[np.bool_], subset: tuple[str, ...]) -> FloatArray:
        share = np.where(inside, 1.0, single(self.outside_importance))
        if self.importance is None:
            decay = 1.0 if self.importance_decay is None else single(self.importance_decay)
            rank = np.array([subset[:i].count(label) for i, label in enumerate(subset)])
            with np.errstate(over="ignore", under="ignore"):
                importance = np.asarray(share * decay ** (self.importance_start + rank), dtype=np.float64)
            if not np.isfinite(importance).all():
                raise ValueError("importance_decay and importance_start give an importance that is not finite")
            return importance
        if self.importance and isinstance(self.importance[0], tuple):
            return _table(self.importance, inside.shape, "importance")
        return share * _table(self.importance, inside.shape[1:], "importance")


def _table(rows: Sequence[object], shape: tuple[int, ...], name: str) -> FloatArray:
    lengths = {len(row) if isinstance(row, tuple) else 0 for row in rows}
    table = np.asarray(rows, dtype=np.float64) if len(lengths) == 1 else np.empty(0)
    if table.shape != shape:
        wanted = f"{shape[-1]} numbers" + (f" in each of {shape[0]} rows (contexts)" if len(shape) > 1 else "")
        raise ValueError(f"{name} does not fit: it needs {wanted}, one for each of model.n_features")
    return table


def _labels(text: str | Sequence[int], n_features: int) -> set[int]:
    """Feature labels out of `"1-10"`, `"1-5, 8"` or a list."""
    labels: set[int] = set()
    for part in text.split(",") if isinstance(text, str) else map(str, text):
        found = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 1 <= first <= last <= n_features:
            raise ValueError(f"subsets: {part.strip()!r} is no range of features, such as 1-{n_features}")
        labels |= set(range(first, last + 1))
    return labels
