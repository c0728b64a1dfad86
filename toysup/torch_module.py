"""A trained model as a torch module, for use with other tools."""

from typing import TYPE_CHECKING

import xarray as xr

from toysup.errors import UsageError, require_torch
from toysup.experiments.model import parameters_of, require_known
from toysup.storage.schema import condition_of, regime_of

if TYPE_CHECKING:
    from toysup.toy_model import ToyModel


def to_module(dataset: xr.Dataset) -> "ToyModel":
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
        If torch is not installed, if the dataset holds several models, or if it names an activation or architecture
        that is not registered.

    Examples
    --------
    >>> import toysup
    >>> dataset = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
    >>> model = toysup.to_module(dataset.isel(seed=0, step=-1))
    >>> hidden, before = model.states(model.W.new_ones(3, 20))
    >>> model.W.shape, hidden.shape, before.shape
    (torch.Size([10, 20]), torch.Size([3, 10]), torch.Size([3, 20]))
    """
    require_torch("a torch module")
    import torch

    from toysup.toy_model import ToyModel

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
