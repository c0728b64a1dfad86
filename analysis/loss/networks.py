"""Models as layers that are applied one after the other: y_l = φ_l(W_l y_{l−1} + b_l)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.analysis.statistics.forward_pass import Models
from toysup.experiments.numpy_activations import FUNCTIONS
from toysup.sampling.samples import context_inputs

# How many samples are computed at once, and how many values of the widest layer: 1 MiB.
_SAMPLES, _VALUES = 512, 2**18


class Layer(NamedTuple):
    """W (model, output, input) and b (model, output) of a layer, and its activation."""

    W: AnyArray
    b: AnyArray
    activation: str


def layers_of(models: Models, context: int) -> list[Layer]:
    """The layers of built-in models in a context, whose inputs are a part of the biases."""
    spec, regime, own = models.spec, models.regime, models.parameters
    seen = context_inputs(regime.context_input, np.array(context), len(regime.contexts), np)

    def layer(W: AnyArray, name: str, activation: str) -> Layer:
        bias = f"{name}b"
        b = own[bias][:, 0] if bias in own else np.zeros(W.shape[:2], W.dtype)
        return Layer(W, b, activation)

    def before_hidden(name: str, activation: str) -> Layer:
        W = own[f"{name}W"]
        # The hidden state has no bias; `b` is that of the output.
        found = layer(W, name or "hidden_", activation)
        if f"{name}W_context" in own:
            found = found._replace(b=found.b + own[f"{name}W_context"] @ seen.astype(W.dtype))
        return found

    encoders = [before_hidden(f"encoder_{k}_", spec.layer_activation) for k in range(1, len(spec.encoder_layers) + 1)]
    hidden = before_hidden("", spec.hidden_activation)
    names = [f"decoder_{k}_" for k in range(1, len(spec.decoder_layers) + 1)]
    decoders = [layer(own[f"{name}W"], name, spec.layer_activation) for name in names]
    W_out = np.swapaxes(own["W"], 1, 2) if spec.tied else own["W_out"]
    return [*encoders, hidden, *decoders, layer(W_out, "", spec.activation)]


class Targets(NamedTuple):
    """What outputs should be: their own feature (output,) times `wanted` (output,), or its absolute value."""

    own: AnyArray
    wanted: FloatArray
    absolute: bool


class Network:
    """Layers in single precision, whose widths are padded with zeros for the compiled loops."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        from toysup.analysis.loss.compiled.forward import OUTPUTS

        self.layers = []
        n_inputs = layers[0].W.shape[2]
        for W, b, activation in layers:
            models, outputs, inputs = W.shape
            n_outputs = -(-outputs // OUTPUTS) * OUTPUTS
            wide = np.zeros((models, n_outputs, n_inputs), np.float32)
            wide[:, :outputs, :inputs] = W
            start = np.zeros((models, n_outputs, 1), np.float32)
            start[:, :outputs, 0] = b
            self.layers.append(Layer(wide, start, activation))
            n_inputs = n_outputs
        self.widest = max(max(layer.W.shape[1:]) for layer in self.layers)

    def __len__(self) -> int:
        return len(self.layers[0].W)

    def add_errors(self, models: slice, x: AnyArray, share: AnyArray, targets: Targets, total: FloatArray) -> None:
        """Add Σ share (y − t)² over samples to `total` (model, group, output) of some models.

        `x` is (row, feature), `share` (group, row).
        """
        from toysup.analysis.loss.compiled.forward import SAMPLES, add_errors

        step = max(1, _SAMPLES // SAMPLES) * SAMPLES
        size = max(1, _VALUES // (self.widest * step))
        wanted = targets.wanted.astype(np.float32)
        for first in range(0, len(x), step):
            part, weight = x[first : first + step], np.ascontiguousarray(share[:, first : first + step], np.float32)
            # The last samples are followed by zeros, which have no weight.
            inputs = np.zeros((1, x.shape[1], -(-len(part) // SAMPLES) * SAMPLES), np.float32)
            inputs[0, :, : len(part)] = part.T
            for start in range(models.start, models.stop, size):
                here = slice(start, min(start + size, models.stop))
                add_errors(
                    self._outputs(here, inputs), inputs[0], weight, targets.own, wanted, targets.absolute, total[here]
                )

    def _outputs(self, models: slice, inputs: AnyArray) -> AnyArray:
        """y (model, output, sample) of x (1, feature, sample)."""
        from toysup.analysis.loss.compiled.forward import apply_layer

        y = inputs
        for W, b, activation in self.layers:
            after = np.empty((models.stop - models.start, W.shape[1], inputs.shape[2]), np.float32)
            apply_layer(W[models], b[models], y, after, activation == "relu")
            y = after if activation in ("relu", "identity") else FUNCTIONS[activation](after)
        return y
