"""What a million models cost beside their training: planning, files, tasks of a scheduler, and the share of workers."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.commands import run
from benchmarks.measurements import Measurement, Setting
from benchmarks.memory import MIB, high_water
from benchmarks.timing import Contender, alternate, seconds
from toysup.experiments.experiment import Condition, Experiment
from toysup.experiments.experiment_file import load_experiment
from toysup.storage.blocks import BlockPlan
from toysup.storage.runs import open_runs
from toysup.storage.schema import room_for, trajectory_of
from toysup.storage.store import Job, Store

EXPERIMENT = "conditional-importance"
# Cells along two axes, and seeds: a million models each.
SHAPES = {"1 cell × 1,000,000 seeds": (1, 1, 10**6), "10,000 cells × 100 seeds": (100, 100, 100)}
SHAPES |= {"1,000,000 cells × 1 seed": (1000, 1000, 1)}


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Planning a million models, a block's file, opening many, a scheduler's task, and workers' share."""
    del threads
    for shape in list(SHAPES)[: 1 if quick else None]:
        command = [sys.executable, "-m", "benchmarks.at_scale", shape]
        found = [json.loads(subprocess.check_output(command, text=True)) for _ in range(1 if quick else 5)]
        setting: Setting = {"models": shape}
        yield Measurement("at scale", setting, "planning", "s", [one["seconds"] for one in found], at_most=10)
        yield Measurement("at scale", setting, "memory of planning", "MiB", [one["MiB"] for one in found], at_most=500)
    yield from _files(20 if quick else 10_000, repeats=1 if quick else 5)
    yield from _tasks(10 if quick else 500)
    if not quick:
        yield from _workers(repeats=3)


def plan(lengths: tuple[int, int], seeds: int) -> dict[str, float]:
    """Seconds, and MiB with all imports, until all blocks of so many cells and seeds are known, with their names."""
    start = time.perf_counter()
    condition = _condition(*lengths)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, EXPERIMENT, condition, "fused")
        blocks = store.missing(range(seeds))
        names = {store.plan.name(block) for block in blocks}
    assert len(names) == len(blocks) > 1
    return {"seconds": time.perf_counter() - start, "MiB": high_water() / MIB}


def _condition(rates: int, probabilities: int) -> Condition:
    changes: dict[str, object] = {}
    if rates * probabilities > 1:
        changes["training.learning_rate"] = np.linspace(1e-4, 1e-2, rates).tolist()
        changes["regime.feature_probability"] = np.linspace(0.01, 0.5, probabilities).tolist()
    return load_experiment(EXPERIMENT, changes=changes).conditions[0]


def _files(count: int, *, repeats: int) -> Iterator[Measurement]:
    """A full block's file, and a folder of many: all but the first are links, as only the first is opened."""
    experiment = load_experiment(EXPERIMENT)
    condition = experiment.conditions[0]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, EXPERIMENT, condition, "fused")
        store.file.parent.mkdir(parents=True)
        blocks = store.missing(range(count * store.plan.seeds_per_block))
        first = store.job(blocks[0])
        trained = _untrained(experiment, first)
        setting: Setting = {"models": len(first.seeds)}
        written = [seconds(partial(first.keep, trained)) for _ in range(repeats)]
        yield Measurement("at scale", setting, "writing a block's file", "ms", [1e3 * one for one in written])
        opened = [seconds(partial(_open_and_close, first.path)) for _ in range(repeats)]
        yield Measurement("at scale", setting, "opening a block's file", "ms", [1e3 * one for one in opened])
        for block in blocks[1:]:
            os.link(first.path, store.job(block).path)
        several = [seconds(partial(_open_and_close, Path(folder))) for _ in range(repeats)]
        setting = {"blocks": count, "models": count * len(first.seeds)}
        yield Measurement("at scale", setting, "opening a folder of blocks", "s", several)


def _open_and_close(path: Path) -> None:
    for leaf in open_runs(path).leaves:
        leaf.to_dataset().close()


def _untrained(experiment: Experiment, job: Job) -> xr.Dataset:
    arrays = room_for(job.condition, len(job.seeds))
    arrays["W"][:] = np.random.default_rng(0).normal(size=arrays["W"].shape)
    return trajectory_of(experiment, job.condition, job.seeds, arrays, engine=job.engine)


def _tasks(count: int) -> Iterator[Measurement]:
    """A task that does nothing, with what a block's carries."""
    from toysup.training.cluster import BlockArguments, local_client

    experiment = load_experiment(EXPERIMENT)
    condition = experiment.conditions[0]
    plan = BlockPlan.of(condition, "fused")
    arguments = BlockArguments(experiment, "cpu", 1, "token")
    job = Job(condition, range(plan.seeds_per_block), "fused", Path("x.nc"), plan.stamp)
    with local_client(2) as client:

        def all_of_them() -> None:
            client.gather([client.submit(_nothing, arguments, job, number, pure=False) for number in range(count)])

        all_of_them()
        taken = [seconds(all_of_them) / count for _ in range(5)]
    yield Measurement("at scale", {"tasks": count}, "a task of the scheduler", "ms", [1e3 * one for one in taken])


def _nothing(*_: object) -> None:
    return None


def _workers(*, repeats: int) -> Iterator[Measurement]:
    """Whole commands, from a cold start: four blocks, by the plain command and by two workers."""
    with tempfile.TemporaryDirectory() as folder:
        train = ["toysup-train", EXPERIMENT, "--quiet", "--overwrite", "--seeds", "208", "--output"]
        contenders = [
            Contender("plain", partial(run, [*train, f"{folder}/plain"])),
            Contender("workers", partial(run, [*train, f"{folder}/workers", "--workers", "2"])),
        ]
        taken = alternate(contenders, repeats=repeats)
    setting: Setting = {"models": 832}
    for name, quantity in (("plain", "the plain command"), ("workers", "two workers")):
        yield Measurement("at scale", setting, quantity, "s", taken[name])
    ratios = [plain / workers for plain, workers in zip(taken["plain"], taken["workers"], strict=True)]
    yield Measurement("at scale", setting, "throughput of two workers / plain", "", ratios, at_least=0.85)


if __name__ == "__main__":
    *cells, seeds = SHAPES[sys.argv[1]]
    print(json.dumps(plan((cells[0], cells[1]), seeds)))
