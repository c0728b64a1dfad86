"""Training one block, from its checkpoint if there is one, to its file."""

from collections.abc import Callable

import xarray as xr

from toysup.engines.instances import Control, Progress
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

    def step(self, job: Job, step: int, loss: float) -> None:
        """A block that is trained in this process has reached `step`.

        `loss` is the mean training loss per sample since the last snapshot, NaN before the first batches.
        """

    def finished(self, job: Job) -> None:
        """A block is trained and its file is written."""

    def workers_lost(self, workers: int, blocks: int) -> None:
        """The cluster lost this many workers; this many blocks are trained again."""


def train_and_keep(
    experiment: Experiment,
    job: Job,
    *,
    device: str,
    listener: ProgressListener,
    threads: int | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> bool:
    """Train a block, and write it to its file if it is still `wanted` then. Returns whether it was written."""
    trained = train_job(
        experiment, job, device=device, threads=threads, progress=lambda step, loss: listener.step(job, step, loss)
    )
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
    progress: Progress | None = None,
) -> xr.Dataset:
    """Train a block of a condition of the experiment, from its checkpoint if there is one."""
    arrays = room_for(job.condition, len(job.seeds))
    checkpoint = Checkpoint(job, arrays)
    control = Control(progress, resume=checkpoint.load(), offer=checkpoint.offer, threads=threads)
    snapshots = snapshots_of(job.condition, job.seeds, job.engine, control, device=device)
    for number, snapshot in enumerate(snapshots, start=checkpoint.filled):
        place(job.condition, arrays, number, snapshot)
        checkpoint.filled = number + 1
    return trajectory_of(experiment, job.condition, job.seeds, arrays, engine=job.engine)
