"""The reference engine: every instance of a condition in one batched computation, in torch, on CPU or CUDA.

On CUDA a step is recorded once as a CUDA graph, and a full-sized batch is then one launch (`toysup.captured`); a
shorter last batch of an epoch is launched operation by operation. What a recorded step computes is tested on the CPU,
where its operations are recorded and replayed; on a GPU it has not been run or measured yet.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from threading import Event

import numpy as np
import torch
from torch import Tensor

from toysup.activations import activation
from toysup.captured import repeated
from toysup.errors import UsageError
from toysup.instances import Instances, Progress, Snapshot
from toysup.models import ModelSpec, architecture
from toysup.optimizers import Optimizer
from toysup.sampling import context_inputs, output_importance, targets
from toysup.torch_sampling import Sampler

# Reading a loss waits for the device, so progress is told only now and then.
STEPS_PER_REPORT = 50


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
    # The gradient of L with respect to y is known, so autograd starts there.
    gradients = torch.autograd.grad(
        y, list(leaves.values()), weighted.mul_(2 / x.shape[1]), allow_unused=True, materialize_grads=True
    )
    return loss, dict(zip(leaves, gradients, strict=True))


def outputs(model: ModelSpec, parameters: dict[str, Tensor], x: Tensor, context: Tensor) -> Tensor:
    """y (instance, row, output) of the models with these parameters, each with the instances along its first axis."""
    # A vector gets an axis for the rows, so that a forward pass may add it to them.
    rows = {name: value[:, None] if value.ndim == 2 else value for name, value in parameters.items()}
    _, before = architecture(model.architecture).forward(model, rows, x, context)
    return activation(model.activation)(before)


def train(instances: Instances, *, device: str = "cpu", progress: Progress | None = None) -> Iterator[Snapshot]:
    """Train `instances` and yield their snapshots, the initial state first; float32, on `device`.

    On the CPU each core trains some of the instances: threads within a small product would mostly wait for another.
    """
    place = torch_device(device)
    count = min(os.cpu_count() or 1, len(instances)) if place.type == "cpu" else 1
    ends = np.linspace(0, len(instances), count + 1).round().astype(int).tolist()
    parts = [instances.part(slice(start, stop)) for start, stop in pairwise(ends)]
    stopped = Event()
    running = [_train(part, place, progress if part is parts[0] else None, stopped) for part in parts]
    with ThreadPoolExecutor(count) as pool:
        try:
            for _ in instances.recorded_steps:
                with _one_thread_each(place):
                    snapshots = list(pool.map(next, running))
                yield _joined(snapshots)
        finally:
            stopped.set()


@contextmanager
def _one_thread_each(place: torch.device) -> Iterator[None]:
    before = torch.get_num_threads()
    if place.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Step:
    """A step of training, to be taken again and again: all that it reads or writes are tensors on one device.

    They are allocated once and changed in place, the number of the step among them, and nothing is asked of the host.
    So whatever a step launches may be recorded once and launched again.
    """

    def __init__(self, instances: Instances, device: torch.device) -> None:
        self.model, self.regime = instances.model, instances.regime
        self.parameters = {name: torch.tensor(value, device=device) for name, value in instances.parameters.items()}
        weights = output_importance(self.regime.target, instances.importance)
        self.importance = torch.tensor(weights, dtype=torch.float32, device=device)
        self.sampler, self.optimizer = Sampler(instances, device), Optimizer(instances, self.parameters)
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        self.total = torch.zeros(len(instances), dtype=torch.float64, device=device)
        self.diverged = torch.full((len(instances),), -1, device=device)

    @torch.no_grad()
    def __call__(self, rows: int) -> None:
        """Train on a batch of so many rows; `sampler.prepare` comes before."""
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

    def snapshot(self, number: int, train_loss: Tensor) -> Snapshot:
        """A copy of where the instances are."""
        return Snapshot(
            step=number,
            parameters={name: value.cpu().numpy().copy() for name, value in self.parameters.items()},
            train_loss=train_loss.cpu().numpy(),
            diverged_at=self.diverged.cpu().numpy().copy(),
        )


def _train(instances: Instances, place: torch.device, progress: Progress | None, stopped: Event) -> Iterator[Snapshot]:
    training, step, count = instances.training, Step(instances, place), 0
    full = training.rows(0)
    full_step = repeated(partial(step, full), place)
    yield step.snapshot(0, step.total * np.nan)
    recorded = set(instances.recorded_steps)
    for done in range(training.n_steps):
        if stopped.is_set():
            return
        step.sampler.prepare(done)
        rows = training.rows(done)
        full_step() if rows == full else step(rows)
        count += rows
        if progress is not None and (done + 1) % STEPS_PER_REPORT == 0:
            progress(done + 1, float(step.total.mean()) / count)
        if done + 1 in recorded:
            yield step.snapshot(done + 1, step.total / count)
            step.total.zero_()
            count = 0


def _joined(snapshots: Sequence[Snapshot]) -> Snapshot:
    """The snapshots of all parts at one step as one."""
    return Snapshot(
        step=snapshots[0].step,
        parameters={
            name: np.concatenate([part.parameters[name] for part in snapshots]) for name in snapshots[0].parameters
        },
        train_loss=np.concatenate([part.train_loss for part in snapshots]),
        diverged_at=np.concatenate([part.diverged_at for part in snapshots]),
    )


def torch_device(name: str) -> torch.device:
    """The device of that name; UsageError where it is not there."""
    known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in [*known, *(["cuda"] if len(known) > 1 else [])]:
        raise UsageError(f"device {name!r} is not there; available: {', '.join(known)}")
    return torch.device(name)
