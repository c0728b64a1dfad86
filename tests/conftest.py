"""What tests share: short trained runs, the commands, and one torch thread for each test worker."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import xarray as xr
from click.testing import CliRunner, Result
from hypothesis import settings

import toysup
from toysup.analysis.command import main as analyze
from toysup.command.train import main as train

# Two test workers with two threads each would wait for one another on two cores.
torch.set_num_threads(1)

# Every run draws the same examples: what is compared with samples is certain to pass or certain to fail.
settings.register_profile("toysup", derandomize=True, deadline=None)
settings.load_profile("toysup")

Command = Callable[..., Result]
Small = Callable[..., toysup.Experiment]


@pytest.fixture(scope="session")
def short() -> toysup.Experiment:
    """The post's conditions, a few steps long."""
    changes = {"training.steps": 40, "training.dataset_size": 1000, "record.steps": [10, 20]}
    return toysup.load_experiment("conditional-importance", changes=changes)


@pytest.fixture(scope="session")
def trained(short: toysup.Experiment) -> xr.DataTree:
    return toysup.train(short, seeds=3)


@pytest.fixture(scope="session")
def swept() -> xr.DataTree:
    """tms-intro with two cells, a few steps long."""
    changes = {"training.steps": 30, "record.steps": [10], "regime.feature_probability": [0.5, 0.05]}
    return toysup.train(toysup.load_experiment("tms-intro", changes=changes), seeds=3)


@pytest.fixture(scope="session")
def small() -> Small:
    """One condition of six features and a few steps, changed by keys such as `regime__values="signed"`."""

    def make(**changes: object) -> toysup.Experiment:
        usual = {"training.steps": 4, "training.batch_size": 16, "record.steps": [2]}
        usual |= {"model.n_features": 6, "model.n_hidden": 3, "regime.feature_probability": 0.4}
        own = {key.replace("__", "."): value for key, value in changes.items()}
        if "regime.activation_probability" in own:
            del usual["regime.feature_probability"]
        return toysup.load_experiment("tms-intro", changes=usual | {"name": "small"} | own)

    return make


@pytest.fixture
def runs(trained: xr.DataTree, tmp_path: Path) -> Path:
    toysup.save_runs(trained, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def run_train() -> Command:
    return lambda *args: CliRunner().invoke(train, [str(arg) for arg in args])


@pytest.fixture
def run_analyze() -> Command:
    return lambda *args: CliRunner().invoke(analyze, [str(arg) for arg in args])
