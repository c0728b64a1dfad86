"""A trained model as a plain torch module, for use with other tools."""

import torch
import xarray as xr
from torch import Tensor

from toysup.errors import UsageError
from toysup.torch_engine import ACTIVATIONS
from toysup.trajectories import PARAMETER_DIMS, condition_of


class TiedAutoencoder(torch.nn.Module):
    """y = φ(WᵀW x + b) with the parameters W (hidden, feature) and b (feature)."""

    def __init__(self, W: Tensor, b: Tensor, activation: str = "relu") -> None:
        super().__init__()
        self.W, self.b, self.activation = torch.nn.Parameter(W), torch.nn.Parameter(b), activation

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct x (..., feature)."""
        return ACTIVATIONS[self.activation][0](x @ self.W.T @ self.W + self.b)


def to_module(dataset: xr.Dataset) -> TiedAutoencoder:
    """The model of one seed at one step, such as `to_module(ds.sel(seed=3).isel(step=-1))`; a copy of its parameters.

    Raises UsageError where `dataset` still holds several models.
    """
    for name, dims in PARAMETER_DIMS.items():
        if left := set(map(str, dataset[name].dims)) - set(dims):
            raise UsageError(f"one model is needed, but there are several along {', '.join(sorted(left))}; select one")
    tensors = {name: torch.tensor(dataset[name].transpose(*dims).values) for name, dims in PARAMETER_DIMS.items()}
    return TiedAutoencoder(tensors["W"], tensors["b"], condition_of(dataset).model.activation)
