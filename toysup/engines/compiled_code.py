"""Where compiled code is kept: in the user's cache folder, so that it leaves with no package and stays beside none.

numba itself keeps it beside the module, where `pip uninstall` would leave it. A folder of that name without a package
in it then hides the package that is installed next.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, event

# A module whose settings are attributes.
config: Any = numba.config
# The reason why compiled code was not kept by this process, if it was not.
_not_kept: list[str] = []


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
    """The compiled code of one function. Whatever is wrong with its folder or files, the function is compiled anew."""

    _impl_class = _Implementation

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


def kept_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with these options, for a function whose compiled code is kept in `cache_folder()`."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        try:
            # As `cache=True` does it, with numba's own place.
            dispatcher._cache = _KeptCode(function)
        except RuntimeError:
            # numba raises this if no locator has a place for the function.
            _not_kept.append("there is no home folder")
        return dispatcher

    return decorate


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
