"""The samples of `toysup.sampling` for many instances at once, as torch tensors on any device.

On the CPU compiled code draws them; elsewhere torch does, on the device.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from toysup.fused.batches import draw_batch, order
from toysup.instances import Instances
from toysup.sampling import SampleLaw, draw


class Sampler:
    """Draws the batches that the instances see, step by step."""

    def __init__(self, instances: Instances, device: torch.device) -> None:
        self.training, self.device = instances.training, device
        self.seeds = instances.seeds.tolist()
        self.rows = torch.arange(len(instances), device=device)[:, None]
        self.law = instances.law
        self.law_on_device: SampleLaw = _on_device(instances.law, device)
        self.epoch, self.order = -1, torch.empty(0)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """x (instance, row, feature) and the index of the context (instance, row) at the 0-based `step`."""
        samples = self._samples(step)
        if self.device.type == "cpu":
            x, context = draw_batch(self.law, samples.numpy())
            return torch.from_numpy(x), torch.from_numpy(context)
        return self.drawn_by_torch(samples)

    def drawn_by_torch(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The same on any device."""
        return draw(self.law_on_device, samples, torch)

    def _samples(self, step: int) -> Tensor:
        """(instance or 1, row) the indices of the samples in the batch of `step`."""
        rows, per_epoch = self.training.rows(step), self.training.steps_per_epoch
        if per_epoch is None:
            return torch.arange(step * rows, (step + 1) * rows, device=self.device)[None, :]
        epoch, position = step // per_epoch, step % per_epoch * self.training.batch_size
        if epoch != self.epoch:
            assert self.training.dataset_size is not None
            orders = {seed: order(seed, epoch, self.training.dataset_size) for seed in set(self.seeds)}
            stacked = np.stack([orders[seed] for seed in self.seeds]).astype(np.int64)
            self.epoch, self.order = epoch, torch.as_tensor(stacked, device=self.device)
        return self.order[:, position : position + rows]


def _on_device(law: Any, device: torch.device) -> Any:
    """The law with tensors for arrays."""
    if isinstance(law, np.ndarray):
        return torch.as_tensor(law, device=device)
    if isinstance(law, tuple):
        parts = [_on_device(part, device) for part in law]
        return type(law)(*parts) if hasattr(law, "_fields") else tuple(parts)
    return law
