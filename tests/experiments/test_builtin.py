"""The built-in experiments: each loads, trains by its name and opens, and those that meet are the same to the bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup.storage.schema import TABLES

Command = Callable[..., Result]

CORNERS = {"fixed": (1.0, 1.0), "conditional": (1.0, 0.0), "anticorrelated": (0.0, 1.0)}


def assert_corners_are_the_posts(seeds: int, post: dict[str, object]) -> None:
    """(λ, μ) = (1, 1), (1, 0) and (0, 1) are the post's three conditions."""
    square = {"regime.outside_probability": [0.0, 1.0], "regime.outside_importance": [0.0, 1.0]}
    leaky = toysup.load_experiment("leaky-context", changes=post | square)
    cells = toysup.train(leaky, seeds=seeds)["leaky-context/leaky"].to_dataset()
    recorded = {"record.epochs": [1, 4, 8, 12]} if not post else {}
    own = toysup.load_experiment("conditional-importance", changes=post | recorded)
    runs = toysup.train(own, seeds=seeds, conditions=list(CORNERS))["conditional-importance"]
    for name, (probability, importance) in CORNERS.items():
        there = runs[name].to_dataset()
        cell = cells.sel(outside_probability=probability, outside_importance=importance)
        assert cell.attrs["engine"] == there.attrs["engine"] == "fused"
        for variable in ("W", "b", "train_loss", *TABLES):
            np.testing.assert_array_equal(cell[variable], there[variable], err_msg=f"{name}: {variable}")


def test_the_corners_of_leaky_context_are_the_posts_conditions() -> None:
    assert_corners_are_the_posts(2, {"training.steps": 30, "training.dataset_size": 1000, "record.steps": [10]})


@pytest.mark.slow
def test_the_corners_of_leaky_context_are_the_posts_conditions_with_the_whole_recipe() -> None:
    assert_corners_are_the_posts(2, {})


@pytest.mark.parametrize("name", toysup.builtin_experiments())
def test_a_built_in_experiment_is_whole(name: str) -> None:
    experiment = toysup.load_experiment(name)
    assert experiment.name == name
    assert experiment.title == toysup.builtin_experiments()[name]
    assert experiment.references
    recipes = {condition.training for condition in experiment.conditions}
    assert len(recipes) == 1, "what is compared is trained alike"
    for condition in experiment.conditions:
        assert len(condition.recorded_steps) >= 4


@pytest.mark.parametrize("name", toysup.builtin_experiments())
def test_a_built_in_experiment_trains_by_its_name_and_opens(run_train: Command, tmp_path: Path, name: str) -> None:
    # torch, because the fused engine compiles once for each activation.
    options = ["--engine", "torch", "--seeds", 2, "-q", "-o", tmp_path]
    for change in ("training.steps=2", "training.dataset_size=100", "training.batch_size=64", "record.steps=[1]"):
        options += ["--set", change]
    result = run_train(name, *options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    runs = toysup.open_runs(tmp_path)[name]
    conditions = toysup.load_experiment(name).conditions
    assert [leaf.name for leaf in runs.leaves] == [condition.name for condition in conditions]
    for leaf in runs.leaves:
        dataset: xr.Dataset = leaf.to_dataset()
        assert dataset.sizes["seed"] == 2
        assert np.isfinite(dataset.train_loss.isel(step=-1)).all()


def test_models_of_context_visible_start_paired() -> None:
    changes = {"training.steps": 1, "training.dataset_size": 64, "training.batch_size": 64, "record.steps": [0]}
    runs = toysup.train(toysup.load_experiment("context-visible", changes=changes), seeds=2)["context-visible"]
    for layers in range(3):
        blind, flag = (runs[f"{kind}-{layers}"].to_dataset().isel(step=0) for kind in ("blind", "flag"))
        shared = [name for name, variable in blind.data_vars.items() if variable.dtype == np.float32]
        for name in shared:
            np.testing.assert_array_equal(blind[name], flag[name])
        (own,) = {name for name, variable in flag.data_vars.items() if variable.dtype == np.float32} - set(shared)
        assert own == ("W_context" if layers == 0 else "encoder_1_W_context")
        assert not flag[own].any()
