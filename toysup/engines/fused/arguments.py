"""The arguments of the kernel: the state that it advances, the tables of the regime, and the source of batches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.engines.compiled_samples.survival_tables import SparseTables, sparse_tables
from toysup.engines.instances import Instances
from toysup.sampling.random_words import WORD_VALUES
from toysup.sampling.samples import GroupLaw, NumpyArray, SampleLaw


class State(NamedTuple):
    """Parameters W (I, m, n) and b (I, n), and the optimiser's moments, all advanced in place; float32 or float64."""

    W: NumpyArray
    b: NumpyArray
    first_W: NumpyArray
    first_b: NumpyArray
    second_W: NumpyArray
    second_b: NumpyArray


class GroupTables(NamedTuple):
    """The law of features in groups, as `GroupLaw` in `toysup.sampling.samples` defines it.

    `of` (I, n) is int64, `copies` (I, n) uint64; `lower` and `upper` (I, C, n) are uint32. `scale` (I,) float32 is the
    factor on the word of an active feature that follows its group.
    """

    of: NumpyArray
    copies: NumpyArray
    lower: NumpyArray
    upper: NumpyArray
    scale: NumpyArray


class Tables(NamedTuple):
    """The law of each instance's samples, as `toysup.sampling` defines it, and the weights of its errors.

    A feature whose word is below its threshold has the value word · scale + offset; any other feature is 0. `seed` is
    (I,) uint64; `context_threshold` (I, C−1) and `threshold` (I, C, n) are uint32; `scale` (I, C, n) and `offset` (I,)
    are float32; `importance` (I, C, n) has the dtype of the state. `groups` is None if no feature is in a group.
    `sparse` is None if no instance has the definition of samples for sparse regimes. The kernel is compiled apart for
    these cases.
    """

    seed: NumpyArray
    context_threshold: NumpyArray
    threshold: NumpyArray
    scale: NumpyArray
    offset: NumpyArray
    importance: NumpyArray
    groups: GroupTables | None = None
    sparse: SparseTables | None = None


class Kept(NamedTuple):
    """Copies of W (I, K, m, n) and b (I, K, n) after each of `steps` (K,) int64.

    `loss` (I, K) is the summed loss of all samples since the previous entry of `steps`, or since the start.
    """

    steps: NumpyArray
    W: NumpyArray
    b: NumpyArray
    loss: npt.NDArray[np.float64]


class Batches(NamedTuple):
    """The source of batches: drawn (`injected` is false), or given as x (I, steps, B, n) and context (I, steps, B).

    Drawn batches come from an infinite stream if `dataset_size` is 0, else from a dataset.

    Training draws all batches. Given batches serve the tests, which compare the kernel step by step with NumPy and
    torch. The index of a sample in a given batch is its place there (`kernel.advance`), its values are copied instead
    of drawn (`gradient.gradient`), and any feature may be active in any context (`buffers.plan`).
    """

    injected: bool
    size: int
    dataset_size: int
    x: NumpyArray
    context: NumpyArray


def new_state(W: NumpyArray, b: NumpyArray) -> State:
    """A state with copies of `W` (I, m, n) and `b` (I, n), and zero moments."""
    W, b = np.array(W, order="C"), np.array(b, W.dtype, order="C")
    return State(W, b, np.zeros_like(W), np.zeros_like(b), np.zeros_like(W), np.zeros_like(b))


def room_for(state: State, steps: Sequence[int]) -> Kept:
    """Empty arrays for copies of `state` after each of these steps."""
    (count, m, n), length = state.W.shape, len(steps)
    W, b = np.empty((count, length, m, n), state.W.dtype), np.empty((count, length, n), state.W.dtype)
    return Kept(np.array(steps, np.int64), W, b, np.zeros((count, length)))


def drawn(size: int, dataset_size: int, dtype: npt.DTypeLike) -> Batches:
    """Drawn batches of `size` samples, from a dataset of `dataset_size` samples or (0) an infinite stream."""
    return Batches(False, size, dataset_size, np.empty((1, 1, 1, 1), dtype), np.empty((1, 1, 1), np.int64))


def given(x: NumpyArray, context: NumpyArray) -> Batches:
    """Given batches: x (I, steps, B, n) in the dtype of the state, and the contexts (I, steps, B)."""
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
        groups=None if law.group is None else _group_tables(law, law.group),
        sparse=sparse_tables(law),
    )


def _group_tables(law: SampleLaw, group: GroupLaw) -> GroupTables:
    count = len(law.threshold)
    return GroupTables(
        of=np.repeat(np.asarray(group.of)[None], count, axis=0),
        copies=group.copies.astype(np.uint64),
        lower=group.lower.astype(np.uint32),
        upper=group.upper.astype(np.uint32),
        scale=np.full(count, law.width / WORD_VALUES, np.float32),
    )
