"""The fused engine as a function `train`, the interface of all engines."""

import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

from toysup.engines.compiled_samples.survival_tables import SparseTables
from toysup.engines.fused.arguments import GroupTables, Kept, State, Tables, drawn, new_state, room_for, tables_of
from toysup.engines.fused.formulation import LISTS, LISTS_IN_TILES, TILES, form_of, forms_of
from toysup.engines.fused.kernel import advance
from toysup.engines.fused.update import OPTIMIZERS, Optimizer
from toysup.engines.instances import UNATTENDED, Control, EngineState, Instances, Snapshot
from toysup.experiments.experiment import Condition
from toysup.experiments.regime import FloatArray
from toysup.sampling.samples import IntArray, NumpyArray

Arguments = TypeVar("Arguments", State, Tables, GroupTables, SparseTables, Optimizer, Kept)

# Multiply-adds and similar operations in one call of the kernel: about a second. Progress is reported, and an interrupt
# takes effect, between two calls.
_WORK_PER_CALL = 6e10
# Cost of drawing a value and its error, in multiply-adds. The plan of blocks has its own number.
_WORK_PER_VALUE = 40
# A call shuffles the order of the epoch anew for each instance. So it takes a whole epoch or at least this many steps,
# and with a large dataset enough steps that the shuffle is a tenth of the call.
_STEPS_PER_ORDER = 500
# Cost of moving an index in a shuffle, in multiply-adds.
_WORK_PER_INDEX = 200
# Most bytes of the snapshots that one call keeps.
_KEPT_BYTES = 2**26


def train(
    instances: Instances, control: Control = UNATTENDED, *, device: str = "cpu", dtype: type[np.floating] = np.float32
) -> Iterator[Snapshot]:
    """Train `instances` and yield their snapshots.

    The first snapshot is the initial state, or, if `control` resumes a state, the next one after it. Each instance is
    trained by one thread. So a trajectory is the same to the bit whatever the other instances and the number of
    threads, and also after resuming from a state that was offered. `dtype` is the dtype of the parameters.
    """
    run, recorded = _Run(instances, control, dtype), set(instances.recorded_steps)
    if control.resume is None:
        yield run.snapshot(run.state.W, run.state.b)
    else:
        run.restore(control.resume)
    for leg in _legs(instances):
        if leg[-1] <= run.step:
            continue
        if control.offer is not None and run.step:
            control.offer(run.resumable)
        kept, found = run.advanced(leg)
        for k, stop in enumerate(leg):
            run.count(stop, kept.loss[:, k], found)
            if stop == leg[-1]:
                run.tell(stop)
            if stop in recorded:
                yield run.snapshot(kept.W[:, k], kept.b[:, k])


class _Run:
    """The state of the instances after `step` steps, and the loss of the samples since the last snapshot."""

    def __init__(self, instances: Instances, control: Control, dtype: type[np.floating]) -> None:
        self.instances, self.training, self.control = instances, instances.training, control
        self.state = new_state(instances.parameters["W"].astype(dtype), instances.parameters["b"].astype(dtype))
        self.tables, self.optimizer = tables_of(instances, dtype), optimizer_of(instances)
        self.forms = forms_of(instances)
        self.batches = drawn(self.training.batch_size, self.training.dataset_size or 0, dtype)
        self.total, self.diverged = np.zeros(len(instances)), np.full(len(instances), -1)
        self.step = self.seen = 0
        self.told = math.nan

    def advanced(self, leg: Sequence[int]) -> tuple[Kept, IntArray]:
        """Advance the state to the end of the leg. Returns the kept states, and the first step that diverged or −1."""
        kept, found = room_for(self.state, leg), np.full(len(self.instances), -1)
        for group in _groups(self.instances):
            _, found[group] = advance(
                _part(self.state, group),
                _part(self.tables, group),
                _part(self.optimizer, group),
                self.batches,
                self.step,
                leg[-1],
                kept=_part(kept, group),
                activation=self.instances.model.activation,
                forms=self.forms[group],
                threads=self.control.threads,
            )
            if group.stop < len(self.instances):
                self.tell(self.step + (leg[-1] - self.step) * group.stop // len(self.instances))
        return kept, found

    def count(self, stop: int, loss: FloatArray, found: IntArray) -> None:
        """Add the loss and the samples up to the step `stop`, and note the instances that diverged before it."""
        self.total += loss
        self.seen += self.training.samples(stop) - self.training.samples(self.step)
        self.step = stop
        self.diverged = np.where((self.diverged < 0) & (found >= 0) & (found < stop), found + 1, self.diverged)

    def snapshot(self, W: NumpyArray, b: NumpyArray) -> Snapshot:
        """These parameters as a snapshot; the training loss of the next snapshot is counted from here."""
        train_loss = self.total / self.seen if self.seen else self.total * np.nan
        self.total[:], self.seen = 0, 0
        parameters = {"W": W.astype(np.float32), "b": b.astype(np.float32)}
        return Snapshot(self.step, parameters, train_loss, self.diverged.copy())

    def resumable(self) -> EngineState:
        """All arrays that training changes, from which `restore` continues."""
        further = {"step": np.array(self.step), "seen": np.array(self.seen)}
        return {**self.state._asdict(), **further, "total": self.total, "diverged": self.diverged}

    def restore(self, state: EngineState) -> None:
        """Continue from a state that `resumable` returned."""
        self.state = State(*(state[name].copy() for name in State._fields))
        self.total, self.diverged = state["total"].astype(np.float64), state["diverged"].astype(np.int64)
        self.step, self.seen = int(state["step"]), int(state["seen"])

    def tell(self, step: int) -> None:
        """Report the mean loss of the instances that did not diverge; NaN before the first, or if all diverged."""
        if self.control.progress is None:
            return
        finite = self.diverged < 0
        if self.seen:
            self.told = float(np.mean(self.total[finite])) / self.seen if finite.any() else math.nan
        self.control.progress(step, self.told)


class Kernel(NamedTuple):
    """What loops are compiled apart for: groups or none, and the form; a part of them is that of the activation."""

    activation: str
    groups: bool = False
    form: int = TILES

    @property
    def name(self) -> str:
        """A few words for a person."""
        samples = {TILES: "", LISTS: " of sparse samples", LISTS_IN_TILES: " of sparse samples in small batches"}
        return f"training on {'groups' if self.groups else 'features'}{samples[self.form]}"


def kernels_of(condition: Condition) -> set[Kernel]:
    """The loops that train a condition; of a sweep, those of the corners."""
    model, rows = condition.model, condition.training.batch_size
    regimes = condition.corner_regimes()
    sparse = condition.training.draws == "sparse"
    return {
        Kernel(
            model.activation,
            bool(regime.group),
            form_of(regime, model.n_features, model.n_hidden, rows) if sparse and regime.is_sparse else TILES,
        )
        for regime in regimes
    }


def prepare(kernel: Kernel = Kernel("relu")) -> None:  # noqa: B008 — a tuple
    """Compile a loop, which takes seconds, or load it from the cache, which takes a fraction of one."""
    weights = np.zeros((1, 1, 1), np.float32)
    zeros = np.zeros((1, 1, 1))
    nothing = weights[0, 0]
    tables = Tables(
        seed=np.zeros(1, np.uint64),
        context_threshold=np.zeros((1, 0), np.uint32),
        threshold=zeros.astype(np.uint32),
        scale=weights,
        offset=nothing,
        importance=weights,
        groups=_one_feature_in_a_group() if kernel.groups else None,
        sparse=None if kernel.form == TILES else SparseTables(zeros + 0.5, nothing, nothing, np.ones(1, np.int64)),
    )
    zero = np.zeros(1)
    optimizer = Optimizer(OPTIMIZERS["sgd"], zero, zero, zero, zero, zero, zero, epsilon=1.0)
    advance(
        new_state(weights, weights[0]), tables, optimizer, drawn(1, 0, np.float32), 0, 1,
        activation=kernel.activation, forms=np.array([kernel.form]), threads=1,
    )  # fmt: skip


def compiling_process(kernel: Kernel) -> subprocess.Popen[bytes]:
    """A process that compiles a loop to the cache. numba compiles one function at a time in each process."""
    code = f"from {__name__} import Kernel, prepare; prepare({kernel!r})"
    # -P keeps the present folder, in which a module may have the name of another, out of the path.
    return subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _one_feature_in_a_group() -> GroupTables:
    ends = np.zeros((1, 1, 1), np.uint32)
    return GroupTables(np.zeros((1, 1), np.int64), np.zeros((1, 1), np.uint64), ends, ends, np.zeros(1, np.float32))


def optimizer_of(instances: Instances) -> Optimizer:
    """The optimiser of the training recipe of `instances`."""
    return Optimizer(
        kind=OPTIMIZERS[instances.training.optimizer],
        factor=instances.training.learning_rate_factor(),
        epsilon=instances.training.epsilon,
        **instances.hyperparameters,
    )


def _legs(instances: Instances) -> Iterator[list[int]]:
    """The steps after which states are kept, one list for each call of the kernel.

    These are the recorded steps, and further ones if recorded steps lie far apart. A call starts threads and shuffles
    the order of the epoch anew, so it covers as many snapshots as there is memory for.
    """
    stride = _stride(instances)
    most = max(1, _KEPT_BYTES // sum(part.nbytes for part in instances.parameters.values()))
    leg: list[int] = []
    start = 0
    for last, recorded in pairwise(instances.recorded_steps):
        for step in (*range(last + stride, recorded, stride), recorded):
            if leg and (step - start > stride or len(leg) == most):
                yield leg
                leg, start = [], leg[-1]
            leg.append(step)
    if leg:
        yield leg


def _stride(instances: Instances) -> int:
    """Steps of a call: enough to make the shuffle cheap, and more if the instances are few."""
    alone = int(_WORK_PER_CALL / _work_per_step(instances))
    shuffle = _WORK_PER_INDEX * (instances.training.dataset_size or 0)
    cheap = max(_STEPS_PER_ORDER, int(10 * shuffle / _work_per_step(instances)))
    return max(1, min(instances.training.steps_per_epoch or 1, cheap), alone // len(instances))


def _groups(instances: Instances) -> list[slice]:
    """The groups of instances that share a call, which bound the duration of a call."""
    size = max(16, int(_WORK_PER_CALL / _work_per_step(instances) / _stride(instances)))
    return [slice(first, min(first + size, len(instances))) for first in range(0, len(instances), size)]


def _work_per_step(instances: Instances) -> float:
    n, m = instances.model.n_features, instances.model.n_hidden
    return instances.training.batch_size * n * (min(2 * n, 5 * m) + _WORK_PER_VALUE)


def _part(arguments: Arguments, group: slice) -> Arguments:
    """The arguments of a group of instances, as views, so that the kernel changes the whole arrays."""
    own: dict[str, Any] = arguments._asdict()
    for name, value in own.items():
        if isinstance(value, GroupTables | SparseTables):
            # A type variable cannot be either of the two.
            part: Any = _part
            own[name] = part(value, group)
        elif value is not None and name not in ("kind", "factor", "epsilon", "steps"):
            own[name] = value[group]
    return type(arguments)(**own)
