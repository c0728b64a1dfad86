"""Training recipes: how long, on how many samples, with which optimiser, and which steps are recorded."""

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from toysup.experiments.spec import BELOW_ONE, NOT_NEGATIVE, POSITIVE, Count, Number, Spec, Swept, Whole

DEFAULT_LOG_SPACED = 20
# The schedule is kept as a table with an entry for each step.
MAX_STEPS = 10**8
# Each is a copy of all weights.
MAX_SNAPSHOTS = 10**6


class TrainingSpec(Spec):
    """The `[training]` table. With `dataset_size` each seed has a finite dataset, reshuffled every epoch; without, an
    infinite stream. The optimisers are torch's: `weight_decay` is L2 in adam and sgd, decoupled in adamw."""

    alternatives: ClassVar = (("epochs", "steps"),)

    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Count = Field(le=2**24)
    dataset_size: Count | None = Field(default=None, le=2**31 - 1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[Swept, POSITIVE] = 1e-3
    weight_decay: Annotated[Swept, NOT_NEGATIVE] = 0.0
    momentum: Annotated[Swept, BELOW_ONE] = 0.0
    beta1: Annotated[Swept, BELOW_ONE] = 0.9
    beta2: Annotated[Swept, BELOW_ONE] = 0.999
    epsilon: Number = Field(default=1e-8, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingSpec":
        self.check_alternatives()
        if self.epochs is None and self.steps is None:
            raise ValueError("epochs or steps is missing")
        if self.epochs is not None and self.dataset_size is None:
            raise ValueError("epochs need a dataset_size; an infinite stream is trained for a number of steps")
        if self.momentum != 0 and self.optimizer != "sgd":
            raise ValueError(f"momentum is sgd's; {self.optimizer} has beta1 and beta2")
        if self.optimizer == "sgd" and (idle := [key for key in ("beta1", "beta2") if key in self.sweeps]):
            raise ValueError(f"a sweep over {idle[0]} changes nothing: sgd has no {idle[0]}")
        if self.n_steps > MAX_STEPS:
            raise ValueError(f"training takes {self.n_steps} steps; at most {MAX_STEPS} are supported")
        return self

    @property
    def steps_per_epoch(self) -> int | None:
        """ceil(dataset_size / batch_size), the last batch being what is left; None for an infinite stream."""
        return None if self.dataset_size is None else math.ceil(self.dataset_size / self.batch_size)

    @property
    def n_steps(self) -> int:
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        assert self.steps_per_epoch is not None
        return self.epochs * self.steps_per_epoch

    def rows(self, step: int) -> int:
        """Samples in the batch of the 0-based `step`: the batch size, but what is left at the end of an epoch."""
        if self.dataset_size is None or self.steps_per_epoch is None:
            return self.batch_size
        return min(self.batch_size, self.dataset_size - (step % self.steps_per_epoch) * self.batch_size)

    def samples(self, steps: int) -> int:
        """Samples in the first so many batches."""
        if self.dataset_size is None or self.steps_per_epoch is None:
            return steps * self.batch_size
        epochs, more = divmod(steps, self.steps_per_epoch)
        return epochs * self.dataset_size + more * self.batch_size

    def learning_rate_factor(self) -> npt.NDArray[np.float64]:
        """(step,) what the schedule multiplies the learning rate with: 1, 1 − s/S, or (1 + cos πs/S)/2 of S steps."""
        if self.schedule == "constant":
            return np.ones(self.n_steps)
        progress = np.arange(self.n_steps) / self.n_steps
        match self.schedule:
            case "linear":
                return 1 - progress
            case "cosine":
                return np.asarray((1 + np.cos(np.pi * progress)) / 2)


class RecordSpec(Spec):
    """The `[record]` table: which snapshots are kept. The initial state (step 0) and the last step always are.

    `every_epochs` k: every k-th epoch; `epochs` and `steps`: those; `log_spaced` k: k steps evenly spaced in log.
    Where nothing is said: every epoch if training runs by epochs, else 20 log-spaced steps.
    """

    alternatives: ClassVar = (("every_epochs", "epochs", "steps", "log_spaced"),)

    every_epochs: Count | None = None
    epochs: tuple[Whole, ...] | None = None
    steps: tuple[Whole, ...] | None = None
    log_spaced: Count | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "RecordSpec":
        self.check_alternatives()
        return self

    def steps_of(self, training: TrainingSpec) -> tuple[int, ...]:
        """The steps to record, ascending; ValueError where the run has no such step."""
        last, per_epoch = training.n_steps, training.steps_per_epoch
        if (self.every_epochs or self.epochs) and per_epoch is None:
            raise ValueError("record by epochs needs training.dataset_size; an infinite stream is recorded by steps")
        if self.steps is not None:
            chosen = list(self.steps)
        elif self.epochs is not None:
            chosen = [epoch * (per_epoch or 0) for epoch in self.epochs]
        elif self.log_spaced is not None or (training.epochs is None and self.every_epochs is None):
            count = _affordable(self.log_spaced or DEFAULT_LOG_SPACED)
            chosen = [int(step) for step in np.unique(np.round(np.geomspace(1, last, count)).astype(int))]
        else:
            every = range(0, last, (self.every_epochs or 1) * (per_epoch or 1))
            _affordable(len(every))
            chosen = list(every)
        if outside := [step for step in chosen if not 0 <= step <= last]:
            raise ValueError(f"record asks for step {outside[0]}, but training has steps 0 to {last}")
        return tuple(sorted({0, *chosen, last}))


def _affordable(snapshots: int) -> int:
    if snapshots > MAX_SNAPSHOTS:
        raise ValueError(f"record asks for {snapshots} snapshots; at most {MAX_SNAPSHOTS} are supported")
    return snapshots
