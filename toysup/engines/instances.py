"""What an engine is given: all instances of a condition, its cells times its seeds, as arrays along one axis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.experiments.experiment import Condition
from toysup.experiments.model import ModelSpec, parameters_of
from toysup.experiments.recipe import TrainingSpec
from toysup.experiments.regime import FloatArray, Regime
from toysup.experiments.spec import single
from toysup.sampling.random_words import normal
from toysup.sampling.samples import NumpyArray, SampleLaw, sample_law

Parameters = dict[str, npt.NDArray[np.float32]]
# Called now and then with the step reached and the mean training loss since the previous snapshot.
Progress = Callable[[int, float], None]
# All that an engine needs to go on where it was, by name; `step` is how many steps it has taken.
EngineState = Mapping[str, NumpyArray]
# Called wherever training could be gone on with later; what it is given makes the state, if that is wanted.
OfferState = Callable[[Callable[[], EngineState]], None]


class Control(NamedTuple):
    """Who watches over a training, and with what: none of it changes a trajectory.

    Who is told of its `progress`; the state to `resume` from, whose snapshot is not given again; to whom states are on
    `offer`; and how many `threads` of the CPU it takes (all cores, if not given).
    """

    progress: Progress | None = None
    resume: EngineState | None = None
    offer: OfferState | None = None
    threads: int | None = None


# From the start, and nobody is told.
UNATTENDED = Control()


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of one condition, cell-major; every array has them along its first axis.

    `regimes` holds each one's regime, which differ in their numbers alone; `hyperparameters` the recipe's numbers that
    may be swept, each (instance,).
    """

    model: ModelSpec
    training: TrainingSpec
    recorded_steps: tuple[int, ...]
    regimes: tuple[Regime, ...]
    seeds: npt.NDArray[np.int64]
    parameters: Parameters
    hyperparameters: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.seeds)

    def part(self, members: slice) -> "Instances":
        """Some of the instances."""
        return replace(
            self,
            regimes=self.regimes[members],
            seeds=self.seeds[members],
            parameters={name: value[members] for name, value in self.parameters.items()},
            hyperparameters={name: value[members] for name, value in self.hyperparameters.items()},
        )

    @property
    def regime(self) -> Regime:
        """What all of them share of their regimes."""
        return self.regimes[0]

    @cached_property
    def law(self) -> SampleLaw:
        """What samples are drawn from."""
        return sample_law(self.regimes, self.seeds)

    @cached_property
    def importance(self) -> FloatArray:
        """(instance, context, feature)"""
        return np.stack([regime.importance for regime in self.regimes])


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
    regimes = condition.regimes()
    start = [initial_parameters(condition.model, regimes[0], seed) for seed in seeds]

    def per_instance(rows: Sequence[object]) -> FloatArray:
        return np.repeat(np.asarray(rows, dtype=np.float64), len(seeds), axis=0)

    return Instances(
        model=condition.model,
        training=condition.training,
        recorded_steps=condition.recorded_steps,
        regimes=tuple(regime for regime in regimes for _ in seeds),
        seeds=np.tile(np.asarray(seeds, dtype=np.int64), len(cells)),
        parameters={name: np.stack([own[name] for own in start] * len(cells)) for name in start[0]},
        hyperparameters={
            name: per_instance([single(getattr(cell.training, name)) for cell in cells])
            for name in ("learning_rate", "weight_decay", "momentum", "beta1", "beta2")
        },
    )


def initial_parameters(model: ModelSpec, regime: Regime, seed: int) -> Parameters:
    """What seed `seed` starts from: each matrix Xavier-normal with std √(2/(rows + columns)), each bias zero.

    Xavier's scale is this model's own; TMS's notebook applies it to a stack of models, where it depends on their
    number. A parameter's draws follow from its name and shape.
    """
    return {
        name: (scale * normal(seed, name, shape) if scale else np.zeros(shape)).astype(np.float32)
        for name, (_, shape, scale, _) in parameters_of(model, regime).items()
    }
