"""The analysis commands on models that see their context, on other targets, and on sweeps with many cells."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import toysup
from toysup import analysis
from toysup.analysis.command import main as analyze
from toysup.analysis.report.measures import counted_response
from toysup.analysis.report.panels import series
from toysup.analysis.report.selection import select
from toysup.analysis.report.topics.dimensionality import _of_features, mean_selectivity
from toysup.analysis.report.topics.interference import within_and_across

REGIME = """
[regime]
contexts = ["day", "night"]
subsets = { day = "1-2", night = "3-4" }
feature_probability = 0.4
outside_importance = 0.0
[training]
steps = 40
batch_size = 16
learning_rate = 0.01
[record]
steps = [20]
"""
MODELS = f"""
name = "models"
[model]
n_features = 4
n_hidden = 2
tied = false
{REGIME}
[[condition]]
name = "blind"
[[condition]]
name = "seeing"
regime.context_input = "one-hot"
model.encoder_layers = [6]
[[condition]]
name = "z"
regime.context_input = "flag"
regime.target = "z"
"""
SWEPT = f"""
name = "swept"
[model]
n_features = 4
n_hidden = 2
{REGIME}
[[condition]]
name = "line"
regime.feature_probability = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.15, 0.25, 0.35]
[[condition]]
name = "plane"
regime.outside_probability = [0.0, 0.1, 0.4, 1.0]
regime.outside_importance = [0.0, 0.1, 0.4, 1.0]
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, text in (("models", MODELS), ("swept", SWEPT)):
        found[name] = tmp_path_factory.mktemp(name)
        (found[name] / "experiment.toml").write_text(text)
        toysup.save_runs(toysup.train(found[name] / "experiment.toml", seeds=3), found[name] / "runs")
    return found


def rows(*arguments: object) -> list[dict[str, str]]:
    result = CliRunner().invoke(analyze, [*map(str, arguments), "--format", "csv", "--figure-format", "png"])
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout)))


def figure_names(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "runs" / "figures").rglob("*.png")}


def test_rows_are_by_context_where_the_model_sees_it(folders: dict[str, Path]) -> None:
    found = rows("dimensionality", folders["models"] / "runs")
    contexts = {(row["condition"], row["context"]) for row in found if row["statistic"] == "represented"}
    assert contexts == {("blind", ""), *((name, c) for name in ("seeing", "z") for c in ("day", "night"))}
    selective = [row for row in found if row["statistic"] == "context_selectivity"]
    assert {row["condition"] for row in selective} == {"seeing", "z"}
    assert {row["feature"] for row in selective} == {"", "1", "2", "3", "4"}
    # The flag of a model without layers moves its hidden state, not its response to features.
    assert all(float(row["mean"]) == 0 for row in selective if row["condition"] == "z" and row["mean"])


def test_the_numbers_are_those_of_the_responses(folders: dict[str, Path]) -> None:
    runs = folders["models"] / "runs"
    dataset = toysup.open_runs(runs)["models/seeing"].to_dataset().isel(step=-1)
    response = analysis.linear_response(dataset)
    (row,) = (
        row
        for row in rows("interference", runs, "--condition", "seeing", "--no-figures")
        if (row["context"], row["subset"], row["other_subset"]) == ("night", "day", "night")
        and row["statistic"] == "energy"
    )
    G = response["G"].sel(context="night").values
    assert float(row["mean"]) == pytest.approx((G[:, :2, 2:] ** 2).sum(axis=(1, 2)).mean(), rel=1e-5)
    (row,) = (
        row
        for row in rows("dimensionality", runs, "--condition", "seeing", "--no-figures")
        if (row["context"], row["feature"], row["statistic"]) == ("day", "3", "feature_norm")
    )
    norm = np.linalg.norm(response["H"].sel(context="day", feature=3), axis=-1).mean()
    assert float(row["mean"]) == pytest.approx(norm, rel=1e-5)


def test_outputs_of_z_that_weigh_nothing_are_left_out(folders: dict[str, Path]) -> None:
    found = rows("gram", folders["models"] / "runs", "--condition", "z")
    # z = (x·1[day], x·1[night]): outputs 1-4 and 5-8, of which 1, 2 and 7, 8 are of their own context's subset.
    assert {row["output"] for row in found} == {"1", "2", "7", "8"}
    assert len(found) == 2 * 4 * 4
    (item,) = select(toysup.open_runs(folders["models"] / "runs"), conditions=["z"])
    whole = item.each(lambda models: counted_response(models, item.dataset))
    quadrants = analysis.gram_quadrants(whole)
    G = whole.sel(context="day").isel(seed=0)
    plain = G.where(G["output_feature"] != G["other_feature"]) ** 2
    np.testing.assert_allclose(quadrants["energy"].sel(context="day").isel(seed=0).sum(), plain.sum(), rtol=1e-5)


def test_comparable_conditions_only_are_evaluated_on_one_another(folders: dict[str, Path]) -> None:
    pairs = {(row["trained_on"], row["evaluated_on"]) for row in rows("losses", folders["models"] / "runs")}
    assert pairs == {(name, name) for name in ("blind", "seeing", "z")}


def test_signed_values_of_a_hidden_relu_are_reported_at_both_signs(
    small: Callable[..., toysup.Experiment], run_analyze: Callable[..., Result], tmp_path: Path
) -> None:
    changes = {"model__tied": False, "model__hidden_activation": "relu", "regime__values": "signed"}
    tree = toysup.train(small(**changes), seeds=2)
    # One model by hand: hidden 1 to 3 pass on +1, +2 and −1, so that three directions of two features are represented.
    dataset = tree["small/small"].to_dataset().load()
    dataset["W"].values[:] = np.eye(3, 6) * [1, 1, 0, 0, 0, 0]
    dataset["W"].values[..., 2, 0] = -1
    toysup.save_runs(xr.DataTree.from_dict({"/small/small": dataset}), tmp_path / "runs")
    found = rows("dimensionality", tmp_path / "runs")
    counts = {(row["statistic"], row["value"]): float(row["mean"]) for row in found if not row["feature"]}
    assert counts["represented", "1.0"] == 2
    assert counts["represented", "-1.0"] == 1
    assert counts["represented_directions", ""] == 3
    for command in (["gram"], ["interference"], ["dynamics"], ["dynamics", "--by", "feature"]):
        name, *options = command
        assert {"1.0", "-1.0"} <= {row["value"] for row in rows(name, tmp_path / "runs", *options)}
        assert "value" not in rows(name, tmp_path / "runs", *options, "--value", "-1", "--no-figures")[0]
    result = run_analyze("interference", tmp_path / "runs", "--by", "feature", "--no-figures")
    assert "small: values have both signs" in result.stderr
    assert "--value takes one" in result.stderr
    result = run_analyze("gram", tmp_path / "runs", "--value", "0")
    assert (result.exit_code, result.output.count("value must be finite and non-zero, got 0")) == (2, 1)


def test_mean_selectivity_is_over_represented_features(folders: dict[str, Path]) -> None:
    (item,) = select(toysup.open_runs(folders["models"] / "runs"), conditions=["seeing"])
    selectivity = analysis.context_selectivity(item.at_step).values
    H = analysis.linear_response(item.at_step)["H"]
    shown = ((H**2).sum("hidden") >= 0.5).any("context").transpose("seed", "feature").values
    expected = [own[seen].mean() if seen.any() else np.nan for own, seen in zip(selectivity, shown, strict=True)]
    np.testing.assert_allclose(mean_selectivity(item.each(_of_features)), expected, rtol=1e-5)


def test_a_large_sweep_is_drawn_over_its_axes(folders: dict[str, Path]) -> None:
    runs = folders["swept"] / "runs"
    for command in ("dimensionality", "interference", "losses", "gram"):
        rows(command, runs)
    names = figure_names(folders["swept"])
    assert {"dimensionality-over-feature-probability", "dimensionality-map-plane"} <= names
    assert {"interference-energy-over-feature-probability", "interference-energy-map-plane"} <= names
    assert {"loss-over-feature-probability", "loss-map-plane"} <= names
    # Gram matrices at the ends of one axis and the corners of two.
    assert len([name for name in names if name.startswith("gram-line")]) == 2
    assert len([name for name in names if name.startswith("gram-plane")]) == 4
    assert len(names) == 12


def test_lines_of_other_statistics_have_a_figure_of_their_own(tmp_path: Path) -> None:
    text = """
name = "apart"
model = { n_features = 4, n_hidden = 2 }
regime.feature_probability = [0.1, 0.2]
training = { steps = 4, batch_size = 8 }
[[condition]]
name = "plain"
[[condition]]
name = "parted"
regime.contexts = ["day", "night"]
regime.subsets = { day = "1-2", night = "3-4" }
"""
    (tmp_path / "apart.toml").write_text(text)
    toysup.save_runs(toysup.train(tmp_path / "apart.toml", seeds=2), tmp_path / "runs")
    rows("interference", tmp_path / "runs")
    # One subset has an energy, several have one within and one across.
    names = {name for name in figure_names(tmp_path) if "-over-" in name}
    assert names == {f"interference-energy-over-feature-probability-{number}" for number in (1, 2)}
    rows("dimensionality", tmp_path / "runs")
    assert "dimensionality-over-feature-probability" in figure_names(tmp_path)


def test_quadrants_over_a_sweep_are_summed_within_and_across(folders: dict[str, Path]) -> None:
    (item,) = select(toysup.open_runs(folders["swept"] / "runs"), conditions=["plane"])
    energy = analysis.quadrant_interference(item.at_step["W"])["energy"]
    found = within_and_across(item, statistic="energy")
    across = energy.sel(subset="day", other_subset="night") + energy.sel(subset="night", other_subset="day")
    np.testing.assert_allclose(found["energy_across"], across, rtol=1e-5)
    within = energy.sum(["subset", "other_subset"]) - across
    np.testing.assert_allclose(found["energy_within"], within, rtol=1e-4, atol=1e-6)


def test_a_model_that_is_not_finite_has_no_energy_over_a_sweep(folders: dict[str, Path]) -> None:
    (item,) = select(toysup.open_runs(folders["swept"] / "runs"), conditions=["plane"])
    dataset = item.dataset.load().copy(deep=True)
    dataset["W"][{"seed": 1}] = np.nan
    found = within_and_across(type(item)(item.experiment, item.condition, dataset, item.index), statistic="energy")
    for values in found.values():
        assert values.isel(seed=1).isnull().all()
        assert values.isel(seed=[0, 2]).notnull().all()


def test_many_conditions_are_drawn_in_several_figures(folders: dict[str, Path]) -> None:
    items = select(toysup.open_runs(folders["models"] / "runs"))
    many = [
        type(item)(item.experiment, f"{item.condition}-{k}", item.dataset, item.index)
        for k in range(6)
        for item in items
    ]
    parts = list(series(many))
    assert [suffix for suffix, _ in parts] == ["-1", "-2"]
    assert [len(part) for _, part in parts] == [9, 9]


def test_what_is_not_swept_is_drawn_beside_a_large_sweep(folders: dict[str, Path]) -> None:
    plane, *_ = select(toysup.open_runs(folders["swept"] / "runs"), conditions=["plane"])
    blind, *_ = select(toysup.open_runs(folders["models"] / "runs"), conditions=["blind"])
    assert [(suffix, list(part)) for suffix, part in series([plane, blind])] == [("", ["blind"])]
    assert list(series([plane])) == []


def test_columns_keep_their_order_when_experiments_differ() -> None:
    import pandas as pd

    from toysup.analysis.report.tidy_rows import NUMBERS, joined

    def frame(*columns: str) -> pd.DataFrame:
        return pd.DataFrame([["x"] * (len(columns) + 6)], columns=[*columns, "statistic", *NUMBERS])

    whole = joined(
        [frame("experiment", "condition", "step", "feature"), frame("experiment", "condition", "p", "step", "context")]
    )
    assert list(whole) == ["experiment", "condition", "p", "step", "feature", "context", "statistic", *NUMBERS]
