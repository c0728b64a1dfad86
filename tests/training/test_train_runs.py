"""Training to a folder: here and on a cluster, alone at it, and going on where it stopped."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import Result
from distributed import Client, KilledWorker, LocalCluster

import toysup
from toysup.analysis.report.topics.info import _difference
from toysup.storage.store import Job, lock_of, path_of
from toysup.training import cluster, one_block
from toysup.training.cluster import local_client
from toysup.training.one_block import ProgressListener
from toysup.training.train_runs import TrainingPlan, train_missing, train_runs

Command = Callable[..., Result]
Small = Callable[..., toysup.Experiment]


@pytest.fixture
def cut(small: Small, monkeypatch: pytest.MonkeyPatch) -> toysup.Experiment:
    """Four seeds to a block."""
    from toysup.storage.blocks import _bytes

    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 4 * _bytes(small().conditions[0]))
    return small()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two threads of this process stand for workers: they see what is patched here."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as found,
    ):
        yield found


@dataclass
class Notes(ProgressListener):
    """Writes down what a listener hears."""

    steps: list[tuple[str, int]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    started_at: list[tuple[str, int]] = field(default_factory=list)

    def started(self, job: Job, step: int) -> None:
        self.started_at.append((job.path.name, step))

    def step(self, job: Job, step: int, loss: float) -> None:
        self.steps.append((job.path.name, step))

    def finished(self, job: Job) -> None:
        self.kept.append(job.path.name)

    def workers_lost(self, workers: int, blocks: int) -> None:
        self.lost.append((workers, blocks))


def require_all(runs: xr.DataTree, experiment: toysup.Experiment, seeds: int) -> None:
    whole = toysup.train(experiment, seeds=seeds)
    for leaf in whole.leaves:
        xr.testing.assert_equal(runs[leaf.path].to_dataset().load(), leaf.to_dataset())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("with_client", [False, True], ids=["here", "cluster"])
def test_what_is_missing_is_trained(cut: toysup.Experiment, tmp_path: Path, client: Client, with_client: bool) -> None:
    options: dict[str, Any] = {"client": client} if with_client else {}
    notes = Notes()
    require_all(train_runs(cut, tmp_path, seeds=6, listener=notes, **options), cut, 6)
    assert len(notes.kept) == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nc")}
    again = Notes()
    require_all(train_runs(cut, tmp_path, seeds=10, listener=again, **options), cut, 10)
    assert [name.rpartition("-")[0] for name in sorted(again.kept)] == ["cells0-seeds6to7", "cells0-seeds8to9"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert all(name.endswith(".nc") and "/." not in name for name in files(tmp_path))
    assert not notes.lost


def test_a_worker_without_the_folder_hands_its_blocks_back(
    cut: toysup.Experiment, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    keep = cluster._keep
    monkeypatch.setattr(cluster, "_token_in", lambda lock: "")
    monkeypatch.setattr(cluster, "_keep", lambda job, content: (seen.append(content), keep(job, content)))
    require_all(train_runs(cut, tmp_path, seeds=3, client=client), cut, 3)
    require_all(train_runs(cut, tmp_path, seeds=6, client=client), cut, 6)
    assert len(seen) == 3
    assert all(content.startswith(b"\x89HDF") for content in seen)


def failing(times: int, error: Exception) -> Callable[..., bool]:
    original, left = one_block.train_and_keep, iter(range(times))

    def fail(experiment: toysup.Experiment, job: Job, **options: Any) -> bool:
        if job.seeds[0] == 4 and next(left, None) is not None:
            raise error
        return original(experiment, job, **options)

    return fail


def test_a_block_that_fails_is_trained_again_and_given_up_in_the_end(
    cut: toysup.Experiment, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "train_and_keep", failing(2, RuntimeError("a worker of a bad kind")))
    notes = Notes()
    require_all(train_runs(cut, tmp_path / "again", seeds=10, client=client, listener=notes), cut, 10)
    assert notes.lost == [(0, 1), (0, 1)]
    monkeypatch.setattr(cluster, "train_and_keep", failing(99, RuntimeError("a worker of a bad kind")))
    with pytest.raises(toysup.ToysupError, match=r"given up after 5 attempts: RuntimeError: .*the same command trains"):
        train_runs(cut, tmp_path / "never", seeds=10, client=client)
    left = [name for name in files(tmp_path / "never") if name.endswith(".nc")]
    assert len(left) == 2
    monkeypatch.setattr(cluster, "train_and_keep", failing(1, toysup.ToysupError("x.nc: cannot be written: disk full")))
    with pytest.raises(toysup.ToysupError, match=r"x.nc: cannot be written: disk full; the same command"):
        train_runs(cut, tmp_path / "full", seeds=10, client=client)


def test_a_second_trainer_says_so(cut: toysup.Experiment, tmp_path: Path, run_train: Command) -> None:
    plan = TrainingPlan.of(cut, tmp_path, range(2))
    with plan.locked(), pytest.raises(toysup.ToysupError, match="another trainer is at work"):
        train_runs(cut, tmp_path, seeds=2)
    assert not list(tmp_path.rglob(".*"))
    require_all(train_runs(cut, tmp_path, seeds=2), cut, 2)
    # What is there already needs no lock.
    with TrainingPlan.of(cut, tmp_path, range(4)).locked():
        train_runs(cut, tmp_path, seeds=2)


def test_who_has_nothing_to_do_leaves_alone_what_another_trainer_has_there(
    cut: toysup.Experiment, tmp_path: Path
) -> None:
    train_runs(cut, tmp_path, seeds=2)
    whole = files(tmp_path)
    plan = TrainingPlan.of(cut, tmp_path, range(4))
    with plan.locked() as (part,):
        aside = part.store.aside
        theirs = [".small.abcdefgh.part.nc", ".small.checkpoint.npz", f"{aside.name}/small.nc"]
        aside.mkdir()
        for name in theirs:
            (aside.parent / name).write_bytes(part.store.file.read_bytes())
        train_runs(cut, tmp_path, seeds=2)
        # Who planned before the other began does not either.
        train_missing(plan, [replace(part, blocks=[])], ProgressListener())
        assert all((aside.parent / name).exists() for name in theirs)
    # Of one that was killed it would be all that is left.
    train_runs(cut, tmp_path, seeds=2)
    assert files(tmp_path) == whole


def test_a_worker_whose_trainer_has_ended_writes_nothing(
    cut: toysup.Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toysup.training.cluster import BlockArguments, _train_there

    train_job = one_block.train_job

    def ends_meanwhile(*arguments: Any, **options: Any) -> xr.Dataset:
        trained = train_job(*arguments, **options)
        lock_of(path_of(tmp_path, "small", "small")).write_text("the next trainer's")
        return trained

    plan = TrainingPlan.of(cut, tmp_path, range(2))
    with plan.locked() as (part,):
        (job,) = map(part.store.job, part.blocks)
        monkeypatch.setattr(one_block, "train_job", ends_meanwhile)
        with pytest.raises(RuntimeError, match="no longer this trainer's"):
            _train_there(BlockArguments(cut, "cpu", 1, plan.token), job)
        assert not job.path.exists()


def test_runs_of_another_specification_are_never_joined(small: Small, tmp_path: Path) -> None:
    train_runs(small(), tmp_path, seeds=1)
    other = small(**{"training.learning_rate": 0.5})
    job = Job(other.conditions[0], range(1, 2), "fused", path_of(tmp_path, "small", "small"), None)
    before = job.path.read_bytes()
    with pytest.raises(toysup.UsageError, match="runs of another specification"):
        job.keep(one_block.train_job(other, job))
    assert job.path.read_bytes() == before


def test_seeds_are_refused_before_anything_is_set_aside(cut: toysup.Experiment, tmp_path: Path) -> None:
    train_runs(cut, tmp_path, seeds=6)
    before = files(tmp_path)
    for wrong in ([], [-1], [2, 2], range(-3, 2), [2**62]):
        with pytest.raises(toysup.UsageError, match="seeds must be distinct integers"):
            train_runs(cut, tmp_path, seeds=wrong, overwrite=True)
    assert files(tmp_path) == before


def test_a_lock_is_the_systems_so_a_killed_trainer_holds_none(cut: toysup.Experiment, tmp_path: Path) -> None:
    file = path_of(tmp_path, "small", "small")
    file.parent.mkdir(parents=True)
    code = (
        "import os, signal, sys; from pathlib import Path; from toysup.storage.store import locked\n"
        "with locked(Path(sys.argv[1]), 'token'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(file)], check=False).returncode == -9
    assert lock_of(file).read_text() == "token"
    require_all(train_runs(cut, tmp_path, seeds=2), cut, 2)
    assert not lock_of(file).exists()


def test_names_that_begin_alike_keep_their_files(small: Small, tmp_path: Path) -> None:
    experiment = small()
    (one,) = experiment.conditions
    both = experiment.model_copy(update={"conditions": (one, one.model_copy(update={"name": "small.part"}))})
    (tmp_path / "small").mkdir()
    theirs = [".small.part.checkpoint.npz", ".small.part.lock", ".small.part.abcdefgh.part.nc", "notes.txt"]
    mine = [".small.checkpoint.npz", ".small.abcdefgh.part.nc", "..small.checkpoint.abcdefgh.part.npz"]
    for name in [*theirs, *mine]:
        (tmp_path / "small" / name).touch()
    train_runs(both, tmp_path, seeds=1, conditions=["small"])
    assert files(tmp_path / "small") == sorted([*theirs, "small.nc"])


def test_workers_from_the_command_line(run_train: Command, tmp_path: Path) -> None:
    arguments = ["tms-intro", "-o", tmp_path, "--seeds", 2, "--set", "training.steps=3"]
    refused = run_train(*arguments, "--workers", 2, "--scheduler", "tcp://127.0.0.1:1")
    assert refused.exit_code == 2
    assert "exclude one another" in refused.stderr
    assert not list(tmp_path.iterdir())
    result = run_train(*arguments, "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert "2 seeds, 2 trained now" in result.stdout
    assert files(tmp_path) == ["tms-intro/tms-intro.nc"]


def test_info_says_what_made_a_file(run_train: Command, run_analyze: Command, tmp_path: Path) -> None:
    run_train("tms-intro", "-o", tmp_path, "--seeds", 2, "--set", "training.steps=3", "--set", "training.optimizer=sgd")
    (row,) = json.loads(run_analyze("info", tmp_path, "--format", "json").stdout)
    assert (row["files"], row["schema"]) == (1, 1)
    assert "numba" in row["versions"]
    (specification,) = json.loads(run_analyze("info", tmp_path, "--specification").stdout).values()
    assert specification["training"]["optimizer"] == "sgd"
    assert specification["training"]["steps"] == 3


def test_what_diverged_hides_no_difference() -> None:
    infinite = np.array([np.inf, np.nan, 1.0])
    assert _difference(infinite, infinite) == 0
    assert _difference(np.array([np.inf, np.nan, 1.5]), infinite) == 0.5
    assert _difference(np.array([1.0, np.nan, 1.0]), infinite) == np.inf


def test_verifying_trains_again_and_compares(run_train: Command, run_analyze: Command, tmp_path: Path) -> None:
    import netCDF4

    run_train("tms-intro", "-o", tmp_path, "--seeds", 2, "--set", "training.steps=3")
    good = run_analyze("info", tmp_path, "--verify", "--format", "json")
    assert good.exit_code == 0
    (row,) = json.loads(good.stdout)
    assert (row["verdict"], row["seeds"], row["max_difference"]) == ("identical", "0, 1", 0)
    for share, verdict, code in ((1e-4, "rounding", 0), (0.5, "differs", 1)):
        changed = shutil.copytree(tmp_path / "tms-intro", tmp_path / verdict)
        with netCDF4.Dataset(changed / "tms-intro.nc", "a") as file:
            file["b"][..., -1, :] = file["b"][..., -1, :] * (1 + share)
        result = run_analyze("info", changed, "--verify", "--format", "json")
        assert (result.exit_code, json.loads(result.stdout)[0]["verdict"]) == (code, verdict)


def test_more_seeds_than_one_call_may_ask_for_are_refused(
    cut: toysup.Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(toysup.UsageError, match="seeds are too many"):
        train_runs(cut, tmp_path, seeds=10**30)
    monkeypatch.setattr("toysup.storage.store.MAX_SEEDS", 5)
    with pytest.raises(toysup.UsageError, match="small: ask for at most 5 seeds at once, not 6"):
        train_runs(cut, tmp_path, seeds=6)
    assert not files(tmp_path)


def test_an_empty_folder_of_blocks_is_none(small: Small, tmp_path: Path) -> None:
    """As a killed trainer leaves it, which had finished no block."""
    (tmp_path / "small" / "small").mkdir(parents=True)
    require_all(train_runs(small(), tmp_path, seeds=2), small(), 2)
    assert files(tmp_path) == ["small/small.nc"]
    assert not (tmp_path / "small" / "small").exists()


def test_saving_keeps_away_from_a_trainer_at_work(small: Small, tmp_path: Path) -> None:
    trained = toysup.train(small(), seeds=2)
    with TrainingPlan.of(small(), tmp_path, range(2)).locked() as (part,):
        theirs = part.store.file.with_name(".small.checkpoint.npz")
        theirs.write_text("theirs")
        with pytest.raises(toysup.ToysupError, match="another trainer is at work"):
            toysup.save_runs(trained, tmp_path)
        assert theirs.read_text() == "theirs"
    toysup.save_runs(trained, tmp_path)
    assert files(tmp_path) == ["small/small.nc"]


def test_an_impossible_interval_of_checkpoints_is_refused_before_anything_is_set_aside(
    cut: toysup.Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_runs(cut, tmp_path, seeds=10)
    before = files(tmp_path)
    monkeypatch.setenv("TOYSUP_CHECKPOINT_SECONDS", "soon")
    with pytest.raises(toysup.UsageError, match="soon: must be a number of seconds"):
        train_runs(cut, tmp_path, seeds=10, overwrite=True)
    assert files(tmp_path) == before


def test_a_block_that_was_not_written_is_not_finished(
    cut: toysup.Experiment, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker lost sight of the lock; the next attempt hands it back."""
    looks: list[str] = []

    def token(lock: Path) -> str:
        looks.append(lock.name)
        return lock.read_text() if len(looks) == 1 else ""

    monkeypatch.setattr(cluster, "_token_in", token)
    notes = Notes()
    require_all(train_runs(cut, tmp_path, seeds=2, client=client, listener=notes), cut, 2)
    assert notes.lost == [(0, 1)]


@pytest.mark.parametrize("name", ["figures", "b.nc"])
def test_names_whose_folder_would_not_be_read_are_refused(tmp_path: Path, name: str) -> None:
    rest = (
        "training = { steps = 4, batch_size = 8 }\nmodel = { n_features = 4, n_hidden = 2 }\n"
        "regime = { feature_probability = 0.2 }\n[[condition]]\nname = "
    )
    for experiment, condition in ((name, "own"), ("own", name)):
        (tmp_path / "e.toml").write_text(f"name = '{experiment}'\n{rest}'{condition}'")
        with pytest.raises(toysup.UsageError, match="give another name"):
            toysup.load_experiment(tmp_path / "e.toml")


def test_a_block_that_cannot_be_written_is_said_once(
    cut: toysup.Experiment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file lies where the folder of blocks goes: the worker logs nothing of its own."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "small").touch()
    with local_client(1) as own, pytest.raises(toysup.ToysupError, match="cannot be"):
        train_runs(cut, tmp_path, seeds=10, client=own)
    assert capfd.readouterr().err == ""


def test_a_block_whose_workers_are_lost_is_given_up(
    cut: toysup.Experiment, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dask says so after four of them, which count as four attempts."""
    lost = KilledWorker("a block", SimpleNamespace(address="there"), 3)
    monkeypatch.setattr(cluster, "train_and_keep", failing(99, lost))
    notes = Notes()
    with pytest.raises(toysup.ToysupError, match="its workers were lost"):
        train_runs(cut, tmp_path, seeds=10, client=client, listener=notes)
    assert notes.lost == [(0, 1)]


def test_verifying_with_an_engine_that_cannot_is_refused(small: Small, run_analyze: Command, tmp_path: Path) -> None:
    tree = toysup.train(small(), seeds=1)
    for engine in ("quantum", "fused"):
        own = small(model__tied=False) if engine == "fused" else small()
        tree = toysup.train(own, seeds=1).map_over_datasets(
            lambda data, engine=engine: data.assign_attrs(engine=engine) if "seed" in data.dims else data
        )
        toysup.save_runs(tree, tmp_path / engine)
        result = run_analyze("info", tmp_path / engine, "--verify")
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("Error: ")


def test_runs_are_extended_by_the_engine_that_trained_them(
    small: Small, run_train: Command, run_analyze: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As runs with groups of version 0.1.0, whose fused engine could not train them."""
    experiment = small(regime__together=["1-2"])
    train_runs(experiment, tmp_path / "one", seeds=2, engine="torch")
    runs = train_runs(experiment, tmp_path / "one", seeds=3)
    assert runs["small/small"].attrs["engine"] == "torch"
    assert runs["small/small"].sizes["seed"] == 3
    assert run_analyze("info", tmp_path / "one", "--verify").exit_code == 0
    with pytest.raises(toysup.UsageError, match="engine: 'torch' there, 'fused' here"):
        train_runs(experiment, tmp_path / "one", seeds=3, engine="fused")
    runs = train_runs(experiment, tmp_path / "one", seeds=2, overwrite=True)
    assert runs["small/small"].attrs["engine"] == "fused"
    from toysup.storage.blocks import _bytes

    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", _bytes(experiment.conditions[0]))
    train_runs(experiment, tmp_path / "blocks", seeds=2, engine="torch")
    runs = train_runs(experiment, tmp_path / "blocks", seeds=3)
    assert runs["small/small"].attrs["engine"] == "torch"


def test_the_command_says_which_engine_and_why(run_train: Command, tmp_path: Path) -> None:
    (tmp_path / "engines.toml").write_text(ENGINES)

    def lines(*options: object) -> list[str]:
        result = run_train(tmp_path / "engines.toml", "-o", tmp_path / "runs", *options)
        assert result.exit_code == 0, result.output
        return [line for line in result.stderr.splitlines() if line.startswith("training ")]

    deep = "training deep: torch engine, because fused cannot: the model is not φ(WᵀW x + b)"
    rule = "training rule: torch engine, because fused cannot: its context follows from x"
    assert lines("--seeds", 1) == ["training plain, groups: fused engine", deep, rule]
    assert lines("--seeds", 1) == []
    assert lines("--seeds", 2, "-q") == []
    given = lines("--seeds", 1, "--engine", "torch", "--overwrite")
    assert given == ["training plain, groups, deep, rule: torch engine, as asked"]
    assert lines("--seeds", 2, "--condition", "groups") == [
        "training groups: torch engine, as the runs in the folder were"
    ]


ENGINES = """
name = "engines"
model = { n_features = 6, n_hidden = 3 }
regime = { feature_probability = 0.2 }
training = { steps = 3, batch_size = 8 }
[[condition]]
name = "plain"
[[condition]]
name = "groups"
regime.together = ["1-2"]
[[condition]]
name = "deep"
model.tied = false
[[condition]]
name = "rule"
regime.contexts = ["a", "b"]
regime.context_rule = "x_1 > median"
"""


def test_recordings_after_the_end_are_left_out_with_a_note(small: Small, run_train: Command, tmp_path: Path) -> None:
    shorter = ["--set", "training.epochs=1", "--set", "training.dataset_size=512", "--seeds", 1]
    result = run_train("leaky-context", "-o", tmp_path, *shorter)
    assert result.exit_code == 0, result.output
    note = "note: leaky: training ends at epoch 1, so epochs 4, 8, 12 of [record] cannot be recorded"
    assert note in result.stderr.splitlines()
    assert toysup.open_runs(tmp_path)["leaky-context/leaky"].step.values.tolist() == [0, 2]
    with pytest.warns(UserWarning, match="small: training ends at step 4, so step 9 of"):
        toysup.train(small(record__steps=[2, 9]), seeds=1)
    with pytest.warns(UserWarning, match="small: training ends at step 4, so step 9 of"):
        train_runs(small(record__steps=[2, 9]), tmp_path, seeds=1)
    # The same runs as those of a file that never asked for step 9.
    assert train_runs(small(), tmp_path, seeds=2)["small/small"].sizes["seed"] == 2


def test_workers_report_their_steps(
    small: Small, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SECONDS_BETWEEN_REPORTS", 0.0)
    notes = Notes()
    slow = small(training__steps=2000, record__steps=[500, 1000, 1500])
    train_runs(slow, tmp_path, seeds=2, client=client, listener=notes, engine="torch")
    assert notes.started_at == [("small.nc", 0)]
    assert {name for name, _ in notes.steps} == {"small.nc"}
    assert [step for _, step in notes.steps] == sorted(step for _, step in notes.steps)


def test_runs_from_before_sparse_draws_are_extended_as_they_were_drawn(
    small: Small, run_analyze: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the key a condition is drawn densely, since its files were written when there was no other way."""
    p = [0.4, 0.05]
    sparse, dense = small(regime__feature_probability=p), small(regime__feature_probability=p, training__draws="dense")
    train_runs(dense, tmp_path / "old", seeds=2)
    runs = train_runs(sparse, tmp_path / "old", seeds=3)
    assert "draws" not in json.loads(runs["small/small"].attrs["condition"])["training"]
    both = {name: toysup.train(each, seeds=3)["small/small"].W for name, each in (("d", dense), ("s", sparse))}
    np.testing.assert_array_equal(runs["small/small"].W, both["d"])
    assert run_analyze("info", tmp_path / "old", "--verify").exit_code == 0
    # The cell that is not sparse is the same either way.
    assert (both["d"] == both["s"]).all(("seed", "step", "hidden", "feature")).values.tolist() == [True, False]
    new = train_runs(sparse, tmp_path / "new", seeds=1)
    assert json.loads(new["small/small"].attrs["condition"])["training"]["draws"] == "sparse"
    with pytest.raises(toysup.UsageError, match=r"training\.draws: 'sparse' there, nothing here"):
        train_runs(dense, tmp_path / "new", seeds=2)
    runs = train_runs(sparse, tmp_path / "old", seeds=2, overwrite=True)
    np.testing.assert_array_equal(runs["small/small"].W, both["s"].isel(seed=slice(0, 2)))
    from toysup.storage.blocks import _bytes

    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", _bytes(sparse.conditions[0]))
    train_runs(dense, tmp_path / "blocks", seeds=2)
    runs = train_runs(sparse, tmp_path / "blocks", seeds=3)
    np.testing.assert_array_equal(runs["small/small"].W, both["d"])
