"""One torch thread per operation, for threads of which each trains its own models.

torch's threads within a small product would mostly wait for each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
# Number of open contexts, and torch's number of threads before the first.
_open, _usual = 0, 1


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Limit torch to one thread per operation while any such context lasts; yields torch's usual number of threads."""
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
