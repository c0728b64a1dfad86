"""The commands as their users meet them: what comes out, and one line with an exit code where something is wrong."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import netCDF4
import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup import analysis
from toysup.analysis.report.selection import select
from toysup.analysis.report.topics import losses
from toysup.engines import compiled_code
from toysup.engines.fused import engine
from toysup.engines.fused.formulation import LISTS
from toysup.storage.store import Job

Command = Callable[..., Result]
Rows = Callable[..., list[dict[str, str]]]
SHORT = ["--set", "training.steps=12", "--set", "training.dataset_size=500", "--set", "record.steps=[4]"]


def assert_refused(result: Result, code: int, *words: str) -> None:
    """One `Error:` line, with these words, and no traceback."""
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.rstrip().endswith(lines[0])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert all(word in lines[0] for word in words), lines[0]


def test_train_writes_and_extends(run_train: Command, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    result = run_train("conditional-importance", "-o", out, "--seeds", 2, *SHORT)
    assert result.exit_code == 0, result.output
    assert [line.split(": ")[1].split(",")[0] for line in result.stdout.splitlines()] == ["2 seeds"] * 4
    path = out / "conditional-importance" / "fixed.nc"
    first = xr.load_dataset(path)
    before = path.stat().st_mtime_ns
    result = run_train("conditional-importance", "-o", out, "--seeds", 2, *SHORT)
    assert "0 trained now" in result.stdout
    assert path.stat().st_mtime_ns == before
    run_train("conditional-importance", "-o", out, "--seeds", 1, "--first-seed", 7, "--condition", "fixed", *SHORT)
    assert xr.load_dataset(path).seed.values.tolist() == [0, 1, 7]
    xr.testing.assert_equal(xr.load_dataset(path).sel(seed=[0, 1]), first)
    result = run_train("conditional-importance", "-o", out, "-q", "--seeds", 1, "--overwrite", *SHORT)
    assert result.output == ""
    assert xr.load_dataset(path).seed.values.tolist() == [0]


def test_train_lists_experiments(run_train: Command) -> None:
    result = run_train("--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == sorted(toysup.builtin_experiments())
    assert "conditional-importance   Conditional importance in toy models of superposition" in result.stdout


def test_train_notes_the_floor_of_outputs_that_are_never_negative(run_train: Command, tmp_path: Path) -> None:
    options = [*SHORT, "--seeds", 1, "--condition", "fixed"]

    def notes(folder: str, *more: object) -> list[str]:
        result = run_train("conditional-importance", "-o", tmp_path / folder, *options, *more)
        assert result.exit_code == 0, result.output
        return [line for line in result.stderr.splitlines() if line.startswith("note:")]

    signed = ["--set", "regime.values=signed"]
    # Σ I_i p / 6 with I = 0.7 … 0.7^10, twice.
    floor = 2 * sum(0.7**i for i in range(1, 11)) * 0.15 / 6
    expected = (
        f"note: fixed: outputs of relu cannot be negative, so no model of this condition has a loss below {floor:.3g}"
    )
    assert notes("relu", *signed) == [expected]
    assert notes("sweep", *signed, "--set", "regime.feature_probability=[0.3,0.15]") == [expected]
    without = notes("constant", "--set", "regime.values=-0.5")
    assert without == [expected.replace(f"has a loss below {floor:.3g}", "can output negative values")]
    assert notes("quiet", *signed, "-q") == []
    assert notes("uniform") == []
    assert notes("tanh", *signed, "--set", "model.activation=identity") == []
    assert notes("abs", *signed, "--set", "regime.target=abs") == []


def test_train_notes_features_that_an_l2_penalty_outweighs(run_train: Command, tmp_path: Path) -> None:
    options = [*SHORT, "--seeds", 1, "--condition", "fixed"]

    def notes(folder: str, *more: object) -> list[str]:
        result = run_train("conditional-importance", "-o", tmp_path / folder, *options, *more)
        assert result.exit_code == 0, result.output
        return [line for line in result.stderr.splitlines() if "weight decay" in line]

    decay = ["--set", "training.weight_decay=0.01"]
    # p I E[x²] with I = 0.7 … 0.7^10, twice, p = 0.15 and E[x²] = 1/3 is below 0.005 from the 7th on.
    count = 2 * sum(0.7**i * 0.15 / 3 < 0.005 for i in range(1, 11))
    assert count == 8
    (note,) = notes("adam", *decay, "--set", "training.optimizer=adam")
    assert f"fixed: the weight decay of adam is an L2 penalty, under which {count} of 20 features" in note
    assert "below 0.005, half" in note
    (most,) = notes("sweep", "--set", "training.weight_decay=[0.0, 0.01]", "--set", "training.optimizer=adam")
    assert most == note
    # Of features that are always 1, x² is three times as large on average.
    (binary,) = notes("binary", *decay, "--set", "training.optimizer=adam", "--set", "regime.values=binary")
    assert f"under which {2 * sum(0.7**i * 0.15 < 0.005 for i in range(1, 11))} of 20 features" in binary
    assert notes("adamw", *decay, "--set", "training.optimizer=adamw") == []
    assert notes("none", "--set", "training.optimizer=adam", "--set", "training.weight_decay=0.0") == []


def test_train_refuses_before_it_trains(run_train: Command, runs: Path, tmp_path: Path) -> None:
    misspelt = tmp_path / "mine.toml"
    misspelt.write_text('name = "mine"\n[model]\nn_features = 2\nn_hidden = 1\n[training]\nbatchsize = 3\n')
    before = {path: path.read_bytes() for path in runs.rglob("*.nc")}
    new = ["-o", tmp_path / "new"]
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "conditional-importance").write_text("not a folder")
    for arguments, code, words in [
        (["conditional-importence", *new], 2, ["conditional-importence", "conditional-importance"]),
        ([misspelt, *new], 2, [str(misspelt), "training.batchsize", "batch_size"]),
        ([tmp_path / "no.toml", *new], 2, ["no.toml", "cannot be read"]),
        (["conditional-importance", *new, "--set", "regime.feature_probability=1.5"], 2, ["= 1.5", "from 0 to 1"]),
        (["conditional-importance", *new, "--set", "training.epochs"], 2, ["KEY=VALUE"]),
        (["leaky-context", *new, "--set", "regime.contexts.a=1"], 2, ["regime.contexts.a", "has no parts"]),
        (
            ["leaky-context", *new, "--set", "training.batch_size=[]", "--set", "training.batch_size.a=1"],
            2,
            ["training.batch_size.a = 1", "training.batch_size = [] has no parts"],
        ),
        (["conditional-importance", *new, "--condition", "fixt"], 2, ["'fixt'", "did you mean fixed"]),
        (["conditional-importance", *new, "--set", "model.activation=gelo"], 2, ["'gelo'", "did you mean gelu"]),
        (["conditional-importance", *new, "--seeds", 0], 2, ["--seeds"]),
        (["conditional-importance", *new, "--seeds", 10**8], 2, ["--seeds", "1<=x<=20000000"]),
        (["conditional-importance", *new, "--engine", "jax"], 2, ["'jax'", "torch"]),
        (["conditional-importance", *new, "--engine", "fused", "--device", "cuda"], 2, ["fused", "'cuda'"]),
        (["conditional-importance", *new, "--device", "cuda:77"], 2, ["'cuda:77'", "cpu"]),
        (["conditional-importance", "-o", runs], 2, ["fixed.nc", "training.steps: 40 there, nothing here"]),
        (["conditional-importance", "-o", misspelt / "under"], 1, ["cannot be written"]),
        (["conditional-importance", "-o", misspelt], 1, ["cannot be written"]),
        (["conditional-importance", "-o", blocked], 1, ["conditional-importance", "cannot be written"]),
    ]:
        assert_refused(run_train(*arguments), code, *words)
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in runs.rglob("*.nc")} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_train_refuses_a_read_only_folder(run_train: Command, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_refused(run_train("conditional-importance", "-o", tmp_path / "runs", *SHORT), 1, "Permission denied")


def test_interrupting_keeps_what_is_finished(
    run_train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toysup.training.one_block import train_and_keep as original

    def interrupted(experiment: toysup.Experiment, job: Job, **options: Any) -> None:
        if job.condition.name == "conditional":
            raise KeyboardInterrupt
        original(experiment, job, **options)

    monkeypatch.setattr("toysup.training.train_runs.train_and_keep", interrupted)
    result = run_train("conditional-importance", "-o", tmp_path, "--seeds", 1, *SHORT)
    assert result.exit_code == 130
    assert "finished blocks are kept" in result.stderr
    assert os.listdir(tmp_path / "conditional-importance") == ["fixed.nc"]


def test_tidy_rows(rows_of: Rows, runs: Path, trained: xr.DataTree) -> None:
    table = rows_of("interference", runs, "--step", 20)
    assert list(table[0]) == (
        [
            "experiment",
            "condition",
            "step",
            "subset",
            "other_subset",
            "statistic",
            "mean",
            "ci_low",
            "ci_high",
            "n_seeds",
            "n_excluded",
            "null_mean",
            "null_sd",
            "z",
            "p_value",
            "p_adjusted",
        ]
    )
    assert len(table) == 4 * 4 * 7  # conditions × quadrants × statistics
    (row,) = [
        row
        for row in table
        if (row["condition"], row["subset"], row["other_subset"], row["statistic"])
        == ("conditional", "comedy", "tragedy", "energy")
    ]
    W = trained["conditional-importance/conditional"].W.sel(step=20)
    energy = analysis.quadrant_interference(W).energy.sel(subset="comedy", other_subset="tragedy")
    assert float(row["mean"]) == pytest.approx(float(energy.mean()), rel=1e-6)
    assert float(row["ci_low"]) <= float(row["mean"]) <= float(row["ci_high"])
    assert (row["step"], row["n_seeds"], row["n_excluded"]) == ("20", "3", "0")


def test_formats_agree(run_analyze: Command, rows_of: Rows, runs: Path) -> None:
    arguments = ["dimensionality", runs, "--condition", "fixed"]
    table, text = rows_of(*arguments), run_analyze(*arguments, "--no-figures").stdout
    objects = json.loads(run_analyze(*arguments, "--no-figures", "--format", "json").stdout)
    assert len(table) == len(objects) == 2 + 2 * 20
    assert objects[0]["feature"] is None
    assert objects[0]["statistic"] == "represented"
    for row, item in zip(table, objects, strict=True):
        assert {key: "" if value is None else str(value) for key, value in item.items()} == row
        assert f"{item['mean']:.4g}" in text


def test_a_table_is_aligned(run_analyze: Command, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A test worker may have a width.
    monkeypatch.delenv("COLUMNS", raising=False)
    _, header, rule, *lines = run_analyze("interference", runs, "--no-figures").stdout.splitlines()
    end = header.index("ci_low") + len("ci_low")
    assert all(line[end - 1] != " " and line[end : end + 3] == "   " for line in lines if line)
    assert set(rule.strip()) == {"─"}
    assert len(rule) > max(map(len, lines))


def test_one_seed_has_no_interval(run_train: Command, run_analyze: Command, rows_of: Rows, tmp_path: Path) -> None:
    run_train("conditional-importance", "-o", tmp_path, "--seeds", 1, "--condition", "fixed", *SHORT)
    result = run_analyze("dimensionality", tmp_path, "--no-figures", "--format", "json")
    assert all(row["ci_low"] is None and row["n_seeds"] == 1 for row in json.loads(result.stdout))
    assert {row["ci_low"] for row in rows_of("losses", tmp_path)} == {""}


def test_the_half_identity_from_the_command(rows_of: Rows, runs: Path) -> None:
    table = rows_of("losses", runs)
    loss = {(row["trained_on"], row["evaluated_on"]): float(row["mean"]) for row in table}
    three = ["fixed", "conditional", "anticorrelated"]
    assert set(loss) == {(one, other) for one in three for other in three} | {("split-40", "split-40")}
    for trained_on in three:
        assert loss[trained_on, "conditional"] == pytest.approx(loss[trained_on, "fixed"] / 2, rel=1e-6)


def test_losses_by_part_sum_to_the_total(rows_of: Rows, runs: Path) -> None:
    (whole,) = rows_of("losses", runs, "--condition", "fixed")
    for part, count in (("feature", 20), ("context", 2)):
        parts = rows_of("losses", runs, "--condition", "fixed", "--by", part)
        assert len(parts) == len({row[part] for row in parts}) == count
        assert sum(float(row["mean"]) for row in parts) == pytest.approx(float(whole["mean"]))


def test_losses_say_how_sure_samples_are(rows_of: Rows, runs: Path) -> None:
    table = rows_of("losses", runs, "--condition", "fixed")
    numbers = ["mean", "ci_low", "ci_high", "n_seeds", "n_excluded", "sampling_error", "model_sampling_error"]
    assert list(table[0])[-7:] == numbers
    # The losses of these models are exact.
    assert float(table[0]["sampling_error"]) == float(table[0]["model_sampling_error"]) == 0


def test_losses_by_what_they_come_from_sum_to_the_total(trained: xr.DataTree) -> None:
    selected = select(trained)
    whole = losses.rows(selected)
    whole = whole[whole.trained_on == whole.evaluated_on].set_index("trained_on")["mean"]
    for by, labels in (("part", "unrepresented own interference bias"), ("active", "0 1 2 3 4 5+")):
        table = losses.rows(selected, by=by)
        assert table[by].tolist() == labels.split() * 4
        assert (table.trained_on == table.evaluated_on).all()
        for condition, own in table.groupby("trained_on"):
            assert own["mean"].sum() == pytest.approx(whole[condition], rel=1e-6)
    assert own["probability"].sum() == pytest.approx(1)


def test_splits_of_a_sweep_have_a_row_for_each_cell(swept: xr.DataTree) -> None:
    selected = select(swept)
    for by, count in (("part", 4), ("active", 6), ("reference", 5)):
        table = losses.rows(selected, by=by)
        assert list(table)[:3] == ["experiment", "condition", "feature_probability"]
        assert table.groupby("feature_probability").size().tolist() == [count, count]


def test_references_are_rows_without_seeds(rows_of: Rows, runs: Path) -> None:
    table = rows_of("losses", runs, "--by", "reference", "--condition", "fixed")
    assert [row["reference"] for row in table] == ["zero", "constant", "best_features", "linear", "antipodal"]
    about = {(row["n_seeds"], row["ci_low"], row["sampling_error"], row["kind"]) for row in table}
    assert about == {("0", "", "", "exact")}
    # Σ I_i E[x²], both subsets: 2 Σ_i 0.7^i p/3.
    assert float(table[0]["mean"]) == pytest.approx(2 * sum(0.7**i for i in range(1, 11)) * 0.15 / 3)


def test_a_loss_without_parts_is_refused_or_left_out(
    run_train: Command, run_analyze: Command, rows_of: Rows, tmp_path: Path
) -> None:
    (tmp_path / "both.toml").write_text(SWEEPS.split("[[condition]]")[0] + DEEP_AND_PLAIN)
    assert run_train(tmp_path / "both.toml", "-o", tmp_path / "both", "--seeds", 2).exit_code == 0
    arguments = ["losses", tmp_path / "both", "--by", "part"]
    assert {row["condition"] for row in rows_of(*arguments)} == {"plain"}
    alone = run_analyze(*arguments, "--condition", "deep")
    assert_refused(alone, 2, "/deep has no parts", "y = φ")


DEEP_AND_PLAIN = """
[[condition]]
name = "plain"
[[condition]]
name = "deep"
model.tied = false
"""


def test_interference_by_feature_and_gram(rows_of: Rows, runs: Path) -> None:
    table = rows_of("interference", runs, "--by", "feature", "--condition", "fixed")
    assert {row["statistic"] for row in table} == {"feature_interference", "probability_weighted_interference"}
    gram = rows_of("gram", runs, "--condition", "fixed", "--epoch", 5)
    assert len(gram) == 400
    assert {row["step"] for row in gram} == {"20"}


def test_sweep_values_are_columns(run_analyze: Command, rows_of: Rows, swept: xr.DataTree, tmp_path: Path) -> None:
    toysup.save_runs(swept, tmp_path)
    for command, count in (("dimensionality", 2 * (2 + 10)), ("interference", 14), ("losses", 2), ("gram", 50)):
        table = rows_of(command, tmp_path)
        assert len(table) == count, command
        assert {row["feature_probability"] for row in table} == {"0.5", "0.05"}
        assert list(table[0])[:4] == ["experiment", "condition", "feature_probability", "step"]
    assert run_analyze("report", tmp_path, "--figure-format", "png").exit_code == 0


def test_any_quadrant_statistic_can_be_drawn(run_analyze: Command, runs: Path) -> None:
    from toysup.analysis.report.calls import QuadrantStatistic
    from toysup.analysis.statistics.quadrants import QUADRANT_STATISTICS as STATISTICS

    assert list(get_args(QuadrantStatistic)) == list(STATISTICS)
    run_analyze("interference", runs, "--statistic", "energy_share", "--figure-format", "svg")
    names = [path.name for path in (runs / "figures" / "conditional-importance").iterdir()]
    assert names == ["interference-energy-share.svg"]


def test_figures_are_written_where_asked(run_analyze: Command, runs: Path, tmp_path: Path) -> None:
    result = run_analyze("losses", runs, "--output", tmp_path / "out", "--figure-format", "svg")
    assert result.exit_code == 0
    names = sorted(path.name for path in (tmp_path / "out" / "conditional-importance").iterdir())
    assert names == [f"loss-{name}.svg" for name in ("comparison", "curves", "matrix")]
    one_file = runs / "conditional-importance" / "fixed.nc"
    run_analyze("interference", one_file)
    assert (runs / "conditional-importance" / "figures" / "conditional-importance" / "interference-energy.pdf").exists()


def test_info_says_what_was_trained(run_analyze: Command, runs: Path) -> None:
    (first, *rest) = json.loads(run_analyze("info", runs, "--format", "json").stdout)
    assert (first["condition"], first["features"], first["hidden"], first["seeds"]) == ("fixed", 20, 10, 3)
    assert (first["last_step"], first["last_epoch"]) == (40, 10)
    assert len(rest) == 3


def test_report_is_one_page_with_every_figure_and_table(run_analyze: Command, rows_of: Rows, runs: Path) -> None:
    two = ["--condition", "fixed", "--condition", "conditional"]
    result = run_analyze("report", runs, *two)
    assert result.exit_code == 0, result.output
    page = (runs / "figures" / "index.html").read_text()
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len({link for link in links if link.endswith(".png")}) == 2 + 2 + 2 + 5 + 2
    assert all((runs / "figures" / link).stat().st_size > 0 for link in links)
    # Cells of a table have the numbers of the command's rows.
    table = rows_of("dimensionality", runs, *two)
    assert f"{float(table[0]['mean']):.4g} [" in page


def test_analyze_refuses_in_one_line(run_analyze: Command, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    foreign, truncated = tmp_path / "foreign.nc", tmp_path / "truncated.nc"
    xr.Dataset({"T": ("x", [1.0])}).to_netcdf(foreign)
    truncated.write_bytes((runs / "conditional-importance" / "fixed.nc").read_bytes()[:5000])
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    for arguments, code, words in [
        ([tmp_path / "nowhere"], 1, ["no such file"]),
        ([tmp_path / "empty"], 1, ["no runs here"]),
        ([foreign], 1, ["foreign.nc", "not a toysup trajectory"]),
        ([truncated], 1, ["truncated.nc", "damaged"]),
        ([runs, "--condition", "fixd"], 2, ["'fixd'", "did you mean fixed"]),
        ([runs, "--step", 21], 2, ["step 21", "0, 10, 20, 40"]),
        ([runs, "--epoch", 1], 2, ["epoch 1", "0, 2.5, 5, 10"]),
        ([runs, "--epoch", 5, "--step", 20], 2, ["exclude"]),
        ([runs, "--format", "xml"], 2, ["--format"]),
        ([runs, "--output", blocked], 1, ["a-file", "cannot be written"]),
    ]:
        result = run_analyze("interference", *arguments)
        assert_refused(result, code, *words)
        assert result.stdout == ""
    assert_refused(run_analyze("interferense", runs), 2, "interferense")


def test_a_seed_that_is_not_finite_is_left_out_and_counted(run_analyze: Command, rows_of: Rows, runs: Path) -> None:
    path = runs / "conditional-importance" / "fixed.nc"
    with netCDF4.Dataset(path, "a") as file:
        file["W"][1, -1, 0, 0] = np.nan
    for command in ("losses", "interference", "dimensionality"):
        assert run_analyze(command, runs, "--condition", "fixed", "--figure-format", "png").exit_code == 0
        for row in rows_of(command, runs, "--condition", "fixed"):
            assert row["mean"] == "" or float(row["n_excluded"]) >= 1 or row["statistic"] == "feature_norm"


def test_runs_that_all_diverged_are_reported(
    run_train: Command, run_analyze: Command, rows_of: Rows, tmp_path: Path
) -> None:
    wild = ["--set", "training.optimizer=sgd", "--set", "training.learning_rate=1e6", "--condition", "fixed"]
    result = run_train("conditional-importance", "-o", tmp_path, "--seeds", 2, *SHORT, *wild)
    assert result.exit_code == 0
    assert re.findall(r"seed (\d) diverged, first at step (\d+)", result.stdout)[1][0] == "1"
    assert (xr.load_dataset(tmp_path / "conditional-importance" / "fixed.nc").diverged_at > 0).all()
    assert {row["n_excluded"] for row in rows_of("losses", tmp_path)} == {"2"}
    result = run_analyze("report", tmp_path, "--figure-format", "png")
    assert result.exit_code == 0, result.output
    assert "Warning" not in result.stderr


def test_losses_of_zero_are_drawn(run_train: Command, run_analyze: Command, tmp_path: Path) -> None:
    never = ["--set", "regime.feature_probability=0", "--condition", "fixed", "--seeds", 2]
    run_train("conditional-importance", "-o", tmp_path, *SHORT, *never)
    assert run_analyze("losses", tmp_path).exit_code == 0


SWEEPS = """
name = "sweeps"
[model]
n_features = 3
n_hidden = 2
[regime]
feature_probability = 0.3
[training]
steps = 2
batch_size = 4
[[condition]]
name = "A"
regime.feature_probability = [0.1, 0.2]
[[condition]]
name = "B"
regime.feature_probability = [0.2, 0.3]
[[condition]]
name = "C"
training.learning_rate = [0.1, 0.01]
[[condition]]
name = "D"
"""


def test_what_is_drawn_carries_its_own_sweep_values_only(
    run_train: Command, run_analyze: Command, tmp_path: Path
) -> None:
    (tmp_path / "sweeps.toml").write_text(SWEEPS)
    assert run_train(tmp_path / "sweeps.toml", "-o", tmp_path / "runs", "--seeds", 2).exit_code == 0
    assert run_analyze("gram", tmp_path / "runs", "--figure-format", "png").exit_code == 0
    names = {path.stem for path in (tmp_path / "runs" / "figures" / "sweeps").iterdir()}
    cells = {"A": ("0p1", "0p2"), "B": ("0p2", "0p3")}
    expected = {f"gram-{name}-feature-probability-{p}" for name, values in cells.items() for p in values}
    assert names == expected | {"gram-C-learning-rate-0p1", "gram-C-learning-rate-0p01", "gram-D"}
    assert run_analyze("losses", tmp_path / "runs", "--figure-format", "png").exit_code == 0


def test_the_middle_phase_is_drawn(runs: Path, monkeypatch: pytest.MonkeyPatch, run_analyze: Command) -> None:
    from toysup.analysis import figures

    steps = []
    original = figures.gram_grid

    def watched(gram: xr.DataArray, **options: object) -> object:
        steps.append(gram.step.values.tolist())
        return original(gram, **options)

    monkeypatch.setattr(figures, "gram_grid", watched)
    assert run_analyze("gram", runs, "--condition", "fixed").exit_code == 0
    assert steps == [[0, 10, 40]]


def test_the_installed_command_does_without_dask(runs: Path, run_analyze: Command) -> None:
    code = """
import atexit, sys
from toysup.analysis.command import start
atexit.register(lambda: print([name for name in sys.modules if name.startswith("dask")]))
start()
"""
    arguments = ["interference", str(runs), "--no-figures", "--format", "csv"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    printed, _, imported = done.stdout.rstrip().rpartition("\n")
    assert imported == "['dask']"
    assert printed + "\n" == run_analyze(*arguments).stdout


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import toysup", ["torch", "matplotlib"]),
        ("import toysup.analysis", ["torch", "matplotlib"]),
        ("import toysup; toysup.theory.loss_parts", ["torch", "matplotlib", "xarray", "scipy"]),
        ("import toysup; toysup.open_runs", ["torch", "matplotlib", "scipy"]),
        ("from toysup.command.train import main; main(['--help'], standalone_mode=False)", ["numpy"]),
        ("from toysup.analysis.command import main; main(['--help'], standalone_mode=False)", ["numpy"]),
        (
            "from toysup import analysis; analysis.gram, analysis.expected_loss, analysis.over_seeds",
            ["torch", "matplotlib"],
        ),
        (
            (
                "import toysup; from toysup.analysis.report import interference\n"
                "interference(toysup.open_example('conditional-importance')).table"
            ),
            ["torch", "numba", "matplotlib"],
        ),
        ("from toysup.analysis.report.topics import dimensionality, dynamics, gram", ["torch", "numba", "matplotlib"]),
    ],
)
def test_imports_are_lazy(code: str, forbidden: list[str]) -> None:
    check = f"{code}\nimport sys\nassert not {{*{forbidden}}} & set(sys.modules), set(sys.modules) & {{*{forbidden}}}"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)


def test_compiling_is_announced_and_loading_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_train: Command
) -> None:
    def twice(x):  # type: ignore[no-untyped-def]
        return 2 * x

    words = ["conditional-importance", "--seeds", "1", *SHORT, "--overwrite", "-o", tmp_path / "runs"]
    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", str(tmp_path / "cache"))
    for announced in (True, False):
        function = compiled_code.kept_njit()(twice)
        monkeypatch.setattr(engine, "prepare", lambda kernel, function=function: function(1.0))
        result = run_train(*words)
        assert result.exit_code == 0
        assert ("Compiling the fused engine for training on features (once; this takes" in result.stderr) == announced
        assert bool(re.search(r"^Compiled in \d+ s\.$", result.stderr, re.M)) == announced
    monkeypatch.setattr(engine, "prepare", lambda kernel: compiled_code.kept_njit()(twice)(1))
    assert re.search(r"\(once; it took \d+ s last time\)", run_train(*words).stderr)
    monkeypatch.setattr(engine, "prepare", lambda kernel: compiled_code.kept_njit()(twice)(np.float32(1)))
    assert "Compiling" not in run_train(*words, "--quiet").stderr


def test_several_loops_are_compiled_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_train: Command
) -> None:
    started: list[object] = []

    def start(kernel: object) -> SimpleNamespace:
        started.append(kernel)
        return SimpleNamespace(wait=lambda: started.append("waited"))

    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", str(tmp_path / "cache"))
    function = compiled_code.kept_njit()(lambda x: 3 * x)
    monkeypatch.setattr(engine, "prepare", lambda kernel: function(1.0))
    monkeypatch.setattr(engine, "compiling_process", start)
    words = ["tms-intro", "--seeds", "1", "--set", "training.steps=2", "-o", tmp_path / "runs"]
    result = run_train(*words)
    assert result.exit_code == 0
    # The sweep has cells with dense and with sparse samples.
    assert started == [engine.Kernel("relu", form=LISTS), "waited"]
    assert ", and beside it for training on features of sparse samples (once" in result.stderr
    assert len(re.findall(r"^Compiled in \d+ s\.$", result.stderr, re.M)) == 2


def test_where_compiled_code_cannot_be_kept_training_goes_on_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_train: Command
) -> None:
    # Compiled by now, it is not announced.
    engine.prepare()
    monkeypatch.setattr(compiled_code, "_not_kept", ["/home/me/.cache/toysup: Read-only file system"])
    words = ["conditional-importance", "--seeds", "1", *SHORT, "-o", tmp_path]
    result = run_train(*words)
    assert result.exit_code == 0
    which, note = result.stderr.splitlines()
    assert which.endswith(": fused engine")
    assert note.startswith("note: the compiled engine cannot be kept: /home/me/.cache/toysup: Read-only file system; ")
    assert "set NUMBA_CACHE_DIR" in note
    assert run_train(*words, "--quiet").stderr == ""


@pytest.mark.parametrize(
    "command", ["", "info", "gram", "dimensionality", "interference", "losses", "claims", "dynamics", "report"]
)
def test_every_command_has_help_and_documentation(run_analyze: Command, command: str) -> None:
    result = run_analyze(*command.split(), "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5
    assert f"toysup-analyze {command}".strip() in Path("docs/commands.md").read_text()


def test_an_error_is_no_longer_than_a_screen(run_train: Command, tmp_path: Path) -> None:
    result = run_train("tms-intro", "-o", tmp_path, "--condition", "A" * 10_000)
    assert_refused(result, 2, "A...")
    assert len(result.stderr) < 2100
