"""Where compiled code is kept: in the user's cache folder, so that it leaves with no package and stays beside none.

numba itself keeps it beside the module, where `pip uninstall` would leave it. A folder of that name without a package
in it then hides the package that is installed next.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, event
from numba.core.ccallback import CFunc
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering
from numba.core.typing.templates import Signature

# A module whose settings are attributes.
config: Any = numba.config
# The reason why compiled code was not kept by this process, if it was not.
_not_kept: list[str] = []
# A file of the cache folder: how long each part took to compile.
_DURATIONS = "seconds-to-compile.json"


def cache_folder() -> Path | None:
    """The folder of compiled code: NUMBA_CACHE_DIR if the user set it, else `toysup` in the user's folder of caches.

    None if there is no home folder.
    """
    if config.CACHE_DIR:
        return Path(config.CACHE_DIR).absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.path.expanduser(base), "toysup")
    return folder if folder.is_absolute() else None


class _Locator(caching._SourceFileBackedLocatorMixin, caching._CacheLocator):
    """Finds the place of a function's compiled code, also in a folder that can only be read."""

    def __init__(self, function: Any, file: str, folder: Path) -> None:
        self._py_file, self._lineno = file, function.__code__.co_firstlineno
        self._path = folder / self.get_suitable_cache_subpath(file)

    def get_cache_path(self) -> str:
        return str(self._path)

    @classmethod
    def from_function(cls, function: Any, file: str) -> "_Locator | None":
        folder = cache_folder()
        return cls(function, file, folder) if folder is not None and os.path.exists(file) else None


class _Implementation(caching.CompileResultCacheImpl):
    # This name is numba's.
    _locator_classes = [_Locator]  # type: ignore[list-item] # noqa: RUF012


class _KeptCode(caching.FunctionCache):
    """The compiled code of one function. Whatever is wrong with its folder or files, the function is compiled anew.

    A `key` stands for all that the function calls. numba itself looks at the file of the function alone.
    """

    _impl_class = _Implementation

    def __init__(self, function: Any, key: str | None) -> None:
        super().__init__(function)
        self._key = key

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        if self._key is None:
            return super()._index_key(signature, codegen)
        return signature, codegen.magic_tuple(), self._key

    def load_overload(self, signature: Any, target: Any) -> Any:
        try:
            return super().load_overload(signature, target)
        # To read a damaged file can raise anything.
        except Exception:
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            super().save_overload(signature, compiled)
        except OSError as error:
            _not_kept.append(f"{self.cache_path}: {error.strerror or error}")


def kept_njit(key: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with these options, for a function whose compiled code is kept in `cache_folder()`.

    A function that calls others of ours needs a `key`, as long as which is the same its code is used again. The key has
    to tell apart whatever the function is made of: the sources of those functions, and what its closure holds.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        try:
            # As `cache=True` does it, with numba's own place.
            dispatcher._cache = _KeptCode(function, key)
        except RuntimeError:
            # numba raises this if no locator has a place for the function.
            _not_kept.append("there is no home folder")
        return dispatcher

    return decorate


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    """Leaves the optimising to the function that a part is compiled into: numba would do it at every level of calls."""

    _name = "part_lowering"

    def run_pass(self, state: Any) -> Any:
        state.library = state.targetctx.codegen().create_library(state.func_id.func_qualname)
        state.library._optimize_final_module = lambda: None
        return super().run_pass(state)


class _PartCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (_PartLowering if each is NativeLowering else each, description) for each, description in manager.passes
        ]
        manager.finalize()
        return [manager]


def part_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` for a part of kept code, which takes half as long to compile; Python cannot call it."""
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": _PartCompiler, **options}

    def decorate(function: Callable[..., Any]) -> Any:
        def refuse(*_: Any, **__: Any) -> None:
            raise TypeError(f"{function.__name__} is a part of compiled code; call it from a function of njit")

        dispatcher = numba.njit(**options)(function)
        # Without a wrapper a call from Python would crash, so no compiled code is found there, and none is compiled.
        dispatcher._insert, dispatcher._compile_for_args = lambda *_: None, refuse
        return dispatcher

    return decorate


def kept_function(signature: Signature, key: str, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for this signature alone, as an argument of other compiled code, and keep its code likewise.

    Code that gets it as an argument is compiled once for all functions of the signature.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options=options)
        with suppress(RuntimeError):
            compiled._cache = _KeptCode(function, key)
        compiled.compile()
        return compiled

    return decorate


def last_duration(what: str) -> float | None:
    """Seconds that `what` took to compile when it was last compiled; None if that is not known."""
    folder = cache_folder()
    try:
        known = json.loads((folder / _DURATIONS).read_text()) if folder is not None else {}
        return float(known[what])
    # Whatever is wrong with a file of the cache, it is not needed.
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_duration(what: str, seconds: float) -> None:
    """Keep the seconds that `what` took to compile, if there is a folder that can be written."""
    folder = cache_folder()
    if folder is None:
        return
    known: dict[str, float] = {}
    with suppress(OSError, ValueError):
        known = dict(json.loads((folder / _DURATIONS).read_text()))
    with suppress(OSError):
        (folder / _DURATIONS).write_text(json.dumps(known | {what: seconds}))


def why_not_kept() -> str | None:
    """The reason why this process could not keep what it compiled, or None."""
    return _not_kept[-1] if _not_kept else None


@contextmanager
def calling_when_compiling(call: Callable[[], None]) -> Iterator[None]:
    """Call `call` once, as soon as a function is compiled in this context that was not in the cache."""

    class FirstStart(event.Listener):
        told = False

        def on_start(self, _: Any) -> None:
            if not self.told:
                self.told = True
                call()

        def on_end(self, _: Any) -> None: ...

    with event.install_listener("numba:compile", FirstStart()):
        yield
