"""What is evaluated of models, under which regimes, and the entries that their errors are summed into."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from toysup.analysis.loss.networks import Layer, layers_of
from toysup.analysis.statistics.arrays import AnyArray, FloatArray
from toysup.analysis.statistics.forward_pass import Models
from toysup.experiments.regime import Regime


class Predictor(NamedTuple):
    """What is evaluated of a model: one output or several, of which the last is the model's own.

    `layers(models, context)` gives the layers of each. Of models with registered functions, which have no such layers,
    `outputs(models, x, context)` gives arrays (model, row, output). For models y = φ(A x + a), `maps(A, a)` gives the
    A (model, output, feature) and a (model, output) that have these outputs.
    """

    layers: Callable[[Models, int], Sequence[Sequence[Layer]]]
    outputs: Callable[[Models, AnyArray, int], Sequence[AnyArray]]
    maps: Callable[[FloatArray, FloatArray], Sequence[tuple[FloatArray, FloatArray]]]


WHOLE = Predictor(
    lambda models, context: [layers_of(models, context)],
    lambda models, x, context: [models.outputs(x, context)],
    lambda A, a: [(A, a)],
)


class Cell(NamedTuple):
    """A regime, its index along each axis along which it varies, and the indices of the models evaluated under it."""

    at: dict[str, int]
    members: AnyArray
    regime: Regime


class Slots(NamedTuple):
    """The entries that errors are summed into: a number of active features, a predictor, a context and an output."""

    active: int
    kinds: int
    contexts: int
    outputs: int
