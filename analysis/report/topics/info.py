"""What was trained and with what, one row per condition; and whether training it again gives the same."""

import json
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd

from toysup.analysis.report.html_page import Section
from toysup.analysis.report.selection import Selected
from toysup.analysis.report.topic_report import TopicReport
from toysup.engines.choice import choose_engine
from toysup.storage.runs import files_of
from toysup.storage.schema import layouts_of
from toysup.storage.store import specification_of
from toysup.training.train import trained_arrays

# How many seeds of a condition are trained again.
VERIFIED_SEEDS = 3
# Where another machine or version rounds otherwise, weights may differ by this share of the largest.
ROUNDING = 1e-3


def report(selected: Sequence[Selected], *, verify: bool = False) -> TopicReport:
    """What was trained, or whether training some seeds again gives the same."""
    if verify:
        return TopicReport(selected, lambda: verified(selected, np.random.default_rng()))
    return TopicReport(selected, partial(rows, selected))


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    yield Section("What was trained", "", [("", rows(selected))])


def rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """What was trained, one row per condition."""
    return pd.DataFrame([_info(item) for item in selected])


def _info(item: Selected) -> dict[str, object]:
    dataset = item.dataset
    return {
        "experiment": item.experiment,
        "condition": item.condition,
        "features": dataset.sizes["feature"],
        "hidden": dataset.sizes["hidden"],
        "contexts": ", ".join(dataset["context"].values),
        "sweep": ", ".join(f"{axis} ({dataset.sizes[axis]})" for axis in item.sweeps),
        "seeds": dataset.sizes["seed"],
        "snapshots": dataset.sizes["step"],
        "last_step": int(dataset["step"].values[-1]),
        "last_epoch": float(dataset["epoch"].values[-1]),
        "engine": dataset.attrs["engine"],
        "made_by": dataset.attrs["source"],
        "files": len(files_of(dataset)),
        "schema": int(dataset.attrs["toysup_schema"]),
        "versions": _versions(dataset.attrs.get("versions")),
    }


def _versions(text: object) -> str:
    """The versions of what trained a file, as `numpy 2.0, torch 2.4`; empty where it does not say."""
    try:
        versions = json.loads(str(text))
    except (ValueError, RecursionError):
        return ""
    return ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""


def specifications_of(selected: Sequence[Selected]) -> dict[str, object]:
    """The specification of each condition, by `<experiment>/<condition>`."""
    return {
        f"{item.experiment}/{item.condition}": json.loads(specification_of(item.dataset)[0].identity)
        for item in selected
    }


def verified(selected: Sequence[Selected], random: np.random.Generator) -> pd.DataFrame:
    """Some seeds of each condition, at a random cell of its sweep, trained again from what the files say.

    `verdict` is "identical" where every bit is the same, "rounding" where weights differ by at most a thousandth of the
    largest, as on another machine, and "differs" otherwise. `max_difference` is the largest difference divided by the
    largest weight.
    """
    trained_by = [choose_engine(*specification_of(item.dataset), "cpu") for item in selected]
    frame = pd.DataFrame([_verified(item, engine, random) for item, engine in zip(selected, trained_by, strict=True)])
    axes = dict.fromkeys(axis for item in selected for axis in item.sweeps)
    return frame[["experiment", "condition", *axes, "seeds", "verdict", "max_difference"]]


def _verified(item: Selected, engine: str, random: np.random.Generator) -> dict[str, object]:
    dataset = item.dataset
    first = int(random.integers(max(1, dataset.sizes["seed"] - VERIFIED_SEEDS + 1)))
    sample = dataset.isel(seed=slice(first, first + VERIFIED_SEEDS))
    cell = {axis: int(random.integers(dataset.sizes[axis])) for axis in item.sweeps}
    sample = sample.isel({axis: [at] for axis, at in cell.items()}).load()
    condition, _ = specification_of(dataset)
    condition = condition.at({axis: tuple(sample[axis].values.tolist()) for axis in item.sweeps})
    again = trained_arrays(condition, sample["seed"].values.tolist(), engine)
    layouts = layouts_of(condition, sample.sizes["seed"])
    # A selection has some of the recorded steps.
    at = np.flatnonzero(np.isin(condition.recorded_steps, sample["step"]))
    again |= {name: again[name].take(at, own.dims.index("step")) for name, own in layouts.items() if "step" in own.dims}
    worst = max(_difference(again[name], sample[name].transpose(*own.dims).values) for name, own in layouts.items())
    return {
        "experiment": item.experiment,
        "condition": item.condition,
        **{axis: float(sample[axis].values[0]) for axis in item.sweeps},
        "seeds": ", ".join(map(str, sample["seed"].values.tolist())),
        "verdict": "identical" if worst == 0 else "rounding" if worst <= ROUNDING else "differs",
        "max_difference": worst,
    }


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference as a share of the largest value; infinite where only one is a number."""
    if np.array_equal(one, other, equal_nan=True):
        return 0.0
    finite = np.isfinite(other)
    if (np.isfinite(one) != finite).any():
        return float("inf")
    scale = np.abs(other[finite]).max(initial=np.finfo(np.float32).tiny)
    return float(np.abs(one[finite] - other[finite]).max(initial=0) / scale)
