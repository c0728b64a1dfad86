"""Training recipes: how long, on how many samples and with which optimiser to train, and which steps to record."""

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from toysup.experiments.spec import BELOW_ONE, NOT_NEGATIVE, POSITIVE, Count, Number, Spec, Swept

DEFAULT_LOG_SPACED = 20
NotNegative = Annotated[int, Field(strict=True, ge=0)]
# The schedule is a table in memory with one entry for each step.
MAX_STEPS = 10**8
# Each snapshot is a copy of all weights.
MAX_SNAPSHOTS = 10**6


class TrainingSpec(Spec):
    """The `[training]` table of an experiment file: how long, on how many samples and with which optimiser to train.

    The optimisers are torch's. Keys that are marked as *sweep* take one number or a list of different numbers.

    Parameters
    ----------
    epochs : int, optional
        Number of epochs, at least 1. It needs `dataset_size`, and excludes `steps`.
    steps : int, optional
        Number of optimiser steps, at least 1. Either this or `epochs` is required; 10⁸ steps are the most.
    batch_size : int
        Samples in a batch, from 1 to 2²⁴. The last batch of an epoch holds the samples that are left.
    dataset_size : int, optional
        Samples in the dataset of a seed, from 1 to 2³¹ − 1. The dataset is shuffled anew in each epoch. The default is
        an infinite stream, in which no sample repeats.
    optimizer : {"adam", "adamw", "sgd"}, default "adam"
        The update rule.
    learning_rate : float or list of float, sweep, default 1e-3
        Learning rate, above 0, before the schedule.
    weight_decay : float or list of float, sweep, default 0.0
        Weight decay, at least 0: an L2 penalty with adam and sgd, decoupled with adamw.
    momentum : float or list of float, sweep, default 0.0
        Momentum of sgd, from 0 to below 1. The other optimisers have none.
    beta1 : float or list of float, sweep, default 0.9
        Decay rate of the first moment of adam and adamw, from 0 to below 1.
    beta2 : float or list of float, sweep, default 0.999
        Decay rate of the second moment of adam and adamw, from 0 to below 1.
    epsilon : float, default 1e-8
        ε > 0 in the denominator of adam and adamw.
    schedule : {"constant", "linear", "cosine"}, default "constant"
        Factor on the learning rate at step s of S, from s = 0: 1, 1 − s/S, or (1 + cos πs/S)/2.
    draws : {"sparse", "dense"}, default "sparse"
        How random words become samples; their law is the same. "dense" takes a word for each feature. "sparse" takes
        words for the active features alone in every cell in which at most 8 features and one in 16 are active in the
        mean, and is dense in the others. Regimes with groups or with a context rule are always drawn densely.

    Raises
    ------
    ValueError
        If a key is unknown, a value is of the wrong type or range, or keys do not fit together (pydantic's
        ValidationError).

    Examples
    --------
    >>> import toysup
    >>> training = toysup.TrainingSpec(epochs=2, dataset_size=1000, batch_size=300)
    >>> training.steps_per_epoch, training.n_steps
    (4, 8)
    """

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
    draws: Literal["sparse", "dense"] = "sparse"

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingSpec":
        self.check_alternatives()
        if self.epochs is None and self.steps is None:
            raise ValueError("epochs or steps is missing")
        if self.epochs is not None and self.dataset_size is None:
            raise ValueError("epochs need a dataset_size; an infinite stream is trained for a number of steps")
        if self.momentum != 0 and self.optimizer != "sgd":
            raise ValueError(f"momentum needs optimizer = 'sgd'; {self.optimizer} has beta1 and beta2")
        if self.optimizer == "sgd" and (idle := [key for key in ("beta1", "beta2") if key in self.sweeps]):
            raise ValueError(f"a sweep over {idle[0]} changes nothing: sgd has no {idle[0]}")
        if self.n_steps > MAX_STEPS:
            raise ValueError(f"training takes {self.n_steps} steps; at most {MAX_STEPS} are supported")
        return self

    @property
    def steps_per_epoch(self) -> int | None:
        """⌈dataset_size / batch_size⌉; None for an infinite stream."""
        return None if self.dataset_size is None else math.ceil(self.dataset_size / self.batch_size)

    @property
    def n_steps(self) -> int:
        """Number of optimiser steps."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        assert self.steps_per_epoch is not None
        return self.epochs * self.steps_per_epoch

    def rows(self, step: int) -> int:
        """Samples in the batch of the 0-based `step`; the last batch of an epoch may be smaller than the others."""
        if self.dataset_size is None or self.steps_per_epoch is None:
            return self.batch_size
        return min(self.batch_size, self.dataset_size - (step % self.steps_per_epoch) * self.batch_size)

    def samples(self, steps: int) -> int:
        """Samples in the first `steps` batches."""
        if self.dataset_size is None or self.steps_per_epoch is None:
            return steps * self.batch_size
        epochs, more = divmod(steps, self.steps_per_epoch)
        return epochs * self.dataset_size + more * self.batch_size

    def learning_rate_factor(self) -> npt.NDArray[np.float64]:
        """(step,) factor of the schedule on the learning rate: 1, 1 − s/S, or (1 + cos πs/S)/2 for S steps."""
        if self.schedule == "constant":
            return np.ones(self.n_steps)
        progress = np.arange(self.n_steps) / self.n_steps
        match self.schedule:
            case "linear":
                return 1 - progress
            case "cosine":
                return np.asarray((1 + np.cos(np.pi * progress)) / 2)


class RecordSpec(Spec):
    """The `[record]` table of an experiment file: which steps are recorded.

    Step 0 (the initial state) and the last step are always recorded. At most one key may be given. Without a key, every
    epoch is recorded if the training has `epochs`, else 20 steps that are evenly spaced on a log scale. Steps and
    epochs after the end of the training are left out.

    Parameters
    ----------
    every_steps : int, optional
        Record every k-th step.
    every_epochs : int, optional
        Record every k-th epoch. It needs `training.dataset_size`.
    epochs : list of int, optional
        Record the ends of these epochs, from 0. It needs `training.dataset_size`.
    steps : list of int, optional
        Record these steps, from 0.
    log_spaced : int, optional
        Record this many steps, evenly spaced on a log scale from 1 to the last step; fewer if several round to the
        same step.

    Raises
    ------
    ValueError
        If a key is unknown, a value is of the wrong type or range, or two keys are given (pydantic's ValidationError).
        `steps_of` raises it if there are too many snapshots, or epochs without `training.dataset_size`.

    Examples
    --------
    >>> import toysup
    >>> training = toysup.TrainingSpec(epochs=2, dataset_size=1000, batch_size=100)
    >>> toysup.RecordSpec(every_epochs=1).steps_of(training)
    (0, 10, 20)
    """

    alternatives: ClassVar = (("every_steps", "every_epochs", "epochs", "steps", "log_spaced"),)

    every_steps: Count | None = None
    every_epochs: Count | None = None
    epochs: tuple[NotNegative, ...] | None = None
    steps: tuple[NotNegative, ...] | None = None
    log_spaced: Count | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "RecordSpec":
        self.check_alternatives()
        return self

    def steps_of(self, training: TrainingSpec) -> tuple[int, ...]:
        """The steps to record, ascending, without those after the end of the training."""
        last, per_epoch = training.n_steps, training.steps_per_epoch
        if (self.every_epochs or self.epochs) and per_epoch is None:
            raise ValueError("record by epochs needs training.dataset_size; an infinite stream is recorded by steps")
        if self.steps is not None:
            chosen = list(self.steps)
        elif self.epochs is not None:
            chosen = [epoch * (per_epoch or 0) for epoch in self.epochs]
        elif self.log_spaced is not None or not (training.epochs or self.every_epochs or self.every_steps):
            count = _affordable(self.log_spaced or DEFAULT_LOG_SPACED)
            chosen = [int(step) for step in np.unique(np.round(np.geomspace(1, last, count)).astype(int))]
        else:
            every = range(0, last, self.every_steps or (self.every_epochs or 1) * (per_epoch or 1))
            _affordable(len(every))
            chosen = list(every)
        return tuple(sorted({0, *(step for step in chosen if step < last), last}))

    def left_out(self, training: TrainingSpec) -> str:
        """What `steps_of` leaves out because training ends before, as a text; empty if nothing."""
        last, per_epoch = training.n_steps, training.steps_per_epoch or 1
        for unit, chosen, end in (("step", self.steps, last), ("epoch", self.epochs, last / per_epoch)):
            if beyond := [number for number in chosen or () if number > end]:
                listed = ", ".join(map(str, beyond[:10])) + (", …" if len(beyond) > 10 else "")
                several = "s" if len(beyond) > 1 else ""
                return f"training ends at {unit} {end:.10g}, so {unit}{several} {listed} of [record] cannot be recorded"
        return ""


def _affordable(snapshots: int) -> int:
    if snapshots > MAX_SNAPSHOTS:
        raise ValueError(f"record asks for {snapshots} snapshots; at most {MAX_SNAPSHOTS} are supported")
    return snapshots
