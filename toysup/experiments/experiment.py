"""Experiments: a TOML file in, a frozen and validated `Experiment` out."""

import itertools
import json
import math
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from toysup.errors import UsageError, nearest
from toysup.experiments.model import ModelSpec, parameters_of, require_known
from toysup.experiments.recipe import RecordSpec, TrainingSpec
from toysup.experiments.regime import Regime, RegimeSpec
from toysup.experiments.spec import MAX_NAME, NAME_PATTERN, Cell, Spec, Swept, first_error, merged, shown

TABLES: dict[str, type[Spec]] = {
    "model": ModelSpec,
    "regime": RegimeSpec,
    "training": TrainingSpec,
    "record": RecordSpec,
}
# Where figures go, beside the folders of experiments.
FIGURES_FOLDER = "figures"
# A regime takes a fifth of a millisecond to work out, so of very large sweeps only the corners are checked beforehand.
MAX_CHECKED_CELLS, MAX_CHECKED_FEATURES = 10_000, 200_000
_MAX_FILE_BYTES = 2**24
MAX_CELLS = 10**7
MAX_PARAMETERS = 10**9


class Condition(Spec):
    """One regime with one model and one training recipe; the unit that is compared."""

    name: str = Field(pattern=NAME_PATTERN, max_length=MAX_NAME)
    model: ModelSpec
    regime: RegimeSpec
    training: TrainingSpec
    record: RecordSpec = RecordSpec()

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
        self.recorded_steps  # noqa: B018 — raises where training has no such step
        return self

    @property
    def sweeps(self) -> dict[str, tuple[float, ...]]:
        """Sweep axes by key, each with its values."""
        return self.regime.sweeps | self.training.sweeps

    def regimes(self) -> list[Regime]:
        """The regime of each cell."""
        axes = list(self.regime.sweeps)
        # What the recipe sweeps leaves the regime as it is.
        found = {cell: self._regime_at(dict(zip(axes, cell, strict=True))) for cell in _grid(self.regime.sweeps)}
        return [found[tuple(cell[axis] for axis in axes)] for cell in self.cells()]

    @property
    def first_regime(self) -> Regime:
        """That of the first cell, with what all cells share: labels, shapes and additions."""
        return self._regime_at({axis: values[0] for axis, values in self.regime.sweeps.items()})

    def _regime_at(self, cell: Cell) -> Regime:
        return self.regime.model_copy(update=dict(cell)).resolve(self.model.n_features)

    def checked_regimes(self) -> list[Regime]:
        """The different regimes, in the order of the cells; of a very large sweep only those of its corners."""
        sweeps = self.regime.sweeps
        cells = math.prod(map(len, sweeps.values()))
        if cells > MAX_CHECKED_CELLS or cells * self.model.n_features > MAX_CHECKED_FEATURES:
            ends = {axis: (values[0], min(values), max(values)) for axis, values in sweeps.items()}
            sweeps = {axis: tuple(dict.fromkeys(values)) for axis, values in ends.items()}
        return [self._regime_at(dict(zip(sweeps, cell, strict=True))) for cell in _grid(sweeps)]

    @property
    def recorded_steps(self) -> tuple[int, ...]:
        return self.record.steps_of(self.training)

    @property
    def identity(self) -> str:
        """What makes this condition what it is, as JSON: its model, regime, training and the steps it records.

        Defaults are filled in, so that equal conditions have equal identities however they were written.
        """
        parts = self.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        regime = self.regime
        if regime.importance is None:
            parts["regime"] = {"importance_decay": 1.0} | parts["regime"]
        if regime.context_rule is None and regime.context_probability is None:
            parts["regime"].pop("contexts", None)
            names = regime.context_names
            parts["regime"] = {"context_probability": dict.fromkeys(names, 1 / len(names))} | parts["regime"]
        parts["regime"] |= regime.ranges(self.model.n_features)
        if self.model.architecture == "autoencoder" and not (self.model.encoder_layers or self.model.decoder_layers):
            # Nothing has this activation.
            del parts["model"]["layer_activation"]
        return json.dumps(parts | {"record": {"steps": list(self.recorded_steps)}})

    def cells(self) -> Iterator[Cell]:
        """The cells of the sweep, the last axis running fastest; one empty cell where nothing is swept."""
        axes = self.sweeps
        for values in _grid(axes):
            yield dict(zip(axes, values, strict=True))

    def at(self, values: Mapping[str, Swept]) -> "Condition":
        """This condition with one value, or with fewer of them, where it sweeps."""

        def pick(spec: Spec) -> Spec:
            return spec.model_copy(update={key: values[key] for key in spec.sweeps})

        return self.model_copy(update={"regime": pick(self.regime), "training": pick(self.training)})


def _grid(sweeps: Mapping[str, Sequence[float]]) -> Iterator[tuple[float, ...]]:
    return itertools.product(*sweeps.values())


def _refuse_taken(name: str) -> None:
    """ValueError for a name whose folder would not be looked into."""
    if name == FIGURES_FOLDER:
        raise ValueError(f"{name!r} is where figures go; give another name")
    if name.endswith(".nc"):
        raise ValueError(f"{name!r} ends as files do; give another name")


class Experiment(Spec):
    """A named set of conditions."""

    name: str = Field(pattern=NAME_PATTERN, max_length=MAX_NAME)
    title: str = ""
    references: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = Field(min_length=1)

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
        """The conditions of these names (all, if none is named)."""
        known = {condition.name: condition for condition in self.conditions}
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"experiment {self.name} has no condition {unknown[0]!r}; {nearest(unknown[0], known)}")
        return tuple(known[name] for name in dict.fromkeys(names)) if names else self.conditions


class _File(Spec):
    """The layout of an experiment file: what all conditions share, and what each one changes of it."""

    name: str
    title: str = ""
    references: tuple[str, ...] = ()
    model: dict[str, Any] = Field(default_factory=dict)
    regime: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    record: dict[str, Any] = Field(default_factory=dict)
    condition: tuple[dict[str, Any], ...] = ()


def builtin_experiments() -> dict[str, str]:
    """Name → title of the experiments that come with toysup."""
    return {name: tomllib.loads(path.read_text(encoding="utf-8"))["title"] for name, path in _builtin_files().items()}


def _builtin_files() -> dict[str, Traversable]:
    files = [path for path in resources.files("toysup.experiments.builtin").iterdir() if path.name.endswith(".toml")]
    return {path.name.removesuffix(".toml"): path for path in sorted(files, key=lambda path: path.name)}


def load_experiment(name_or_path: str | Path, *, changes: Mapping[str, object] | None = None) -> Experiment:
    """The experiment of a built-in name or a TOML file.

    `changes` maps paths such as `training.learning_rate` to values that replace the file's in every condition, and are
    checked like them. Raises UsageError with one line naming the file, the key, the value and what would be right.
    """
    where, text = _read(name_or_path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not TOML: {shown(str(error))}") from None
    at_the_top = {path: value for path, value in (changes or {}).items() if path in ("name", "title")}
    try:
        file = _File.model_validate(table | at_the_top)
    except ValidationError as error:
        raise first_error(error, where=where, spec=_File) from None
    changed = _by_table({path: value for path, value in (changes or {}).items() if path not in at_the_top})
    conditions = [_condition(file, item, changed, where) for item in file.condition or ({"name": file.name},)]
    try:
        return Experiment(name=file.name, title=file.title, references=file.references, conditions=tuple(conditions))
    except ValidationError as error:
        raise first_error(error, where=where, spec=Experiment) from None


def parse_change(text: str) -> tuple[str, object]:
    """`training.learning_rate=3e-3` as path and value; the value is TOML, or else a bare string."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise UsageError(f"--set {text}: write it as KEY=VALUE, such as training.learning_rate=3e-3")
    try:
        return path.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return path.strip(), value.strip()


def _read(name_or_path: str | Path) -> tuple[str, str]:
    name = str(name_or_path)
    if not name.endswith(".toml"):
        if name not in (known := _builtin_files()):
            raise UsageError(f"no experiment {name!r}; {nearest(name, known)} (or give the path of a .toml file)")
        return name, known[name].read_text(encoding="utf-8")
    try:
        status = Path(name).stat()
        # To open a pipe waits for someone to write to it, and a device has no end.
        if stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_FILE_BYTES:
            return name, Path(name).read_text(encoding="utf-8")
        reason = f"not a file of at most {_MAX_FILE_BYTES >> 20} MiB"
    except (OSError, ValueError) as error:
        reason = str(error.strerror) if isinstance(error, OSError) else "not UTF-8 text"
    raise UsageError(f"{name}: cannot be read: {reason}")


def _by_table(changes: Mapping[str, object]) -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = {}
    for path, value in changes.items():
        table, _, key = path.partition(".")
        if table not in TABLES:
            raise UsageError(f"{path} = {shown(value)}: {nearest(table, TABLES)} (a path is TABLE.KEY)")
        key, *deeper = key.split(".")
        if key not in TABLES[table].model_fields:
            raise UsageError(f"{path} = {shown(value)}: unknown key; {nearest(key, TABLES[table].model_fields)}")
        if len(deeper) > 1:
            raise UsageError(f"{path} = {shown(value)}: the path is too long; {table}.{key}.{deeper[0]} has no parts")
        # One entry of a table within the table, such as regime.context_probability.comedy, joins what is there.
        if deeper:
            there = tables.setdefault(table, {}).setdefault(key, _Entries())
            if not isinstance(there, dict):
                raise UsageError(f"{path} = {shown(value)}: {table}.{key} = {shown(there)} has no parts")
            there[deeper[0]] = value
        else:
            tables.setdefault(table, {})[key] = value
    return tables


class _Entries(dict[str, object]):
    """Entries that join those of a table instead of replacing it."""


def _joined(table: Mapping[str, Any], name: str, key: str, entries: _Entries) -> dict[str, object]:
    there = table.get(key, {})
    if not isinstance(there, Mapping):
        (part, value), *_ = entries.items()
        raise UsageError(f"{name}.{key}.{part} = {shown(value)}: the path is too long; {name}.{key} has no parts")
    return {**there, **entries}


def _condition(
    file: _File, item: Mapping[str, Any], changed: Mapping[str, Mapping[str, object]], where: str
) -> Condition:
    label = item.get("name", "(without a name)")
    where = f"{where}: condition {label if isinstance(label, str) else shown(label)}" if file.condition else where
    merged_item: dict[str, Any] = dict(item)
    for name, spec in TABLES.items():
        own = item.get(name, {})
        if isinstance(own, Mapping):
            table = merged(getattr(file, name), own, spec)
            new = {
                key: _joined(table, name, key, value) if isinstance(value, _Entries) else value
                for key, value in changed.get(name, {}).items()
            }
            merged_item[name] = merged(table, new, spec)
    try:
        condition = Condition.model_validate(merged_item)
    except ValidationError as error:
        raise first_error(error, where=where, spec=Condition) from None
    # Not a matter of validity: a dataset whose activation this process does not know still opens.
    try:
        require_known(condition.model)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return condition
