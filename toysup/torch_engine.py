"""The reference engine: every instance of a condition in one batched computation, in torch, on CPU or CUDA."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from threading import Event

import numpy as np
import torch
from torch import Tensor

from toysup.activations import activation
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


@torch.no_grad()
def _train(instances: Instances, place: torch.device, progress: Progress | None, stopped: Event) -> Iterator[Snapshot]:
    model, regime = instances.model, instances.regime
    parameters = {name: torch.tensor(value, device=place) for name, value in instances.parameters.items()}
    weights = output_importance(regime.target, instances.importance)
    importance = torch.tensor(weights, dtype=torch.float32, device=place)
    sampler, optimizer = Sampler(instances, place), Optimizer(instances, parameters)
    total, count = torch.zeros(len(instances), dtype=torch.float64, device=place), 0
    diverged = torch.full((len(instances),), -1, device=place)
    yield _snapshot(0, parameters, total * np.nan, diverged)
    recorded = set(instances.recorded_steps)
    for step in range(instances.training.n_steps):
        if stopped.is_set():
            return
        x, context = sampler.batch(step)
        shown = context_inputs(regime.context_input, context, len(regime.contexts), torch)
        target = targets(regime.target, x, context, len(regime.contexts), torch)
        loss, gradients = loss_and_gradients(model, parameters, x, shown, target, importance[sampler.rows, context])
        optimizer.step(step, gradients)
        diverged = torch.where((diverged < 0) & ~loss.isfinite(), step + 1, diverged)
        total += loss * x.shape[1]
        count += x.shape[1]
        if progress is not None and (step + 1) % STEPS_PER_REPORT == 0:
            progress(step + 1, float(total.mean()) / count)
        if step + 1 in recorded:
            yield _snapshot(step + 1, parameters, total / count, diverged)
            total, count = torch.zeros_like(total), 0


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


def _snapshot(step: int, parameters: dict[str, Tensor], train_loss: Tensor, diverged: Tensor) -> Snapshot:
    copies = {name: value.cpu().numpy().copy() for name, value in parameters.items()}
    return Snapshot(
        step=step, parameters=copies, train_loss=train_loss.cpu().numpy(), diverged_at=diverged.cpu().numpy()
    )
