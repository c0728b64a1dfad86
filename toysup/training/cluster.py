"""Training on a dask cluster: each thread has a block, and it comes back as a file, or bytes if nothing is shared."""

import asyncio
import concurrent.futures
import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client, Future, KilledWorker, LocalCluster, wait
from distributed.gc import disable_gc_diagnosis

from toysup.errors import ToysupError
from toysup.experiments.experiment import Experiment
from toysup.storage.netcdf import BY_TURNS, open_trajectory
from toysup.storage.store import Job
from toysup.training.interrupts import held_back, let_through
from toysup.training.one_block import ProgressListener, train_and_keep

# A block is given up after so many failures: of the workers that it was with, or of its own.
ATTEMPTS = 5
# How often a cluster of this machine is tried to be started.
STARTS = 3
# After so many blocks were given up, all is: a full disk fails every block.
FAILURES = 10
_SECONDS_BETWEEN_LOOKS = 1.0
# What is raised where a scheduler does not answer any more.
_NO_ANSWER = (asyncio.CancelledError, concurrent.futures.CancelledError, OSError)


@contextmanager
def _told_by_us() -> Iterator[None]:
    """Keep dask from telling in its own words what is lost: a command does, in one line."""
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
    """A cluster of so many processes on this machine, for as long as the context lasts."""
    # It is started and closed as a whole, and its workers leave a Ctrl-C to this process, which stops them.
    with _told_by_us(), held_back(), _local_cluster(workers) as cluster, Client(cluster) as client:
        # One that arrives while this looks at a collection of garbage would be lost.
        disable_gc_diagnosis(force=True)
        try:
            with let_through():
                yield client
        except BaseException:
            _kill_workers(cluster)
            raise


def _kill_workers(cluster: LocalCluster) -> None:
    """End what is under way, at once: dask lets a worker stop by itself, which then tells all that it had to leave."""
    for nanny in cluster.workers.values():
        nanny.close_gracefully()
        if nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


def _local_cluster(workers: int) -> LocalCluster:
    """ToysupError where it does not start: a worker that is lost while it starts takes the others with it."""
    for _ in range(STARTS):
        try:
            # What dask shows of itself takes any port that is free.
            return LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
            )
        except (RuntimeError, OSError) as error:
            reason = _first_line(error)
    raise ToysupError(f"--workers {workers}: they could not be started: {reason}")


@contextmanager
def client_of(address: str) -> Iterator[Client]:
    """The scheduler at that address; ToysupError where there is none."""
    with _told_by_us():
        try:
            client = Client(address, timeout="10s")
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ToysupError(f"--scheduler {address}: no dask scheduler answers there: {reason}") from None
        with client:
            yield client


class _BlockInFlight(NamedTuple):
    """A block that a worker has or waits for, and how often it failed before."""

    job: Job
    failed: int = 0


class BlockArguments(NamedTuple):
    """What all blocks are trained with: each by `threads` threads; `token` is in the locks of the trainer's folder."""

    experiment: Experiment
    device: str
    threads: int
    token: str


def train_on(client: Client, arguments: BlockArguments, jobs: Iterator[Job], listener: ProgressListener) -> None:
    """Train blocks on the client's workers, and keep them.

    A block whose worker is lost is trained by another. Raises ToysupError at the end where blocks failed for good, and
    at once where many did or the scheduler is lost.
    """
    with _lost_workers(client, listener):
        _Pool(client, arguments, listener).run(jobs)


class _Pool:
    """The blocks in flight, and why others failed for good."""

    def __init__(self, client: Client, arguments: BlockArguments, listener: ProgressListener) -> None:
        self.client, self.arguments, self.listener = client, arguments, listener
        self.in_flight: dict[Future, _BlockInFlight] = {}
        self.failures: list[str] = []

    def run(self, jobs: Iterator[Job]) -> None:
        try:
            while len(self.failures) < FAILURES:
                self._fill(jobs)
                if not self.in_flight:
                    break
                for future in self._done():
                    flight = self.in_flight.pop(future)
                    # The thread has its next block while this one is written.
                    self._fill(jobs)
                    self._take(future, flight)
        except _NO_ANSWER as error:
            # So says whatever is asked of a scheduler that does not answer.
            raise ToysupError(
                "the scheduler is lost; finished blocks are kept, and the same command trains what is left"
            ) from error
        finally:
            with suppress(*_NO_ANSWER):
                self.client.cancel(list(self.in_flight), force=True)
        if self.failures:
            more = f" ({len(self.failures)} blocks failed)" if len(self.failures) > 1 else ""
            raise ToysupError(f"{self.failures[0]}{more}; the same command trains what is left")

    def _fill(self, jobs: Iterator[Job]) -> None:
        """Send as many blocks as there are threads: one more would wait at a worker while another has nothing to do."""
        threads = sum(self.client.nthreads().values())
        while len(self.in_flight) < max(1, threads) and (job := next(jobs, None)) is not None:
            self._send(_BlockInFlight(job))

    def _send(self, flight: _BlockInFlight) -> None:
        # A worker has another working directory.
        job = replace(flight.job, path=flight.job.path.absolute())
        future = self.client.submit(
            _train_there, self.arguments, job, key=f"toysup-block-{uuid.uuid4().hex}", pure=False
        )
        self.in_flight[future] = flight

    def _done(self) -> list[Future]:
        """The blocks that came back within a second."""
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
            # Whatever a worker raises.
            self._again(flight, error)
        else:
            self.listener.finished(flight.job)

    def _again(self, flight: _BlockInFlight, error: Exception) -> None:
        """What failed for a reason of its own fails again; what lost its worker is sent out once more."""
        if isinstance(error, ToysupError):
            self.failures.append(str(error))
        elif (failed := flight.failed + _failures(error)) < ATTEMPTS:
            self.listener.workers_lost(0, 1)
            self._send(_BlockInFlight(flight.job, failed))
        else:
            reason = "its workers were lost" if isinstance(error, KilledWorker) else _first_line(error)
            self.failures.append(f"{flight.job.path}: given up after {ATTEMPTS} attempts: {reason}")


def _failures(error: Exception) -> int:
    """How many attempts this is the end of: dask itself tries another worker where one is lost, some times."""
    return error.allowed_failures + 1 if isinstance(error, KilledWorker) else 1


def _train_there(arguments: BlockArguments, job: Job) -> bytes | ToysupError | None:
    """On a worker: train a block, and write it if its folder is the trainer's; else return it, or why there is none."""

    def shared() -> bool:
        return _token_in(job.lock) == arguments.token

    train = partial(
        train_and_keep,
        arguments.experiment,
        device=arguments.device,
        listener=ProgressListener(),
        threads=arguments.threads,
    )
    try:
        if not shared():
            with tempfile.TemporaryDirectory() as folder:
                elsewhere = replace(job, path=Path(folder) / job.path.name, replaces=True)
                train(elsewhere)
                return elsewhere.path.read_bytes()
        kept = train(job, wanted=shared)
    except ToysupError as error:
        # Raised, it would be logged by the worker too, with a traceback.
        return error
    if not kept:
        # A trainer that has ended cannot stop a block that is under way, and another may be at work there by then.
        raise RuntimeError(f"{job.lock}: no longer this trainer's")
    return None


def _token_in(lock: Path) -> str:
    try:
        return lock.read_text()
    except OSError:
        return ""


def _keep(job: Job, content: bytes) -> None:
    """Write a block that a worker handed back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / job.path.name
        path.write_bytes(content)
        with BY_TURNS, open_trajectory(path) as trained:
            job.keep(trained.load())


@contextmanager
def _lost_workers(client: Client, listener: ProgressListener) -> Iterator[None]:
    """Tell the listener of workers that leave unexpectedly, and of the blocks that they had."""

    def heard(event: tuple[float, Any]) -> None:
        _, message = event
        if message.get("action") == "remove-worker" and not message.get("expected"):
            blocks = [key for key in message.get("processing-tasks", ()) if str(key).startswith("toysup-")]
            listener.workers_lost(1, len(blocks))

    client.subscribe_topic("all", heard)
    try:
        yield
    finally:
        if client.status == "running":
            client.unsubscribe_topic("all")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
