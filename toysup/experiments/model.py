"""Models: the architecture that an experiment trains, and the parameters it starts from."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import Field, model_validator

from toysup.errors import UsageError, nearest
from toysup.experiments import activations
from toysup.experiments.regime import Regime
from toysup.experiments.spec import MAX_NAME, NAME_PATTERN, Spec, Width

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME)]
# Arrays of torch, with or without a leading axis of instances.
Tensors = Mapping[str, Any]


class ModelSpec(Spec):
    """The `[model]` table: features → encoder layers → hidden state → decoder layers → outputs.

    A tied model, y = φ(WᵀW x + b), decodes with the transpose of its encoder, so it has no layers besides; φ is
    `activation`. The hidden state is linear unless `hidden_activation` says otherwise; the layers around it have
    `layer_activation`. Without `biases` all b are left out. `architecture` is `autoencoder` or a registered one.
    """

    architecture: Name = "autoencoder"
    n_features: Width
    n_hidden: Width
    activation: Name = "relu"
    hidden_activation: Name = "identity"
    layer_activation: Name = "relu"
    tied: bool = True
    biases: bool = True
    encoder_layers: tuple[Width, ...] = ()
    decoder_layers: tuple[Width, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelSpec":
        if self.tied and (self.encoder_layers or self.decoder_layers):
            raise ValueError("a tied model decodes with Wᵀ and has no further layers; give model.tied = false")
        return self


class Parameter(NamedTuple):
    """An array that is trained: its dims and shape, and the standard deviation of its initial normal draws."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    scale: float
    long_name: str


def weights(rows: tuple[str, int], columns: tuple[str, int], long_name: str) -> Parameter:
    """A matrix with (dim, size) rows and columns that starts Xavier-normal, with std √(2/(rows + columns))."""
    (row, n_rows), (column, n_columns) = rows, columns
    return Parameter((row, column), (n_rows, n_columns), (2 / (n_rows + n_columns)) ** 0.5, long_name)


def context_weights(rows: tuple[str, int], columns: tuple[str, int], long_name: str) -> Parameter:
    """As `weights`, but starting at zero: a model that sees its context starts as one that does not.

    From Xavier-normal weights the few inputs of the context would dominate, and half the outputs start out dead in it.
    """
    return weights(rows, columns, long_name)._replace(scale=0.0)


def bias(rows: tuple[str, int], long_name: str) -> Parameter:
    """A vector with (dim, size) rows that starts at zero."""
    return Parameter(rows[:1], rows[1:], 0.0, long_name)


class Parameters(Protocol):
    """The parameters of a model that is trained under a regime, by name."""

    def __call__(self, model: ModelSpec, regime: Regime, /) -> dict[str, Parameter]: ...


class Forward(Protocol):
    """The hidden state and the output before its activation, of x (..., feature) and context (..., context_input).

    Parameters and inputs are torch tensors whose leading axes broadcast; vectors have an axis for the rows of x.
    """

    def __call__(self, model: ModelSpec, parameters: Tensors, x: Any, context: Any, /) -> tuple[Any, Any]: ...


class Architecture(NamedTuple):
    """What `model.architecture` names."""

    parameters: Parameters
    forward: Forward


def _autoencoder_parameters(model: ModelSpec, regime: Regime) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    below, seen = ("feature", model.n_features), ("context_input", len(regime.context_inputs))
    for k, width in enumerate(model.encoder_layers, start=1):
        here, name = (f"encoder_{k}", width), f"encoder_{k}"
        found[f"{name}_W"] = weights(here, below, f"weights of encoder layer {k}")
        if k == 1 and regime.context_inputs:
            found[f"{name}_W_context"] = context_weights(here, seen, f"weights of the context onto encoder layer {k}")
        found[f"{name}_b"] = bias(here, f"bias of encoder layer {k}")
        below = here
    hidden = ("hidden", model.n_hidden)
    found["W"] = weights(hidden, below, "weights onto the hidden state")
    if regime.context_inputs and not model.encoder_layers:
        found["W_context"] = context_weights(hidden, seen, "weights of the context onto the hidden state")
    below = hidden
    for k, width in enumerate(model.decoder_layers, start=1):
        here = (f"decoder_{k}", width)
        found[f"decoder_{k}_W"] = weights(here, below, f"weights of decoder layer {k}")
        found[f"decoder_{k}_b"] = bias(here, f"bias of decoder layer {k}")
        below = here
    output = (regime.output_dim, regime.n_outputs)
    if not model.tied:
        found["W_out"] = weights(output, below, "weights onto the output")
    found["b"] = bias(output, "output bias")
    return {name: parameter for name, parameter in found.items() if model.biases or len(parameter.dims) > 1}


def _autoencoder_forward(model: ModelSpec, parameters: Tensors, x: Any, context: Any) -> tuple[Any, Any]:
    def layer(state: Any, name: str, inputs: Any = None) -> Any:
        after = state @ parameters[f"{name}W"].mT
        if f"{name}W_context" in parameters:
            after = after + inputs @ parameters[f"{name}W_context"].mT
        return after + parameters[f"{name}b"] if f"{name}b" in parameters and name else after

    inner, state = activations.activation(model.layer_activation), x
    for k in range(1, len(model.encoder_layers) + 1):
        state = inner(layer(state, f"encoder_{k}_", context))
    hidden = activations.activation(model.hidden_activation)(layer(state, "", context))
    state = hidden
    for k in range(1, len(model.decoder_layers) + 1):
        state = inner(layer(state, f"decoder_{k}_"))
    before = state @ (parameters["W"] if model.tied else parameters["W_out"].mT)
    return hidden, before + parameters["b"] if "b" in parameters else before


_ARCHITECTURES = {"autoencoder": Architecture(_autoencoder_parameters, _autoencoder_forward)}


def register_model(name: str, parameters: Parameters, forward: Forward) -> None:
    """Make `name` an architecture that `model.architecture` may name.

    `parameters(model, regime)` gives a `toysup.experiments.Parameter` for each name (`weights` and `bias` make them);
    `forward(model, parameters, x, context)` gives the hidden state and the output before its activation, of torch
    tensors x (..., feature) and context (..., context_input). A dataset stores the name alone. UsageError where
    another architecture has that name.
    """
    if name in _ARCHITECTURES and _ARCHITECTURES[name] != (parameters, forward):
        raise UsageError(f"there is an architecture {name!r} already; give another name")
    _ARCHITECTURES[name] = Architecture(parameters, forward)


def architecture(name: str) -> Architecture:
    """The architecture of that name; UsageError where there is none."""
    if name not in _ARCHITECTURES:
        known = nearest(name, _ARCHITECTURES)
        raise UsageError(f"no architecture {name!r}; {known} (others are made known with toysup.register_model)")
    return _ARCHITECTURES[name]


def require_known(model: ModelSpec) -> None:
    """UsageError where the model names an architecture or an activation that is not there."""
    architecture(model.architecture)
    for key in ("activation", "hidden_activation", "layer_activation"):
        try:
            activations.require_known(getattr(model, key))
        except UsageError as error:
            raise UsageError(f"model.{key}: {error}") from None


def parameters_of(model: ModelSpec, regime: Regime) -> dict[str, Parameter]:
    """The parameters that `model` has when it is trained under `regime`, by name."""
    return architecture(model.architecture).parameters(model, regime)


def is_plain(model: ModelSpec, regime: Regime) -> bool:
    """Whether this is y = φ(WᵀW x + b), to which the fused engine and the closed forms apply."""
    linear = model.hidden_activation == "identity" and not regime.context_inputs
    return model.architecture == "autoencoder" and model.tied and model.biases and linear
