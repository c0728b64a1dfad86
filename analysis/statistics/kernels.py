"""Applying a kernel to many models a block at a time, so that what it computes on the way stays in a core's cache."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from toysup.analysis.statistics.arrays import AnyArray, ModelArray

# Values of a block's largest arrays: ½ MiB of float32. Smaller blocks cost more in calls than caches save.
_VALUES = 2**17


def in_blocks(
    kernel: Callable[[ModelArray, ModelArray], object], models: ModelArray, out: tuple[int, ...], *, values: int
) -> ModelArray:
    """An array (..., *out) from `models` (..., hidden, feature), in their dtype.

    `kernel` fills its second argument (model, *out) from its first (model, hidden, feature), of any number of models,
    and makes arrays of as many `values` a model on the way.
    """
    flat = models.reshape(-1, *models.shape[-2:])
    results = np.empty((len(flat), *out), dtype=models.dtype)
    size = max(1, _VALUES // max(1, values))

    def fill(start: int) -> None:
        kernel(flat[start : start + size], results[start : start + size])

    # NumPy lets go of the interpreter while it computes, so that blocks run side by side.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(0, len(flat), size)):
            pass
    return results.reshape(*models.shape[:-2], *out)


def never_alone(models: AnyArray) -> AnyArray:
    """The models along the first axis, one that is alone twice.

    NumPy and torch add up the numbers of one model in another order than those of several, and round them otherwise.
    What a model comes to is not to depend on what it is computed with.
    """
    return np.repeat(models, 2, axis=0) if len(models) == 1 else models
