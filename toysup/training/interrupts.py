"""Signals that stop training.

The first Ctrl-C or SIGTERM stops at the next checkpoint. A terminal sends Ctrl-C to all processes, but only the main
one should handle it, so worker processes never receive it.
"""

import signal
import threading
from collections.abc import Callable, Iterator
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


class Interrupted(KeyboardInterrupt):
    """Training stopped because of Ctrl-C or SIGTERM; the message says what is kept."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Stop:
    """Whether a signal asked to stop: call it. `number` is that of the signal, None before."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None


@contextmanager
def stop_on_signals(told: Callable[[], None]) -> Iterator[Stop]:
    """Within the context, the first Ctrl-C or SIGTERM only sets the `Stop` and calls `told`; the next one interrupts.

    A signal that somebody else handles, or that is ignored, is left alone; so are all signals in other threads than the
    main one, where Python allows no handlers.
    """
    stop = Stop()

    def handle(number: int, frame: object) -> None:
        if stop():
            raise KeyboardInterrupt
        stop.number = number
        told()

    before = {}
    if threading.current_thread() is threading.main_thread():
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        before = {number: own for number, own in usual.items() if signal.getsignal(number) == own}
    try:
        for number in before:
            signal.signal(number, handle)
        yield stop
    finally:
        for number, own in before.items():
            signal.signal(number, own)
