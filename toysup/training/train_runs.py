"""Training to a folder: the missing blocks of an experiment are planned, trained here or on a cluster, and kept."""

import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from toysup.engines.choice import choose_engine, why_engine
from toysup.errors import ToysupError
from toysup.experiments.experiment import Condition, Experiment
from toysup.experiments.experiment_file import load_experiment
from toysup.experiments.extensions import imported
from toysup.storage.atomic_files import refuse_unwritable
from toysup.storage.blocks import Block
from toysup.storage.checkpoints import seconds_between
from toysup.storage.file_access import listed, user_path
from toysup.storage.runs import open_runs
from toysup.storage.store import Store, block_files, locked, path_of, stored_specification
from toysup.training.interrupts import Interrupted, stop_on_signals
from toysup.training.one_block import ProgressListener, Stopped, train_and_keep
from toysup.training.train import DEFAULT_SEEDS, left_out_recordings, refuse_seeds, whole_numbers

if TYPE_CHECKING:
    from distributed import Client

# What is said of runs of a condition that the experiment with this name does not have.
LEFT = "not a condition of {} (any more); analyses of the folder include it"


@dataclass(frozen=True)
class MissingBlocks:
    """The store of one condition, and the blocks that are missing in it."""

    store: Store
    blocks: Sequence[Block]

    @property
    def n_seeds(self) -> int:
        """Number of seeds of the missing blocks."""
        return len({seed for block in self.blocks for seed in block.seeds})

    @property
    def n_steps(self) -> int:
        """Optimiser steps of all missing models together."""
        seeds: Counter[int] = Counter()
        for block in self.blocks:
            seeds[block.part or 0] += len(block.seeds)
        models = sum(count * self.store.plan.n_cells(part) for part, count in seeds.items())
        return models * self.store.condition.training.n_steps


@dataclass(frozen=True)
class TrainingPlan:
    """What to train, and where to write it.

    `engines` maps the name of each condition to that of its engine, which the caller `asked` for or which was chosen.
    """

    experiment: Experiment
    folder: Path
    seeds: Sequence[int]
    conditions: tuple[Condition, ...]
    engines: Mapping[str, str]
    device: str = "cpu"
    overwrite: bool = False
    asked: bool = False
    # The trainer writes the token to its locks. A worker that reads the same token there sees the trainer's folder.
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
    ) -> "TrainingPlan":
        """A checked plan; nothing on disk is touched.

        Runs are extended with the engine that trained them, unless another one is given, and with samples that are
        drawn as theirs were.

        Raises UsageError if the seeds are wrong, there is no such condition, engine or device, or the engine cannot
        train a condition.
        """
        refuse_seeds(seeds)
        seconds_between()
        chosen = list(experiment.select(conditions))
        engines = {condition.name: choose_engine(condition, engine, device) for condition in chosen}
        folder = user_path(folder)
        for number, condition in enumerate(chosen if not overwrite else ()):
            stored = stored_specification(path_of(folder, experiment.name, condition.name))
            if stored is None:
                continue
            # The fused engine may have learned to train a condition since torch did, which can train any.
            if engine is None and stored[1] == "torch":
                engines[condition.name] = "torch"
            # Runs from before there were sparse draws.
            if not stored[0].draws_sparsely:
                chosen[number] = condition.drawn_densely()
        return cls(experiment, folder, seeds, tuple(chosen), engines, device, overwrite, engine is not None)

    def why_engine(self, condition: Condition) -> str:
        """The reason why a condition has its engine; empty if it is the usual one."""
        return why_engine(condition, self.engines[condition.name], self.device, asked=self.asked)

    def missing(self) -> list[MissingBlocks]:
        """The missing blocks of each condition; a complete condition has none.

        Raises UsageError if the folder holds runs of another specification, ToysupError if it cannot be written.
        """
        missing = [self.missing_of(condition) for condition in self.conditions]
        for part in missing:
            for folder in part.store.folders() if part.blocks else ():
                refuse_unwritable(folder)
        return missing

    def missing_of(self, condition: Condition) -> MissingBlocks:
        """The missing blocks of one condition."""
        engine = self.engines[condition.name]
        store = Store(self.folder, self.experiment.name, condition, engine, overwrite=self.overwrite)
        return MissingBlocks(store, store.missing(self.seeds))

    def left_conditions(self) -> list[Path]:
        """The files and folders of conditions that the experiment does not have, such as one that left its file."""
        folder, known = self.folder / self.experiment.name, {own.name for own in self.experiment.conditions}
        found: dict[str, Path] = {}
        for entry in sorted(listed(folder), key=lambda entry: entry.name):
            name = entry.name.removesuffix(".nc")
            is_condition = name != entry.name or bool(block_files(folder / name))
            if is_condition and not name.startswith(".") and name not in known:
                found.setdefault(name, folder / entry.name)
        return list(found.values())

    @contextmanager
    def locked(self) -> Iterator[list[MissingBlocks]]:
        """Lock each condition that has missing blocks, and yield the missing blocks of all conditions.

        Raises ToysupError if another trainer is at work on one of them.
        """
        with ExitStack() as stack:
            complete = set()
            for part in self.missing():
                if part.blocks:
                    stack.enter_context(locked(part.store.file, self.token))
                else:
                    complete.add(part.store.file)
                    self._tidy(part.store)
            # The blocks are listed again, because another trainer may have finished some before it released the lock. A
            # condition that was complete is not locked. Another trainer may replace it by now, so it is left alone.
            yield [replace(part, blocks=[]) if part.store.file in complete else part for part in self.missing()]

    def _tidy(self, store: Store) -> None:
        """Remove files that a killed trainer left of a complete condition, unless another trainer is at work on it."""
        if store.left_behind():
            with suppress(ToysupError, OSError), locked(store.file, self.token):
                # The blocks are listed again: only under the lock can no other trainer set them aside.
                if not (part := self.missing_of(store.condition)).blocks:
                    part.store.finish()


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
    listener: ProgressListener | None = None,
) -> xr.DataTree:
    """Train the missing runs of an experiment and keep them in a folder, as `toysup-train` does.

    Each finished file is written whole. If the call is interrupted, the same call resumes. A call with more seeds adds
    the seeds that are missing.

    Parameters
    ----------
    experiment : Experiment, str or Path
        The experiment, or the name or path that `load_experiment` reads it from.
    folder : str or Path, default "runs"
        Folder of the runs. A condition goes to <folder>/<experiment>/<condition>.nc, or to a folder of blocks beside
        it.
    seeds : int or sequence of int, default 20
        Number of seeds, counted from 0, or the seeds themselves: distinct integers from 0 to 2⁶² − 1.
    conditions : sequence of str, default ()
        Names of the conditions to train; all if empty.
    engine : {"fused", "torch"}, optional
        The engine that trains. By default runs in the folder are extended by the engine that trained them, and any
        other condition is trained by the fused engine if that engine can train it, else by torch.
    device : str, default "cpu"
        Device that trains: "cpu", or with the torch engine also "cuda", "cuda:1" and so on.
    overwrite : bool, default False
        Train all seeds anew. The old runs stay until the new ones are complete.
    client : distributed.Client, optional
        Client of a dask cluster, whose workers train. Workers that see `folder` write to it; others send their blocks
        back. The default is to train in this process.
    threads : int, default 1
        Threads that train each block on a cluster. Without a cluster a block has all cores.
    listener : ProgressListener, optional
        Object that is told about the progress of training. The default is none.

    Returns
    -------
    DataTree
        The runs of the experiment in the folder, opened lazily by `open_runs`.

    Raises
    ------
    UsageError
        If there is no such experiment, condition, engine or device, the engine cannot train a condition, the seeds are
        wrong, or the folder holds runs of another specification.
    ToysupError
        If the folder cannot be written, another trainer is at work in it, or a block failed. Finished blocks are kept.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.train_runs("conditional-importance", "runs", seeds=2)  # doctest: +SKIP
    >>> runs["conditional-importance/fixed"].W.sizes["seed"]  # doctest: +SKIP
    2
    """
    loaded = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
    plan = TrainingPlan.of(
        loaded,
        folder,
        whole_numbers(seeds),
        conditions=conditions,
        engine=engine,
        device=device,
        overwrite=overwrite,
    )
    for note in left_out_recordings(plan.conditions):
        warnings.warn(note, stacklevel=2)
    with plan.locked() as missing:
        train_missing(plan, missing, listener or ProgressListener(), client, threads=threads)
    for path in plan.left_conditions():
        warnings.warn(f"{path}: {LEFT.format(loaded.name)}", stacklevel=2)
    return open_runs(plan.folder / loaded.name)


def train_missing(
    plan: TrainingPlan,
    missing: Sequence[MissingBlocks],
    listener: ProgressListener,
    client: "Client | None" = None,
    *,
    threads: int = 1,
) -> None:
    """Train the missing blocks, here or on the cluster of `client`, and write each block as soon as it is trained.

    On a cluster each block has `threads` threads; here it has all cores. Raises ToysupError if a block fails; on a
    cluster the other blocks are finished first. Ctrl-C or SIGTERM stops training at the next point where it can be
    resumed, and raises Interrupted, which says what is kept.
    """
    # Conditions without missing blocks are not locked, so another trainer may be at work on them.
    missing = [part for part in missing if part.blocks]
    for part in missing:
        part.store.begin(part.blocks)
    with stop_on_signals(listener.stopping) as stop:
        try:
            if client is None:
                _train_here(plan, missing, listener, stop)
            elif missing:
                # dask takes a second to import.
                from toysup.training.cluster import BlockArguments, train_on

                jobs = (part.store.job(block) for part in missing for block in part.blocks)
                shared = BlockArguments(plan.experiment, plan.device, threads, plan.token, imported())
                train_on(client, shared, jobs, listener, stop)
                for part in missing:
                    part.store.finish()
        except Stopped as stopped:
            raise Interrupted(_kept(stopped, sum(len(part.blocks) for part in missing)), stop.number or 0) from None


def _train_here(
    plan: TrainingPlan, missing: Sequence[MissingBlocks], listener: ProgressListener, stop: Callable[[], bool]
) -> None:
    finished = 0
    for part in missing:
        for block in part.blocks:
            try:
                if stop():
                    raise Stopped
                train_and_keep(plan.experiment, part.store.job(block), device=plan.device, listener=listener, stop=stop)
            except Stopped as stopped:
                raise Stopped(*stopped.checkpoints, finished=finished) from None
            finished += 1
        part.store.finish()


def _kept(stopped: Stopped, blocks: int) -> str:
    """What an interrupted training of so many blocks has kept, and how to go on, as a text."""
    kept = f"Interrupted: {stopped.finished} of {blocks} blocks are finished and kept"
    if not stopped.checkpoints:
        return f"{kept}; the same command trains the rest."
    return f"{kept}, and a checkpoint of {', '.join(stopped.checkpoints)}; the same command goes on from there."
