"""The forward pass of trained models in torch, for the statistics that need outputs and not only weights."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from toysup.analysis.statistics.arrays import AnyArray
from toysup.analysis.statistics.kernels import never_alone
from toysup.experiments.model import ModelSpec, architecture, parameters_of
from toysup.experiments.regime import Regime
from toysup.sampling.samples import context_inputs
from toysup.storage.schema import condition_of

if TYPE_CHECKING:
    from torch import Tensor


class Models:
    """Trained models along one axis, from the variables of `dataset` stacked over the dims `leading`."""

    def __init__(self, dataset: xr.Dataset, regime: Regime, leading: Sequence[str], dtype: type[np.floating]) -> None:
        import torch

        self.spec: ModelSpec = condition_of(dataset).model
        self.regime = regime
        self.parameters: dict[str, Tensor] = {}
        for name, (dims, shape, *_) in parameters_of(self.spec, regime).items():
            values = dataset[name].transpose(*leading, *dims).values.reshape(-1, *shape)
            # A vector is the same for all rows of x, and gets an axis that broadcasts over them.
            values = values[:, None] if len(dims) == 1 else values
            self.parameters[name] = torch.from_numpy(np.ascontiguousarray(values, dtype))

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def parts(self, size: int) -> Iterator["Models"]:
        """At most `size` models at a time; a part of one model holds that model twice (`never_alone`)."""
        for start in range(0, len(self), size):
            some = copy(self)
            members = never_alone(np.arange(start, min(start + size, len(self))))
            some.parameters = {name: values[members] for name, values in self.parameters.items()}
            yield some

    def states(self, x: AnyArray, context: int | AnyArray) -> tuple["Tensor", "Tensor"]:
        """The hidden state (model, row, hidden) and the output before its activation (model, row, output).

        `x` has the dims (row, feature). `context` is the index of the context: one for all rows, or one per row.
        """
        import torch

        rows = torch.from_numpy(x)
        index = torch.from_numpy(np.broadcast_to(context, len(x)).copy())
        seen_context = context_inputs(self.regime.context_input, index, len(self.regime.contexts), torch).to(rows.dtype)
        hidden, before = architecture(self.spec.architecture).forward(self.spec, self.parameters, rows, seen_context)
        return hidden, before

    def outputs(self, x: AnyArray, context: int | AnyArray) -> "Tensor":
        """The output y (model, row, output) for `x` and `context` as in `states`."""
        from toysup.experiments.activations import activation

        return activation(self.spec.activation)(self.states(x, context)[1])
