"""A limit on the time of one read, because a damaged file can keep HDF5 busy for ever.

HDF5 is then inside of C code, which no exception interrupts. Only ending the process helps, and a library must not do
that. So the owner of the process, such as a command, decides how the process ends if one read has kept the processor
busy far longer than any valid file does.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Processor time of one read; time of waiting for a slow disk does not count. A chunk takes less than a second.
SECONDS = 10.0
_SECONDS_BETWEEN_LOOKS = 0.5
End = Callable[[str], None]
# The function that ends the process; None if no owner has set one.
_end: End | None = None


@contextmanager
def ending(end: End) -> Iterator[None]:
    """Within the context, call `end` with the reason, from another thread, if a read takes too long."""
    global _end
    before, _end = _end, end
    try:
        yield
    finally:
        _end = before


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Limit the time of opening or reading one file; no limit outside of `ending`, or if threads have no clocks."""
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
