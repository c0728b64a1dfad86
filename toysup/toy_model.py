"""The class of the torch modules that `toysup.to_module` returns; importing this needs torch."""

import torch
from torch import Tensor

from toysup.errors import UsageError
from toysup.experiments.activations import activation
from toysup.experiments.model import ModelSpec, architecture
from toysup.sampling.samples import context_inputs


class ToyModel(torch.nn.Module):
    """One trained model; its parameters have the names of the dataset's variables: `model.W`, `model.b`, …"""

    def __init__(
        self, spec: ModelSpec, parameters: dict[str, Tensor], context_input: str | None, n_contexts: int
    ) -> None:
        super().__init__()
        self.spec, self.context_input, self.n_contexts = spec, context_input, n_contexts
        for name, value in parameters.items():
            self.register_parameter(name, torch.nn.Parameter(value))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs (..., output) of x (..., feature), given the index of the context (...) if the model sees it."""
        return activation(self.spec.activation)(self.states(x, context)[1])

    def states(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The hidden state (..., hidden) and the output before its activation (..., output)."""
        if context is None:
            if self.context_input is not None:
                raise UsageError("this model sees its context; give the index of each sample's context")
            context = torch.zeros(x.shape[:-1], dtype=torch.int64)
        shown = context_inputs(self.context_input, context, self.n_contexts, torch).to(x.dtype)
        hidden, before = architecture(self.spec.architecture).forward(
            self.spec, dict(self.named_parameters()), x, shown
        )
        return hidden, before
