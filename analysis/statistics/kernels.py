"""Apply a kernel to many models, block by block, so that its intermediate arrays stay in a core's cache."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from toysup.analysis.statistics.arrays import AnyArray, ModelArray

# Values in the largest arrays of a block: ½ MiB of float32. Smaller blocks cost more in calls than the cache saves.
_VALUES = 2**17


def in_blocks(
    kernel: Callable[[ModelArray, ModelArray], object], models: ModelArray, out: tuple[int, ...], *, values: int
) -> ModelArray:
    """Apply `kernel` to `models` (..., hidden, feature): an array (..., *out) in the dtype of the models.

    `kernel` fills its second argument (model, *out) from its first (model, hidden, feature), for any number of models.
    `values` is the size of its largest intermediate array, per model.
    """
    flat = models.reshape(-1, *models.shape[-2:])
    results = np.empty((len(flat), *out), dtype=models.dtype)
    size = max(1, _VALUES // max(1, values))

    def fill(start: int) -> None:
        kernel(flat[start : start + size], results[start : start + size])

    # NumPy releases the interpreter lock while it computes, so threads compute blocks in parallel.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(0, len(flat), size)):
            pass
    return results.reshape(*models.shape[:-2], *out)


def never_alone(models: AnyArray) -> AnyArray:
    """The models along the first axis; if there is only one model, that model twice.

    NumPy and torch sum in another order for one model than for several, so the results differ by rounding. The result
    for a model must not depend on which other models are computed with it.
    """
    return np.repeat(models, 2, axis=0) if len(models) == 1 else models
