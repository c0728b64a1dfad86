"""Commands work piece by piece on runs that memory does not hold, and give what they give of the whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import toysup
from toysup import analysis
from toysup.analysis.statistics import piecewise as pieces
from toysup.analysis.statistics.piecewise import by_cells, by_seeds, fits_in_memory, loaded_if_small, piecewise
from toysup.errors import UsageError

Command = Callable[..., Any]
Small = Callable[..., toysup.Experiment]
COMMANDS = [
    ["info"],
    ["gram"],
    ["dimensionality"],
    ["dimensionality", "--against", "fixed"],
    ["interference"],
    ["interference", "--by", "seed"],
    ["interference", "--by", "feature"],
    ["interference", "--against", "fixed"],
    ["losses"],
    *(["losses", "--by", by] for by in ("feature", "context", "part", "active", "reference")),
    ["losses", "--against", "fixed"],
    *(["dynamics", "--by", by] for by in ("step", "feature", "event")),
    ["claims", "--no-fail"],
]
# Of the same topic, these draw what another one draws.
DRAWN_BEFORE = [
    *([topic, "--against", "fixed"] for topic in ("dimensionality", "interference", "losses")),
    ["interference", "--by", "seed"],
    *(["dynamics", "--by", by] for by in ("feature", "event")),
]


def models(seeds: int, cells: int, steps: int) -> xr.Dataset:
    """W (feature_probability, seed, step, hidden, feature) of 1 × 2 entries, each its own number."""
    shape = (cells, seeds, steps, 1, 2)
    dims = ("feature_probability", "seed", "step", "hidden", "feature")
    W = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    loss = W[..., 0, 0].astype(np.float64)
    coords = {dim: np.arange(size) for dim, size in zip(dims, shape, strict=True)}
    return xr.Dataset({"W": (dims, W), "train_loss": (dims[:3], loss), "importance": ("feature", [1.0, 0.5])}, coords)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the post's models, at one step, are all that is read, or worked on, at once."""
    monkeypatch.setattr(pieces, "_READ", 2 * 222)
    monkeypatch.setattr(pieces, "_HELD", 2 * 800)
    monkeypatch.setattr("toysup.analysis.report.topics.gram._ENTRIES", 130)
    monkeypatch.setattr("toysup.analysis.report.topics.dimensionality._STEPS_HELD", 200)
    monkeypatch.setattr("toysup.analysis.report.topics.interference._ROWS", 5)
    monkeypatch.setattr("toysup.analysis.inference.seeds._VALUES", 7)


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
def test_pieces_hold_few_models_and_make_the_whole(seeds: int, cells: int, steps: int, read: int, held: int) -> None:
    dataset, seen = models(seeds, cells, steps), []

    def doubled(part: xr.Dataset) -> xr.Dataset:
        seen.append(part["train_loss"].size)
        return xr.Dataset({"twice": 2 * part["W"], "weight": part["importance"]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_READ", 3 * read)
        patch.setattr(pieces, "_HELD", 2 * held)
        found = piecewise(dataset, doubled, values=2)
        in_order = list(by_cells(dataset, values=2))
        along_seeds = list(by_seeds(dataset, values=2))
    xr.testing.assert_identical(found, doubled(dataset))
    # One model, at all steps, is the least that can be.
    assert max(seen[:-1]) <= max(steps, min(read, held))
    first_of = [(part["feature_probability"].values[0], part["seed"].values[0]) for part in in_order]
    assert first_of == sorted(first_of)
    assert sum(part["train_loss"].size for part in in_order) == dataset["train_loss"].size
    xr.testing.assert_equal(xr.concat([part["W"] for part in along_seeds], "seed"), dataset["W"])


def test_pieces_end_where_files_do(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, lengths = models(12, 1, 1), []
    dataset["W"].encoding["preferred_chunks"] = {"seed": 3}
    for read in (7, 2):
        monkeypatch.setattr(pieces, "_READ", 3 * read)
        piecewise(dataset, lambda part: lengths.append(part.sizes["seed"]) or part, values=1)
    # Seven have room for two files; of a file of three, two and one.
    assert lengths == [6, 6, *[2] * 6]


def test_what_is_one_piece_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = models(3, 2, 1).chunk()
    # Six models, of three numbers that are read, and four that are held.
    for read, held, fits in ((18, 24, True), (17, 24, False), (18, 23, False)):
        monkeypatch.setattr(pieces, "_READ", read)
        monkeypatch.setattr(pieces, "_HELD", held)
        assert fits_in_memory(dataset, values=4) == fits
        assert bool(loaded_if_small(dataset, values=4).chunks) != fits


def test_a_dataset_without_seeds_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the dims seed; it has"):
        piecewise(models(1, 1, 1).isel(seed=0), lambda part: part)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_prints_the_same_of_pieces(
    command: list[str], runs: Path, run_analyze: Command, request: pytest.FixtureRequest
) -> None:
    draws = command[0] not in ("info", "claims")
    whole = run_analyze(*command, runs, "--format", "json", *["--no-figures"] * draws)
    request.getfixturevalue("tiny")
    figures = ["--no-figures"] if command in DRAWN_BEFORE else ["--figure-format", "png"]
    parts = run_analyze(*command, runs, "--format", "json", *figures * draws)
    assert whole.exit_code == parts.exit_code == 0, parts.output
    assert parts.stdout == whole.stdout


@pytest.mark.usefixtures("tiny")
def test_a_sweep_is_worked_on_cell_by_cell(swept: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    from toysup.analysis.report.measures import quadrant_null
    from toysup.analysis.report.selection import select
    from toysup.analysis.report.topics import dynamics, interference

    # A model of tms-intro, of 25 entries, after the other.
    monkeypatch.setattr(pieces, "_HELD", 50)
    (item,) = select(swept)
    found = quadrant_null(item), [*interference.seed_rows([item])], [*dynamics.rows([item], by="event")]
    monkeypatch.undo()
    (item,) = select(swept)
    xr.testing.assert_identical(found[0], quadrant_null(item))
    whole = [*interference.seed_rows([item])], [*dynamics.rows([item], by="event")]
    for parts, frames in zip(found[1:], whole, strict=True):
        assert len(parts) > len(frames)
        pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), pd.concat(frames, ignore_index=True))


@pytest.mark.parametrize("name", ["feature_onset", "shared_directions", "merge_step", "plateaus", "level_jumps"])
def test_dynamics_of_dask_arrays_are_lazy(name: str, trained: xr.DataTree) -> None:
    eager = trained["conditional-importance/fixed"].to_dataset()
    given = {
        "merge_step": lambda models: analysis.shared_directions(models["W"]),
        "plateaus": lambda models: models["train_loss"],
        "level_jumps": lambda models: analysis.feature_dimensionality(models["W"]),
    }.get(name, lambda models: models["W"])
    lazy = getattr(analysis, name)(given(eager.chunk(seed=2)))
    assert lazy.chunks
    xr.testing.assert_identical(lazy.compute(), getattr(analysis, name)(given(eager)))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_runs(tmp_path: Path) -> None:
    """Of 220 MiB of weights a command that looks at all of them holds a part, beyond what a tenth of them takes."""
    peaks = []
    for seeds in (250, 2500):
        words = ["--seeds", str(seeds), "--command", "dimensionality", "--folder", str(tmp_path / str(seeds))]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.out_of_core", *words], check=True, capture_output=True, text=True
        )
        peaks.append(float(done.stdout.rpartition('"peak MiB": ')[2].rstrip("}\n")))
    assert peaks[1] - peaks[0] < 150
