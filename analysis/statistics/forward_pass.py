"""The forward pass of trained models, for the statistics that need outputs and not only weights.

It runs in NumPy. Only an activation or an architecture that a user registered runs in torch, for which it is written.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import xarray as xr

from toysup.analysis.statistics.arrays import AnyArray
from toysup.analysis.statistics.kernels import never_alone
from toysup.errors import require_torch
from toysup.experiments.activations import BUILT_IN, activation_for
from toysup.experiments.model import ModelSpec, architecture, parameters_of, require_known
from toysup.experiments.regime import Regime
from toysup.sampling.samples import context_inputs
from toysup.storage.schema import condition_of


class Models:
    """Trained models along one axis, from the variables of `dataset` stacked over the dims `leading`."""

    def __init__(self, dataset: xr.Dataset, regime: Regime, leading: Sequence[str], dtype: type[np.floating]) -> None:
        self.spec: ModelSpec = condition_of(dataset).model
        self.regime = regime
        self.in_torch = _needs_torch(self.spec)
        self.parameters: dict[str, AnyArray] = {}
        for name, (dims, shape, *_) in parameters_of(self.spec, regime).items():
            values = dataset[name].transpose(*leading, *dims).values.reshape(-1, *shape)
            # A vector is the same for all rows of x, and gets an axis that broadcasts over them.
            values = values[:, None] if len(dims) == 1 else values
            self.parameters[name] = np.ascontiguousarray(values, dtype)

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def parts(self, size: int) -> Iterator["Models"]:
        """At most `size` models at a time; in torch, a part of one model holds that model twice (`never_alone`)."""
        for start in range(0, len(self), size):
            members = np.arange(start, min(start + size, len(self)))
            yield self.some(never_alone(members) if self.in_torch else members)

    def some(self, members: AnyArray) -> "Models":
        """The models with these indices."""
        chosen = copy(self)
        chosen.parameters = {name: values[members] for name, values in self.parameters.items()}
        return chosen

    def under(self, members: AnyArray, regime: Regime) -> "Models":
        """The models with these indices, under a regime with the same inputs."""
        chosen = self.some(members)
        chosen.regime = regime
        return chosen

    def single(self) -> "Models":
        """The same models in single precision."""
        chosen = copy(self)
        chosen.parameters = {name: values.astype(np.float32) for name, values in self.parameters.items()}
        return chosen

    def states(self, x: AnyArray, context: int | AnyArray) -> tuple[AnyArray, AnyArray]:
        """The hidden state (model, row, hidden) and the output before its activation (model, row, output).

        `x` has the dims (row, feature). `context` is the index of the context: one for all rows, or one per row.
        """
        hidden, before = self._states(x, context)
        return np.asarray(hidden), np.asarray(before)

    def outputs(self, x: AnyArray, context: int | AnyArray) -> AnyArray:
        """The output y (model, row, output) for `x` and `context` as in `states`."""
        before = self._states(x, context)[1]
        return np.asarray(activation_for(self.spec.activation, before)(before))

    def _states(self, x: AnyArray, context: int | AnyArray) -> tuple[Any, Any]:
        """As `states`, in NumPy arrays or torch tensors."""
        index = np.broadcast_to(context, len(x))
        seen = context_inputs(self.regime.context_input, index, len(self.regime.contexts), np).astype(x.dtype)
        inputs: tuple[Any, Any, Any] = self.parameters, x, seen
        if self.in_torch:
            import torch

            own = {name: torch.from_numpy(values) for name, values in self.parameters.items()}
            inputs = own, torch.from_numpy(x), torch.from_numpy(seen)
        return architecture(self.spec.architecture).forward(self.spec, *inputs)


def elementwise(name: str, values: AnyArray) -> AnyArray:
    """An activation, built in or registered, of an array; in the dtype of the array."""
    if not _in_torch([name]):
        return np.asarray(activation_for(name, values)(values))
    import torch

    return np.asarray(activation_for(name, None)(torch.from_numpy(values)))


def _needs_torch(spec: ModelSpec) -> bool:
    """Whether only torch can run these models; UsageError if torch is missing or a name unknown."""
    require_known(spec)
    names = [spec.activation, spec.hidden_activation, spec.layer_activation]
    return _in_torch([*names, *[spec.architecture] * (spec.architecture != "autoencoder")])


def _in_torch(names: Sequence[str]) -> bool:
    """Whether any of these is registered, and so runs in torch; UsageError if torch is missing then."""
    registered = [name for name in names if name not in BUILT_IN]
    if not registered:
        return False
    require_torch(f"{registered[0]!r}, which was registered,")
    return True
