"""The boundary of the commands: toysup's errors become one `Error:` line and an exit code."""

import functools
import os
from collections.abc import Callable
from typing import NoReturn, ParamSpec

import click

from toysup.errors import ToysupError
from toysup.storage import read_timeout

INTERRUPTED_EXIT = 130
MAX_LINE = 2000
_NO_CACHE = (
    "compiled code can be kept neither beside toysup nor in the home folder; "
    "set NUMBA_CACHE_DIR to a folder that can be written"
)
P = ParamSpec("P")


class CommandError(click.ClickException):
    """One line on stderr, and an exit code of its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}...")
        setattr(self, "exit_code", exit_code)  # noqa: B010 — click declares it for the class, and reads the instance's


def end_process(reason: str) -> NoReturn:
    """End this process at once with its line; files are written whole, to a temporary name, so none is half done."""
    click.echo(f"Error: {reason}", err=True)
    os._exit(ToysupError.exit_code)


def with_error_line(command: Callable[P, None], *, interrupted: str = "Interrupted.") -> Callable[P, None]:
    """`command`, ending with one line and an exit code where it raises a ToysupError or is interrupted."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with read_timeout.ending(end_process):
                command(*args, **kwargs)
        except ToysupError as error:
            raise CommandError(str(error), error.exit_code) from None
        except OSError as error:
            # A file system may fail at any time and place.
            reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
            raise CommandError(reason, ToysupError.exit_code) from None
        except MemoryError:
            raise CommandError("out of memory; ask for fewer seeds or samples at once", ToysupError.exit_code) from None
        except RuntimeError as error:
            # numba's, where neither the installation nor a home folder can be written.
            if not str(error).startswith("cannot cache function"):
                raise
            raise CommandError(_NO_CACHE, ToysupError.exit_code) from None
        except KeyboardInterrupt:
            click.echo(interrupted, err=True)
            raise SystemExit(INTERRUPTED_EXIT) from None

    return run
