"""Activations by name: torch's own, and functions that a user registers. Datasets store only the name."""

import re
from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypeAlias

from toysup.errors import UsageError, nearest, require_torch
from toysup.experiments.spec import MAX_NAME, NAME_PATTERN, shown

if TYPE_CHECKING:
    from torch import Tensor

Activation: TypeAlias = Callable[["Tensor"], "Tensor"]

# Their places in torch, so that a name can be checked without importing torch. `positive` is torch's y = a.
BUILT_IN = {
    "relu": "torch:relu",
    "leaky_relu": "torch.nn.functional:leaky_relu",
    "gelu": "torch.nn.functional:gelu",
    "silu": "torch.nn.functional:silu",
    "softplus": "torch.nn.functional:softplus",
    "tanh": "torch:tanh",
    "sigmoid": "torch:sigmoid",
    "abs": "torch:abs",
    "identity": "torch:positive",
}
# Outputs of these activations are 0 or more, so no model with them can output a negative value.
NEVER_NEGATIVE = ("relu", "softplus", "sigmoid", "abs")
_registered: dict[str, Activation] = {}


def register_activation(name: str, function: Activation) -> None:
    """Add an activation that `[model] activation` can name, until the process ends.

    The torch engine trains it. A dataset stores only the name, so whoever computes losses from the dataset, or makes a
    torch module of it, registers the same function first.

    Parameters
    ----------
    name : str
        Up to 100 letters, digits and the characters ._+-; the first is a letter or a digit.
    function : callable
        φ, elementwise: takes a torch tensor of any shape and returns one of the same shape. It consists of operations
        that torch can differentiate.

    Raises
    ------
    UsageError
        If the name has another form, is the name of a built-in activation or of another registered function, or if
        `function` cannot be called.

    Examples
    --------
    >>> import torch, toysup
    >>> toysup.register_activation("elu", torch.nn.functional.elu)
    >>> toysup.load_experiment("tms-intro", changes={"model.activation": "elu"}).conditions[0].model.activation
    'elu'
    """
    if not isinstance(name, str) or len(name) > MAX_NAME or not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"{shown(name)} is not a name for an activation; use letters, digits and ._+-")
    if not callable(function):
        raise UsageError(f"activation {name!r}: a function of a tensor is needed, not {shown(function)}")
    if name in BUILT_IN:
        raise UsageError(f"activation {name!r} is built in; give yours another name")
    if _registered.setdefault(name, function) is not function:
        raise UsageError(
            f"activation {name!r} is already registered, with another function; give this one another name"
        )


def activation(name: str) -> Activation:
    """The function of that name, from tensor to tensor. UsageError if there is no such name, or torch is missing."""
    require_known(name)
    if name in _registered:
        return _registered[name]
    require_torch(f"the activation {name!r} of tensors")
    function: Any = resolve_name(BUILT_IN[name])
    return function  # type: ignore[no-any-return]


def activation_for(name: str, array: Any) -> Callable[[Any], Any]:
    """The function of that name for arrays like `array`: NumPy's for a built-in one and a NumPy array, else torch's."""
    import numpy as np

    from toysup.experiments.numpy_activations import FUNCTIONS

    if name in FUNCTIONS and isinstance(array, np.ndarray):
        return FUNCTIONS[name]
    return activation(name)


def require_known(name: str) -> None:
    """Raise UsageError, with the most similar names, if no activation has this name."""
    if name not in BUILT_IN and name not in _registered:
        advice = nearest(name, [*BUILT_IN, *_registered])
        raise UsageError(f"no activation {name!r}; {advice} (toysup.register_activation adds one of your own)")
