"""The samples of `toysup.sampling` for many instances at once, as torch tensors on any device.

On the CPU compiled code draws them; elsewhere torch does, on the device.
"""

import numpy as np
import torch
from torch import Tensor

from toysup.draws import philox, purpose_code
from toysup.fused.arguments import tables_of
from toysup.fused.batches import draw_batch, order
from toysup.instances import Instances
from toysup.sampling import context_thresholds, thresholds, value_scale


class Sampler:
    """Draws the batches that the instances see, step by step."""

    def __init__(self, instances: Instances, device: torch.device) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, device=device)

        self.training, self.device = instances.training, device
        self.seeds = instances.seeds.tolist()
        self.rows = torch.arange(len(instances), device=device)[:, None]
        self.key = (tensor(instances.seeds & 0xFFFFFFFF), tensor(instances.seeds >> 32))
        self.n_features = instances.model.n_features
        threshold = thresholds(instances.activation_probability)
        self.threshold, self.scale = tensor(threshold), tensor(value_scale(threshold))
        self.context_threshold = tensor(context_thresholds(instances.context_probability))
        self.tables = tables_of(instances) if device.type == "cpu" else None
        self.epoch, self.order = -1, torch.empty(0)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """x (instance, row, feature) and the index of the context (instance, row) at the 0-based `step`."""
        samples = self._samples(step)
        if self.tables is not None:
            x, context = draw_batch(self.tables, samples.numpy().astype(np.uint64))
            return torch.from_numpy(x), torch.from_numpy(context)
        return self.drawn_by_torch(samples)

    def drawn_by_torch(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The same on any device."""
        context = self._contexts(samples)
        words = self._words("feature", samples, self.n_features)
        active = words < self.threshold[self.rows, context]
        return words.to(torch.float32) * self.scale[self.rows, context] * active, context

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

    def _contexts(self, samples: Tensor) -> Tensor:
        if self.context_threshold.shape[1] == 0:
            return torch.zeros((len(self.seeds), samples.shape[1]), dtype=torch.int64, device=self.device)
        word = self._words("context", samples, 1)
        return (word >= self.context_threshold[:, None, :]).sum(dim=2)

    def _words(self, purpose: str, samples: Tensor, count: int) -> Tensor:
        """(instance, row, count) words."""
        blocks = torch.arange(-(-count // 4), device=self.device)
        j = samples[:, :, None] + torch.zeros_like(blocks)
        counter = (blocks + torch.zeros_like(j), j & 0xFFFFFFFF, j >> 32, purpose_code(purpose))
        words = philox(counter, (self.key[0][:, None, None], self.key[1][:, None, None]))
        return torch.stack(words, dim=-1).flatten(start_dim=2)[:, :, :count]
