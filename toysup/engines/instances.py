"""The input and output of engines: instances (all cells times all seeds of a condition), and their snapshots."""

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
# Called from time to time with the step and the mean training loss per sample since the previous snapshot.
Progress = Callable[[int, float], None]
# All arrays that an engine needs to resume, by name; `step` is the number of steps that it has taken.
EngineState = Mapping[str, NumpyArray]
# Called wherever training can be resumed later, with a function that returns the state.
OfferState = Callable[[Callable[[], EngineState]], None]


class Control(NamedTuple):
    """The circumstances of a training, none of which changes a trajectory.

    `progress` is called with the progress. `resume` is the state to resume from; its snapshot is not yielded again.
    `offer` is called, wherever training can be resumed later, with a function that returns the state. `threads` is the
    number of CPU threads; None takes all cores.
    """

    progress: Progress | None = None
    resume: EngineState | None = None
    offer: OfferState | None = None
    threads: int | None = None


# Training from the start, without reports.
UNATTENDED = Control()


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of one condition: all seeds of the first cell, then of the second, and so on.

    Every array has the instance as its first axis. `regimes` has the regime of each instance; only numbers differ
    between them. `hyperparameters` has the numbers of the training recipe that can be swept, each (instance,).
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
        """The instances at these positions."""
        return replace(
            self,
            regimes=self.regimes[members],
            seeds=self.seeds[members],
            parameters={name: value[members] for name, value in self.parameters.items()},
            hyperparameters={name: value[members] for name, value in self.hyperparameters.items()},
        )

    @property
    def regime(self) -> Regime:
        """The regime of the first instance, for everything that all regimes share."""
        return self.regimes[0]

    @cached_property
    def law(self) -> SampleLaw:
        """The law that the samples of each instance are drawn from."""
        return sample_law(self.regimes, self.seeds, dense=self.training.draws == "dense")

    @cached_property
    def importance(self) -> FloatArray:
        """(instance, context, feature) weights of squared errors."""
        return np.stack([regime.importance for regime in self.regimes])


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All instances at one step.

    `train_loss` (instance,) is the mean loss per sample since the previous snapshot. `diverged_at` (instance,) is the
    first step whose loss was not finite, counted from 1, or −1 if there is none.
    """

    step: int
    parameters: Parameters
    train_loss: FloatArray
    diverged_at: npt.NDArray[np.int64]


def instances_of(condition: Condition, seeds: Sequence[int]) -> Instances:
    """The instances of `condition` for `seeds`, each with its own tables, recipe and initial parameters."""
    cells = [condition.at(cell) for cell in condition.cells()]
    regimes = condition.regimes()
    starts = [initial_parameters(condition.model, regimes[0], seed) for seed in seeds]

    def per_instance(rows: Sequence[object]) -> FloatArray:
        return np.repeat(np.asarray(rows, dtype=np.float64), len(seeds), axis=0)

    return Instances(
        model=condition.model,
        training=condition.training,
        recorded_steps=condition.recorded_steps,
        regimes=tuple(regime for regime in regimes for _ in seeds),
        seeds=np.tile(np.asarray(seeds, dtype=np.int64), len(cells)),
        parameters={name: np.stack([start[name] for start in starts] * len(cells)) for name in starts[0]},
        hyperparameters={
            name: per_instance([single(getattr(cell.training, name)) for cell in cells])
            for name in ("learning_rate", "weight_decay", "momentum", "beta1", "beta2")
        },
    )


def initial_parameters(model: ModelSpec, regime: Regime, seed: int) -> Parameters:
    """The initial parameters of a seed: each matrix Xavier-normal with std √(2/(rows + columns)), each bias zero.

    The scale is that of one model. TMS's notebook applies Xavier's rule to a stack of models, so that its scale depends
    on the number of models. The draws of a parameter follow from its name and shape.
    """
    return {
        name: (scale * normal(seed, name, shape) if scale else np.zeros(shape)).astype(np.float32)
        for name, (_, shape, scale, _) in parameters_of(model, regime).items()
    }
