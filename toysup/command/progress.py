"""The progress of `toysup-train` on stderr: a bar on a terminal, a line now and then in a log."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from toysup.storage.store import Job
from toysup.training.one_block import ProgressListener
from toysup.training.train_runs import MissingBlocks

# The rate is that of this many seconds, as conditions train at different rates.
_RATE_SECONDS = 60.0
# A log gets its next line after this many seconds and this share of the work, or after the longer time.
_LINE_SECONDS, _LINE_SHARE, _LONG_LINE_SECONDS = 10.0, 0.05, 300.0


class ProgressBar(ProgressListener):
    """The progress in model-steps: one optimiser step of one model.

    It shows the steps that are taken, their rate, the time left, the loss of a block, and the number of lost workers.
    """

    def __init__(self, missing: Sequence[MissingBlocks], clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, console = clock, Console(stderr=True)
        said = TextColumn("{task.description}"), TextColumn("{task.fields[numbers]}")
        columns = (said[0], BarColumn(), TaskProgressColumn(), said[1])
        self.in_log = not console.is_terminal
        self.bar = Progress(*columns, console=console, transient=True, disable=self.in_log)
        self.total = sum(part.n_steps for part in missing)
        self.task = self.bar.add_task("training", total=self.total, numbers="")
        # Model-steps of finished blocks, of blocks at work by the path of their file, and those of checkpoints.
        self.finished_steps, self.resumed = 0, 0
        self.reached: dict[Path, int] = {}
        self.kept: set[Path] = set()
        self.said = "training"
        self.workers = self.again = 0
        self.history: deque[tuple[float, int]] = deque([(clock(), 0)])
        self.last_line = clock(), 0

    def __enter__(self) -> "ProgressBar":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # rich 13 ends even a bar that is not shown with an empty line.
        if not self.in_log:
            self.bar.stop()

    @property
    def done(self) -> int:
        """Model-steps of all blocks, those of earlier calls that checkpoints hold among them."""
        return self.finished_steps + sum(self.reached.values())

    def started(self, job: Job, step: int) -> None:
        before = self.reached.get(job.path, 0)
        self.reached[job.path] = job.n_instances * step
        # Steps that a checkpoint holds, or that a lost worker took with it, are nobody's work of now.
        self.resumed += self.reached[job.path] - before
        self._show()

    def step(self, job: Job, step: int, loss: float) -> None:
        # A worker's last reports may come after its block.
        if job.path in self.kept:
            return
        self.reached[job.path] = job.n_instances * step
        # The loss is NaN until the first batches are finished.
        self.said = f"{job.condition.name}, loss {loss:.3g}" if math.isfinite(loss) else job.condition.name
        self._show()

    def finished(self, job: Job) -> None:
        self.kept.add(job.path)
        self.reached.pop(job.path, None)
        self.finished_steps += job.n_instances * job.condition.training.n_steps
        self._show()

    def workers_lost(self, workers: int, blocks: int) -> None:
        self.workers, self.again = self.workers + workers, self.again + blocks
        self._show()

    def stopping(self) -> None:
        # Python refuses to write where the signal came in the middle of another line.
        with suppress(RuntimeError):
            click.echo("Stopping at the next checkpoint; Ctrl-C again stops at once.", err=True)

    def lost_work(self) -> str:
        """The lost workers and the blocks that are trained again, as a text."""
        return f"{_counted(self.workers, 'worker')} lost, {_counted(self.again, 'block')} trained again"

    def numbers(self) -> str:
        """The steps taken, their rate and the time left, as a text."""
        parts = [f"{_short(self.done)} of {_short(self.total)} model-steps"]
        (then, before), (now, after) = self.history[0], self.history[-1]
        if after > before and now > then:
            rate = (after - before) / (now - then)
            parts += [f"{_short(rate)}/s", f"{_duration((self.total - self.done) / rate)} left"]
        if self.workers or self.again:
            parts.append(self.lost_work())
        return ", ".join(parts)

    def _show(self) -> None:
        now = self.clock()
        self.history.append((now, self.done - self.resumed))
        while len(self.history) > 2 and now - self.history[1][0] > _RATE_SECONDS:
            self.history.popleft()
        self.bar.update(self.task, completed=self.done, description=self.said, numbers=self.numbers())
        if self.in_log:
            self._line(now)

    def _line(self, now: float) -> None:
        then, before = self.last_line
        far = self.done - before >= _LINE_SHARE * self.total
        if now - then >= (_LINE_SECONDS if far else _LONG_LINE_SECONDS) and self.done < self.total:
            self.last_line = now, self.done
            click.echo(f"{self.numbers()} ({self.said})", err=True)


def _short(count: float) -> str:
    """A count with three digits and a unit, such as 1.25M; whole below a thousand."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g}{unit}".replace(".M", "M").replace(".k", "k").replace(".G", "G")
    return f"{count:.0f}" if count >= 10 or count == int(count) else f"{count:.2g}"


def _duration(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
