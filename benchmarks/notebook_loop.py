"""The loop that the notebook of "Toy Models of Superposition" publishes, written anew from its description.

It is the yardstick: what a user has who copies it. All models stand side by side in tensors (batch, instance, feature),
a batch is two dense random draws, gradients are autograd's and the optimiser is AdamW with torch's defaults.
"""

import torch
from torch import Tensor


class NotebookLoop:
    """`instances` tied ReLU models n → m, trained on features that are active with probability p."""

    def __init__(
        self, *, instances: int, n_features: int, n_hidden: int, feature_probability: float, batch_size: int
    ) -> None:
        self.shape = (batch_size, instances, n_features)
        self.feature_probability = torch.full((instances, 1), feature_probability)
        self.importance = 0.9 ** torch.arange(n_features)
        self.W = torch.nn.Parameter(torch.empty(instances, n_features, n_hidden))
        torch.nn.init.xavier_normal_(self.W)
        self.b_final = torch.nn.Parameter(torch.zeros(instances, n_features))
        self.optimizer = torch.optim.AdamW([self.W, self.b_final], lr=1e-3)

    def batch(self) -> Tensor:
        value = torch.rand(self.shape)
        return torch.where(torch.rand(self.shape) <= self.feature_probability, value, torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("bif,ifh->bih", x, self.W)
        return torch.relu(torch.einsum("bih,ifh->bif", hidden, self.W) + self.b_final)

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        x = self.batch()
        error = self.importance * (x.abs() - self.forward(x)) ** 2
        error.mean(dim=(0, 2)).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
