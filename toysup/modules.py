"""A trained model as a plain torch module, for use with other tools."""

import torch
import xarray as xr
from torch import Tensor

from toysup.activations import activation, require_known
from toysup.errors import UsageError
from toysup.trajectories import PARAMETER_DIMS, condition_of


class TiedAutoencoder(torch.nn.Module):
    """y = φ(WᵀW x + b) with the parameters W (hidden, feature) and b (feature); φ by its name."""

    def __init__(self, W: Tensor, b: Tensor, activation: str = "relu") -> None:
        super().__init__()
        require_known(activation)
        self.W, self.b, self.activation = torch.nn.Parameter(W), torch.nn.Parameter(b), activation

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct x (..., feature)."""
        return activation(self.activation)(x @ self.W.T @ self.W + self.b)


def to_module(dataset: xr.Dataset) -> TiedAutoencoder:
    """The model of one seed at one step, such as `to_module(ds.sel(seed=3).isel(step=-1))`; a copy of its parameters.

    Raises UsageError where `dataset` still holds several models or its activation is not known here.
    """
    for name, dims in PARAMETER_DIMS.items():
        if left := set(map(str, dataset[name].dims)) - set(dims):
            raise UsageError(f"one model is needed, but there are several along {', '.join(sorted(left))}; select one")
    tensors = {name: torch.tensor(dataset[name].transpose(*dims).values) for name, dims in PARAMETER_DIMS.items()}
    return TiedAutoencoder(tensors["W"], tensors["b"], condition_of(dataset).model.activation)
