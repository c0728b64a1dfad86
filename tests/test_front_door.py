"""Every public name says what a user has to know: parameters, result, errors, and an example that runs."""

import doctest
import inspect
import re
import types
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

import toysup
from toysup import analysis, experiments, theory
from toysup.analysis import figures, report

MOST_LINES = 5
ROOMS = (toysup, experiments, theory, analysis, figures, report)
# Numbers are explained where they stand.
NOT_CALLED = (types.ModuleType, int, float, str, tuple)


def public() -> Iterator[tuple[str, object]]:
    for room in ROOMS:
        for name in room.__all__:
            value = getattr(room, name)
            if not isinstance(value, NOT_CALLED):
                yield f"{room.__name__}.{name}", value


NAMES = dict(public())


def sections(value: object) -> dict[str, str]:
    """The text of a docstring before its first heading, as "", and what stands under each heading."""
    text = inspect.getdoc(value) or ""
    parts = re.split(r"^(\w+)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def parameters(value: object) -> list[str]:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return list(value.model_fields)
    if isinstance(value, type) and issubclass(value, Exception):
        return []
    names = inspect.signature(value).parameters if callable(value) else {}
    return [name for name in names if name not in ("self", "args", "kwargs")]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_parameters_result_and_an_example(name: str) -> None:
    value, found = NAMES[name], sections(NAMES[name])
    documented = re.findall(r"^(\S[^:\n]*) : ", found.get("Parameters", ""), flags=re.MULTILINE)
    known = [part for names in documented for part in re.split(r",\s*", names)]
    assert [own for own in parameters(value) if own not in known] == [], "parameters that are not documented"
    if isinstance(value, types.FunctionType) and inspect.signature(value).return_annotation is not None:
        assert found.get("Returns"), "what it returns"
    assert ">>> " in found.get("Examples", ""), "an example"
    lines = [line for line in found["Examples"].splitlines() if line.startswith((">>> ", "... "))]
    assert len(lines) <= MOST_LINES


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(name: str) -> None:
    value = NAMES[name]
    parsed = doctest.DocTestParser().get_doctest(sections(value).get("Examples", ""), {}, name, None, 0)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    try:
        doctest.DebugRunner(optionflags=flags).run(parsed)
    except doctest.UnexpectedException as unexpected:
        # Of an example that needs torch, as if the test itself had raised it.
        raise unexpected.exc_info[1] from None
    except doctest.DocTestFailure as failure:
        pytest.fail(f"{failure.example.source}gives\n{failure.got}instead of\n{failure.example.want}")


def test_help_begins_with_what_toysup_is_for() -> None:
    first = (inspect.getdoc(toysup) or "").splitlines()[0]
    assert first.startswith("Train toy models of superposition")
    assert toysup.__version__.count(".") >= 1
