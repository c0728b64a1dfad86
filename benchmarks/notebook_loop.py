"""The loop that the notebook of "Toy Models of Superposition" publishes, written anew from its description.

It is the yardstick: what a user has who copies it. All models stand side by side in tensors (batch, instance, feature),
a batch is two dense random draws, gradients are autograd's and the optimiser is AdamW with torch's defaults.
"""

import torch
from torch import Tensor


class NotebookLoop:
    """`instances` tied ReLU models n → m, trained on features that are active with probability p."""

    def __init__(
        self,
        *,
        instances: int,
        n_features: int,
        n_hidden: int,
        feature_probability: float,
        batch_size: int,
        device: str = "cpu",
    ) -> None:
        self.shape, self.device = (batch_size, instances, n_features), device
        self.feature_probability = torch.full((instances, 1), feature_probability, device=device)
        self.importance = 0.9 ** torch.arange(n_features, device=device)
        self.W = torch.nn.Parameter(torch.empty(instances, n_features, n_hidden, device=device))
        torch.nn.init.xavier_normal_(self.W)
        self.b_final = torch.nn.Parameter(torch.zeros(instances, n_features, device=device))
        self.optimizer = torch.optim.AdamW([self.W, self.b_final], lr=1e-3)

    def batch(self) -> Tensor:
        value, chance = torch.rand(self.shape, device=self.device), torch.rand(self.shape, device=self.device)
        return torch.where(chance <= self.feature_probability, value, torch.zeros((), device=self.device))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("bif,ifh->bih", x, self.W)
        return torch.relu(torch.einsum("bih,ifh->bif", hidden, self.W) + self.b_final)

    def steps(self, count: int) -> None:
        """So many steps, and until they are done: a GPU is still at work when a step returns."""
        for _ in range(count):
            self.step()
        self.b_final[0, 0].item()

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        x = self.batch()
        error = self.importance * (x.abs() - self.forward(x)) ** 2
        error.mean(dim=(0, 2)).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
