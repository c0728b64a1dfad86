"""Experiment files: TOML in, an `Experiment` out."""

import os
import stat
import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from toysup.errors import UsageError, nearest
from toysup.experiments.experiment import Condition, Experiment
from toysup.experiments.model import ModelSpec, require_known
from toysup.experiments.recipe import RecordSpec, TrainingSpec
from toysup.experiments.regime_spec import RegimeSpec
from toysup.experiments.spec import Spec, first_error, merged, shown

TABLES: dict[str, type[Spec]] = {
    "model": ModelSpec,
    "regime": RegimeSpec,
    "training": TrainingSpec,
    "record": RecordSpec,
}
_MAX_FILE_BYTES = 2**24


class _File(Spec):
    """The layout of an experiment file: the keys that all conditions share, and the changes of each condition."""

    name: str
    title: str = ""
    references: tuple[str, ...] = ()
    model: dict[str, Any] = Field(default_factory=dict)
    regime: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    record: dict[str, Any] = Field(default_factory=dict)
    condition: tuple[dict[str, Any], ...] = ()


def builtin_experiments() -> dict[str, str]:
    """The experiments that come with toysup. `docs/built-in.md` describes them.

    Returns
    -------
    dict of str to str
        The title of each experiment, by its name, in the order of names.

    Examples
    --------
    >>> import toysup
    >>> toysup.builtin_experiments()["tms-intro"]
    'Five features in two dimensions, from dense to sparse'
    """
    return {name: tomllib.loads(path.read_text(encoding="utf-8"))["title"] for name, path in _builtin_files().items()}


def _builtin_files() -> dict[str, Traversable]:
    files = [path for path in resources.files("toysup.experiments.builtin").iterdir() if path.name.endswith(".toml")]
    return {path.name.removesuffix(".toml"): path for path in sorted(files, key=lambda path: path.name)}


def load_experiment(name_or_path: str | Path, *, changes: Mapping[str, object] | None = None) -> Experiment:
    """Read a built-in experiment or an experiment file.

    `docs/experiments.md` describes the file.

    Parameters
    ----------
    name_or_path : str or Path
        Name of a built-in experiment, or path of a file whose name ends in .toml.
    changes : dict of str to object, optional
        Values that replace those of the file in every condition, by path, such as {"training.learning_rate": 3e-3}.
        They are checked like values of the file. A path is TABLE.KEY, `name`, `title`, or TABLE.KEY.PART for one entry
        of a table within a table. The default changes nothing.

    Returns
    -------
    Experiment
        The experiment, checked and frozen.

    Raises
    ------
    UsageError
        If there is no such experiment, the file cannot be read, or a key or value is wrong. The message is one line
        that names the file, the key, the value and what would be right.

    Examples
    --------
    >>> import toysup
    >>> short = toysup.load_experiment("tms-intro", changes={"training.steps": 20, "record.steps": [10]})
    >>> short.conditions[0].recorded_steps
    (0, 10, 20)
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
    """Path and value of a text such as `training.learning_rate=3e-3`; a value that is not TOML is a string."""
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
        path = Path(os.path.expanduser(name))
        status = path.stat()
        # Opening a pipe would wait for a writer, and reading a device would never end.
        if stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_FILE_BYTES:
            # Some editors begin a UTF-8 file with a byte-order mark, which TOML does not know.
            return name, path.read_text(encoding="utf-8-sig")
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
        # An entry of a table within the table, such as regime.context_probability.comedy, joins its other entries.
        if deeper:
            there = tables.setdefault(table, {}).setdefault(key, _Entries())
            if not isinstance(there, dict):
                raise UsageError(f"{path} = {shown(value)}: {table}.{key} = {shown(there)} has no parts")
            there[deeper[0]] = value
        else:
            tables.setdefault(table, {})[key] = value
    return tables


class _Entries(dict[str, object]):
    """Entries that join the entries of a table instead of replacing the table."""


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
    # This is checked here and not by the validators, so that a dataset opens although its activation is unknown.
    try:
        require_known(condition.model)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return condition
