"""Modules and files of a user that register activations and models, for the commands and their workers."""

import importlib
import sys
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from toysup.errors import UsageError


class Extension(NamedTuple):
    """A module by its name, or the source of a file by its absolute path, so that workers need not see the file."""

    name: str
    source: str | None = None


# What this process has imported, in this order. A file that runs twice would register its functions twice.
_imported: dict[Extension, ModuleType] = {}


def extension(name: str) -> Extension:
    """The extension of that name: the path of a file that ends in .py, or a module; UsageError if it cannot be read."""
    if not name.endswith(".py"):
        return Extension(name)
    try:
        return Extension(str(Path(name).expanduser().absolute()), Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"--import {name}: cannot be read: {reason}") from None


def import_extension(wanted: Extension) -> None:
    """Run an extension, unless this process has; UsageError if it fails."""
    if wanted in _imported:
        return
    name, source = wanted
    try:
        if source is None:
            module = importlib.import_module(name)
        else:
            loader = _Loader(name, source)
            module = module_from_spec(ModuleSpec(Path(name).stem, loader, origin=name))
            # Classes look up their module here, when they are pickled for example.
            sys.modules.setdefault(module.__name__, module)
            loader.exec_module(module)
    except Exception as error:
        # The code may raise anything.
        raise UsageError(f"--import {name}: {type(error).__name__}: {error}") from None
    _imported[wanted] = module


class _Loader(InspectLoader):
    """Loads a module from its text, whose file a worker may not see."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.source = path, source

    def get_source(self, fullname: str) -> str:
        return self.source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.source, self.path)


def imported() -> tuple[Extension, ...]:
    """The extensions that this process has imported, for its workers."""
    return tuple(_imported)
