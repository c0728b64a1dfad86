"""What the kernel is given: the state that it advances, what is drawn, and where batches come from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.engines.instances import Instances
from toysup.sampling.samples import NumpyArray


class State(NamedTuple):
    """Parameters and the optimiser's moments, advanced in place: W (I, m, n), b (I, n), float32 or float64."""

    W: NumpyArray
    b: NumpyArray
    first_W: NumpyArray
    first_b: NumpyArray
    second_W: NumpyArray
    second_b: NumpyArray


class Tables(NamedTuple):
    """What each instance draws, and what its errors weigh, as `toysup.sampling` defines it.

    A feature whose word is below its threshold has the value word · scale + offset, any other 0. `seed` (I,) uint64;
    `context_threshold` (I, C−1) and `threshold` (I, C, n) uint32; `scale` (I, C, n) and `offset` (I,) float32;
    `importance` (I, C, n) in the dtype of the state.
    """

    seed: NumpyArray
    context_threshold: NumpyArray
    threshold: NumpyArray
    scale: NumpyArray
    offset: NumpyArray
    importance: NumpyArray


class Kept(NamedTuple):
    """What is kept on the way: copies of W (I, K, m, n) and b (I, K, n) as they are after each of `steps` (K,) int64.

    `loss` (I, K) is the summed loss of all samples since the step before, or since the start.
    """

    steps: NumpyArray
    W: NumpyArray
    b: NumpyArray
    loss: npt.NDArray[np.float64]


class Batches(NamedTuple):
    """Where batches come from: drawn (`injected` is false), or given as x (I, steps, B, n), context (I, steps, B).

    Drawn batches are those of an infinite stream where `dataset_size` is 0, else of a dataset.

    Training draws all batches; given ones serve the tests, which compare the kernel on them step by step with NumPy and
    torch. A sample of a given batch is its place in the batch (`kernel.advance`), its values are copied and not drawn
    (`gradient.gradient`), and any feature may be active in any context (`buffers.plan`).
    """

    injected: bool
    size: int
    dataset_size: int
    x: NumpyArray
    context: NumpyArray


def new_state(W: NumpyArray, b: NumpyArray) -> State:
    """A state that starts from copies of `W` (I, m, n) and `b` (I, n), with zero moments."""
    W, b = np.array(W, order="C"), np.array(b, W.dtype, order="C")
    return State(W, b, np.zeros_like(W), np.zeros_like(b), np.zeros_like(W), np.zeros_like(b))


def room_for(state: State, steps: Sequence[int]) -> Kept:
    """Room for copies of `state` after each of these steps."""
    (count, m, n), length = state.W.shape, len(steps)
    W, b = np.empty((count, length, m, n), state.W.dtype), np.empty((count, length, n), state.W.dtype)
    return Kept(np.array(steps, np.int64), W, b, np.zeros((count, length)))


def drawn(size: int, dataset_size: int, dtype: npt.DTypeLike) -> Batches:
    """Batches of `size` samples, of a dataset or (0) of an infinite stream."""
    return Batches(False, size, dataset_size, np.empty((1, 1, 1, 1), dtype), np.empty((1, 1, 1), np.int64))


def given(x: NumpyArray, context: NumpyArray) -> Batches:
    """The batches x (I, steps, B, n), in the dtype of the state, with the contexts (I, steps, B)."""
    return Batches(True, x.shape[2], 0, np.ascontiguousarray(x), np.ascontiguousarray(context, np.int64))


def tables_of(instances: Instances, dtype: type[np.floating] = np.float32) -> Tables:
    """The tables of `instances`, for parameters of `dtype`."""
    law = instances.law
    return Tables(
        seed=instances.seeds.astype(np.uint64),
        context_threshold=law.context_threshold.astype(np.uint32),
        threshold=law.threshold.astype(np.uint32),
        scale=law.scale,
        offset=np.full(len(instances), law.low, np.float32),
        importance=instances.importance.astype(dtype),
    )
