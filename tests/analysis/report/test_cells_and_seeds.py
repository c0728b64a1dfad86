"""`--cell`, `--seed` and `--by seed`: which models are used, and rows of single seeds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup import analysis
from toysup.analysis import report
from toysup.analysis.report.selection import alike_features, select
from toysup.analysis.report.topics import gram as gram_topic
from toysup.analysis.report.topics.dimensionality import sorted_within
from toysup.errors import UsageError

CELL = "feature_probability=0.05"


@pytest.mark.parametrize("name", ["gram", "dimensionality", "interference", "losses", "dynamics"])
def test_rows_of_a_cell_and_its_seeds(name: str, swept: xr.DataTree) -> None:
    call = report.__dict__[name]
    table = call(swept, by="seed", cells=[CELL], seeds=[2, 0]).table
    assert set(table["feature_probability"]) == {0.05}
    assert set(table["seed"]) == {0, 2}
    assert table["ci_low"].isna().all()
    assert set(table["n_seeds"] + table["n_excluded"]) == {1}
    # The mean of the seeds' rows is the row over seeds.
    usual = call(swept, cells=["feature_probability=5e-2"], seeds=[0, 2]).table
    about = [c for c in usual if c in table and c not in ("mean", "ci_low", "ci_high", "n_seeds", "n_excluded")]
    about = [c for c in about if c not in ("sampling_error", "null_mean", "null_sd", "z", "p_value", "epoch")]
    means = table.groupby(about, dropna=False)["mean"].mean()
    expected = usual[usual["statistic"] != "plateau"].set_index(about)["mean"]
    np.testing.assert_allclose(means.reindex(expected.index), expected, rtol=1e-5, atol=1e-7)


def test_the_command_takes_cells_and_seeds(
    swept: xr.DataTree, tmp_path: Path, run_analyze: Callable[..., Result]
) -> None:
    toysup.save_runs(swept, tmp_path / "runs")
    result = run_analyze("gram", tmp_path / "runs", "--cell", CELL, "--seed", "1", "--by", "seed", "--format", "csv")
    assert result.exit_code == 0, result.output
    header, *rows = result.stdout.splitlines()
    assert header.startswith("experiment,condition,feature_probability,step,seed,feature,other_feature,statistic,mean")
    assert len(rows) == 25
    W = swept["tms-intro"].leaves[0].to_dataset().W.sel(feature_probability=0.05, seed=1).isel(step=-1)
    found = np.array([float(row.split(",")[8]) for row in rows]).reshape(5, 5)
    np.testing.assert_allclose(found, analysis.gram(W).values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cells": ["feature_probability=0.3"]}, "feature_probability = 0.3 was not trained; trained: 0.5, 0.05"),
        ({"cells": ["feature_prob=0.5"]}, "no sweep over 'feature_prob'"),
        ({"cells": ["0.5"]}, "a cell is an axis and a value, such as feature_probability=0.1, got '0.5'"),
        ({"seeds": [7]}, "seed 7 of .* was not trained; trained: 0, 1, 2"),
    ],
)
def test_what_was_not_trained_is_refused(options: dict, words: str, swept: xr.DataTree) -> None:
    with pytest.raises(UsageError, match=words):
        report.gram(swept, **options)


def test_the_mean_of_single_entries_has_a_note(swept: xr.DataTree) -> None:
    assert any("features are not aligned" in note for note in report.gram(swept).notes)
    assert not report.gram(swept, by="seed").notes
    assert not report.gram(swept, seeds=[1]).notes


def test_the_colours_show_the_diagonal_beside_interference_and_outliers() -> None:
    rng = np.random.default_rng(0)
    last = rng.normal(0, 0.15, size=(3, 200, 200)) * (1 - np.eye(200)) + np.eye(200)
    G = xr.DataArray(np.stack([last, last], axis=1), dims=["seed", "step", "feature", "other_feature"])
    # All entries fit on a scale that ends at the diagonal, as interference is at most as large.
    assert gram_topic._limit(G) is None
    G[0, 0, 0, 0] = 40
    # An outlier at initialisation leaves the scale to the last step.
    limit = gram_topic._limit(G)
    assert limit == pytest.approx(1)
    figure = analysis.figures.gram_grid(G, limit=limit)
    caption = " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))).replace("\n", " ")
    assert "Colours end at ±1.00" in caption
    assert "the largest |Gᵢⱼ| is 40.0" in caption
    assert "beyond" not in " ".join(t.get_text() for t in analysis.figures.gram_grid(G[1:]).texts)


def test_features_alike_are_sorted_in_each_seed(small: Callable[..., toysup.Experiment]) -> None:
    alike = toysup.train(small(regime__importance_decay=1.0), seeds=2)
    (item,) = select(alike)
    assert alike_features(item.dataset) == [[0, 1, 2, 3, 4, 5]]
    D = analysis.feature_dimensionality(item.at_step.W)
    ranked = sorted_within(D, alike_features(item.dataset)).values
    np.testing.assert_array_equal(ranked, -np.sort(-D.values, axis=-1))
    table = report.dimensionality(alike, by="rank").table
    own = table[table["statistic"] == "feature_dimensionality"]
    np.testing.assert_allclose(own["mean"], ranked.mean(axis=0), rtol=1e-6)
    assert any("exchange roles" in note for note in report.dimensionality(alike).notes)
    assert not report.dimensionality(alike, by="rank").notes


def test_features_of_different_importance_keep_their_places(swept: xr.DataTree) -> None:
    assert alike_features(select(swept)[0].dataset) == []


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (None, {"loss-curves", "loss-comparison", "loss-over-feature-probability"}),
        ("feature", {"loss-by-feature"}),
        ("context", {"loss-by-context"}),
        ("part", {"loss-parts"}),
        ("active", {"loss-by-active"}),
        ("reference", {"loss-comparison"}),
    ],
)
def test_losses_draw_what_was_asked_for(by: str | None, names: set[str], swept: xr.DataTree) -> None:
    assert set(report.losses(swept, by=by).figures) == names  # type: ignore[arg-type]


def test_interference_by_feature_draws_features(swept: xr.DataTree) -> None:
    (figure,) = report.interference(swept, by="feature").figures.values()
    assert [ax.get_xlabel() for ax in figure.axes] == ["feature", "feature"]
