"""A million models 2→1 over density and relative importance: time, memory, and the share of each phase."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import toysup
from benchmarks.measurements import Measurement
from benchmarks.memory import MIB


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Once: 100 densities × 100 importances × 100 seeds, each for 1,000 steps of 256 samples."""
    del threads
    cells, seeds, steps = (3, 2, 20) if quick else (100, 100, 1000)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        _train(Path(name), cells, seeds, steps)
        taken = time.monotonic() - began
        (leaf,) = toysup.open_runs(name).leaves
        shares = _shares(leaf["W"].isel(step=-1, hidden=0).values)
    setting = {"models": cells * cells * seeds, "steps": steps}
    yield Measurement("phases", setting, "train and save", "min", [taken / 60], at_most=30)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    yield Measurement("phases", setting, "peak memory", "MiB", [most / MIB], at_most=2048)
    for phase, share in shares.items():
        yield Measurement("phases", setting, phase, "%", [100 * share])


def _train(folder: Path, cells: int, seeds: int, steps: int) -> None:
    changes = {
        "model.n_features": 2,
        "model.n_hidden": 1,
        "regime.feature_probability": f"{{ log = [0.01, 1, {cells}] }}",
        # With importance_start = 0 the first feature has importance 1, and the second this one.
        "regime.importance_decay": f"{{ log = [0.1, 10, {cells}] }}",
        "training.steps": steps,
        "training.batch_size": 256,
        "record.steps": f"[{steps}]",
    }
    options = [f"--set={path}={value}" for path, value in changes.items()]
    command = Path(sys.executable).with_name("toysup-train")
    subprocess.run([command, "tms-intro", f"--output={folder}", f"--seeds={seeds}", "--quiet", *options], check=True)


def _shares(W: np.ndarray) -> dict[str, float]:
    """The share of the models (..., feature) in each phase; a feature is represented from a squared norm of 1/2."""
    first, second = W[..., 0] ** 2 >= 0.5, W[..., 1] ** 2 >= 0.5
    both, opposite = first & second, W[..., 0] * W[..., 1] < 0
    phases = {
        "none represented": ~first & ~second,
        "only the first": first & ~second,
        "only the second": second & ~first,
        "both, antipodal": both & opposite,
        "both, same sign": both & ~opposite,
    }
    return {name: float(is_in.mean()) for name, is_in in phases.items()}
