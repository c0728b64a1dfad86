"""The base of all tables of an experiment file: frozen, strict about keys, with keys that can be swept."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from toysup.errors import UsageError, nearest

# Names of experiments and conditions become names of files.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
MAX_NAME = 100

# Most values of a range, far more than anybody sweeps.
_MAX_SPREAD = 100_000

Swept: TypeAlias = float | tuple[float, ...]
Cell: TypeAlias = Mapping[str, float]


class Spec(BaseModel):
    """A table of an experiment file. `alternatives` are groups of keys of which at most one may be given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    alternatives: ClassVar[tuple[tuple[str, ...], ...]] = ()

    @property
    def sweeps(self) -> dict[str, tuple[float, ...]]:
        """The keys that hold a list where one value is allowed, in the order of the table."""
        return {
            name: value
            for name, field in type(self).model_fields.items()
            if any(isinstance(mark, _Sweepable) for mark in field.metadata)
            and isinstance(value := getattr(self, name), tuple)
        }

    def __repr__(self) -> str:
        """The keys that differ from their defaults, each in a few characters."""
        return f"{type(self).__name__}({', '.join(f'{name}={shown(value)}' for name, value in self._given())})"

    def __str__(self) -> str:
        return repr(self)

    def _given(self) -> list[tuple[str, Any]]:
        fields = type(self).model_fields.items()
        # pydantic 2.10 asks for `validated_data` of every factory.
        default = {name: field.get_default(call_default_factory=True, validated_data={}) for name, field in fields}
        return [(name, value) for name in default if (value := getattr(self, name)) != default[name]]

    def check_alternatives(self) -> None:
        """Raise ValueError if two keys of a group of alternatives are given."""
        for group in self.alternatives:
            given = [name for name in group if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude one another; give one of them")


class _Sweepable:
    """Marks a field that holds one number for which `is_right`, or a list or range of different ones: a sweep."""

    def __init__(self, is_right: Callable[[float], bool], right: str) -> None:
        self.is_right, self.right = is_right, right

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(self.check, handler(source))

    def check(self, value: object) -> Swept:
        if isinstance(value, Mapping):
            value = _spread(value)
        if not isinstance(value, list | tuple):
            return self._number(value)
        numbers = tuple(map(self._number, value))
        if not numbers or len(set(numbers)) != len(numbers):
            raise ValueError("a sweep is a list of different numbers, at least one")
        return numbers

    def _number(self, value: object) -> float:
        if not _is_number(value) or not self.is_right(number := float(value)):  # type: ignore[arg-type]
            raise ValueError(f"must be {self.right}, or a list of such numbers to sweep over")
        return number


def _is_number(value: object) -> bool:
    """Whether a value of TOML is a finite number; its integers are unbounded, so one may be too large for a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _spread(table: Mapping[Any, object]) -> list[float]:
    """The values of a range: `{ linear = [first, last, count] }`, or `{ log = … }` with equal ratios.

    They are rounded to 12 digits, as a person writes them, so that a range is the same as the list of its values.
    """
    (kind, ends), *more = table.items() or [("", None)]
    if more or kind not in ("log", "linear") or not isinstance(ends, list | tuple) or len(ends) != 3:
        raise ValueError("a range is { log = [first, last, count] } or { linear = [first, last, count] }")
    *outer, count = ends
    if not all(map(_is_number, outer)):
        raise ValueError("the first and the last value of a range are numbers")
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= _MAX_SPREAD:
        raise ValueError(f"a range has a whole number of values, from 2 to {_MAX_SPREAD}")
    first, last = map(float, outer)
    if kind == "log":
        if min(first, last) <= 0:
            raise ValueError("the ends of a log range must be above 0")
        middle = [first * (last / first) ** (k / (count - 1)) for k in range(1, count - 1)]
    else:
        middle = [first + (last - first) * (k / (count - 1)) for k in range(1, count - 1)]
    return [first, *(float(f"{value:.12g}") for value in middle), last]


Whole = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1)]
# Numbers of features, hidden dimensions and so on. No toy model has more, and tables of this width fit into memory.
Width = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Number = Annotated[float, Field(strict=True)]

PROBABILITY = _Sweepable(lambda number: 0 <= number <= 1, "a number from 0 to 1")
NOT_NEGATIVE = _Sweepable(lambda number: 0 <= number < float("inf"), "a number of 0 or more")
POSITIVE = _Sweepable(lambda number: 0 < number < float("inf"), "a number above 0")
BELOW_ONE = _Sweepable(lambda number: 0 <= number < 1, "a number of at least 0 and below 1")


def single(value: Swept | None) -> float:
    """The value of a field that is given and not swept; ValueError otherwise."""
    if value is None or isinstance(value, tuple):
        raise ValueError(f"one value is needed here, not {value}; choose a cell of the sweep first")
    return value


def merged(table: Mapping[str, Any], change: Mapping[str, Any], spec: type[Spec]) -> dict[str, Any]:
    """`table` with the keys of `change`; a new key also removes the keys that it is an alternative to."""
    replaced = {name for group in spec.alternatives if set(group) & set(change) for name in group}
    return {key: value for key, value in table.items() if key not in replaced} | dict(change)


def shown(value: object) -> str:
    """A value as an error message shows it: at most 60 characters."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):
        # Python refuses to print integers of thousands of digits, and tables nested thousands deep.
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def first_error(error: ValidationError, *, where: str, spec: type[BaseModel]) -> UsageError:
    """The first error of pydantic as one line: where, which key, which value, what would be right."""
    complaints = error.errors(include_url=False)
    # A misspelt key gives two errors, a missing key and an unknown key. The second one helps.
    complaint = next((found for found in complaints if found["type"] == "extra_forbidden"), complaints[0])
    # If a key may have one of several types, pydantic adds the type that it tried to the path.
    path = [
        str(part)
        for part in complaint["loc"]
        if not re.match(r"(tuple|list|dict|str|int|float|literal)(\[|$)", str(part))
    ]
    key = ".".join(path)
    message = complaint["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if complaint["type"] == "extra_forbidden":
        return UsageError(f"{where}: unknown key {key}; {nearest(path[-1], _keys_at(spec, path[:-1]))}")
    if complaint["type"] == "missing":
        return UsageError(f"{where}: {key} is missing")
    if isinstance(complaint["input"], Mapping) or not path:
        return UsageError(f"{where}: {key + ': ' if key else ''}{message}")
    return UsageError(f"{where}: {key} = {shown(complaint['input'])}: {message}")


def _keys_at(spec: type[BaseModel], path: Iterable[str]) -> list[str]:
    for part in path:
        field = spec.model_fields.get(part)
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            spec = field.annotation
    return list(spec.model_fields)
