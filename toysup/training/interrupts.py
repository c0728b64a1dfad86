"""Ctrl-C where other processes are at work: a terminal sends it to all of them, and one has to answer it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def held_back() -> Iterator[None]:
    """Block Ctrl-C for as long as the context lasts; one that comes arrives when it ends.

    Processes and threads that start in it never see it: each process would show a traceback.
    """
    # The tracker of multiprocessing would let it through, where it is first started in here.
    resource_tracker.ensure_running()
    with _masked(signal.SIG_BLOCK):
        yield


@contextmanager
def let_through() -> Iterator[None]:
    """Within what holds Ctrl-C back, have it arrive again."""
    with _masked(signal.SIG_UNBLOCK):
        yield


@contextmanager
def _masked(how: signal.Sigmasks) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # What was held back is raised here.
        signal.pthread_sigmask(how, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
