"""Training on a dask cluster: each thread of a worker trains one block, and writes its file or sends its bytes."""

import asyncio
import concurrent.futures
import logging
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client, Future, KilledWorker, LocalCluster, get_worker, wait
from distributed.gc import disable_gc_diagnosis

from toysup.errors import ToysupError
from toysup.experiments.experiment import Experiment
from toysup.experiments.extensions import Extension, import_extension
from toysup.storage.netcdf import BY_TURNS, open_trajectory
from toysup.storage.store import Job
from toysup.training.interrupts import held_back, let_through
from toysup.training.one_block import ProgressListener, Stopped, train_and_keep

# Attempts at one block. Each attempt that failed, or whose worker was lost, counts.
ATTEMPTS = 5
# Attempts at starting a cluster on this machine.
STARTS = 3
# Training ends after this many failed blocks: a full disk, for example, fails every block.
FAILURES = 10
_SECONDS_BETWEEN_LOOKS = 1.0
# A worker reports the progress of a block as often as this.
_SECONDS_BETWEEN_REPORTS = 2.0
# Workers that are asked to stop have this long to keep a checkpoint.
_SECONDS_TO_STOP = 20.0
# The tokens of trainers that asked this process, a worker, to stop their blocks.
_ended: set[str] = set()
# Exceptions of a client whose scheduler does not answer any more.
_NO_ANSWER = (asyncio.CancelledError, concurrent.futures.CancelledError, OSError)


@contextmanager
def _told_by_us() -> Iterator[None]:
    """Silence dask's log messages about lost workers: the command reports them in one line."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """A cluster of `workers` processes on this machine, which ends with the context."""
    # Ctrl-C interrupts neither starting nor closing the cluster. Workers ignore it, and this process stops them.
    with _told_by_us(), held_back(), _local_cluster(workers) as cluster, Client(cluster) as client:
        # A Ctrl-C during this hook of the garbage collector would be lost.
        disable_gc_diagnosis(force=True)
        try:
            with let_through():
                yield client
        except BaseException:
            _kill_workers(cluster)
            raise


def _kill_workers(cluster: LocalCluster) -> None:
    """Kill the workers at once. If dask stops a worker, the worker prints the tasks that it had to leave."""
    for nanny in cluster.workers.values():
        nanny.close_gracefully()
        if nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


def _local_cluster(workers: int) -> LocalCluster:
    """Start a cluster, or raise ToysupError. A worker that is lost at the start fails the whole start."""
    for _ in range(STARTS):
        try:
            # Port 0 lets dask's dashboard take any free port.
            return LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
            )
        except (RuntimeError, OSError) as error:
            reason = _first_line(error)
    raise ToysupError(f"--workers {workers}: the worker processes could not be started: {reason}")


@contextmanager
def client_of(address: str) -> Iterator[Client]:
    """A client of the scheduler at that address; ToysupError if no scheduler answers."""
    with _told_by_us():
        try:
            client = Client(address, timeout="10s")
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ToysupError(f"--scheduler {address}: no dask scheduler answers there: {reason}") from None
        with client:
            yield client


class _BlockInFlight(NamedTuple):
    """A block that was sent to the cluster, and how many attempts at it failed before."""

    job: Job
    failed: int = 0


class BlockArguments(NamedTuple):
    """The arguments that all blocks share.

    `token` is written in the locks of the trainer's folder. `imports` are the user's own modules.
    """

    experiment: Experiment
    device: str
    threads: int
    token: str
    imports: tuple[Extension, ...] = ()

    @property
    def topic(self) -> str:
        """The topic of dask's events about these blocks."""
        return f"toysup-{self.token}"


def train_on(
    client: Client,
    arguments: BlockArguments,
    jobs: Iterator[Job],
    listener: ProgressListener,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train blocks on the client's workers, and write them.

    If a worker is lost, another one trains its block. Raises ToysupError at the end if some blocks failed in all
    attempts, and at once if many did or the scheduler is lost. Raises Stopped once `stop` is true; workers that see the
    folder keep checkpoints first.
    """
    pool = _Pool(client, arguments, listener, stop)
    with _heard(client, "all", _lost_workers(listener)), _heard(client, arguments.topic, pool.hear):
        pool.run(jobs)


class _Pool:
    """The blocks in flight, and the reasons of the blocks that were given up."""

    def __init__(
        self, client: Client, arguments: BlockArguments, listener: ProgressListener, stop: Callable[[], bool]
    ) -> None:
        self.client, self.arguments, self.listener, self.stop = client, arguments, listener, stop
        self.finished = 0
        self.in_flight: dict[Future, _BlockInFlight] = {}
        self.failures: list[str] = []

    def run(self, jobs: Iterator[Job]) -> None:
        try:
            while len(self.failures) < FAILURES:
                self._fill(jobs)
                if not self.in_flight:
                    break
                if self.stop():
                    raise self._stopped()
                for future in self._done():
                    flight = self.in_flight.pop(future)
                    # The free thread gets its next block before this one is written.
                    self._fill(jobs)
                    self._take(future, flight)
        except _NO_ANSWER as error:
            # Every call of a client raises one of these once its scheduler is lost.
            raise ToysupError(
                "the scheduler is lost; finished blocks are kept, and the same command trains the rest"
            ) from error
        finally:
            with suppress(*_NO_ANSWER):
                self.client.cancel(list(self.in_flight), force=True)
        if self.failures:
            more = f" ({len(self.failures)} blocks failed)" if len(self.failures) > 1 else ""
            raise ToysupError(f"{self.failures[0]}{more}; the same command trains the rest")

    def _stopped(self) -> Stopped:
        """Ask the workers to stop, and wait until they have or time is up."""
        self.client.run(_end, self.arguments.token, on_error="return")
        with suppress(TimeoutError):
            wait(list(self.in_flight), timeout=_SECONDS_TO_STOP)
        checkpoints: list[str] = []
        for future in [future for future in self.in_flight if future.status == "finished"]:
            if isinstance(result := future.result(), Stopped):
                checkpoints += result.checkpoints
            else:
                # It came to its end meanwhile.
                self._take(future, self.in_flight.pop(future))
        return Stopped(*checkpoints, finished=self.finished)

    def hear(self, event: tuple[float, Any]) -> None:
        """Pass the progress of a block, which a worker reports, to the listener."""
        _, (path, step, loss) = event
        for flight in tuple(self.in_flight.values()):
            if str(flight.job.path.absolute()) == path:
                if loss is None:
                    self.listener.started(flight.job, step)
                else:
                    self.listener.step(flight.job, step, loss)

    def _fill(self, jobs: Iterator[Job]) -> None:
        """Send one block per thread. A further block could wait at a busy worker while another worker is idle."""
        threads = sum(self.client.nthreads().values())
        while len(self.in_flight) < max(1, threads) and (job := next(jobs, None)) is not None:
            self._send(_BlockInFlight(job))

    def _send(self, flight: _BlockInFlight) -> None:
        # A worker may have another working directory.
        job = replace(flight.job, path=flight.job.path.absolute())
        future = self.client.submit(
            _train_there, self.arguments, job, key=f"toysup-block-{uuid.uuid4().hex}", pure=False
        )
        self.in_flight[future] = flight

    def _done(self) -> list[Future]:
        """The blocks that finished or failed within a second."""
        try:
            done = wait(list(self.in_flight), timeout=_SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        if self.client.status != "running":
            raise OSError("no longer connected")
        return [future for future in done if future.status != "pending"]

    def _take(self, future: Future, flight: _BlockInFlight) -> None:
        try:
            content = future.result()
            if isinstance(content, ToysupError):
                raise content
            if content is not None:
                _keep(flight.job, content)
        except Exception as error:
            # A worker may raise anything.
            self._again(flight, error)
        else:
            self.finished += 1
            self.listener.finished(flight.job)

    def _again(self, flight: _BlockInFlight, error: Exception) -> None:
        """Give up a block that raised a ToysupError, which it would raise again; send any other block once more."""
        if isinstance(error, ToysupError):
            self.failures.append(str(error))
        elif (failed := flight.failed + _failures(error)) < ATTEMPTS:
            self.listener.workers_lost(0, 1)
            self._send(_BlockInFlight(flight.job, failed))
        else:
            reason = "its workers were lost" if isinstance(error, KilledWorker) else _first_line(error)
            self.failures.append(f"{flight.job.path}: given up after {ATTEMPTS} attempts: {reason}")


def _failures(error: Exception) -> int:
    """How many attempts ended with this error: dask itself tries several workers before it raises KilledWorker."""
    return error.allowed_failures + 1 if isinstance(error, KilledWorker) else 1


def _end(token: str) -> None:
    """On a worker: let the blocks of the trainer with this token stop."""
    _ended.add(token)


class _Reporter(ProgressListener):
    """Reports the progress of a block on a worker to its trainer."""

    def __init__(self, topic: str, job: Job) -> None:
        # What is trained may lie in a temporary folder.
        self.topic, self.path, self.last = topic, str(job.path), 0.0
        try:
            # dask knows the worker only in the thread of its task, and an engine reports from a thread of its own.
            self.worker = get_worker()
        except ValueError:
            self.worker = None

    def started(self, job: Job, step: int) -> None:
        self._report(step, None)

    def step(self, job: Job, step: int, loss: float) -> None:
        if time.monotonic() - self.last >= _SECONDS_BETWEEN_REPORTS:
            self._report(step, loss)

    def _report(self, step: int, loss: float | None) -> None:
        self.last = time.monotonic()
        if self.worker is not None:
            self.worker.log_event(self.topic, (self.path, step, loss))


def _train_there(arguments: BlockArguments, job: Job) -> bytes | ToysupError | Stopped | None:
    """On a worker: train a block. Write it if the trainer's folder is in sight, else return its bytes or its error."""

    def shared() -> bool:
        return _token_in(job.lock) == arguments.token

    train = partial(
        train_and_keep,
        arguments.experiment,
        device=arguments.device,
        listener=_Reporter(arguments.topic, job),
        threads=arguments.threads,
        stop=lambda: arguments.token in _ended,
    )
    try:
        for wanted in arguments.imports:
            import_extension(wanted)
        if not shared():
            with tempfile.TemporaryDirectory() as folder:
                elsewhere = replace(job, path=Path(folder) / job.path.name, replaces=True)
                # A checkpoint there would be lost.
                train(elsewhere, stop=lambda: False)
                return elsewhere.path.read_bytes()
        kept = train(job, wanted=shared)
    except (ToysupError, Stopped) as error:
        # A worker logs an error that is raised, with a traceback, so this one is returned.
        return error
    if not kept:
        # A trainer that has ended cannot stop its blocks, and another trainer may be at work in the folder by now.
        raise RuntimeError(f"{job.lock}: no longer this trainer's")
    return None


def _token_in(lock: Path) -> str:
    try:
        return lock.read_text()
    except OSError:
        return ""


def _keep(job: Job, content: bytes) -> None:
    """Write a block that a worker returned as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / job.path.name
        path.write_bytes(content)
        with BY_TURNS, open_trajectory(path) as trained:
            job.keep(trained.load())


def _lost_workers(listener: ProgressListener) -> Callable[[tuple[float, Any]], None]:
    """A function that reports workers that are lost, and the blocks that they had, to the listener."""

    def heard(event: tuple[float, Any]) -> None:
        _, message = event
        if message.get("action") == "remove-worker" and not message.get("expected"):
            blocks = [key for key in message.get("processing-tasks", ()) if str(key).startswith("toysup-")]
            listener.workers_lost(1, len(blocks))

    return heard


@contextmanager
def _heard(client: Client, topic: str, hear: Callable[[tuple[float, Any]], None]) -> Iterator[None]:
    """Call a function with each of the scheduler's events about a topic."""
    client.subscribe_topic(topic, hear)
    try:
        yield
    finally:
        if client.status == "running":
            client.unsubscribe_topic(topic)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
