"""The progress bar of `toysup-train`, on stderr."""

import math
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from toysup.storage.store import Job
from toysup.training.one_block import ProgressListener
from toysup.training.train_runs import MissingBlocks


class ProgressBar(ProgressListener):
    """A progress bar over the steps of all models, the loss of the present block and the number of lost workers."""

    def __init__(self, missing: Sequence[MissingBlocks]) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[blocks]}, left"),
            TimeRemainingColumn(),
        )
        # Without a terminal rich would print an empty line for each bar.
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.count = sum(len(part.blocks) for part in missing)
        total = sum(part.n_steps for part in missing)
        self.task = self.bar.add_task("training", total=total, blocks=f"0 of {self.count} blocks")
        self.done = self.finished_blocks = self.workers = self.again = 0

    def __enter__(self) -> "ProgressBar":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, job: Job, step: int, loss: float) -> None:
        done = self.done + _work(job) * step // job.condition.training.n_steps
        # The loss is NaN until the first batches are finished.
        said = f"{job.condition.name}, loss {loss:.3g}" if math.isfinite(loss) else job.condition.name
        self.bar.update(self.task, completed=done, description=said)

    def finished(self, job: Job) -> None:
        self.done += _work(job)
        self.finished_blocks += 1
        self._show()

    def workers_lost(self, workers: int, blocks: int) -> None:
        self.workers, self.again = self.workers + workers, self.again + blocks
        self._show()

    def _show(self) -> None:
        blocks = f"{self.finished_blocks} of {self.count} blocks"
        if self.workers or self.again:
            blocks += f", {self.lost_work()}"
        self.bar.update(self.task, completed=self.done, blocks=blocks)

    def lost_work(self) -> str:
        """The lost workers and the blocks that are trained again, as a text."""
        return f"{_counted(self.workers, 'worker')} lost, {_counted(self.again, 'block')} trained again"


def _work(job: Job) -> int:
    """Optimiser steps of all models of a block together."""
    return job.n_instances * job.condition.training.n_steps


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
