"""The rows of `toysup-analyze interference`: quadrants beside their null, over seeds and seed by seed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup import analysis

RUNS = "conditional-importance"

Command = Callable[..., Result]
Rows = Callable[..., list[dict[str, str]]]


def test_rows_have_the_null(run_analyze: Command, rows_of: Rows, runs: Path, trained: xr.DataTree) -> None:
    table = rows_of("interference", runs)
    assert "note:" not in run_analyze("interference", runs, "--no-figures").stderr
    assert list(table[0])[-6:] == ["n_excluded", "null_mean", "null_sd", "z", "p_value", "p_adjusted"]
    dataset = trained[f"{RUNS}/fixed"].to_dataset().isel(step=-1)
    null = analysis.pooled_quadrant_null(dataset)
    for row in table[:28]:
        assert row["condition"] == "fixed"
        at = {name: row[name] for name in ("statistic", "subset", "other_subset")}
        for name in ("null_mean", "null_sd", "z", "p_value"):
            assert float(row[name] or "nan") == pytest.approx(float(null[name].sel(at)), nan_ok=True)
        if row["z"]:
            z = (float(row["mean"]) - float(row["null_mean"])) / float(row["null_sd"])
            assert z == pytest.approx(float(row["z"]), abs=1e-3)
        assert float(row["p_adjusted"] or 1) >= float(row["p_value"] or 0)


def test_rows_by_seed(rows_of: Rows, runs: Path, trained: xr.DataTree) -> None:
    table = rows_of("interference", runs, "--by", "seed", "--condition", "conditional")
    assert len(table) == 3 * 7 * 4
    dataset = trained[f"{RUNS}/conditional"].to_dataset().isel(step=-1)
    values, null = analysis.quadrant_interference(dataset.W), analysis.quadrant_null(dataset)
    for row in table:
        at = {"seed": int(row["seed"]), "subset": row["subset"], "other_subset": row["other_subset"]}
        assert float(row["mean"]) == pytest.approx(float(values[row["statistic"]].sel(at)))
        p = null["p_value"].sel(at).sel(statistic=row["statistic"])
        assert float(row["p_value"]) == pytest.approx(float(p))
        assert (row["ci_low"], row["ci_high"], row["n_seeds"], row["n_excluded"]) == ("", "", "1", "0")


def test_without_twins_a_note_says_so(run_analyze: Command, rows_of: Rows, swept: xr.DataTree, tmp_path: Path) -> None:
    toysup.save_runs(swept, tmp_path / "runs")
    for by in ("quadrant", "seed"):
        result = run_analyze("interference", tmp_path / "runs", "--by", by, "--no-figures")
        for row in rows_of("interference", tmp_path / "runs", "--by", by):
            assert {row[name] for name in ("null_mean", "null_sd", "z", "p_value")} == {""}
        (note,) = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
        assert note == "note: tms-intro has no exact null for its quadrants: its features are all of one subset"
    assert "note:" not in run_analyze("interference", tmp_path / "runs", "--by", "feature", "--no-figures").stderr
    assert run_analyze("interference", tmp_path / "runs", "--by", "subset").exit_code == 2


@pytest.mark.parametrize(
    ("outside", "cells"),
    [
        ([0.0, 1.0], " in 2 of 4 cells (such as outside_importance = 0.0)"),
        ([1.0, 0.5, 0.0], " in 4 of 6 cells (such as outside_importance = 0.5)"),
        ([0.0, 0.5], ""),
    ],
)
def test_a_note_says_which_cells_have_no_twins(
    run_analyze: Command, rows_of: Rows, tmp_path: Path, outside: list[float], cells: str
) -> None:
    changes = {"regime.contexts": ["a", "b"], "regime.subsets": {"a": "1-3", "b": "4-6"}, "model.n_features": 6}
    changes |= {"regime.context_input": "flag", "regime.feature_probability": 0.4, "regime.importance_decay": 1.0}
    changes |= {"regime.outside_importance": outside, "training.learning_rate": [0.01, 0.02]}
    changes |= {"training.steps": 2, "training.batch_size": 4, "record.steps": [1]}
    toysup.save_runs(toysup.train(toysup.load_experiment("tms-intro", changes=changes), seeds=2), tmp_path)
    # Where importance is equal inside and outside, the flag makes no difference.
    energy = [row for row in rows_of("interference", tmp_path) if row["statistic"] == "energy"]
    assert {row["outside_importance"]: row["null_mean"] != "" for row in energy} == {
        str(value): value == 1 for value in outside
    }
    result = run_analyze("interference", tmp_path, "--no-figures")
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    why = "a flag shows the context, and no features of different subsets are alike up to the context"
    assert note == f"note: tms-intro has no exact null for its quadrants{cells}: {why}"
