"""Checkpoints: where a long block's training was, in a file beside the block's own, so that a killed one goes on there.

A checkpoint holds the engine's state, the optimiser's moments with it, and the snapshots so far. It is written whole or
not at all, and is only ever a shortcut: one that is damaged, or of other work, counts as none.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import numpy as np

from toysup.engines.instances import EngineState
from toysup.errors import ToysupError, UsageError
from toysup.sampling.samples import NumpyArray
from toysup.storage.atomic_files import replacing
from toysup.storage.store import Job

# Seconds between two checkpoints of a block; the environment may say otherwise.
SECONDS_VARIABLE = "TOYSUP_CHECKPOINT_SECONDS"
SECONDS_BETWEEN = 60.0
_STATE, _ARRAY = "state.", "array."
# Counts what engines have held in their states under one version of toysup.
_FORMAT = 2
# A file begins with the SHA-256 of the rest.
_DIGEST = 32


class Checkpoint:
    """The checkpoint of a job. `arrays` is what the job fills; it is filled from the checkpoint by `load`."""

    def __init__(self, job: Job, arrays: Mapping[str, NumpyArray], every: float | None = None) -> None:
        self.path = job.path.with_name(f".{job.path.stem}.checkpoint.npz")
        self.arrays, self.filled = arrays, 0
        self.every = seconds_between() if every is None else every
        # Another version of the engine may hold another state.
        parts = [job.condition.identity, job.engine, version("toysup"), _FORMAT, [int(seed) for seed in job.seeds]]
        self.key = json.dumps(parts)
        self.written = time.monotonic()

    def load(self) -> EngineState | None:
        """The engine's state after the `filled` snapshots; None where there is no checkpoint of the job."""
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        digest, archive = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(archive).digest() != digest:
            return None
        with np.load(io.BytesIO(archive)) as file:
            found = dict(file)
        if str(found["key"]) != self.key:
            return None
        for name, own in self.arrays.items():
            own[...] = found[_ARRAY + name]
        self.filled = int(found["filled"])
        return {name.removeprefix(_STATE): value for name, value in found.items() if name.startswith(_STATE)}

    def offer(self, state: Callable[[], EngineState]) -> None:
        """Write the state and what is filled, if the last time is long enough ago."""
        if time.monotonic() - self.written < self.every:
            return
        content: dict[str, Any] = {_STATE + name: value for name, value in state().items()}
        content |= {_ARRAY + name: value for name, value in self.arrays.items()}
        archive = io.BytesIO()
        np.savez(archive, key=np.array(self.key), filled=np.array(self.filled), **content)
        # Training can go on without one; if the disk stays full, the block says so in the end.
        with suppress(ToysupError), replacing(self.path) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(archive.getbuffer()).digest())
            file.write(archive.getbuffer())
        self.written = time.monotonic()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def seconds_between() -> float:
    """How often one is written, as the environment says; UsageError where that is no number."""
    said = os.environ.get(SECONDS_VARIABLE, "")
    try:
        return float(said) if said else SECONDS_BETWEEN
    except ValueError:
        raise UsageError(f"{SECONDS_VARIABLE}={said}: must be a number of seconds") from None
