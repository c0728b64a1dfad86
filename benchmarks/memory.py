"""Peak memory of `toysup-train` for ten thousand instances, beyond what its imports take, in a process of its own."""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measurements import Measurement, Setting
from benchmarks.timing import seconds

MIB = 2**20


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Peak memory, time and the file's size for 10,000 instances × 20→10 × 100 snapshots."""
    del threads
    instances, snapshots = (10, 4) if quick else (10_000, 100)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.memory", str(instances), str(snapshots), folder]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    setting: Setting = {"n_features": 20, "n_hidden": 10, "instances": instances, "snapshots": snapshots}
    for quantity, unit in (
        ("imports", "MiB"),
        ("peak beyond imports", "MiB"),
        ("train and save", "s"),
        ("file", "MiB"),
    ):
        limit = 1024.0 if quantity == "peak beyond imports" else None
        yield Measurement("memory", setting, quantity, unit, [found[quantity]], at_most=limit)


def train(instances: int, snapshots: int, folder: Path, *, batch_size: int = 1024) -> dict[str, float]:
    """Train through the command, a step to a snapshot; memory in MiB."""
    from toysup.command.train import main
    from toysup.engines.fused.engine import prepare

    prepare()
    imports = high_water()
    changes = {
        "model.n_features": 20,
        "model.n_hidden": 10,
        "regime.feature_probability": 0.15,
        "training.steps": snapshots - 1,
        "training.batch_size": batch_size,
        "record.steps": list(range(snapshots)),
    }
    options = [f"--set={path}={value}" for path, value in changes.items()]
    arguments = ["tms-intro", f"--output={folder}", f"--seeds={instances}", "--quiet", *options]
    taken = seconds(lambda: main(arguments, standalone_mode=False))
    size = sum(file.stat().st_size for file in folder.rglob("*.nc"))
    return {
        "imports": imports / MIB,
        "peak beyond imports": (high_water() - imports) / MIB,
        "train and save": taken,
        "file": size / MIB,
    }


def high_water() -> int:
    """Peak resident memory in bytes; ru_maxrss would also hold what the parent had when it forked."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        # macOS counts in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(json.dumps(train(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
