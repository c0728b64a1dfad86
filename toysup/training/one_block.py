"""Training one block, from its checkpoint if there is one, to its file."""

from collections.abc import Callable
from functools import partial

import xarray as xr

from toysup.engines.instances import Control, EngineState
from toysup.experiments.experiment import Experiment
from toysup.storage.checkpoints import Checkpoint
from toysup.storage.schema import place, room_for, trajectory_of
from toysup.storage.store import Job
from toysup.training.train import snapshots_of


class ProgressListener:
    """Receives the progress of `train_runs`. Its methods do nothing; a subclass overrides those that it needs.

    A block, the unit of work, is a box of a condition's cells times a run of seeds. A `job` has the `condition` of a
    block (with the cells of the block alone), its `seeds` and the `path` of its file.

    Examples
    --------
    >>> import toysup
    >>> class Announcer(toysup.ProgressListener):
    ...     def finished(self, job):
    ...         print(f"{job.path} is finished")
    >>> toysup.train_runs("tms-intro", listener=Announcer())  # doctest: +SKIP
    """

    def started(self, job: Job, step: int) -> None:
        """The training of a block begins after `step`, which is 0 unless the block has a checkpoint."""

    def step(self, job: Job, step: int, loss: float) -> None:
        """A block has reached `step`; workers report this every few seconds.

        `loss` is the mean training loss per sample since the last snapshot, NaN before the first batches.
        """

    def finished(self, job: Job) -> None:
        """A block is trained and its file is written."""

    def workers_lost(self, workers: int, blocks: int) -> None:
        """The cluster lost this many workers; this many blocks are trained again."""

    def stopping(self) -> None:
        """Ctrl-C or SIGTERM asked to stop: training goes on to the next point where it can be resumed."""


class Stopped(Exception):
    """Training stopped because it was asked to, after this many `finished` blocks.

    `checkpoints` has a text for each block that was at work, such as "fixed at step 3000 of 4692".
    """

    def __init__(self, *checkpoints: str, finished: int = 0) -> None:
        super().__init__(*checkpoints)
        self.checkpoints, self.finished = checkpoints, finished


def train_and_keep(
    experiment: Experiment,
    job: Job,
    *,
    device: str,
    listener: ProgressListener,
    threads: int | None = None,
    wanted: Callable[[], bool] = lambda: True,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train a block, and write it to its file if it is still `wanted` then. Returns whether it was written.

    Raises Stopped, with a checkpoint, once `stop` is true.
    """
    trained = train_job(experiment, job, device=device, threads=threads, listener=listener, stop=stop)
    if not wanted():
        return False
    job.keep(trained)
    Checkpoint(job, {}).remove()
    listener.finished(job)
    return True


def train_job(
    experiment: Experiment,
    job: Job,
    *,
    device: str = "cpu",
    threads: int | None = None,
    listener: ProgressListener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> xr.Dataset:
    """Train a block of a condition of the experiment, from its checkpoint if there is one."""
    arrays = room_for(job.condition, len(job.seeds))
    checkpoint, listener = Checkpoint(job, arrays), listener or ProgressListener()
    resume = checkpoint.load()

    def offer(state: Callable[[], EngineState]) -> None:
        if stop():
            at = f"{job.condition.name} at step {state()['step']} of {job.condition.training.n_steps}"
            # A full disk keeps no checkpoint.
            raise Stopped(*[at] * checkpoint.write(state))
        checkpoint.offer(state)

    listener.started(job, 0 if resume is None else int(resume["step"]))
    control = Control(partial(listener.step, job), resume=resume, offer=offer, threads=threads)
    snapshots = snapshots_of(job.condition, job.seeds, job.engine, control, device=device)
    for number, snapshot in enumerate(snapshots, start=checkpoint.filled):
        place(job.condition, arrays, number, snapshot)
        checkpoint.filled = number + 1
    return trajectory_of(experiment, job.condition, job.seeds, arrays, engine=job.engine)
