"""Reading that does not end: a damaged file can keep HDF5 busy for ever, inside of C, where no exception gets through.

So a command ends itself, with its line, where one read has kept the processor busy far longer than any file takes.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

# Of the processor: a file on a slow disk may take as long as it wants. A piece of one takes less than a second.
SECONDS = 10.0
_SECONDS_BETWEEN_LOOKS = 0.5
# Whether this process is a command's, and may be ended.
_may_end = False


@contextmanager
def of_a_command() -> Iterator[None]:
    """Let reading that does not end, end the process, as long as the context lasts."""
    global _may_end
    before, _may_end = _may_end, True
    try:
        yield
    finally:
        _may_end = before


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Where one file is opened or read; without effect outside of a command, or where threads have no clocks."""
    if not _may_end or not hasattr(time, "pthread_getcpuclockid"):
        yield
        return
    clock, done = time.pthread_getcpuclockid(threading.get_ident()), threading.Event()
    latest = time.clock_gettime(clock) + SECONDS

    def watch() -> None:
        while not done.wait(_SECONDS_BETWEEN_LOOKS):
            if time.clock_gettime(clock) > latest:
                end(f"{path}: is damaged: reading it does not end")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def end(reason: str) -> None:
    """Nothing that is written is half done here: files are written whole, to a temporary name."""
    click.echo(f"Error: {reason}", err=True)
    os._exit(1)
