"""The samples of `toysup.sampling` for many instances at once, as torch tensors on any device.

On the CPU compiled code draws them. Elsewhere torch draws them on the device, so no batch waits for a transfer.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from toysup.engines.compiled_samples.batches import draw_batch, order
from toysup.engines.instances import Instances
from toysup.sampling.samples import SampleLaw, draw


class Sampler:
    """The source of the batches that the instances see, step by step."""

    def __init__(self, instances: Instances, device: torch.device) -> None:
        self.training, self.device = instances.training, device
        self.seeds = instances.seeds.tolist()
        self.rows = torch.arange(len(instances), device=device)[:, None]
        self.law = instances.law
        self.law_on_device: SampleLaw = _on_device(instances.law, device)
        self.draw = self.drawn_by_compiled_code if device.type == "cpu" else self.drawn_by_torch
        self.places = torch.arange(self.training.batch_size, device=device)
        # (instance, place) order of the samples in this epoch; empty for an infinite stream.
        self.epoch, shape = -1, (len(instances), self.training.dataset_size or 0)
        self.order = torch.zeros(shape, dtype=torch.int64, device=device)

    def prepare(self, step: int) -> None:
        """Copy the order of the epoch of the 0-based `step` to the device, before the epoch's first batch is drawn."""
        size, per_epoch = self.training.dataset_size, self.training.steps_per_epoch
        if size is None or per_epoch is None or step // per_epoch == self.epoch:
            return
        self.epoch = step // per_epoch
        orders = {seed: order(seed, self.epoch, size) for seed in set(self.seeds)}
        self.order.copy_(torch.from_numpy(np.stack([orders[seed] for seed in self.seeds]).astype(np.int64)))

    def batch(self, step: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """x (instance, row, feature) and context index (instance, row) of the first `rows` samples of a batch.

        `step` (1,) counts from 0 and stays on the device; `prepare` must have been called for its epoch.
        """
        per_epoch = self.training.steps_per_epoch
        if per_epoch is None:
            return self.draw((step * self.training.batch_size + self.places[:rows])[None, :])
        return self.draw(self.order[:, step % per_epoch * self.training.batch_size + self.places[:rows]])

    def drawn_by_compiled_code(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of these indices (instance or 1, row), on the CPU."""
        x, context = draw_batch(self.law, samples.numpy())
        return torch.from_numpy(x), torch.from_numpy(context)

    def drawn_by_torch(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of these indices (instance or 1, row), on any device."""
        return draw(self.law_on_device, samples, torch)


def _on_device(law: Any, device: torch.device) -> Any:
    """The law with its arrays as tensors on `device`."""
    if isinstance(law, np.ndarray):
        return torch.as_tensor(law, device=device)
    if isinstance(law, tuple):
        parts = [_on_device(part, device) for part in law]
        return type(law)(*parts) if hasattr(law, "_fields") else tuple(parts)
    return law
