"""Peak memory and time of every `toysup-analyze` command on trajectories that are larger than memory may be.

The trajectories are made up: a few models that were trained a few steps, again and again, each a little larger than
the one before, in blocks as the training command writes them. `python -m benchmarks.out_of_core --seeds 50000` makes
20 GiB of four conditions with 100 snapshots, and `--seeds 5000 --snapshots 1000` as much; give `--folder` to look at
them again.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.memory import MIB, high_water

COMMANDS = (
    "info",
    "gram",
    "dimensionality",
    "interference",
    "interference --by seed --format csv",
    "interference --by feature",
    "interference --against conditional",
    "losses",
    "losses --by part",
    "losses --by active",
    "dynamics",
    "dynamics --by event --format csv",
    "claims --no-fail",
    "report",
)
SNAPSHOTS = 100
_TRAINED = 4


def make(folder: Path, *, seeds: int, snapshots: int = SNAPSHOTS) -> int:
    """Blocks of the four conditions of conditional-importance under `folder`; how many bytes of weights they hold."""
    import toysup
    from toysup.storage.blocks import BLOCK as PLACE
    from toysup.storage.blocks import BLOCK_OF, BlockPlan
    from toysup.storage.blocks import Block as Box
    from toysup.storage.netcdf import write

    record = [int(step) for step in np.linspace(0, 10 * (snapshots - 1), snapshots)]
    changes = {"training.steps": record[-1], "training.dataset_size": 25_600, "record.steps": record}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    held = 0
    for condition in experiment.conditions:
        few = toysup.train(experiment, conditions=[condition.name], seeds=_TRAINED)
        trained = few[f"{experiment.name}/{condition.name}"].to_dataset()
        plan = BlockPlan.of(condition, trained.attrs["engine"])
        for first in range(0, seeds, plan.seeds_per_block):
            box = Box(0, range(first, min(first + plan.seeds_per_block, seeds)))
            own = _repeated(trained, box.seeds).assign_attrs({BLOCK_OF: plan.stamp, PLACE: plan.name(box)})
            write(own, folder / experiment.name / condition.name / plan.name(box))
            held += own["W"].nbytes + own["b"].nbytes
    return held


def _repeated(trained: xr.Dataset, seeds: Sequence[int]) -> xr.Dataset:
    """The models again and again, with weights that grow by a millionth from seed to seed."""
    own = trained.isel(seed=np.asarray(seeds) % trained.sizes["seed"]).assign_coords(seed=np.asarray(seeds))
    growth = (1 + 1e-6 * own["seed"]).astype(np.float32)
    return own.assign(W=(own["W"] * growth).transpose(*trained["W"].dims).assign_attrs(trained["W"].attrs))


def measure(folder: Path, commands: Sequence[str] = COMMANDS, *, limit_s: float) -> Iterator[dict[str, object]]:
    """Of each command what it takes beyond all: peak memory in MiB and seconds; an error where it does not end well."""
    for command in commands:
        words = [sys.executable, "-m", "benchmarks.out_of_core", "--run", json.dumps([*command.split(), str(folder)])]
        start = time.perf_counter()
        try:
            done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            yield {"command": command, "over s": limit_s}
            continue
        last = done.stderr.strip().rpartition("\n")[2]
        found = {"peak MiB": float(last)} if done.returncode == 0 else {"error": last}
        yield {"command": command, "s": round(time.perf_counter() - start, 1), **found}


def _run(words: Sequence[str]) -> None:
    from toysup.analysis.command import main

    main(list(words), standalone_mode=False)
    print(high_water() / MIB, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--snapshots", type=int, default=SNAPSHOTS)
    parser.add_argument("--folder", type=Path, help="where runs are made and stay, or are already")
    parser.add_argument("--limit", type=float, default=3600, help="seconds that a command may take")
    parser.add_argument("--command", action="append")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        _run(json.loads(asked.run))
        return
    folder = asked.folder or Path(tempfile.mkdtemp())
    try:
        if not folder.exists() or not any(folder.iterdir()):
            print(
                json.dumps({"weights MiB": make(folder, seeds=asked.seeds, snapshots=asked.snapshots) / MIB}),
                flush=True,
            )
        for found in measure(folder, asked.command or COMMANDS, limit_s=asked.limit):
            print(json.dumps(found), flush=True)
    finally:
        # What has a name may have been there before.
        if asked.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
