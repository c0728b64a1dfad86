"""Folders and files as they are on an ordinary machine: links, several folders, what may not or cannot be read."""

import fcntl
import os
import pickle
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup.storage.blocks import _bytes
from toysup.storage.runs import files_of

Small = Callable[..., toysup.Experiment]
Command = Callable[..., Result]
OWN = """
name = "own"
model = { n_features = 3, n_hidden = 2 }
training = { steps = 4, batch_size = 8 }
regime = { feature_probability = 0.1 }
"""


@pytest.fixture(scope="module")
def models(small: Small) -> xr.Dataset:
    return toysup.train(small(), seeds=4)["small/small"].to_dataset()


@pytest.fixture
def in_blocks(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models fill a block."""
    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 2 * _bytes(small().conditions[0]))


@pytest.fixture(params=["one file", "blocks"])
def saved(request: pytest.FixtureRequest, models: xr.Dataset, tmp_path: Path) -> Path:
    if request.param == "blocks":
        request.getfixturevalue("in_blocks")
    toysup.save_runs(models, tmp_path / "disk")
    return tmp_path / "disk"


def weights(*paths: Path | str) -> xr.DataArray:
    return toysup.open_runs(list(paths))["small/small"]["W"].load()


# Links


@pytest.mark.parametrize("level", ["", "small", "small/small"])
def test_linked_runs_are_found_and_extended_where_they_lie(
    models: xr.Dataset, saved: Path, tmp_path: Path, level: str
) -> None:
    level = level if (saved / level).exists() else "small/small.nc"
    real, link = saved / level, tmp_path / "runs" / level
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(real, link.parent))
    xr.testing.assert_equal(weights(tmp_path / "runs"), models["W"])
    more = models.assign_coords(seed=models["seed"] + 4)
    toysup.save_runs(more, tmp_path / "runs")
    assert link.is_symlink()
    assert weights(tmp_path / "runs")["seed"].values.tolist() == list(range(8))
    if level != "small/small.nc":
        assert weights(saved)["seed"].values.tolist() == list(range(8))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_a_place_that_is_reached_twice_is_one(models: xr.Dataset, saved: Path) -> None:
    (saved / "again").symlink_to("small")
    (saved / "round").symlink_to("..")
    (saved / "self").symlink_to("self")
    xr.testing.assert_equal(weights(saved), models["W"])
    xr.testing.assert_equal(weights(saved, saved / "again"), models["W"])


def test_a_link_to_nothing_is_named(small: Small, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    link = tmp_path / "small/small.nc"
    link.symlink_to("elsewhere.nc")
    for call in (lambda: toysup.open_runs(tmp_path), lambda: toysup.open_runs(link),
                 lambda: toysup.train_runs(small(), tmp_path, seeds=1)):  # fmt: skip
        with pytest.raises(toysup.ToysupError, match=r"small\.nc: a link to elsewhere\.nc, which does not exist$"):
            call()
    assert [path.name for path in link.parent.iterdir()] == ["small.nc"]


def test_linked_blocks_are_not_set_aside(models: xr.Dataset, in_blocks: None, tmp_path: Path) -> None:
    toysup.save_runs(models, tmp_path / "disk")
    link = tmp_path / "runs/small/small"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "disk/small/small")
    with pytest.raises(toysup.ToysupError, match="a link, which --overwrite cannot set aside"):
        toysup.save_runs(models, tmp_path / "runs", overwrite=True)
    xr.testing.assert_equal(weights(tmp_path / "runs"), models["W"])


# What may not or cannot be read


def forbid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may list any folder, so that the refusal is simulated."""
    scandir = os.scandir

    def refusing(path: str | Path = ".") -> Iterator[os.DirEntry[str]]:
        if os.path.realpath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_folder_that_may_not_be_listed_is_no_empty_one(
    models: xr.Dataset, saved: Path, small: Small, run_analyze: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    toysup.save_runs(models.assign_attrs(experiment="other"), saved)
    forbid(saved / "small", monkeypatch)
    line = f"{saved}/small: cannot be listed: Permission denied"
    for command in ("info", "report"):
        result = run_analyze(command, saved)
        assert (result.exit_code, result.stderr) == (1, f"Error: {line}\n")
    assert run_analyze("info", saved / "other").exit_code == 0


def test_blocks_that_may_not_be_listed_are_not_trained_again(
    models: xr.Dataset, in_blocks: None, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toysup.save_runs(models, tmp_path)
    forbid(tmp_path / "small/small", monkeypatch)
    with pytest.raises(toysup.ToysupError, match="small/small: cannot be listed: Permission denied"):
        toysup.train_runs(small(), tmp_path, seeds=4)


LOCK = "import fcntl, sys, time; file = open(sys.argv[1], 'rb+'); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); "


def test_each_reason_has_its_own_words(models: xr.Dataset, in_blocks: None, tmp_path: Path) -> None:
    toysup.save_runs(models, tmp_path)
    first, second = sorted((tmp_path / "small/small").glob("*.nc"))
    # Both when opening and when reading later.
    opened = toysup.open_runs(tmp_path)["small/small"]
    with subprocess.Popen([sys.executable, "-c", LOCK + "time.sleep(100)", first], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for call in (lambda: toysup.open_runs(first), lambda: opened["W"].load()):
            with pytest.raises(toysup.ToysupError, match=r"locked by a process .* HDF5_USE_FILE_LOCKING=FALSE"):
                call()
        other.kill()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    held = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for call in (lambda: toysup.open_runs(second), lambda: opened["W"].load()):
            with pytest.raises(toysup.ToysupError, match=r"too many files are open; .* \(ulimit -n\)"):
                call()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    second.unlink()
    with pytest.raises(toysup.ToysupError, match="no such file"):
        opened["W"].load()
    first.write_text("text")
    with pytest.raises(toysup.ToysupError, match="not a netCDF-4 file, or damaged"):
        toysup.open_runs(first)


def test_a_file_system_without_locks_is_told_apart(
    models: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = toysup.save_runs(models, tmp_path)
    path.write_text("what HDF5 cannot open")

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(toysup.ToysupError, match=r"its file system has no locks; .* HDF5_USE_FILE_LOCKING=FALSE"):
        toysup.open_runs(path)


# Paths


def test_runs_are_read_after_the_process_moved(
    models: xr.Dataset, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved)
    with xr.set_options(file_cache_maxsize=1):
        here, inside = toysup.open_runs("."), toysup.open_runs("small")
        copied = pickle.dumps(here["small/small"].to_dataset())
        monkeypatch.chdir(tmp_path)
        # A further file takes the place of the open one, so that the first is opened again.
        toysup.save_runs(models, tmp_path / "further")
        weights(tmp_path / "further")
        for runs in (here, inside):
            xr.testing.assert_equal(runs["small/small"]["W"].load(), models["W"])
        xr.testing.assert_equal(pickle.loads(copied)["W"].load(), models["W"])


def test_home_is_meant_by_a_tilde(
    models: xr.Dataset, small: Small, run_analyze: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    assert toysup.save_runs(models, "~/runs") == [home / "runs/small/small.nc"]
    assert toysup.open_runs("~/runs").leaves
    assert toysup.train_runs(small(), "~/trained", seeds=1).leaves
    (home / "own.toml").write_text(OWN)
    assert toysup.load_experiment("~/own.toml").name == "own"
    report = toysup.analysis.report.dimensionality("~/runs")
    assert all(home in path.parents for path in report.write_figures("~/figures", "svg"))
    result = run_analyze("dimensionality", "~/runs", "--output=~/drawn", "--figure-format", "svg")
    assert result.exit_code == 0, result.output
    assert list((home / "drawn/small").glob("*.svg"))
    assert list(work.iterdir()) == []


# Several folders


def test_seeds_in_several_folders_are_one_condition(
    models: xr.Dataset, small: Small, tmp_path: Path, run_analyze: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    toysup.save_runs(models.isel(seed=[1, 3]), tmp_path / "a")
    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", _bytes(small().conditions[0]))
    toysup.save_runs(models.isel(seed=[0, 2]), tmp_path / "b")
    joined = toysup.open_runs([tmp_path / "a", tmp_path / "b"])["small/small"].to_dataset()
    xr.testing.assert_equal(joined.drop_attrs(), models.drop_attrs())
    for at in ({"seed": [3, 0]}, {"seed": 2, "step": -1}, {"step": [2, 0], "hidden": slice(None, None, -1)}):
        lazy = toysup.open_runs([tmp_path / "a", tmp_path / "b"])["small/small"]["W"].isel(at)
        xr.testing.assert_equal(lazy, models["W"].isel(at))
    assert len(files_of(joined)) == 3
    toysup.save_runs(joined, tmp_path / "c")
    xr.testing.assert_equal(weights(tmp_path / "c"), models["W"])
    several = run_analyze("dimensionality", tmp_path / "a", tmp_path / "b", "--format", "csv")
    assert several.exit_code == 0, several.output
    assert several.stdout == run_analyze("dimensionality", tmp_path / "c", "--format", "csv").stdout
    # Figures go to the first.
    assert (tmp_path / "a/figures/small").is_dir()
    assert not (tmp_path / "b/figures").exists()


def test_a_glob_of_files_is_several(trained: xr.DataTree, run_analyze: Command, tmp_path: Path) -> None:
    paths = toysup.save_runs(trained, tmp_path)
    whole, files = (run_analyze("info", *runs, "--format", "csv") for runs in ([tmp_path], paths))
    assert (files.exit_code, files.stdout) == (0, whole.stdout)
    assert run_analyze("info").exit_code == 2
    with pytest.raises(toysup.UsageError, match="at least one folder or file"):
        toysup.open_runs([])


def test_what_cannot_be_joined_is_refused_in_one_line(models: xr.Dataset, small: Small, tmp_path: Path) -> None:
    toysup.save_runs(models, tmp_path / "a")
    toysup.save_runs(models.isel(seed=[3]), tmp_path / "b")
    toysup.save_runs(models.isel(step=[0, -1]).assign_coords(seed=models.seed + 9), tmp_path / "c")
    toysup.save_runs(toysup.train(small(training__learning_rate=0.5), seeds=[9]), tmp_path / "d")
    (tmp_path / "empty").mkdir()
    for other, words in [
        ("b", "both hold the seed 3"),
        ("c", r"\(steps \[0, 2, 4\] there, \[0, 4\] here\)"),
        ("d", r"\(training\.learning_rate: 0\.001 there, 0\.5 here\)"),
        ("empty", r"empty: no runs here"),
    ]:
        with pytest.raises(toysup.ToysupError, match=words) as caught:
            toysup.open_runs([tmp_path / "a", tmp_path / other])
        assert str(caught.value).startswith(str(tmp_path / other))


def test_a_file_beside_blocks_is_said_to_be_a_part(models: xr.Dataset, small: Small, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    (file,) = toysup.save_runs(models.isel(seed=[0]), tmp_path)
    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 2 * _bytes(small().conditions[0]))
    toysup.save_runs(models, tmp_path)
    with pytest.warns(UserWarning, match=r"small\.nc: .*/small/small holds more seeds of this condition; left out"):
        toysup.open_runs(file)


def test_a_condition_that_left_the_experiment_is_named(
    models: xr.Dataset, small: Small, tmp_path: Path, run_train: Command
) -> None:
    toysup.save_runs(models.assign_attrs(condition_name="old"), tmp_path)
    words = "small/old.nc: not a condition of small (any more); analyses of the folder include it"
    with pytest.warns(UserWarning, match=re.escape(words)):
        runs = toysup.train_runs(small(), tmp_path, seeds=1)
    assert sorted(runs["small"].children) == ["old", "small"]
    np.testing.assert_array_equal(runs["small/old"]["W"], models["W"])
    (tmp_path / "small.toml").write_text(OWN.replace("own", "small"))
    result = run_train(tmp_path / "small.toml", "-o", tmp_path, "--seeds", 1, "--overwrite")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == f"note: {tmp_path}/{words}"
