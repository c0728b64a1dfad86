"""`--against`: rows of differences from one condition, what has no counterpart, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup import analysis
from toysup.analysis.report.selection import Selected, select
from toysup.analysis.report.topics.against import differences
from toysup.analysis.report.topics.losses import means_side_by_side

Command = Callable[..., Result]
Rows = Callable[..., list[dict[str, str]]]
FIRST = ["experiment", "condition", "against", "step"]
NUMBERS = ["statistic", "mean", "ci_low", "ci_high", "n_seeds", "n_excluded", "effect_size"]
LAST = ["p_value", "p_adjusted", "paired"]


def test_counts_of_models_against_a_condition(rows_of: Rows, runs: Path, trained: xr.DataTree) -> None:
    found = rows_of("dimensionality", runs, "--against", "fixed")
    assert list(found[0]) == [*FIRST, *NUMBERS, *LAST]
    assert {row["condition"] for row in found} == {"conditional", "anticorrelated", "split-40"}
    own = trained["conditional-importance"]
    D = {
        name: analysis.total_dimensionality(own[name].W.isel(step=-1)) for name in ("fixed", "conditional", "split-40")
    }
    for name, together in (("conditional", True), ("split-40", False)):
        (row,) = [row for row in found if row["condition"] == name and row["statistic"] == "total_dimensionality"]
        expected = analysis.difference_over_seeds(D[name], D["fixed"], paired=together)
        for column in ("mean", "ci_low", "effect_size", "p_value", "n_seeds"):
            assert float(row[column]) == pytest.approx(expected[column].item()), column
        assert row["paired"] == str(together)
    p = xr.DataArray([float(row["p_value"] or "nan") for row in found], dims="row")
    adjusted = [float(row["p_adjusted"] or "nan") for row in found]
    np.testing.assert_allclose(adjusted, analysis.holm_adjusted(p))


def test_quadrants_without_counterpart_are_left_out_with_a_note(
    run_analyze: Command, rows_of: Rows, runs: Path
) -> None:
    found = rows_of("interference", runs, "--against", "conditional")
    assert list(found[0]) == [*FIRST, "subset", "other_subset", *NUMBERS, *LAST]
    assert {row["condition"] for row in found} == {"fixed", "anticorrelated"}
    assert len(found) == 2 * 7 * 4
    result = run_analyze("interference", runs, "--against", "conditional", "--no-figures")
    counterpart, *_ = [line for line in result.stderr.splitlines() if line.startswith("note:")]
    assert counterpart.startswith("note: split-40 has no counterpart in conditional of its energy, rms")
    alone = run_analyze("interference", runs, "--condition", "split-40", "--against", "fixed", "--no-figures")
    assert alone.exit_code == 2
    assert "split-40 has no counterpart" in alone.stderr


def test_differences_between_modes_have_a_test_and_a_note() -> None:
    """A seed of anticorrelated lies further from the others than the seeds of fixed spread."""
    runs = toysup.open_example("conditional-importance")
    report = analysis.report.dimensionality(runs, against="anticorrelated", conditions=["fixed"])
    (row,) = report.table[report.table["statistic"] == "total_dimensionality"].to_dict("records")
    assert np.isnan(row["mean"])
    assert np.isfinite(row["p_value"])
    (note,) = (note for note in report.notes if "several modes" in note)
    assert "total_dimensionality of fixed" in note


def test_losses_against_a_condition_that_was_not_selected(rows_of: Rows, runs: Path) -> None:
    (row,) = rows_of("losses", runs, "--against", "fixed", "--condition", "conditional")
    assert (row["condition"], row["against"], row["statistic"]) == ("conditional", "fixed", "loss")
    whole = rows_of("losses", runs)
    own = {r["trained_on"]: float(r["mean"]) for r in whole if r["trained_on"] == r["evaluated_on"]}
    assert float(row["mean"]) == pytest.approx(own["conditional"] - own["fixed"])


def trained_and_saved(folder: Path, conditions: str) -> xr.DataTree:
    """Four seeds of these conditions of a small experiment, which are in `runs` of the folder too."""
    experiment = folder / "sweep.toml"
    experiment.write_text(
        f"""
        name = "sweep"
        model = {{ n_features = 4, n_hidden = 2 }}
        training = {{ steps = 4, batch_size = 8 }}
        regime = {{ feature_probability = 0.2 }}
        condition = [{conditions}]
        """
    )
    tree = toysup.train(toysup.load_experiment(experiment), seeds=4)
    toysup.save_runs(tree, folder / "runs")
    return tree


def test_cells_of_a_sweep_meet_those_that_both_have(rows_of: Rows, tmp_path: Path) -> None:
    tree = trained_and_saved(
        tmp_path,
        """
        { name = "two", training.learning_rate = [1e-3, 1e-2] },
        { name = "other", training.learning_rate = [1e-2, 1e-1] },
        { name = "one" },
        """,
    )
    W = {name: node.W.isel(step=-1) for name, node in tree["sweep"].children.items()}
    D = {name: analysis.total_dimensionality(own).astype(float) for name, own in W.items()}

    def means(against: str) -> dict[tuple[str, str], float]:
        found = rows_of("dimensionality", tmp_path / "runs", "--against", against)
        assert {row["paired"] for row in found} == {"True"}
        return {
            (row["condition"], row["learning_rate"]): float(row["mean"])
            for row in found
            if row["statistic"] == "total_dimensionality"
        }

    rate = D["two"].learning_rate.values
    one, two = D["one"].mean().item(), D["two"].mean("seed")
    found = means("one")
    assert len(found) == 4
    assert found["two", str(rate[1])] == pytest.approx(two[1].item() - one)
    found = means("two")
    # Of `other` only the cell that `two` has; `one` stands against each.
    assert list(found) == [("other", "0.01"), ("one", "0.001"), ("one", "0.01")]
    assert found["one", "0.01"] == pytest.approx(one - two[1].item())


def test_each_cell_is_paired_where_its_models_are(rows_of: Rows, tmp_path: Path) -> None:
    tree = trained_and_saved(
        tmp_path,
        """
        { name = "two", regime.feature_probability = [0.1, 0.2] },
        { name = "one", training.learning_rate = 0.01 },
        """,
    )
    gram = {name: analysis.gram(node.W.isel(step=-1)) for name, node in tree["sweep"].children.items()}
    others = xr.DataArray(1 - np.eye(4), dims=("feature", "other_feature"))
    energy = {name: (G**2 * others).sum(["feature", "other_feature"]) for name, G in gram.items()}
    for against, item, sign in (("one", "two", 1), ("two", "one", -1)):
        found = rows_of("interference", tmp_path / "runs", "--against", against)
        own = [row for row in found if row["statistic"] == "energy"]
        assert [(row["condition"], row["feature_probability"], row["paired"]) for row in own] == [
            (item, "0.1", "False"),
            (item, "0.2", "True"),
        ]
        for row, together in zip(own, (False, True), strict=True):
            cell = energy["two"].sel(feature_probability=float(row["feature_probability"]))
            expected = analysis.difference_over_seeds(cell, energy["one"], paired=together)
            assert float(row["mean"]) == pytest.approx(sign * expected["mean"].item(), rel=1e-4)
            assert float(row["effect_size"]) == pytest.approx(sign * expected["effect_size"].item(), rel=1e-3)
            assert int(row["n_seeds"]) == expected["n_seeds"].item() == (4 if together else 8)


def test_sweep_values_of_either_side_come_before_the_step(rows_of: Rows, tmp_path: Path) -> None:
    trained_and_saved(
        tmp_path,
        """
        { name = "two", regime.feature_probability = [0.1, 0.2], regime.importance_decay = [0.8, 0.9] },
        { name = "one", training.learning_rate = [0.01, 0.1] },
        """,
    )
    found = rows_of("interference", tmp_path / "runs", "--against", "two")
    swept = ["learning_rate", "feature_probability", "importance_decay"]
    assert list(found[0])[:9] == ["experiment", "condition", "against", *swept, "step", "subset", "other_subset"]
    assert len({tuple(row[axis] for axis in swept) for row in found}) == 8


def test_conditions_that_share_few_seeds_are_compared_unpaired(
    rows_of: Rows, trained: xr.DataTree, tmp_path: Path
) -> None:
    own = {name: trained["conditional-importance"][name].to_dataset() for name in ("fixed", "conditional")}
    for first, together, n_seeds in ((3, False, 6), (2, False, 6), (1, True, 2)):
        other = own["conditional"].assign_coords(seed=own["fixed"]["seed"].values + first)
        tree = {"/conditional-importance/fixed": own["fixed"], "/conditional-importance/conditional": other}
        folder = tmp_path / str(first)
        toysup.save_runs(xr.DataTree.from_dict(tree), folder)
        found = rows_of("dimensionality", folder, "--against", "fixed")
        assert {row["paired"] for row in found} == {str(together)}
        (row,) = [row for row in found if row["statistic"] == "total_dimensionality"]
        D = [analysis.total_dimensionality(dataset.W.isel(step=-1)) for dataset in (other, own["fixed"])]
        expected = analysis.difference_over_seeds(*D, paired=together)
        assert float(row["mean"]) == pytest.approx(expected["mean"].item())
        assert int(row["n_seeds"]) == expected["n_seeds"].item() == n_seeds


def test_a_report_adjusts_over_all_experiments_and_says_what_has_no_counterpart(
    run_analyze: Command, trained: xr.DataTree, tmp_path: Path
) -> None:
    toysup.save_runs(trained, tmp_path / "runs")
    other = trained["conditional-importance"].map_over_datasets(
        lambda dataset: dataset.assign_attrs(experiment="other") if "seed" in dataset.dims else dataset
    )
    toysup.save_runs(xr.DataTree.from_dict({"other": other}), tmp_path / "runs")
    two = ["--condition", "fixed", "--condition", "split-40"]
    assert (
        run_analyze("report", tmp_path / "runs", "--output", tmp_path / "report", "--no-figures", *two).exit_code == 0
    )
    found = pd.read_csv(tmp_path / "report" / "differences.csv")
    assert set(found["experiment"]) == {"conditional-importance", "other"}
    adjusted = analysis.holm_adjusted(xr.DataArray(found["p_value"].to_numpy(), dims="row"))
    np.testing.assert_allclose(found["p_adjusted"], adjusted)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "split-40 has no counterpart in fixed of its energy." in page


def test_what_cannot_be_compared_is_refused_in_one_line(run_analyze: Command, runs: Path) -> None:
    for arguments, words in [
        (["dimensionality", runs, "--against", "fixt"], "no condition 'fixt' in these runs; did you mean fixed"),
        (["losses", runs, "--against", "fixed", "--by", "feature"], "--by feature"),
        (["interference", runs, "--against", "fixed", "--by", "feature"], "--by feature"),
        (["dimensionality", runs / "conditional-importance" / "fixed.nc", "--against", "fixed"], "no other condition"),
    ]:
        result = run_analyze(*arguments)
        assert result.exit_code == 2, result.output
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
        assert words in line


def test_one_seed_has_differences_without_conclusions(rows_of: Rows, trained: xr.DataTree, tmp_path: Path) -> None:
    tree = trained.map_over_datasets(lambda dataset: dataset.isel(seed=[0]) if "seed" in dataset.dims else dataset)
    toysup.save_runs(tree, tmp_path / "runs")
    found = rows_of("losses", tmp_path / "runs", "--against", "fixed")
    assert all(row["mean"] for row in found)
    assert {row[name] for row in found for name in ("ci_low", "ci_high", "effect_size", "p_value", "p_adjusted")} == {
        ""
    }


def test_quadrants_have_a_counterpart_at_another_step(rows_of: Rows, run_train: Command, tmp_path: Path) -> None:
    text = "name = 'e'\n[model]\nn_features = 4\nn_hidden = 2\n[regime]\nfeature_probability = 0.5\n"
    text += "[training]\nbatch_size = 8\n"
    text += "[[condition]]\nname = 'short'\ntraining.steps = 4\n[[condition]]\nname = 'long'\ntraining.steps = 6\n"
    (tmp_path / "e.toml").write_text(text)
    assert run_train(tmp_path / "e.toml", "-o", tmp_path / "runs", "--seeds", 3).exit_code == 0
    found = rows_of("interference", tmp_path / "runs", "--against", "short")
    assert {(row["condition"], row["step"]) for row in found} == {("long", "6")}
    assert "energy" in {row["statistic"] for row in found}


def test_side_by_side_has_a_row_for_each_condition_and_cell() -> None:
    columns = ["condition", "p", "step", "part", "statistic", "mean"]
    numbers = [("plain", None, 1.0, 2.0), ("swept", 0.1, 3.0, np.nan), ("swept", 0.2, np.nan, np.nan)]
    long = pd.DataFrame(
        [(name, p, 4, part, "loss", value) for name, p, *two in numbers for part, value in zip("ba", two, strict=True)],
        columns=columns,
    )
    table = means_side_by_side(long, "part")
    assert list(table) == ["condition", "p", "b", "a"]
    np.testing.assert_array_equal(table[["b", "a"]].to_numpy(float), [two for _, _, *two in numbers])
    assert table["condition"].tolist() == ["plain", "swept", "swept"]


def test_a_plain_difference_stays_one_among_many_rows(trained: xr.DataTree) -> None:
    def statistics(item: Selected) -> dict[str, xr.DataArray]:
        rng = np.random.default_rng(len(item.condition))
        seeds = {"seed": range(20), "feature": range(20)}
        values = {str(k): xr.DataArray(rng.normal(size=(20, 20)), seeds, ["seed", "feature"]) for k in range(30)}
        return values | {"0": values["0"] + 9 * (item.condition != "fixed")}

    found, notes = differences(select(trained, conditions=["fixed", "conditional"]), "fixed", statistics)
    real = found["statistic"] == "0"
    assert len(found) == 600
    assert notes == []
    assert (found["p_adjusted"][real] < 0.05).all()
    assert (found["p_adjusted"][~real] > 0.05).all()


def test_a_note_says_where_nothing_can_be_significant(run_analyze: Command, runs: Path) -> None:
    result = run_analyze("dimensionality", runs, "--against", "fixed", "--no-figures")
    # Three pairs of seeds have four patterns of signs; two groups of three have ten different splits.
    assert "no difference can be significant at 0.05: with these seeds no p-value is below 0.1" in result.stderr
