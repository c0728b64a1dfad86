"""What the post shows, in numbers: on the reference trajectories, and as a slow test on runs trained anew."""

import csv
from importlib import resources

import numpy as np
import pytest
import xarray as xr

import toysup
from toysup import analysis


@pytest.fixture(scope="module", params=["example", pytest.param("trained anew", marks=pytest.mark.slow)])
def post(request: pytest.FixtureRequest) -> xr.DataTree:
    if request.param == "example":
        return toysup.open_example("conditional-importance")["conditional-importance"]
    return toysup.train("conditional-importance", seeds=20)["conditional-importance"]


def represented(post: xr.DataTree, condition: str) -> xr.DataArray:
    return analysis.represented_count(post[condition].W.sel(step=post[condition].step[-1]))


@pytest.mark.parametrize("condition", ["fixed", "conditional"])
def test_importance_alone_leaves_16_to_18_features(post: xr.DataTree, condition: str) -> None:
    assert 15.5 <= represented(post, condition).mean() <= 18.5
    energy = analysis.quadrant_interference(post[condition].W.isel(step=-1)).energy
    assert (energy.mean("seed") > 1).all()
    norms = analysis.feature_norms(post[condition].W.isel(step=-1)).mean("seed")
    assert norms.isel(feature=[0, 1, 2, 10, 11, 12]).mean() > norms.isel(feature=[7, 8, 9, 17, 18, 19]).mean() + 0.2


def test_anticorrelated_features_share_directions_across_the_subsets(post: xr.DataTree) -> None:
    assert (represented(post, "anticorrelated") == 20).all()
    energy = analysis.quadrant_interference(post["anticorrelated"].W.isel(step=-1)).energy
    for one, other in (("comedy", "tragedy"), ("tragedy", "comedy")):
        assert energy.sel(subset=one, other_subset=one).median() < 0.05
        assert 9.5 <= energy.sel(subset=one, other_subset=other).mean() <= 10.8


def test_training_loss_falls_then_rests(post: xr.DataTree) -> None:
    dataset = post["fixed"].to_dataset()
    loss = dataset.train_loss.assign_coords(step=dataset.epoch.values).mean("seed")
    assert loss.sel(step=4) <= loss.sel(step=1) / 2
    assert loss.sel(step=8) * 0.9 < loss.sel(step=12) <= loss.sel(step=8)


def test_the_split_features_are_reconstructed_better(post: xr.DataTree) -> None:
    loss = {
        name: analysis.expected_loss(post[name].to_dataset().isel(step=-1)).sum(("context", "feature"))
        for name in ("split-40", "conditional")
    }
    assert loss["split-40"].mean() < loss["conditional"].mean() / 10
    assert (loss["split-40"].max() < loss["conditional"].min()).item()


def test_measured_means_are_those_of_the_reference(post: xr.DataTree) -> None:
    """Means (and standard deviations) of other seeds trained with other code; ours lie within 4 standard errors."""
    with resources.files("toysup.data").joinpath("measured.csv").open(encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if row["condition"] != "anticorrelated"]
    assert len(table) == 8
    for row in table:
        found = measured(post[row["condition"]].to_dataset().isel(step=-1), row["statistic"])
        error = float(row["std"]) * np.sqrt(1 / found.sizes["seed"] + 1 / int(row["n_seeds"]))
        assert abs(found.mean() - float(row["mean"])) < 4 * error, row


def measured(models: xr.Dataset, statistic: str) -> xr.DataArray:
    if statistic == "represented":
        return analysis.represented_count(models.W)
    if statistic == "loss":
        return analysis.expected_loss(models).sum(("context", "feature"))
    energy = analysis.quadrant_interference(models.W).energy
    same = energy.subset == energy.other_subset
    return energy.where(same if statistic == "energy_within" else ~same, 0).sum(("subset", "other_subset"))
