"""What an engine is given: all instances of a condition, its cells times its seeds, as arrays along one axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toysup.experiments import Condition
from toysup.models import ModelSpec, initial_parameters
from toysup.recipes import TrainingSpec
from toysup.regimes import FloatArray
from toysup.spec import single

Parameters = dict[str, npt.NDArray[np.float32]]
# Called now and then with the step reached and the mean training loss since the previous snapshot.
Progress = Callable[[int, float], None]


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of one condition, cell-major; every array has them along its first axis.

    `context_probability` (instance, context); `activation_probability`, `importance` (instance, context, feature);
    `hyperparameters` holds the recipe's numbers that may be swept, each (instance,).
    """

    model: ModelSpec
    training: TrainingSpec
    recorded_steps: tuple[int, ...]
    seeds: npt.NDArray[np.int64]
    parameters: Parameters
    context_probability: FloatArray
    activation_probability: FloatArray
    importance: FloatArray
    hyperparameters: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All instances at one step.

    `train_loss` (instance,) is the mean per sample since the previous snapshot; `diverged_at` (instance,) is the first
    step whose loss was not finite, counted from 1, or −1.
    """

    step: int
    parameters: Parameters
    train_loss: FloatArray
    diverged_at: npt.NDArray[np.int64]


def instances_of(condition: Condition, seeds: Sequence[int]) -> Instances:
    """The instances of `condition` for `seeds`, each with its own tables, recipe and initial parameters."""
    cells = [condition.at(cell) for cell in condition.cells()]
    regimes = [cell.regime.resolve(condition.model.n_features) for cell in cells]
    start = [initial_parameters(condition.model, seed) for seed in seeds]

    def per_instance(rows: Sequence[object]) -> FloatArray:
        return np.repeat(np.asarray(rows, dtype=np.float64), len(seeds), axis=0)

    return Instances(
        model=condition.model,
        training=condition.training,
        recorded_steps=condition.recorded_steps,
        seeds=np.tile(np.asarray(seeds, dtype=np.int64), len(cells)),
        parameters={name: np.stack([own[name] for own in start] * len(cells)) for name in start[0]},
        context_probability=per_instance([regime.context_probability for regime in regimes]),
        activation_probability=per_instance([regime.activation_probability for regime in regimes]),
        importance=per_instance([regime.importance for regime in regimes]),
        hyperparameters={
            name: per_instance([single(getattr(cell.training, name)) for cell in cells])
            for name in ("learning_rate", "weight_decay", "momentum", "beta1", "beta2")
        },
    )
