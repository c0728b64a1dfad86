"""A selection that was made in xarray is saved and opened as what it is, or refused before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup.storage.schema import TABLES, condition_of

Small = Callable[..., toysup.Experiment]
Select = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture(scope="module")
def grid(small: Small) -> toysup.Experiment:
    """Three cells; steps 0, 1, 2 and 4."""
    return small(regime__feature_probability=[0.5, 0.05, 0.1], record__steps=[1, 2])


@pytest.fixture(scope="module")
def models(grid: toysup.Experiment) -> xr.Dataset:
    return toysup.train(grid, seeds=3)["small/small"].to_dataset()


@pytest.fixture(params=["one file", "blocks"])
def many(request: pytest.FixtureRequest, grid: toysup.Experiment, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether two models fill a block."""
    from toysup.storage.blocks import _bytes

    if request.param == "blocks":
        monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 2 * _bytes(grid.conditions[0]))
    return bool(request.param == "blocks")


def concatenated(models: xr.Dataset) -> xr.Dataset:
    """Two sets of seeds; `data_vars="all"`, the usual way, repeats the tables along seeds."""
    return xr.concat([models.isel(seed=[2]), models.isel(seed=[0, 1])], "seed", data_vars="all")


SELECTIONS: dict[str, tuple[Select, Select]] = {
    "steps": (lambda ds: ds.isel(step=[0, -1]), lambda ds: ds.isel(step=[0, -1])),
    "steps backwards": (lambda ds: ds.isel(step=[-1, 1]), lambda ds: ds.isel(step=[1, -1])),
    "last step": (lambda ds: ds.isel(step=-1), lambda ds: ds.isel(step=[-1])),
    "seeds": (lambda ds: ds.isel(seed=[0, 2]), lambda ds: ds.isel(seed=[0, 2])),
    "one seed": (lambda ds: ds.sel(seed=1), lambda ds: ds.isel(seed=[1])),
    "cells": (lambda ds: ds.isel(feature_probability=[2, 0]), lambda ds: ds.isel(feature_probability=[2, 0])),
    "one cell": (lambda ds: ds.sel(feature_probability=0.05), lambda ds: ds.isel(feature_probability=[1])),
    "one model": (
        lambda ds: ds.isel(feature_probability=0, seed=0, step=2),
        lambda ds: ds.isel(feature_probability=[0], seed=[0], step=[2]),
    ),
    "concatenated seeds": (concatenated, lambda ds: ds),
    "concatenated steps": (
        lambda ds: xr.concat([ds.isel(step=[0]), ds.isel(step=[3])], "step", data_vars="all"),
        lambda ds: ds.isel(step=[0, 3]),
    ),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_is_opened_as_what_was_saved(models: xr.Dataset, tmp_path: Path, name: str, many: bool) -> None:
    select, whole = SELECTIONS[name]
    toysup.save_runs(models, tmp_path / "all")
    # Selected from memory and from files.
    for number, source in enumerate([models, toysup.open_runs(tmp_path / "all")["small/small"].to_dataset()]):
        (path,) = toysup.save_runs(select(source), tmp_path / str(number))
        opened = toysup.open_runs(path)["small/small"].to_dataset()
        expected = whole(models)
        for variable in ("W", "b", "train_loss", "diverged_at"):
            xr.testing.assert_equal(opened[variable], expected[variable])
        # A table that is the same in all cells lacks their dim.
        assert all((opened[table] == expected[table]).all() for table in TABLES)
        # The record is that of training, as losses are means since the step recorded before.
        specification = condition_of(opened)
        assert specification.recorded_steps == (0, 1, 2, 4)
        assert specification.sweeps["feature_probability"] == tuple(expected["feature_probability"].values)


def test_no_selection_is_written_that_is_no_trajectory(models: xr.Dataset, tmp_path: Path) -> None:
    """Not even the others of its tree."""
    for broken, reason in [
        (models[["W", "b"]], "the variable train_loss is missing"),
        (models.isel(feature=slice(3)), "feature has 3 entries"),
        (models.mean("seed", keep_attrs=True), "the coordinate seed is missing"),
        (models.isel(feature_probability=0, drop=True), "the coordinate feature_probability is missing"),
        (models.isel(seed=[0, 0]), "its seeds are not distinct"),
        (models.isel(step=[0, 0]), "its steps are not distinct steps"),
        (models.isel(feature_probability=[0, 0]), "feature_probability has a value twice"),
        (models.assign_coords(feature_probability=[0.5, 0.05, 0.2]), "the value 0.2, which its specification"),
        (
            xr.concat([models, models.assign(importance=models.importance * 2, seed=models.seed + 3)], "seed",
                      data_vars="all"),
            "importance varies along seed",
        ),
    ]:  # fmt: skip
        tree = xr.DataTree.from_dict({"/fine": models.assign_attrs(condition_name="fine"), "/broken": broken})
        with pytest.raises(toysup.UsageError) as caught:
            toysup.save_runs(tree, tmp_path / "out")
        # The path is the one that would be written, and the node is named.
        assert str(caught.value).startswith(f"{tmp_path}/out/small/small.nc: cannot be written from /broken: ")
        assert reason in str(caught.value)
        assert "select seeds, steps and cells only" in str(caught.value)
        assert not (tmp_path / "out").exists()


def test_a_renamed_node_goes_where_its_attributes_say(models: xr.Dataset, tmp_path: Path) -> None:
    tree = xr.DataTree.from_dict({"/a": models.isel(seed=[0]), "/b/c": models.isel(seed=[2])})
    (path,) = toysup.save_runs(tree, tmp_path)
    assert path == tmp_path / "small/small.nc"
    assert toysup.open_runs(tmp_path)["small/small"]["seed"].values.tolist() == [0, 2]
    twice = xr.DataTree.from_dict({"/a": models, "/b": models.isel(seed=[1])})
    with pytest.raises(toysup.ToysupError, match=r"^/b: a second file of .*small\.nc, after /a: both hold the seed 1"):
        toysup.save_runs(twice, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_fewer_steps_are_not_extended(grid: toysup.Experiment, models: xr.Dataset, tmp_path: Path, many: bool) -> None:
    (path,) = toysup.save_runs(models.isel(step=[0, -1], seed=[0]), tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.nc")}
    for call in (
        lambda: toysup.train_runs(grid, tmp_path, seeds=3),
        lambda: toysup.save_runs(models, tmp_path),
        lambda: toysup.save_runs(models.isel(step=[0, 1], seed=[1]), tmp_path),
    ):
        with pytest.raises(toysup.UsageError, match=r"holds runs with other steps \(\[0, 4\] there, \[0, .* here\)"):
            call()
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.nc")} == before
    toysup.save_runs(models.isel(step=[0, -1], seed=[2]), tmp_path)
    opened = toysup.open_runs(tmp_path)["small/small"]
    xr.testing.assert_equal(opened["W"], models["W"].isel(step=[0, -1], seed=[0, 2]))
    (whole,) = toysup.save_runs(models, tmp_path, overwrite=True)
    assert whole == path
    assert toysup.open_runs(tmp_path)["small/small"].sizes["step"] == 4


def test_cells_are_extended_as_a_sweep_of_these_cells(small: Small, models: xr.Dataset, tmp_path: Path) -> None:
    toysup.save_runs(models.isel(feature_probability=[2], seed=[0]), tmp_path)
    experiment = small(regime__feature_probability=[0.1], record__steps=[1, 2])
    extended = toysup.train_runs(experiment, tmp_path, seeds=3)["small/small"]
    xr.testing.assert_equal(extended["W"], models["W"].isel(feature_probability=[2]))
    with pytest.raises(toysup.UsageError, match=r"feature_probability: \[0\.1\] there, \[0\.5, 0\.05, 0\.1\] here"):
        toysup.save_runs(models, tmp_path)


def test_what_reads_the_folder_cannot_hide_it_by_overwriting(
    grid: toysup.Experiment, models: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toysup.storage.blocks import _bytes

    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 2 * _bytes(grid.conditions[0]))
    toysup.save_runs(models, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    runs = toysup.open_runs(tmp_path)
    with pytest.raises(toysup.ToysupError, match=r"small/small is as it was \(runs that are read from there"):
        toysup.save_runs(runs.isel(step=[0, -1]), tmp_path, overwrite=True)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    toysup.save_runs(runs.isel(step=[0, -1]).load(), tmp_path, overwrite=True)
    xr.testing.assert_equal(toysup.open_runs(tmp_path)["small/small"]["W"], models["W"].isel(step=[0, -1]))


COMMANDS = ["info", "gram", "dimensionality", "interference", "losses"]


@pytest.mark.parametrize(
    "select", [{"step": -1}, {"step": [1, 3], "seed": 0}, {"seed": 0}, {"step": -1, "seed": [1]}], ids=str
)
def test_every_command_takes_a_selection(
    trained: xr.DataTree, run_analyze: Callable[..., Result], tmp_path: Path, select: dict[str, object]
) -> None:
    fixed = trained["conditional-importance/fixed"].to_dataset().isel(select)
    toysup.save_runs(fixed, tmp_path)
    # Least of all can be drawn of one seed at one step.
    figures = ["--figure-format", "png"] if len(select) == 2 else ["--no-figures"]
    for command in COMMANDS:
        result = run_analyze(command, tmp_path, "--format", "json", *figures * (command != "info"))
        assert result.exit_code == 0, (command, result.output)
        assert json.loads(result.stdout)
    verified = json.loads(run_analyze("info", tmp_path, "--verify", "--format", "json").stdout)
    assert verified[0]["verdict"] in ("identical", "rounding")
    # dynamics needs two steps, and says so.
    result = run_analyze("dynamics", tmp_path, *figures)
    steps = np.atleast_1d(fixed["step"].values)
    assert result.exit_code == (2 if len(steps) < 2 else 0), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_selected_tree_is_reported_without_saving(trained: xr.DataTree, tmp_path: Path) -> None:
    one = trained["conditional-importance/fixed"].to_dataset().isel(step=-1, seed=[0, 1])
    toysup.save_runs(one, tmp_path)
    tree = xr.DataTree.from_dict({"/conditional-importance/fixed": one})
    saved, direct = (toysup.analysis.report.dimensionality(runs).table for runs in (tmp_path, tree))
    assert saved.equals(direct)
