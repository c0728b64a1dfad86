"""Files that are written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toysup.errors import ToysupError


class UnwritableError(ToysupError):
    """A folder cannot be written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; if no error occurs it is flushed to disk and renamed to `path`.

    If `path` is a link, the file that it links to is replaced, and the link stays. Raises ToysupError that names `path`
    if the file cannot be written. An old file at `path` then stays as it was.
    """
    temporary = None
    try:
        refuse_dangling(path)
        target = target_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=f".part{target.suffix}")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes a file that only its owner can read. A plain open would follow the umask.
        temporary.chmod(0o666 & ~_UMASK)
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)
    except (OSError, RuntimeError) as error:
        # netCDF raises RuntimeError if the disk is full.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ToysupError(f"{path}: cannot be written: {reason}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def target_of(path: Path) -> Path:
    """The path that a link leads to in the end; the path itself if it is no link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def refuse_dangling(path: Path) -> None:
    """Raise ToysupError if `path` is a link to nothing: nobody knows whether its target is to be made or is missing."""
    if path.is_symlink() and not path.exists():
        raise ToysupError(f"{path}: a link to {os.readlink(path)}, which does not exist")


def refuse_unwritable(folder: str | Path) -> None:
    """Raise UnwritableError if `folder` cannot be written; create it if it does not exist."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UnwritableError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _read_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


# Read once: reading the umask sets it to 0 for a moment, and two threads that did so at once could leave it at 0.
_UMASK = _read_umask()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
