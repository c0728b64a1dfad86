"""What the operating system tells about files: which ones a folder holds, and why one cannot be read."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from toysup.errors import ToysupError
from toysup.experiments.experiment import FIGURES_FOLDER

_LOCKING = "HDF5_USE_FILE_LOCKING"
_LOCKED = (
    "locked by a process that writes to it; wait until that process ends "
    f"(if no process writes to it, set the environment variable {_LOCKING}=FALSE)"
)
_NO_LOCKS = f"its file system has no locks; set the environment variable {_LOCKING}=FALSE"
_TOO_MANY = "too many files are open; close some, or raise the limit (ulimit -n)"


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path that a user gave, with `~` replaced by the home folder."""
    return Path(os.path.expanduser(path))


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root, so that it stays right if the process changes its folder. Links are kept as they are."""
    return Path(os.path.abspath(path))


def why_unreadable(path: str | Path, error: BaseException) -> str | None:
    """Why the operating system refused to read a file; None if it did not, so that the content must be at fault."""
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return _reason(path, error)
    # HDF5 does not pass on the reason, so the same calls are made here.
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as refused:
        return _reason(path, refused)
    try:
        return why_not_locked(descriptor)
    finally:
        os.close(descriptor)


def _reason(path: str | Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and os.path.islink(path):
        return f"a link to {os.readlink(path)}, which does not exist"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _TOO_MANY
    return "no such file" if error.errno == errno.ENOENT else error.strerror or str(error)


def why_not_locked(descriptor: int) -> str | None:
    """Why HDF5 cannot take the shared lock that it takes before it reads; None if it can, or is told not to."""
    if os.environ.get(_LOCKING, "").upper() in ("FALSE", "0", "BEST_EFFORT"):
        return None
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _LOCKED
        except OSError as refused:
            return _NO_LOCKS if refused.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS) else None
    return None


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder; none if it does not exist. Raises ToysupError if the folder may not be listed."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        # Without its entries, a part of the runs would pass for all of them.
        raise ToysupError(f"{folder}: cannot be listed: {error.strerror or error}") from None


def files_below(folder: Path) -> list[Path]:
    """The .nc files in a folder and in the folders below it, sorted; hidden ones and folders of figures are skipped.

    Links are followed. A folder or file that is reached in several ways is given once. Raises ToysupError if a folder
    may not be listed.
    """
    places: dict[str, Path] = {}
    links: list[Path] = []
    for real_folder, entry in _entries_below(folder, set()):
        if entry.is_symlink():
            links.append(Path(entry.path))
        else:
            places[os.path.join(real_folder, entry.name)] = Path(entry.path)
    for path in sorted(links):
        places.setdefault(os.path.realpath(path), path)
    return sorted(places.values())


def _entries_below(folder: Path, seen: set[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What is named like a file of runs, with the real path of its folder; `seen` has the real paths visited so far."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for entry in sorted(listed(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.name.endswith(".nc"):
            yield real, entry
        elif entry.name != FIGURES_FOLDER and _is_folder(entry):
            yield from _entries_below(Path(entry.path), seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise ToysupError(f"{entry.path}: cannot be looked up: {error.strerror or error}") from None
