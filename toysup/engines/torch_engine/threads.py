"""Threads of the CPU, where each works on models of its own: threads within a small product mostly wait for others."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
# How many contexts there are, and what torch had before the first.
_open, _usual = 0, 1


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let torch take one thread for each operation while any such context lasts; how many it had otherwise."""
    global _open, _usual
    with _lock:
        if _open == 0:
            _usual = torch.get_num_threads()
        _open += 1
        torch.set_num_threads(1)
    try:
        yield _usual
    finally:
        with _lock:
            _open -= 1
            if _open == 0:
                torch.set_num_threads(_usual)
