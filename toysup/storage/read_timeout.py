"""Reading that does not end: a damaged file can keep HDF5 busy for ever, inside of C, where no exception gets through.

Only ending the process helps then, which a library must not do. So whoever owns the process, as a command does, says
how it ends where one read has kept the processor busy far longer than any file takes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Of the processor: a file on a slow disk may take as long as it wants. A piece of one takes less than a second.
SECONDS = 10.0
_SECONDS_BETWEEN_LOOKS = 0.5
End = Callable[[str], None]
# Ends the process; None where nobody said how.
_end: End | None = None


@contextmanager
def ending(end: End) -> Iterator[None]:
    """Call `end` with the reason, in a thread of its own, where a read takes too long while the context lasts."""
    global _end
    before, _end = _end, end
    try:
        yield
    finally:
        _end = before


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Where one file is opened or read; without effect outside of `ending`, or where threads have no clocks."""
    end = _end
    if end is None or not hasattr(time, "pthread_getcpuclockid"):
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
