"""The losses of trained models: processor time for each model and regime, exact and from samples."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import xarray as xr

import toysup
from benchmarks.measurements import Measurement
from toysup.analysis import report

Changes = Mapping[str, object]
_SIZES = {"model.n_features": 20, "model.n_hidden": 10, "regime.importance_decay": 0.7}
_LAYERS = {**_SIZES, "model.tied": False, "model.encoder_layers": [40], "regime.feature_probability": 0.15}


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """All rows of `losses`, which evaluate every condition under every other; without notes and figures.

    The rows are computed in memory, by as many threads as there are cores.
    """
    del threads
    count = 2 if quick else 12
    phases = {"model.n_features": 2, "model.n_hidden": 1, "regime.feature_probability": {"log": [0.01, 1, count]}}
    importances = [1.0, 0.3] if quick else [10 ** (k / 6 - 1) for k in range(13)]
    cases: dict[str, tuple[list[Changes], int]] = {
        "2→1, sweep of p × 13 importances": ([{**phases, "regime.importance": [1, i]} for i in importances], 10),
        "20→10, exact": ([{**_SIZES, "regime.feature_probability": p} for p in (0.05, 0.15)], 30),
        "20→40→10→20, sampled": ([{**_LAYERS, "regime.importance_decay": decay} for decay in (0.7, 0.9)], 10),
    }
    for name, (changes, seeds) in cases.items():
        runs = _untrained(changes, 2 if quick else seeds)
        rows = partial(_rows, runs)
        rows()
        models = sum(int(leaf.to_dataset()["train_loss"].isel(step=0).size) for leaf in runs.leaves)
        work = models * len(changes)
        taken = [_processor_seconds(rows) / work for _ in range(2 if quick else 5)]
        about = {"models": name, "models × regimes": work}
        yield Measurement("losses", about, "processor time", "ms", [1e3 * value for value in taken])


def _rows(runs: xr.DataTree) -> object:
    return report.losses(runs).table


def _processor_seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _untrained(changes: list[Changes], seeds: int) -> xr.DataTree:
    """Models as they start: what a loss costs does not depend on how long they were trained."""
    few = {"training.steps": 1, "training.batch_size": 1, "record.steps": [0]}
    found = {}
    for number, own in enumerate(changes):
        tree = toysup.train(toysup.load_experiment("tms-intro", changes=dict(own) | few), seeds=seeds)
        dataset = tree["tms-intro/tms-intro"].to_dataset().isel(step=[0])
        found[f"/losses/condition-{number}"] = dataset.assign_attrs(
            experiment="losses", condition_name=f"condition-{number}"
        )
    return xr.DataTree.from_dict(found)
