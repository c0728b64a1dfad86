"""Models: the `[model]` table, and the architectures that it can name."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import Field, model_validator

from toysup.errors import UsageError, nearest
from toysup.experiments import activations
from toysup.experiments.regime import Regime
from toysup.experiments.spec import MAX_NAME, NAME_PATTERN, Spec, Width

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME)]
# Torch tensors by name, with or without a leading axis of instances.
Tensors = Mapping[str, Any]


class ModelSpec(Spec):
    """The `[model]` table of an experiment file: which model is trained.

    The default is the tied autoencoder y = φ(WᵀW x + b) of Elhage et al. (2022), "Toy Models of Superposition", with n
    features and m hidden dimensions. An untied model may have further layers before and after its hidden state.
    `docs/experiments.md` has the equations.

    Parameters
    ----------
    architecture : str, default "autoencoder"
        The autoencoder, or an architecture added with `toysup.register_model`.
    n_features : int
        Number of features n, from 1 to 100,000.
    n_hidden : int
        Number of hidden dimensions m, from 1 to 100,000.
    activation : str, default "relu"
        φ, the activation of the output: relu, leaky_relu, gelu, silu, softplus, tanh, sigmoid, abs, identity, or one
        added with `toysup.register_activation`.
    hidden_activation : str, default "identity"
        χ, the activation of the hidden state.
    layer_activation : str, default "relu"
        ψ, the activation of the encoder and decoder layers.
    tied : bool, default True
        Whether the model decodes with Wᵀ. A tied model has no encoder or decoder layers.
    biases : bool, default True
        Whether the model has biases.
    encoder_layers : list of int, default []
        Widths of the layers before the hidden state.
    decoder_layers : list of int, default []
        Widths of the layers after the hidden state.

    Raises
    ------
    ValueError
        If a key is unknown, a value is of the wrong type or range, or a tied model has layers (pydantic's
        ValidationError).

    Examples
    --------
    >>> import toysup
    >>> model = toysup.ModelSpec(n_features=5, n_hidden=2)
    >>> model.activation, model.tied
    ('relu', True)
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
    """An array that is trained, as an architecture declares it.

    Parameters
    ----------
    dims : tuple of str
        Names of its dims, such as ("hidden", "feature"). In a dataset they follow the sweep axes, `seed` and `step`.
    shape : tuple of int
        Its size along each dim.
    scale : float
        Standard deviation of the normal draws that it starts from; 0 for an array that starts at zero.
    long_name : str
        Description of the array, which the dataset keeps.

    Examples
    --------
    >>> from toysup.experiments import Parameter
    >>> Parameter(("hidden", "feature"), (2, 5), 0.5, "weights onto the hidden state").shape
    (2, 5)
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    scale: float
    long_name: str


def weights(rows: tuple[str, int], columns: tuple[str, int], long_name: str) -> Parameter:
    """A matrix that starts Xavier-normal: normal draws of standard deviation √(2/(rows + columns)).

    Parameters
    ----------
    rows : tuple of str and int
        Name and size of the dim of its rows, the outputs of the layer.
    columns : tuple of str and int
        Name and size of the dim of its columns, the inputs of the layer.
    long_name : str
        Description of the matrix, which the dataset keeps.

    Returns
    -------
    Parameter
        The declaration of the matrix.

    References
    ----------
    Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks".

    Examples
    --------
    >>> from toysup.experiments import weights
    >>> weights(("hidden", 2), ("feature", 6), "weights onto the hidden state").scale
    0.5
    """
    (row, n_rows), (column, n_columns) = rows, columns
    return Parameter((row, column), (n_rows, n_columns), (2 / (n_rows + n_columns)) ** 0.5, long_name)


def context_weights(rows: tuple[str, int], columns: tuple[str, int], long_name: str) -> Parameter:
    """A matrix of context inputs, which starts at zero.

    A model that sees its context therefore starts as the same model that does not. With Xavier-normal weights the few
    context inputs would dominate, and half of the outputs would start out dead in each context.

    Parameters
    ----------
    rows : tuple of str and int
        Name and size of the dim of its rows, the outputs of the layer.
    columns : tuple of str and int
        Name and size of the dim of its columns, the context inputs.
    long_name : str
        Description of the matrix, which the dataset keeps.

    Returns
    -------
    Parameter
        The declaration of the matrix.

    Examples
    --------
    >>> from toysup.experiments import context_weights
    >>> context_weights(("hidden", 2), ("context_input", 1), "weights of the context").scale
    0.0
    """
    return weights(rows, columns, long_name)._replace(scale=0.0)


def bias(rows: tuple[str, int], long_name: str) -> Parameter:
    """A vector that starts at zero.

    Parameters
    ----------
    rows : tuple of str and int
        Name and size of its dim, the outputs of the layer.
    long_name : str
        Description of the vector, which the dataset keeps.

    Returns
    -------
    Parameter
        The declaration of the vector.

    Examples
    --------
    >>> from toysup.experiments import bias
    >>> bias(("feature", 5), "output bias").shape
    (5,)
    """
    return Parameter(rows[:1], rows[1:], 0.0, long_name)


class Parameters(Protocol):
    """A function that declares the parameters of a model that is trained under a regime, by name."""

    def __call__(self, model: ModelSpec, regime: Regime, /) -> dict[str, Parameter]: ...


class Forward(Protocol):
    """A function from x (..., feature) and context (..., context_input) to the hidden state and the raw output.

    The raw output is the output before its activation. Parameters and inputs are torch tensors whose leading axes
    broadcast; vectors have an axis for the rows of x.
    """

    def __call__(self, model: ModelSpec, parameters: Tensors, x: Any, context: Any, /) -> tuple[Any, Any]: ...


class Architecture(NamedTuple):
    """The two functions of an architecture."""

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

    inner, state = activations.activation_for(model.layer_activation, x), x
    for k in range(1, len(model.encoder_layers) + 1):
        state = inner(layer(state, f"encoder_{k}_", context))
    hidden = activations.activation_for(model.hidden_activation, x)(layer(state, "", context))
    state = hidden
    for k in range(1, len(model.decoder_layers) + 1):
        state = inner(layer(state, f"decoder_{k}_"))
    before = state @ (parameters["W"] if model.tied else parameters["W_out"].mT)
    return hidden, before + parameters["b"] if "b" in parameters else before


_ARCHITECTURES = {"autoencoder": Architecture(_autoencoder_parameters, _autoencoder_forward)}


def register_model(name: str, parameters: Parameters, forward: Forward) -> None:
    """Add an architecture that `[model] architecture` can name, until the process ends.

    The torch engine trains it. A dataset stores only the name, so whoever computes losses from the dataset, or makes a
    torch module of it, registers the same architecture first. `docs/extending.md` has a whole example.

    Parameters
    ----------
    name : str
        Name of the architecture.
    parameters : callable
        `parameters(model, regime)` returns a dict of `toysup.experiments.Parameter` by name;
        `toysup.experiments.weights` and `toysup.experiments.bias` make them. `model` is a `ModelSpec`, `regime` a
        `Regime`.
    forward : callable
        `forward(model, parameters, x, context)` returns the hidden state (..., hidden) and the output before its
        activation (..., output). x (..., feature), context (..., context_input) and the parameters are torch tensors
        whose leading axes broadcast; a vector among the parameters has an axis of length 1 for the rows of x.

    Raises
    ------
    UsageError
        If another architecture has that name.

    Examples
    --------
    >>> from toysup import experiments, register_model
    >>> def parameters(model, regime):
    ...     return {"W": experiments.weights(("hidden", model.n_hidden), ("feature", model.n_features), "encoder")}
    >>> forward = lambda model, own, x, context: (x @ own["W"].mT, x @ own["W"].mT @ own["W"])
    >>> register_model("without-biases", parameters, forward)
    """
    if name in _ARCHITECTURES and _ARCHITECTURES[name] != (parameters, forward):
        raise UsageError(f"there is an architecture {name!r} already; give another name")
    _ARCHITECTURES[name] = Architecture(parameters, forward)


def architecture(name: str) -> Architecture:
    """The architecture of that name; UsageError if there is none."""
    if name not in _ARCHITECTURES:
        known = nearest(name, _ARCHITECTURES)
        raise UsageError(f"no architecture {name!r}; {known} (toysup.register_model adds one of your own)")
    return _ARCHITECTURES[name]


def require_known(model: ModelSpec) -> None:
    """Raise UsageError if the model names an unknown architecture or activation."""
    architecture(model.architecture)
    for key in ("activation", "hidden_activation", "layer_activation"):
        try:
            activations.require_known(getattr(model, key))
        except UsageError as error:
            raise UsageError(f"model.{key}: {error}") from None


def parameters_of(model: ModelSpec, regime: Regime) -> dict[str, Parameter]:
    """The parameters of `model` when it is trained under `regime`, by name."""
    return architecture(model.architecture).parameters(model, regime)


def is_plain(model: ModelSpec, regime: Regime) -> bool:
    """Whether the model is y = φ(WᵀW x + b), to which the fused engine and the closed forms apply."""
    linear = model.hidden_activation == "identity" and not regime.context_inputs
    return model.architecture == "autoencoder" and model.tied and model.biases and linear
