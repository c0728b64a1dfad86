"""The errors of commands: an exception becomes one `Error:` line and an exit code."""

import functools
import os
from collections.abc import Callable
from typing import NoReturn, ParamSpec

import click

from toysup.errors import ToysupError
from toysup.storage import read_timeout

INTERRUPTED_EXIT = 130
MAX_LINE = 2000
P = ParamSpec("P")


class CommandError(click.ClickException):
    """An error that click prints as one line; it has its own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}...")
        setattr(self, "exit_code", exit_code)  # noqa: B010 — click declares it a class variable, but reads the instance's


def end_process(reason: str) -> NoReturn:
    """Print an error line and end this process at once. No file is left half-written: it is renamed when complete."""
    click.echo(f"Error: {reason}", err=True)
    os._exit(ToysupError.exit_code)


def with_error_line(command: Callable[P, None], *, interrupted: str = "Interrupted.") -> Callable[P, None]:
    """`command`, which ends with one line and an exit code if it raises a ToysupError or is interrupted."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with read_timeout.ending(end_process):
                command(*args, **kwargs)
        except ToysupError as error:
            raise CommandError(str(error), error.exit_code) from None
        except OSError as error:
            # A file system can fail during any operation.
            reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
            raise CommandError(reason, ToysupError.exit_code) from None
        except MemoryError:
            raise CommandError("out of memory; ask for fewer seeds or samples at once", ToysupError.exit_code) from None
        except KeyboardInterrupt as stop:
            # An interrupt of training says what it kept, and has the exit code of its signal.
            click.echo(str(stop) or interrupted, err=True)
            raise SystemExit(getattr(stop, "exit_code", INTERRUPTED_EXIT)) from None

    return run
