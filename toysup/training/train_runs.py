"""Training to a folder: what is missing of an experiment is planned, trained here or on a dask cluster, and kept."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from toysup.engines.choice import choose_engine
from toysup.errors import ToysupError
from toysup.experiments.experiment import Condition, Experiment, load_experiment
from toysup.storage.atomic_files import refuse_unwritable
from toysup.storage.blocks import Block
from toysup.storage.checkpoints import Checkpoint, seconds_between
from toysup.storage.runs import open_runs
from toysup.storage.store import Job, Store, locked
from toysup.training.train import DEFAULT_SEEDS, refuse_seeds, train_job, whole_numbers

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Task:
    """Where the runs of a condition go, and the blocks that are missing there."""

    store: Store
    blocks: Sequence[Block]

    @property
    def n_seeds(self) -> int:
        return len({seed for block in self.blocks for seed in block.seeds})

    @property
    def n_steps(self) -> int:
        """Steps of all the models that are missing."""
        seeds: Counter[int] = Counter()
        for block in self.blocks:
            seeds[block.part or 0] += len(block.seeds)
        models = sum(count * self.store.plan.n_cells(part) for part, count in seeds.items())
        return models * self.store.condition.training.n_steps


class Watch:
    """Who is told how the work goes; this one does not care."""

    def step(self, job: Job, step: int, loss: float) -> None:
        """A block that is trained here has come to this step."""

    def finished(self, job: Job) -> None:
        """A block is trained and kept."""

    def lost(self, workers: int, blocks: int) -> None:
        """So many workers were lost, and so many of their blocks are trained anew."""


@dataclass(frozen=True)
class Order:
    """What is to be trained, and where it goes."""

    experiment: Experiment
    folder: Path
    seeds: Sequence[int]
    conditions: tuple[Condition, ...]
    engines: Mapping[str, str]
    device: str = "cpu"
    overwrite: bool = False
    # By which a worker knows that the folder is its trainer's.
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        folder: str | Path,
        seeds: Sequence[int],
        *,
        conditions: Sequence[str] = (),
        engine: str | None = None,
        device: str = "cpu",
        overwrite: bool = False,
    ) -> "Order":
        """Raises UsageError where there are no such seeds, condition, engine or device, or the engine cannot train one.

        Before anything on disk is touched.
        """
        refuse_seeds(seeds)
        seconds_between()
        chosen = experiment.select(conditions)
        engines = {condition.name: choose_engine(condition, engine, device) for condition in chosen}
        return cls(experiment, Path(folder), seeds, chosen, engines, device, overwrite)

    def tasks(self) -> list[Task]:
        """What is missing; raises where runs of another specification are there, or where nothing can be written."""
        tasks = [self.task(condition) for condition in self.conditions]
        for task in tasks:
            if task.blocks:
                refuse_unwritable(task.store.file.parent)
        return tasks

    def task(self, condition: Condition) -> Task:
        engine = self.engines[condition.name]
        store = Store(self.folder, self.experiment.name, condition, engine, overwrite=self.overwrite)
        return Task(store, store.missing(self.seeds))


def train_runs(
    experiment: Experiment | str | Path,
    folder: str | Path = "runs",
    *,
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    conditions: Sequence[str] = (),
    engine: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    client: "Client | None" = None,
    threads: int = 1,
    watch: Watch | None = None,
) -> xr.DataTree:
    """Train what is missing of an experiment (or of its name or path) under `folder`, as `toysup-train` does.

    `seeds`, `conditions`, `engine` and `device` are those of `toysup.train`. With the `client` of a dask cluster its
    workers train, each block with so many `threads`; they write to `folder` where they see it, and hand their blocks
    back where they do not. A `watch` is told how it goes. What is there already is kept, unless `overwrite`.
    Returns the runs of the experiment that are there then, opened lazily. Raises UsageError where runs of another
    specification are there, and ToysupError where another trainer is at work or a block failed; what is finished is
    kept, and the same call goes on.
    """
    loaded = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
    order = Order.of(
        loaded,
        folder,
        whole_numbers(seeds),
        conditions=conditions,
        engine=engine,
        device=device,
        overwrite=overwrite,
    )
    with alone_at(order) as tasks:
        carry_out(order, tasks, watch or Watch(), client, threads=threads)
    return open_runs(order.folder / loaded.name)


@contextmanager
def alone_at(order: Order) -> Iterator[list[Task]]:
    """What is missing, with the locks of its conditions; ToysupError where another trainer is at work on one."""
    with ExitStack() as stack:
        done = set()
        for task in order.tasks():
            if task.blocks:
                stack.enter_context(locked(task.store.file, order.token))
            else:
                done.add(task.store.file)
                _tidy(order, task.store)
        # Another trainer may have finished some of it before it let go of the lock. Where nothing was missing, another
        # may have begun since: nothing is locked there, so nothing is done there.
        yield [replace(task, blocks=[]) if task.store.file in done else task for task in order.tasks()]


def _tidy(order: Order, store: Store) -> None:
    """Remove what a killed trainer left where nothing is missing, unless another trainer is at work there."""
    if store.left_behind():
        with suppress(ToysupError, OSError), locked(store.file, order.token):
            # Only now can no other trainer set aside what there was.
            if not (task := order.task(store.condition)).blocks:
                task.store.finish()


def carry_out(
    order: Order, tasks: Sequence[Task], watch: Watch, client: "Client | None" = None, *, threads: int = 1
) -> None:
    """Train the blocks of the tasks, here or on the cluster of a client, and keep each as soon as it is there.

    On a cluster a block has so many `threads`; here it has all cores. Raises ToysupError where a block failed, on a
    cluster after the others are done.
    """
    # What lies where nothing is missing may be another trainer's.
    tasks = [task for task in tasks if task.blocks]
    for task in tasks:
        task.store.begin(task.blocks)
    if client is not None and tasks:
        from toysup.training.cluster import Errand, train_on

        jobs = (task.store.job(block) for task in tasks for block in task.blocks)
        train_on(client, Errand(order.experiment, order.device, threads, order.token), jobs, watch)
    for task in tasks:
        for block in task.blocks if client is None else ():
            train_and_keep(order.experiment, task.store.job(block), device=order.device, watch=watch)
        task.store.finish()


def train_and_keep(
    experiment: Experiment,
    job: Job,
    *,
    device: str,
    watch: Watch,
    threads: int | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> bool:
    """Train a block and write it to its file, if it is still `wanted` then; whether it was."""
    trained = train_job(
        experiment, job, device=device, threads=threads, progress=lambda step, loss: watch.step(job, step, loss)
    )
    if not wanted():
        return False
    job.keep(trained)
    Checkpoint(job, {}).remove()
    watch.finished(job)
    return True
