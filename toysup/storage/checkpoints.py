"""Checkpoints, from which the training of a block resumes after it was killed.

A checkpoint is a file beside the file of the block. It holds the state of the engine, with the moments of the
optimiser, and the snapshots so far. It is written whole or not at all. A checkpoint that is damaged, or that belongs to
another job, is ignored.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from toysup import __version__
from toysup.engines.instances import EngineState
from toysup.errors import ToysupError, UsageError
from toysup.sampling.samples import NumpyArray
from toysup.storage.atomic_files import replacing
from toysup.storage.store import Job

# Seconds between two checkpoints of a block, and the environment variable that changes them.
SECONDS_VARIABLE = "TOYSUP_CHECKPOINT_SECONDS"
SECONDS_BETWEEN = 60.0
_STATE, _ARRAY = "state.", "array."
# Increase this number when the state of an engine changes within one version of toysup.
_FORMAT = 2
# Bytes at the start of a file: the SHA-256 of the rest.
_DIGEST = 32


class Checkpoint:
    """The checkpoint of a job, whose snapshots go to `arrays`; `load` fills these from the checkpoint."""

    def __init__(self, job: Job, arrays: Mapping[str, NumpyArray], every: float | None = None) -> None:
        self.path = job.path.with_name(f".{job.path.stem}.checkpoint.npz")
        self.arrays, self.filled = arrays, 0
        self.every = seconds_between() if every is None else every
        # Another version of toysup may store another state.
        parts = [job.condition.identity, job.engine, __version__, _FORMAT, [int(seed) for seed in job.seeds]]
        self.key = json.dumps(parts)
        self.written = time.monotonic()

    def load(self) -> EngineState | None:
        """The engine's state after the first `filled` snapshots; None if the job has no checkpoint."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        digest, archive = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(archive).digest() != digest:
            return None
        with np.load(io.BytesIO(archive)) as file:
            entries = dict(file)
        if str(entries["key"]) != self.key:
            return None
        for name, array in self.arrays.items():
            array[...] = entries[_ARRAY + name]
        self.filled = int(entries["filled"])
        return {name.removeprefix(_STATE): value for name, value in entries.items() if name.startswith(_STATE)}

    def offer(self, state: Callable[[], EngineState]) -> None:
        """Write the state and the snapshots so far, if the last checkpoint is old enough."""
        if time.monotonic() - self.written >= self.every:
            self.write(state)

    def write(self, state: Callable[[], EngineState]) -> bool:
        """Write the state and the snapshots so far. Returns whether that was possible."""
        content: dict[str, Any] = {_STATE + name: value for name, value in state().items()}
        content |= {_ARRAY + name: value for name, value in self.arrays.items()}
        archive = io.BytesIO()
        np.savez(archive, key=np.array(self.key), filled=np.array(self.filled), **content)
        # Training can continue without a checkpoint. If the disk stays full, writing the block reports it.
        written = False
        with suppress(ToysupError):
            with replacing(self.path) as temporary, temporary.open("wb") as file:
                file.write(hashlib.sha256(archive.getbuffer()).digest())
                file.write(archive.getbuffer())
            written = True
        self.written = time.monotonic()
        return written

    def remove(self) -> None:
        """Delete the checkpoint, if there is one."""
        self.path.unlink(missing_ok=True)


def seconds_between() -> float:
    """Seconds between two checkpoints; UsageError if the environment variable is not a number."""
    text = os.environ.get(SECONDS_VARIABLE, "")
    try:
        return float(text) if text else SECONDS_BETWEEN
    except ValueError:
        raise UsageError(f"{SECONDS_VARIABLE}={text}: must be a number of seconds") from None
