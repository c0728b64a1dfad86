"""The reference engine: every instance of a condition in one batched computation, in torch, on CPU or CUDA."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from toysup import activations
from toysup.errors import UsageError
from toysup.instances import Instances, Progress, Snapshot
from toysup.optimizers import Optimizer
from toysup.torch_sampling import Sampler

# Reading a loss waits for the device, so progress is told only now and then.
STEPS_PER_REPORT = 50


def loss_and_gradients(
    parameters: dict[str, Tensor], x: Tensor, importance: Tensor, activation: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch and its gradients, for many tied models y = φ(WᵀW x + b) at once.

    With W (instance, hidden, feature), b (instance, feature), x and importance (instance, row, feature) the loss is
    L = mean over rows of Σ_i I_i (y_i − x_i)²  (instance,). For g = 2 I (y − x) φ'(a) / rows, h = W x:
    ∂L/∂b = Σ g and ∂L/∂W = Σ (h gᵀ + (W g) xᵀ), the two places where W stands.
    """
    W, b = parameters["W"], parameters["b"]
    hidden = torch.bmm(x, W.transpose(1, 2))
    before = torch.baddbmm(b[:, None, :], hidden, W)
    with torch.enable_grad():
        y = activations.activation(activation)(before.requires_grad_())
    error = y.detach() - x
    weighted = importance * error
    loss = (weighted * error).sum(dim=(1, 2)) / x.shape[1]
    (g,) = torch.autograd.grad(y, before, weighted.mul_(2 / x.shape[1]))
    gradient = torch.bmm(hidden.transpose(1, 2), g)
    gradient.baddbmm_(torch.bmm(W, g.transpose(1, 2)), x)
    return loss, {"W": gradient, "b": g.sum(dim=1)}


@torch.no_grad()
def train(instances: Instances, *, device: str = "cpu", progress: Progress | None = None) -> Iterator[Snapshot]:
    """Train `instances` and yield their snapshots, the initial state first; float32, on `device`."""
    place = torch_device(device)
    parameters = {name: torch.tensor(value, device=place) for name, value in instances.parameters.items()}
    importance = torch.tensor(instances.importance, dtype=torch.float32, device=place)
    sampler, optimizer = Sampler(instances, place), Optimizer(instances, parameters)
    total, count = torch.zeros(len(instances), dtype=torch.float64, device=place), 0
    diverged = torch.full((len(instances),), -1, device=place)
    yield _snapshot(0, parameters, total * np.nan, diverged)
    recorded = set(instances.recorded_steps)
    for step in range(instances.training.n_steps):
        x, context = sampler.batch(step)
        loss, gradients = loss_and_gradients(
            parameters, x, importance[sampler.rows, context], instances.model.activation
        )
        optimizer.step(step, gradients)
        diverged = torch.where((diverged < 0) & ~loss.isfinite(), step + 1, diverged)
        total += loss * x.shape[1]
        count += x.shape[1]
        if progress is not None and (step + 1) % STEPS_PER_REPORT == 0:
            progress(step + 1, float(total.mean()) / count)
        if step + 1 in recorded:
            yield _snapshot(step + 1, parameters, total / count, diverged)
            total, count = torch.zeros_like(total), 0


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
