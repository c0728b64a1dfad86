"""Conditions and experiments: frozen, validated objects that define what is trained."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from toysup.errors import UsageError, nearest
from toysup.experiments.model import ModelSpec, parameters_of
from toysup.experiments.recipe import RecordSpec, TrainingSpec
from toysup.experiments.regime import Regime
from toysup.experiments.regime_spec import RegimeSpec
from toysup.experiments.spec import MAX_NAME, NAME_PATTERN, Cell, Spec, Swept

# The folder of figures lies beside the folders of experiments.
FIGURES_FOLDER = "figures"
# Resolving a regime takes a fifth of a millisecond, so only the corners of a larger sweep are checked in advance.
MAX_CHECKED_CELLS, MAX_CHECKED_FEATURES = 10_000, 200_000
MAX_CELLS = 10**7
MAX_PARAMETERS = 10**9
_NAMES_SHOWN = 8


class Condition(Spec):
    """One regime with one model and one training recipe: the unit that is compared.

    The properties `sweeps` and `recorded_steps` define the dims of its dataset. `cells()` yields each combination of
    swept values, `at(cell)` gives the condition of one of them, and `first_regime` the tables of the first.

    Parameters
    ----------
    name : str
        Up to 100 letters, digits and the characters ._+-; the first is a letter or a digit.
    model : ModelSpec or dict
        The model.
    regime : RegimeSpec or dict
        The regime.
    training : TrainingSpec or dict
        The training recipe.
    record : RecordSpec or dict, optional
        The steps to record. The default is that of `RecordSpec`.

    Raises
    ------
    ValueError
        If a part is wrong by itself, the parts do not fit together, the model has more than 10⁹ parameters, or the
        sweep more than 10⁷ cells (pydantic's ValidationError).

    Examples
    --------
    >>> import toysup
    >>> sweep = toysup.Condition(name="sweep", model={"n_features": 5, "n_hidden": 2},
    ...                          regime={"feature_probability": [0.1, 0.2]}, training={"steps": 9, "batch_size": 64})
    >>> list(sweep.cells())
    [{'feature_probability': 0.1}, {'feature_probability': 0.2}]
    """

    name: str = Field(pattern=NAME_PATTERN, max_length=MAX_NAME)
    model: ModelSpec
    regime: RegimeSpec
    training: TrainingSpec
    record: RecordSpec = RecordSpec()

    def __repr__(self) -> str:
        """A line for each part."""
        parts = ",\n".join(f"  {name}={part!r}" for name, part in self._given() if name != "name")
        return f"Condition({self.name!r},\n{parts})"

    @model_validator(mode="after")
    def _fits_together(self) -> "Condition":
        regime, *_ = self.checked_regimes()
        if self.model.tied and regime.target == "z" and self.model.architecture == "autoencoder":
            raise ValueError("a tied model has one output for each feature, but z has more; give model.tied = false")
        if self.model.architecture == "autoencoder":
            shapes = [parameter.shape for parameter in parameters_of(self.model, regime).values()]
            if (parameters := sum(map(math.prod, shapes))) > MAX_PARAMETERS:
                raise ValueError(f"the model has {parameters} parameters; at most {MAX_PARAMETERS} are supported")
        if (cells := math.prod(map(len, self.sweeps.values()))) > MAX_CELLS:
            raise ValueError(f"the sweep has {cells} cells; at most {MAX_CELLS} are supported")
        self.recorded_steps  # noqa: B018 — raises if the training has no such step
        return self

    @property
    def sweeps(self) -> dict[str, tuple[float, ...]]:
        """The swept keys, each with its values."""
        return self.regime.sweeps | self.training.sweeps

    def regimes(self) -> list[Regime]:
        """The regime of each cell."""
        axes = list(self.regime.sweeps)
        # Sweeps of the training recipe do not change the regime.
        found = {cell: self._regime_at(dict(zip(axes, cell, strict=True))) for cell in _grid(self.regime.sweeps)}
        return [found[tuple(cell[axis] for axis in axes)] for cell in self.cells()]

    @property
    def first_regime(self) -> Regime:
        """The regime of the first cell. All cells share its labels, shapes and additions."""
        return self._regime_at({axis: values[0] for axis, values in self.regime.sweeps.items()})

    def _regime_at(self, cell: Cell) -> Regime:
        return self.regime.model_copy(update=dict(cell)).resolve(self.model.n_features)

    def checked_regimes(self) -> list[Regime]:
        """The distinct regimes, in the order of the cells; for a very large sweep only those of its corners."""
        sweeps = self.regime.sweeps
        cells = math.prod(map(len, sweeps.values()))
        if cells > MAX_CHECKED_CELLS or cells * self.model.n_features > MAX_CHECKED_FEATURES:
            ends = {axis: (values[0], min(values), max(values)) for axis, values in sweeps.items()}
            sweeps = {axis: tuple(dict.fromkeys(values)) for axis, values in ends.items()}
        return [self._regime_at(dict(zip(sweeps, cell, strict=True))) for cell in _grid(sweeps)]

    @property
    def recorded_steps(self) -> tuple[int, ...]:
        """The steps that are recorded, ascending."""
        return self.record.steps_of(self.training)

    def corner_regimes(self) -> list[Regime]:
        """The regimes at the ends of all sweep axes. Along each axis activity rises or falls throughout."""
        ends = {axis: tuple({min(values), max(values)}) for axis, values in self.regime.sweeps.items()}
        return [self._regime_at(dict(zip(ends, cell, strict=True))) for cell in _grid(ends)]

    @property
    def draws_sparsely(self) -> bool:
        """Whether the samples of any cell are drawn at the cost of their active features."""
        return self.training.draws == "sparse" and any(regime.is_sparse for regime in self.corner_regimes())

    def drawn_densely(self) -> "Condition":
        """This condition with `training.draws` "dense"."""
        return self.model_copy(update={"training": self.training.model_copy(update={"draws": "dense"})})

    @property
    def identity(self) -> str:
        """The model, regime, training and recorded steps of this condition, as JSON.

        Defaults are filled in, so that equal conditions have equal identities, however their files were written.
        `training.draws` is there only if it matters; without it a condition is drawn densely (`identified`).
        """
        parts = self.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        if not self.draws_sparsely:
            del parts["training"]["draws"]
        regime = self.regime
        if regime.importance is None:
            parts["regime"] = {"importance_decay": 1.0} | parts["regime"]
        if regime.context_rule is None and regime.context_probability is None:
            parts["regime"].pop("contexts", None)
            names = regime.context_names
            parts["regime"] = {"context_probability": dict.fromkeys(names, 1 / len(names))} | parts["regime"]
        parts["regime"] |= regime.ranges(self.model.n_features)
        if self.model.architecture == "autoencoder" and not (self.model.encoder_layers or self.model.decoder_layers):
            # A model without layers does not use this activation.
            del parts["model"]["layer_activation"]
        return json.dumps(parts | {"record": {"steps": list(self.recorded_steps)}})

    @classmethod
    def identified(cls, parts: Mapping[str, Any]) -> "Condition":
        """The condition with the identity whose parsed JSON this is; its name means nothing.

        Raises KeyError, TypeError or ValueError if that is no specification.
        """
        return cls(name="condition", **{**parts, "training": {"draws": "dense", **parts["training"]}})

    def cells(self) -> Iterator[Cell]:
        """The cells of the sweep, the last axis varying fastest; one empty cell if nothing is swept."""
        axes = self.sweeps
        for values in _grid(axes):
            yield dict(zip(axes, values, strict=True))

    def at(self, values: Mapping[str, Swept]) -> "Condition":
        """This condition with the given value or values on each of its sweep axes."""

        def pick(spec: Spec) -> Spec:
            return spec.model_copy(update={key: values[key] for key in spec.sweeps})

        return self.model_copy(update={"regime": pick(self.regime), "training": pick(self.training)})


def _grid(sweeps: Mapping[str, Sequence[float]]) -> Iterator[tuple[float, ...]]:
    return itertools.product(*sweeps.values())


def _refuse_taken(name: str) -> None:
    """Raise ValueError for a name whose folder `open_runs` would skip or take for a file."""
    if name == FIGURES_FOLDER:
        raise ValueError(f"{name!r} is where figures go; give another name")
    if name.endswith(".nc"):
        raise ValueError(f"{name!r} ends in .nc, like a file of runs; give another name")


class Experiment(Spec):
    """A named set of conditions.

    `load_experiment` reads one from a TOML file. `select(names)` gives the conditions of these names.

    Parameters
    ----------
    name : str
        Name of the experiment and of the folder of its runs: up to 100 letters, digits and the characters ._+-, of
        which the first is a letter or a digit.
    title : str, default ""
        Title, which the datasets carry.
    references : list of str, default []
        Sources to cite, which the datasets carry.
    conditions : list of Condition
        The conditions, at least one, with different names.

    Raises
    ------
    ValueError
        If a key is unknown, a name is not allowed, or two conditions have the same name (pydantic's ValidationError).

    Examples
    --------
    >>> import toysup
    >>> plain = toysup.Condition(name="plain", model={"n_features": 5, "n_hidden": 2},
    ...                          regime={"feature_probability": 0.1}, training={"steps": 9, "batch_size": 64})
    >>> [condition.name for condition in toysup.Experiment(name="mine", conditions=[plain]).conditions]
    ['plain']
    """

    name: str = Field(pattern=NAME_PATTERN, max_length=MAX_NAME)
    title: str = ""
    references: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = Field(min_length=1)

    def __repr__(self) -> str:
        """Its name and title, and the names of its conditions."""
        title = f" {self.title!r}" if self.title else ""
        names = [condition.name for condition in self.conditions]
        more = f", … ({len(names)} in all)" if len(names) > _NAMES_SHOWN else ""
        return f"<Experiment {self.name!r}{title}: {', '.join(names[:_NAMES_SHOWN])}{more}>"

    @field_validator("name")
    @classmethod
    def _is_no_folder_of_ours(cls, value: str) -> str:
        _refuse_taken(value)
        return value

    @field_validator("conditions")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[Condition, ...]) -> tuple[Condition, ...]:
        names = [condition.name for condition in value]
        for name in names:
            _refuse_taken(name)
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two conditions have the name {repeated[0]}")
        return value

    def select(self, names: Sequence[str]) -> tuple[Condition, ...]:
        """The conditions of these names, or all conditions if `names` is empty."""
        known = {condition.name: condition for condition in self.conditions}
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"experiment {self.name} has no condition {unknown[0]!r}; {nearest(unknown[0], known)}")
        return tuple(known[name] for name in dict.fromkeys(names)) if names else self.conditions
