"""Statistics of a hundred thousand snapshots, and a thousand files opened and summarised."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr

import toysup
from benchmarks.measurements import Measurement
from benchmarks.timing import Contender, alternate
from toysup.analysis import feature_dimensionality, gram, over_seeds, quadrant_interference, total_dimensionality
from toysup.analysis.report.selection import select
from toysup.analysis.report.topics import info


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    del threads
    repeats = 2 if quick else 7
    yield from _statistics(100 if quick else 100_000, repeats)
    yield from _runs(3 if quick else 1000, 2)


def snapshots(count: int, *, n_features: int = 20, n_hidden: int = 20) -> xr.DataArray:
    """W of that many random models with two subsets, float32."""
    scale = np.sqrt(2 / (n_features + n_hidden))
    weights = scale * np.random.default_rng(0).standard_normal((count, n_hidden, n_features), dtype=np.float32)
    subset = np.repeat(["comedy", "tragedy"], n_features // 2)
    return xr.DataArray(weights, dims=("seed", "hidden", "feature"), coords={"subset": ("feature", subset)})


def _statistics(count: int, repeats: int) -> Iterator[Measurement]:
    """Gram, D and quadrant statistics, one by one and all together."""
    W = snapshots(count)
    calls: dict[str, Callable[[], object]] = {
        "Gram matrices": lambda: gram(W),
        "dimensionality": lambda: feature_dimensionality(W),
        "quadrant statistics": lambda: quadrant_interference(W),
        "all three": lambda: (gram(W), feature_dimensionality(W), quadrant_interference(W)),
    }
    taken = alternate([Contender(name, call) for name, call in calls.items()], repeats=repeats)
    for name, values in taken.items():
        setting = {"what": f"{name} of {count:,} snapshots, 20×20"}
        limit = 1.0 if name == "all three" else None
        yield Measurement("analysis", setting, "time", "s", values, at_most=limit)


def _runs(count: int, repeats: int) -> Iterator[Measurement]:
    """A folder of that many files: opened, listed, and Σ D summarised over the seeds of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_runs(folder, count)
        passes = [_opened_and_summarised(folder) for _ in range(repeats)]
    for what in passes[0]:
        values = [one[what] for one in passes]
        yield Measurement("analysis", {"what": f"{count:,} runs {what}"}, "time", "s", values)


def _opened_and_summarised(folder: Path) -> dict[str, float]:
    """Seconds of each stage."""
    began = time.perf_counter()
    runs = toysup.open_runs(folder)
    opened = time.perf_counter()
    info.rows(select(runs))
    listed = time.perf_counter()
    for item in select(runs):
        over_seeds(total_dimensionality(item.at_step["W"]))
    summarised = time.perf_counter()
    runs.close()
    return {"opened": opened - began, "listed": listed - opened, "summarised": summarised - listed}


def _write_runs(folder: Path, count: int) -> None:
    """As many files, which differ in their names: three seeds of a few steps."""
    changes = {"training.steps": 4, "record.steps": [2], "regime.feature_probability": 0.15}
    experiment = toysup.load_experiment("tms-intro", changes=changes)
    node = toysup.train(experiment, seeds=3)["tms-intro/tms-intro"].to_dataset()
    tree = {f"/tms-intro/run-{i}": node.assign_attrs(condition_name=f"run-{i}") for i in range(count)}
    toysup.save_runs(xr.DataTree.from_dict(tree), folder)
