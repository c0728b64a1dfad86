"""A trained model as a torch module, for use with other tools."""

import torch
import xarray as xr
from torch import Tensor

from toysup.errors import UsageError
from toysup.experiments.activations import activation
from toysup.experiments.model import ModelSpec, architecture, parameters_of, require_known
from toysup.sampling.samples import context_inputs
from toysup.storage.schema import condition_of, regime_of


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


def to_module(dataset: xr.Dataset) -> ToyModel:
    """The model of one seed at one step, as a torch module.

    Parameters
    ----------
    dataset : Dataset
        One condition with one cell, seed and step selected, such as `ds.sel(seed=3).isel(step=-1)`.

    Returns
    -------
    ToyModel
        A module with copies of the parameters, under the names of the dataset's variables (`model.W`, `model.b`, …).
        Calling it with x (..., feature) gives the outputs (..., output). `model.states(x)` gives the hidden state
        (..., hidden) and the output before its activation (..., output). For a model that sees its context, both also
        take the index of each sample's context (...).

    Raises
    ------
    UsageError
        If the dataset holds several models, or names an activation or architecture that is not registered.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> model = toysup.to_module(dataset.isel(seed=0, step=-1))
    >>> hidden, before = model.states(model.W.new_ones(3, 20))
    >>> model.W.shape, hidden.shape, before.shape
    (torch.Size([10, 20]), torch.Size([3, 10]), torch.Size([3, 20]))
    """
    condition = condition_of(dataset)
    require_known(condition.model)
    regime = regime_of(dataset)
    tensors = {}
    for name, parameter in parameters_of(condition.model, regime).items():
        if left := set(map(str, dataset[name].dims)) - set(parameter.dims):
            raise UsageError(
                f"one model is needed, but the dataset has several along {', '.join(sorted(left))}; select one"
            )
        tensors[name] = torch.tensor(dataset[name].transpose(*parameter.dims).values)
    return ToyModel(condition.model, tensors, regime.context_input, len(regime.contexts))
