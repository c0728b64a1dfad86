"""Applying a kernel to many models a block at a time, so that what it computes on the way stays in a core's cache."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
# Values of the largest array on the way: 4 MiB of float32. Much smaller blocks cost more in calls than caches save.
_VALUES = 2**20


def in_blocks(kernel: Callable[[Array], Array], models: Array, *, values_per_model: int) -> Array:
    """`kernel` over the leading dims of `models` (..., hidden, feature); it maps (model, ...) to (model, ...)."""
    flat = models.reshape(-1, *models.shape[-2:])
    size = max(1, _VALUES // max(1, values_per_model))
    first = kernel(flat[:size])
    out = np.empty((len(flat), *first.shape[1:]), dtype=first.dtype)
    out[:size] = first

    def fill(start: int) -> None:
        out[start : start + size] = kernel(flat[start : start + size])

    # NumPy lets go of the interpreter while it computes, so that blocks run side by side.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(size, len(flat), size)):
            pass
    return out.reshape(*models.shape[:-2], *first.shape[1:])
