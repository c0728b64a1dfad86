"""The reference engine: all instances of a condition in one batched computation, in torch, on the CPU or CUDA.

On CUDA a step is recorded once as a CUDA graph, and a batch of full size is then one launch (`cuda_graphs`). A smaller
last batch of an epoch is launched operation by operation. The tests record and replay the operations of a step on the
CPU; the graph has not been run or measured on a GPU yet.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from threading import Event

import numpy as np
import torch
from torch import Tensor

from toysup.engines.instances import UNATTENDED, Control, EngineState, Instances, Progress, Snapshot
from toysup.engines.torch_engine.cuda_graphs import repeated
from toysup.engines.torch_engine.optimizers import Optimizer
from toysup.engines.torch_engine.sampler import Sampler
from toysup.engines.torch_engine.threads import one_thread_each
from toysup.errors import UsageError
from toysup.experiments.activations import activation
from toysup.experiments.model import ModelSpec, architecture
from toysup.sampling.samples import context_inputs, output_importance, targets

# Reading a loss waits for the device, so progress is reported only after this many steps.
STEPS_PER_REPORT = 50
# Training can be resumed, and so stopped, at a pause, where all parts of the instances have taken as many steps.
STEPS_PER_PAUSE = 100


def loss_and_gradients(
    model: ModelSpec, parameters: dict[str, Tensor], x: Tensor, context: Tensor, target: Tensor, importance: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch and its gradients, for many models at once.

    With x (instance, row, feature), context (instance, row, context_input), target and importance (instance, row,
    output) the loss is L = mean over rows of Σ_i I_i (y_i − target_i)²  (instance,).
    """
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        y = outputs(model, leaves, x, context)
    error = y.detach() - target
    weighted = importance * error
    loss = (weighted * error).sum(dim=(1, 2)) / x.shape[1]
    # The gradient of L with respect to y has a closed form, so autograd starts from y.
    gradients = torch.autograd.grad(
        y, list(leaves.values()), weighted.mul_(2 / x.shape[1]), allow_unused=True, materialize_grads=True
    )
    return loss, dict(zip(leaves, gradients, strict=True))


def outputs(model: ModelSpec, parameters: dict[str, Tensor], x: Tensor, context: Tensor) -> Tensor:
    """Outputs y (instance, row, output) of the models with these parameters, whose first axis is the instance."""
    # A vector gets an axis for the rows, so that a forward pass can add it to each row.
    rows = {name: value[:, None] if value.ndim == 2 else value for name, value in parameters.items()}
    _, before = architecture(model.architecture).forward(model, rows, x, context)
    return activation(model.activation)(before)


def train(instances: Instances, control: Control = UNATTENDED, *, device: str = "cpu") -> Iterator[Snapshot]:
    """Train `instances` in float32 on `device`, and yield their snapshots.

    The first snapshot is the initial state, or, if `control` resumes a state, the next one after it. On the CPU each
    thread trains some of the instances, because threads within a small product would mostly wait for each other.
    """
    place = torch_device(device)
    count = min(control.threads or os.cpu_count() or 1, len(instances)) if place.type == "cpu" else 1
    ends = np.linspace(0, len(instances), count + 1).round().astype(int).tolist()
    parts = [slice(start, stop) for start, stop in pairwise(ends)]
    steps = [Step(instances.part(own), place) for own in parts]
    if control.resume is None:
        yield _joined([step.snapshot() for step in steps])
    else:
        for step, own in zip(steps, parts, strict=True):
            step.restore(control.resume, own)
    first, recorded, stopped = steps[0].taken, set(instances.recorded_steps), Event()
    every = sorted({*recorded, *range(0, instances.training.n_steps, STEPS_PER_PAUSE)})
    pauses = [step for step in every if step > first]
    running = [_train(step, pauses, control.progress if step is steps[0] else None, stopped) for step in steps]
    with ThreadPoolExecutor(count) as pool:
        try:
            for pause in pauses:
                with one_thread_each() if place.type == "cpu" else nullcontext():
                    list(pool.map(next, running))
                if pause in recorded:
                    yield _joined([step.snapshot() for step in steps])
                if control.offer is not None:
                    control.offer(lambda: _joined_states([step.state() for step in steps]))
        finally:
            stopped.set()


class Step:
    """A training step, which can be repeated as a recorded graph.

    All tensors that it reads or writes lie on one device, the number of the step among them. They are allocated once
    and changed in place, and nothing is read back to the host.
    """

    def __init__(self, instances: Instances, device: torch.device) -> None:
        self.model, self.regime, self.training = instances.model, instances.regime, instances.training
        self.parameters = {name: torch.tensor(value, device=device) for name, value in instances.parameters.items()}
        weights = output_importance(self.regime.target, instances.importance)
        self.importance = torch.tensor(weights, dtype=torch.float32, device=device)
        self.sampler, self.optimizer = Sampler(instances, device), Optimizer(instances, self.parameters)
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        self.total = torch.zeros(len(instances), dtype=torch.float64, device=device)
        self.diverged = torch.full((len(instances),), -1, device=device)
        # Kept on the host: the steps taken, and the samples seen since the last snapshot.
        self.taken = self.seen = 0

    @torch.no_grad()
    def __call__(self, rows: int) -> None:
        """Train on a batch of `rows` samples; call `sampler.prepare` before."""
        n_contexts = len(self.regime.contexts)
        x, context = self.sampler.batch(self.number, rows)
        shown = context_inputs(self.regime.context_input, context, n_contexts, torch)
        target = targets(self.regime.target, x, context, n_contexts, torch)
        importance = self.importance[self.sampler.rows, context]
        loss, gradients = loss_and_gradients(self.model, self.parameters, x, shown, target, importance)
        self.optimizer.step(self.number, gradients)
        self.number.add_(1)
        self.diverged.copy_(torch.where((self.diverged < 0) & ~loss.isfinite(), self.number, self.diverged))
        self.total.add_(loss * rows)

    def snapshot(self) -> Snapshot:
        """The present snapshot; the training loss of the next snapshot is counted from here."""
        train_loss = (self.total / self.seen if self.seen else self.total * np.nan).cpu().numpy()
        self.total.zero_()
        self.seen = 0
        return Snapshot(
            step=self.taken,
            parameters={name: value.cpu().numpy().copy() for name, value in self.parameters.items()},
            train_loss=train_loss,
            diverged_at=self.diverged.cpu().numpy().copy(),
        )

    def state(self) -> dict[str, np.ndarray]:
        """A copy of all arrays that steps change, from which `restore` continues."""
        values = {name: value.cpu().numpy().copy() for name, value in self._changing().items()}
        return values | {"step": np.array(self.taken), "seen": np.array(self.seen)}

    def restore(self, state: EngineState, own: slice) -> None:
        """Set all arrays to those of a state, in place; `own` is the position of these instances in it."""
        for name, value in self._changing().items():
            value.copy_(torch.from_numpy(state[name][own]))
        self.taken, self.seen = int(state["step"]), int(state["seen"])
        self.number.fill_(self.taken)

    def _changing(self) -> dict[str, Tensor]:
        """The tensors that steps change; the first axis of each is the instance."""
        moments = {"first": self.optimizer.first, "second": self.optimizer.second, "parameter": self.parameters}
        named = {f"{kind}.{name}": value for kind, own in moments.items() for name, value in own.items()}
        return {**named, "total": self.total, "diverged": self.diverged}


def _train(step: Step, pauses: Sequence[int], progress: Progress | None, stopped: Event) -> Iterator[None]:
    """Take steps, and yield at each of the pauses."""
    training = step.training
    full = training.rows(0)
    full_step = repeated(partial(step, full), step.number.device)
    for pause in pauses:
        for done in range(step.taken, pause):
            if stopped.is_set():
                return
            step.sampler.prepare(done)
            rows = training.rows(done)
            full_step() if rows == full else step(rows)
            step.taken += 1
            step.seen += rows
            if progress is not None and step.taken % STEPS_PER_REPORT == 0:
                progress(step.taken, float(step.total[step.diverged < 0].mean()) / step.seen)
        yield


def _joined_states(states: Sequence[dict[str, np.ndarray]]) -> EngineState:
    """One state from the states of all parts at one step."""
    return {
        name: np.concatenate([state[name] for state in states]) if value.ndim else value
        for name, value in states[0].items()
    }


def _joined(snapshots: Sequence[Snapshot]) -> Snapshot:
    """One snapshot from the snapshots of all parts at one step."""
    return Snapshot(
        step=snapshots[0].step,
        parameters={
            name: np.concatenate([part.parameters[name] for part in snapshots]) for name in snapshots[0].parameters
        },
        train_loss=np.concatenate([part.train_loss for part in snapshots]),
        diverged_at=np.concatenate([part.diverged_at for part in snapshots]),
    )


def torch_device(name: str) -> torch.device:
    """The device of that name; UsageError if there is no such device."""
    known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in [*known, *(["cuda"] if len(known) > 1 else [])]:
        raise UsageError(f"device {name!r} is not there; available: {', '.join(known)}")
    return torch.device(name)
