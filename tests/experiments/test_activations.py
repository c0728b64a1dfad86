"""Activations by name: what torch defines, what a session registers, and what happens to a name that nobody knows."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
from scipy import special

import toysup
from toysup import analysis
from toysup.engines.choice import choose_engine
from toysup.experiments import activations
from toysup.experiments.activations import BUILT_IN, activation

if TYPE_CHECKING:
    from torch import Tensor

SMALL = {"training.steps": 3, "regime.feature_probability": 0.5, "record.steps": [1]}


def doubled(a: "Tensor") -> "Tensor":
    return 2 * a


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a test registers ends with it."""
    own: dict[str, object] = {}
    monkeypatch.setattr(activations, "_registered", own)
    return own


def experiment_with(name: str) -> toysup.Experiment:
    return toysup.load_experiment("tms-intro", changes={**SMALL, "model.activation": name})


def dataset_with(name: str) -> xr.Dataset:
    return toysup.train(experiment_with(name), seeds=2)["tms-intro/tms-intro"].to_dataset()


def test_built_in_ones_are_what_their_names_say() -> None:
    import torch

    a = np.linspace(-6, 30, 400)
    sigmoid = special.expit(a)
    expected = {
        "relu": np.maximum(a, 0),
        "leaky_relu": np.where(a > 0, a, 0.01 * a),
        "gelu": a * special.ndtr(a),
        "silu": a * sigmoid,
        "softplus": np.where(a > 20, a, np.log1p(np.exp(np.minimum(a, 20)))),
        "tanh": np.tanh(a),
        "sigmoid": sigmoid,
        "abs": np.abs(a),
        "identity": a,
    }
    assert set(expected) == set(BUILT_IN)
    for name, values in expected.items():
        np.testing.assert_allclose(activation(name)(torch.tensor(a)), values, rtol=1e-12, atol=1e-12)


def test_a_registered_one_is_trained_by_torch_and_evaluated() -> None:
    import torch

    toysup.register_activation("doubled", doubled)
    toysup.register_activation("doubled", doubled)
    dataset, plain = dataset_with("doubled"), dataset_with("identity")
    assert (dataset.attrs["engine"], plain.attrs["engine"]) == ("torch", "fused")
    assert json.loads(dataset.attrs["condition"])["model"]["activation"] == "doubled"
    model = toysup.to_module(dataset.isel(seed=0, step=-1))
    x = torch.rand(7, 5)
    torch.testing.assert_close(model(x), 2 * (x @ model.W.T @ model.W + model.b))
    # 2 (WᵀW x + b) is what the linear model with √2 W and 2 b computes.
    ours = analysis.expected_loss(dataset)
    same = plain.assign(W=np.sqrt(np.float32(2)) * dataset.W, b=2 * dataset.b)
    # Functions that a user registered are sampled; the losses of linear models are exact.
    np.testing.assert_allclose(ours, analysis.expected_loss(same), rtol=0.02)


def test_torch_differentiates_what_is_registered() -> None:
    """A φ that is a built-in one by another name is trained as that one is."""
    import torch

    toysup.register_activation("mine", lambda a: a * torch.sigmoid(a))
    np.testing.assert_allclose(dataset_with("mine").W, dataset_with("silu").W, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "function", "says"),
    [
        ("relu", doubled, "'relu' is built in"),
        ("two words", doubled, "'two words' is not a name"),
        ("", doubled, "'' is not a name"),
        ("a" * 101, doubled, "is not a name"),
        (7, doubled, "7 is not a name"),
        ("seven", 7, "a function of a tensor is needed, not 7"),
        ("taken", abs, "'taken' is already registered, with another function"),
    ],
)
def test_what_cannot_be_registered(name: str, function: Callable, says: str, registry: dict[str, object]) -> None:
    toysup.register_activation("taken", doubled)
    with pytest.raises(toysup.UsageError, match=says) as caught:
        toysup.register_activation(name, function)
    assert "\n" not in str(caught.value)
    assert registry == {"taken": doubled}


def test_an_unknown_name_is_refused_before_training(tmp_path: Path, registry: dict[str, object]) -> None:
    with pytest.raises(
        toysup.UsageError, match=r"tms-intro: model.activation: no activation 'geluu'; did you mean gelu"
    ):
        experiment_with("geluu")
    with pytest.raises(toysup.UsageError, match=r"model.activation = 'no name': String should match"):
        experiment_with("no name")
    toysup.register_activation("doubled", doubled)
    experiment = experiment_with("doubled")
    registry.clear()
    with pytest.raises(toysup.UsageError, match=r"no activation 'doubled'; .* \(toysup.register_activation adds one"):
        toysup.train(experiment)


def test_a_dataset_of_an_unknown_name_still_opens(tmp_path: Path, registry: dict[str, object]) -> None:
    toysup.register_activation("doubled", doubled)
    toysup.save_runs(toysup.train(experiment_with("doubled"), seeds=2), tmp_path / "runs")
    registry.clear()
    dataset = toysup.open_runs(tmp_path / "runs")["tms-intro/tms-intro"].to_dataset()
    assert np.isfinite(analysis.feature_dimensionality(dataset.W)).all()
    assert toysup.regime_of(dataset).subset == ("all",) * 5
    for use in (lambda: analysis.expected_loss(dataset), lambda: toysup.to_module(dataset.isel(seed=0, step=0))):
        with pytest.raises(toysup.UsageError, match="no activation 'doubled'"):
            use()
    toysup.register_activation("doubled", doubled)
    assert np.isfinite(analysis.expected_loss(dataset, n_samples=10)).all()


def test_each_condition_gets_the_engine_that_can(tmp_path: Path) -> None:
    toysup.register_activation("doubled", doubled)
    (plain,), (own,) = experiment_with("gelu").conditions, experiment_with("doubled").conditions
    assert [choose_engine(condition, None, "cpu") for condition in (plain, own)] == ["fused", "torch"]
    assert choose_engine(own, "torch", "cpu") == "torch"
    with pytest.raises(
        toysup.UsageError, match=r"cannot train tms-intro: the activation 'doubled' .* --engine torch can"
    ):
        choose_engine(own, "fused", "cpu")
    with pytest.raises(toysup.UsageError, match="runs on the cpu, not on 'cuda'; --engine torch can"):
        choose_engine(plain, "fused", "cuda")


def test_names_are_judged_without_importing_an_engine() -> None:
    code = (
        "import sys, toysup\n"
        "from toysup.engines.fused import why_not\n"
        "(condition,) = toysup.load_experiment('tms-intro', changes={'model.activation': 'gelu'}).conditions\n"
        "assert why_not(condition) is None\n"
        "assert not {'torch', 'numba'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
