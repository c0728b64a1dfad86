"""Ctrl-C with worker processes: a terminal sends it to all processes, but only the main one should handle it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back within the context; it is delivered when the context ends.

    Processes and threads that start within the context never receive Ctrl-C, which would make each process print a
    traceback.
    """
    # multiprocessing's resource tracker unblocks Ctrl-C when it starts, so it is started before.
    resource_tracker.ensure_running()
    with _masked(signal.SIG_BLOCK):
        yield


@contextmanager
def let_through() -> Iterator[None]:
    """Within `held_back`, let Ctrl-C through again."""
    with _masked(signal.SIG_UNBLOCK):
        yield


@contextmanager
def _masked(how: signal.Sigmasks) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # A Ctrl-C that was held back is raised here.
        signal.pthread_sigmask(how, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
