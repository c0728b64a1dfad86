"""The dataset's schema, and what is on disk: whole, extended, lazy, and refused in one line where it is not ours."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup.storage.schema import condition_of, first_difference, leading_dims, sweep_axes
from toysup.storage.validation import check


def test_schema(trained: xr.DataTree) -> None:
    dataset = trained["conditional-importance/conditional"].to_dataset()
    assert dataset.W.dims == ("seed", "step", "hidden", "feature")
    assert dataset.b.dims == ("seed", "step", "feature")
    assert dataset.W.dtype == dataset.b.dtype == np.float32
    assert dataset.step.values.tolist() == [0, 10, 20, 40]
    np.testing.assert_allclose(dataset.epoch, [0, 2.5, 5, 10])  # 1000 samples in batches of 256: 4 steps an epoch
    assert dataset.feature.values.tolist() == list(range(1, 21))
    assert dataset.subset.values.tolist() == ["comedy"] * 10 + ["tragedy"] * 10
    assert dataset.activation_probability.dims == ("context", "feature")
    assert np.isnan(dataset.train_loss.isel(step=0)).all()
    assert np.isfinite(dataset.train_loss.isel(step=slice(1, None))).all()
    for variable in dataset.variables.values():
        assert variable.attrs["long_name"]
        assert variable.attrs["units"] == "1"
    for attribute in ("Conventions", "title", "source", "references", "history", "engine", "versions"):
        assert dataset.attrs[attribute]
    assert set(json.loads(dataset.attrs["condition"])) == {"model", "regime", "training", "record"}


def test_a_sweep_becomes_a_dimension_and_only_varying_tables_have_it(swept: xr.DataTree) -> None:
    dataset = swept["tms-intro/tms-intro"].to_dataset()
    assert dataset.W.dims == ("feature_probability", "seed", "step", "hidden", "feature")
    assert dataset.activation_probability.dims == ("feature_probability", "context", "feature")
    assert dataset.importance.dims == ("context", "feature")
    assert np.isnan(dataset.epoch).all()
    at = dataset.sel(feature_probability=0.05)
    assert (at.activation_probability == 0.05).all()
    with pytest.raises(toysup.UsageError, match="varies along feature_probability"):
        toysup.regime_of(dataset)
    regime = toysup.regime_of(at)
    assert regime.contexts == ("all",)
    np.testing.assert_allclose(regime.importance, [[1, 0.9, 0.81, 0.729, 0.6561]])


def test_cells_of_a_sweep_are_trained_as_if_alone(swept: xr.DataTree) -> None:
    changes = {"training.steps": 30, "record.steps": [10], "regime.feature_probability": 0.05}
    alone = toysup.train(toysup.load_experiment("tms-intro", changes=changes), seeds=[1])
    W = alone["tms-intro/tms-intro"].W.isel(seed=0)
    np.testing.assert_allclose(swept["tms-intro/tms-intro"].W.sel(feature_probability=0.05, seed=1), W, atol=1e-6)


def test_what_is_saved_is_what_is_opened(trained: xr.DataTree, runs: Path) -> None:
    opened = toysup.open_runs(runs)
    assert [leaf.path for leaf in opened.leaves] == [leaf.path for leaf in trained.leaves]
    for leaf in trained.leaves:
        dataset = opened[leaf.path].to_dataset()
        assert dataset.W.dtype == np.float32
        assert dataset.subset.dtype.kind == "U"
        xr.testing.assert_identical(dataset.load(), leaf.to_dataset())


def test_one_file_is_a_tree_too_and_it_is_lazy(runs: Path) -> None:
    opened = toysup.open_runs(runs / "conditional-importance" / "fixed.nc")
    assert [leaf.path for leaf in opened.leaves] == ["/conditional-importance/fixed"]
    assert not opened["conditional-importance/fixed"].to_dataset().W.variable._in_memory


def test_a_file_may_be_opened_while_it_is_open(runs: Path) -> None:
    first = toysup.open_runs(runs)
    second = toysup.open_runs(runs)
    xr.testing.assert_identical(first["conditional-importance/fixed"].W, second["conditional-importance/fixed"].W)


def test_strings_are_fixed_width_characters_on_disk(runs: Path) -> None:
    with netCDF4.Dataset(runs / "conditional-importance" / "fixed.nc") as file:
        file.set_auto_chartostring(False)
        assert file["subset"].dtype == np.dtype("S1")


def test_more_seeds_extend_what_is_there(short: toysup.Experiment, trained: xr.DataTree, runs: Path) -> None:
    more = toysup.train(short, seeds=[5, 2, 3], conditions=["fixed"])
    changed = more.copy()
    changed["conditional-importance/fixed"].W.loc[{"seed": 2}] = 0  # what is there is kept, not replaced
    toysup.save_runs(changed, runs)
    dataset = toysup.open_runs(runs)["conditional-importance/fixed"].to_dataset()
    assert dataset.seed.values.tolist() == [0, 1, 2, 3, 5]
    before = trained["conditional-importance/fixed"].to_dataset()
    xr.testing.assert_equal(dataset.sel(seed=[0, 1, 2]), before)
    xr.testing.assert_equal(dataset.W.sel(seed=5), more["conditional-importance/fixed"].W.sel(seed=5))
    assert dataset.history.count("\n") == 1


def test_another_specification_is_refused_and_the_key_named(trained: xr.DataTree, runs: Path) -> None:
    changes = {"training.steps": 40, "training.dataset_size": 1000, "record.steps": [10, 20]}
    changes["training.learning_rate"] = 0.01
    other = toysup.train(toysup.load_experiment("conditional-importance", changes=changes), seeds=1)
    before = (runs / "conditional-importance" / "fixed.nc").read_bytes()
    with pytest.raises(toysup.UsageError, match=r"training.learning_rate: 0.001 there, 0.01 here"):
        toysup.save_runs(other, runs)
    assert (runs / "conditional-importance" / "fixed.nc").read_bytes() == before
    toysup.save_runs(other, runs, overwrite=True)
    assert toysup.open_runs(runs)["conditional-importance/fixed"].sizes["seed"] == 1


def test_first_difference_names_the_key() -> None:
    one = {"model": {"n_hidden": 2}, "training": {"steps": 3}}
    assert first_difference(one, one) is None
    assert first_difference(one, {"model": {"n_hidden": 2}, "training": {"epochs": 1}}) == (
        "training.steps: 3 there, nothing here"
    )


def test_a_write_that_fails_leaves_what_was_there(
    trained: xr.DataTree, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = runs / "conditional-importance" / "fixed.nc"
    before = path.read_bytes()

    def full_disk(self: xr.Dataset, target: Path, **options: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full_disk)
    with pytest.raises(toysup.ToysupError, match="No space left on device"):
        toysup.save_runs(trained, runs, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["anticorrelated.nc", "conditional.nc", "fixed.nc", "split-40.nc"]


def test_a_file_has_the_permissions_that_open_would_give(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert (runs / "conditional-importance" / "fixed.nc").stat().st_mode == (tmp_path / "plain").stat().st_mode


def edited(change) -> object:
    """Damage a file by changing its dataset."""

    def damage(path: Path) -> None:
        change(xr.load_dataset(path)).drop_encoding().to_netcdf(path)

    return damage


def identity_with(**changes: object) -> object:
    def change(dataset: xr.Dataset) -> xr.Dataset:
        return dataset.assign_attrs(condition=json.dumps(json.loads(dataset.attrs["condition"]) | changes))

    return change


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: xr.Dataset({"T": ("x", [1.0])}).to_netcdf(path), "not a toysup trajectory"),
        (truncated, "not a netCDF-4 file, or damaged"),
        (lambda path: path.write_text("text"), "not a netCDF-4 file, or damaged"),
        (edited(lambda ds: ds.drop_vars("b")), "variable b is missing"),
        (edited(lambda ds: ds.drop_vars("epoch")), "coordinate epoch is missing"),
        (edited(lambda ds: ds.assign_attrs(toysup_schema=2)), "schema version 2"),
        (edited(lambda ds: ds.assign_attrs(toysup_schema="new")), "schema version new"),
        (edited(lambda ds: ds.assign_attrs(condition="{")), "condition is not the JSON"),
        (edited(identity_with(model=[])), "condition is not the JSON"),
        (edited(identity_with(model={"n_features": 20, "n_hidden": 10, "activation": "no name"})), "is not the JSON"),
        (edited(lambda ds: ds.assign_attrs(experiment="../../evil")), "'../../evil', which is not a name"),
        (edited(lambda ds: ds.isel(seed=[])), "seed has 0 entries"),
        (edited(lambda ds: ds.assign_attrs(condition_position="first")), "condition_position is not a whole number"),
        (edited(lambda ds: ds.isel(step=[])), "step has 0 entries"),
        (edited(lambda ds: ds.isel(hidden=slice(3))), "hidden has 3 entries"),
        (edited(lambda ds: ds.assign(W=ds.W.astype(int))), "W holds int64, not floats"),
        (edited(lambda ds: ds.assign(W=ds.W.expand_dims(extra=2))), "W has the dims extra, feature"),
        (edited(lambda ds: ds.assign(activation_probability=ds.activation_probability + 7)), "not probabilities"),
        (edited(lambda ds: ds.assign_coords(subset="one")), "coordinate subset is missing or"),
        (
            edited(lambda ds: ds.assign_coords(step=ds.step + 1)),
            "its steps are not distinct steps that its specification records",
        ),
        (
            edited(lambda ds: ds.assign_coords(subset=("feature", ["q"] * 20))),
            "coordinate subset differs from its specification",
        ),
        (
            edited(lambda ds: ds.assign_coords(context=["none", "+"])),
            "coordinate context differs from its specification",
        ),
        (
            edited(lambda ds: ds.assign_coords(feature=ds.feature.values[::-1])),
            "coordinate feature differs from its specification",
        ),
        (
            edited(lambda ds: ds.assign_coords(hidden=ds.hidden * np.nan)),
            "coordinate hidden differs from its specification",
        ),
        (edited(lambda ds: ds.assign_coords(seed=[0, 0, 1])), "its seeds are not distinct"),
        (edited(lambda ds: ds.assign_coords(seed=[0, -1, 1])), "its seeds are not distinct"),
        (edited(lambda ds: ds.assign(importance=ds.importance * np.nan)), "negative or not finite"),
        (edited(lambda ds: ds.assign(importance=-ds.importance)), "negative or not finite"),
        (edited(lambda ds: ds.assign(context_probability=ds.context_probability / 2)), "do not sum to 1"),
        (edited(lambda ds: ds.assign_attrs(values="junk")), "attribute values is 'junk'"),
        (edited(lambda ds: ds.assign_attrs(values=np.array([1.0, 2.0]))), "attribute values is array"),
        (edited(lambda ds: ds.assign_attrs(target=3)), "attribute target is"),
        (edited(lambda ds: ds.assign_attrs(context_rule="sum(x) > 0")), "attribute context_rule is 'sum"),
        (edited(lambda ds: ds.assign_attrs(context_input="flag")), "attribute context_input is 'flag'"),
    ],
)
def test_what_is_not_ours_is_refused_by_name(runs: Path, damage, words: str) -> None:
    path = runs / "conditional-importance" / "fixed.nc"
    damage(path)
    with pytest.raises(toysup.ToysupError, match=words) as caught:
        toysup.open_runs(runs)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dataset_without_diverged_at_diverged_nowhere(runs: Path) -> None:
    path = runs / "conditional-importance" / "fixed.nc"
    edited(lambda ds: ds.drop_vars("diverged_at"))(path)
    assert toysup.open_runs(path)["conditional-importance/fixed"].diverged_at.values.tolist() == [-1] * 3


def test_one_cell_of_a_sweep_is_a_trajectory_of_that_cell(swept: xr.DataTree) -> None:
    cell = swept["tms-intro/tms-intro"].to_dataset().sel(feature_probability=0.05)
    for dataset in (cell, cell.drop_vars("diverged_at")):
        checked = check(dataset, where="here")
        assert checked["W"].dims[:3] == ("feature_probability", "seed", "step")
        assert condition_of(checked).sweeps == {"feature_probability": (0.05,)}
    with pytest.raises(toysup.ToysupError, match="damaged: the coordinate feature_probability is missing"):
        check(cell.drop_vars("feature_probability"), where="here")


@pytest.mark.parametrize("limit", [9_000, 30_000])
def test_a_full_disk_is_one_line_and_loses_nothing(
    runs: Path, run_train: Callable[..., Result], full_disk: Callable[[int], AbstractContextManager[None]], limit: int
) -> None:
    path = runs / "conditional-importance" / "fixed.nc"
    before = path.read_bytes()
    options = ["-o", runs, "-q", "--seeds", 9, "--condition", "fixed", "--set", "training.steps=40"]
    options += ["--set", "training.dataset_size=1000", "--set", "record.steps=[10,20]"]
    with full_disk(limit):
        result = run_train("conditional-importance", *options)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error:")
    assert "cannot be written" in line
    assert path.read_bytes() == before
    assert len(os.listdir(runs / "conditional-importance")) == 4


def test_a_process_on_a_full_disk_ends_with_its_code(tmp_path: Path) -> None:
    """HDF5 is closed at its end, and must not crash on a file that was begun."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from toysup.engines.fused.engine import prepare; prepare()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "from toysup.command.train import main; main()"
    )
    options = ["--set", "training.steps=3", "--set", "record.steps=[1]", "--seeds", "20", "-q", "-o", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, "tms-intro", *options], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("cannot be written") == done.stderr.count("\n") == 1


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(toysup.ToysupError, match="no runs here"):
        toysup.open_runs(tmp_path)
    with pytest.raises(toysup.ToysupError, match="no such file"):
        toysup.open_runs(tmp_path / "nowhere")


def test_figures_and_temporary_files_are_not_runs(runs: Path) -> None:
    (runs / "figures").mkdir()
    (runs / "figures" / "other.nc").write_text("a reader's own")
    (runs / "conditional-importance" / ".fixed.abc.part.nc").write_text("half")
    assert len(toysup.open_runs(runs).leaves) == 4


def test_two_files_of_one_condition_are_refused(runs: Path) -> None:
    path = runs / "conditional-importance" / "fixed.nc"
    (runs / "copy.nc").write_bytes(path.read_bytes())
    with pytest.raises(toysup.ToysupError, match="a second file of conditional-importance/fixed"):
        toysup.open_runs(runs)


def test_a_model_comes_back_as_a_module(trained: xr.DataTree) -> None:
    import torch

    dataset = trained["conditional-importance/fixed"].to_dataset()
    module = toysup.to_module(dataset.sel(seed=2).isel(step=-1))
    assert isinstance(module, torch.nn.Module)
    assert {name: tuple(value.shape) for name, value in module.named_parameters()} == {"W": (10, 20), "b": (20,)}
    x = torch.rand(7, 20)
    W, b = dataset.W.values[2, -1], dataset.b.values[2, -1]
    expected = np.maximum(x.numpy() @ W.T @ W + b, 0)
    np.testing.assert_allclose(module(x).detach(), expected, atol=1e-6)
    with torch.no_grad():
        module.W.zero_()
    assert dataset.W.values[2, -1].any()
    with pytest.raises(toysup.UsageError, match="several along seed"):
        toysup.to_module(dataset.isel(step=-1))


def test_check_accepts_any_order_of_leading_dims(trained: xr.DataTree) -> None:
    dataset = trained["conditional-importance/fixed"].to_dataset()
    check(dataset.transpose("step", "seed", ...), where="here")
    with pytest.raises(toysup.ToysupError, match="here: damaged: W has the dims feature, hidden, step"):
        check(dataset.assign(W=dataset.W.isel(seed=0, drop=True)), where="here")


def test_examples_come_with_the_package() -> None:
    example = toysup.open_example("conditional-importance")
    assert [leaf.name for leaf in example.leaves] == ["fixed", "conditional", "anticorrelated", "split-40"]
    for leaf in example.leaves:
        assert leaf.sizes["seed"] == 30
        assert leaf["epoch"].values.tolist() == list(range(13))
    files = resources.files("toysup.data").joinpath("conditional-importance").iterdir()
    assert sum(len(file.read_bytes()) for file in files) <= 3_000_000
    with pytest.raises(toysup.UsageError, match="did you mean conditional-importance"):
        toysup.open_example("conditional-importanc")


MEMORY = """
import sys
from benchmarks.memory import train
from pathlib import Path
found = train(int(sys.argv[2]), 100, Path(sys.argv[1]), batch_size=128)
print(found["peak beyond imports"])
"""


@pytest.mark.parametrize(
    ("count", "limit"), [(4_000, 320), pytest.param(10_000, 320, marks=pytest.mark.slow)], ids=["4000", "10000"]
)
def test_memory_does_not_grow_with_the_run(tmp_path: Path, count: int, limit: int) -> None:
    """MiB beyond the imports; the snapshots of 4,000 models are 340 MiB, those of 10,000 850 MiB, blocks of 64 each."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path), str(count)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.nc")) > 100 * count * 220 * 4
    assert float(result.stdout) < limit


def test_the_first_snapshot_that_is_not_finite_says_when(small: Callable[..., toysup.Experiment]) -> None:
    """Weights overflow long before a loss that weighs nothing shows it."""
    experiment = small(
        regime__importance=[0.0] * 6, training__optimizer="sgd", training__learning_rate=1.0,
        training__weight_decay=3.0, training__steps=400, record__steps=[100, 200, 300],
    )  # fmt: skip
    dataset = next(iter(toysup.train(experiment, seeds=2).leaves)).to_dataset()
    finite = np.isfinite(dataset["W"]).all(["hidden", "feature"])
    first = dataset["step"].values[int(finite.isel(seed=0).argmin("step"))]
    assert 0 < first < 400
    assert (dataset["diverged_at"] <= first).all()


def test_leading_dims_and_sweep_axes_are_those_that_are_left(trained: xr.DataTree, swept: xr.DataTree) -> None:
    plain, dataset = trained.leaves[0].to_dataset(), swept.leaves[0].to_dataset()
    assert (leading_dims(plain), sweep_axes(plain)) == (["seed", "step"], [])
    assert leading_dims(dataset) == ["feature_probability", "seed", "step"]
    assert dataset["W"].dims == (*leading_dims(dataset), "hidden", "feature")
    assert sweep_axes(dataset) == ["feature_probability"]
    assert sweep_axes(dataset.isel(feature_probability=[1], step=-1)) == ["feature_probability"]
    assert leading_dims(dataset.isel(feature_probability=1, step=-1)) == ["seed"]
    assert sweep_axes(dataset.isel(feature_probability=1)) == []
