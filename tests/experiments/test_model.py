"""Models of any depth: the forward pass and its gradients sample by sample, initial weights, and what is stored."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import toysup
from toysup.analysis.statistics.forward_pass import Models
from toysup.engines.instances import initial_parameters
from toysup.engines.torch_engine import engine as torch_engine
from toysup.engines.torch_engine.engine import loss_and_gradients
from toysup.experiments import model as architectures
from toysup.experiments.activations import activation
from toysup.experiments.model import ModelSpec, Parameter, bias, parameters_of, weights
from toysup.sampling.samples import context_inputs
from toysup.storage.validation import check

Small = Callable[..., toysup.Experiment]

CONTEXTS = {"regime__contexts": ["a", "b", "c"], "regime__context_input": "one-hot"}
FLAG = {"regime__contexts": ["a", "b"], "regime__context_input": "flag"}
UNTIED: dict[str, object] = {"model__tied": False}
ARCHITECTURES: dict[str, dict[str, object]] = {
    "tied": {},
    "no biases": {"model__biases": False},
    "tied, seen": CONTEXTS,
    "tied, bent": {"model__hidden_activation": "tanh", "model__activation": "gelu"},
    "untied": UNTIED,
    "untied, seen": {**UNTIED, **FLAG},
    "deep": {**UNTIED, "model__encoder_layers": [5, 4], "model__decoder_layers": [7]},
    "deep, no biases": {
        **UNTIED,
        "model__encoder_layers": [5],
        "model__decoder_layers": [4, 5],
        "model__biases": False,
    },
    "deep, seen, bent": {
        **UNTIED,
        **CONTEXTS,
        "model__encoder_layers": [5, 4],
        "model__layer_activation": "tanh",
        "model__hidden_activation": "abs",
    },
    "z": {**UNTIED, **FLAG, "regime__target": "z", "model__encoder_layers": [5], "model__decoder_layers": [4]},
}


def plain_states(model: ModelSpec, p: dict[str, Tensor], x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden state and the output before its activation of one sample x (feature,), layer by layer."""

    def affine(name: str, state: Tensor) -> Tensor:
        rows = []
        for r, row in enumerate(p[name]):
            total = sum(w * s for w, s in zip(row, state, strict=True))
            if f"{name}_context" in p:
                total = total + sum(w * s for w, s in zip(p[f"{name}_context"][r], seen, strict=True))
            if model.biases and (name == "W_out" or name.endswith("_W")):
                total = total + p["b" if name == "W_out" else name.removesuffix("W") + "b"][r]
            rows.append(total)
        return torch.stack(rows)

    inner, state = activation(model.layer_activation), x
    for k, _ in enumerate(model.encoder_layers, start=1):
        state = inner(affine(f"encoder_{k}_W", state))
    hidden = state = activation(model.hidden_activation)(affine("W", state))
    for k, _ in enumerate(model.decoder_layers, start=1):
        state = inner(affine(f"decoder_{k}_W", state))
    if not model.tied:
        return hidden, affine("W_out", state)
    before = torch.stack([sum(p["W"][h, i] * state[h] for h in range(len(state))) for i in range(len(x))])
    return hidden, before + p["b"] if model.biases else before


def random_models(small: Small, count: int, **changes: object) -> tuple[toysup.Condition, dict[str, Tensor]]:
    """A condition, and parameters of `count` models, none of them 0."""
    condition = small(**changes).conditions[0]
    generator = torch.Generator().manual_seed(3)
    shapes = parameters_of(condition.model, condition.regimes()[0])
    own = {
        name: torch.randn(count, *parameter.shape, generator=generator, dtype=torch.float64) / 2
        for name, parameter in shapes.items()
    }
    return condition, own


def random_samples(condition: toysup.Condition, *leading: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(*leading, condition.model.n_features, generator=generator, dtype=torch.float64) - 0.3
    return x, torch.randint(len(condition.regimes()[0].contexts), leading, generator=generator)


def seen_of(condition: toysup.Condition, context: Tensor) -> Tensor:
    regime = condition.regimes()[0]
    return context_inputs(regime.context_input, context, len(regime.contexts), torch).double()


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_outputs_and_gradients_are_those_of_a_plain_model(small: Small, changes: dict[str, object]) -> None:
    condition, parameters = random_models(small, 2, **changes)
    regime, phi = condition.regimes()[0], activation(condition.model.activation)
    x, context = random_samples(condition, 2, 3)
    seen = seen_of(condition, context)
    target = torch.linspace(-1, 1, 2 * 3 * regime.n_outputs, dtype=torch.float64).reshape(2, 3, -1)
    importance = target.abs() + 0.1
    y = torch_engine.outputs(condition.model, parameters, x, seen)
    loss, gradients = loss_and_gradients(condition.model, parameters, x, seen, target, importance)
    for i in range(2):
        own = {name: value[i].clone().requires_grad_() for name, value in parameters.items()}
        rows = [phi(plain_states(condition.model, own, x[i, r], seen[i, r])[1]) for r in range(3)]
        torch.testing.assert_close(y[i], torch.stack(rows))
        expected = sum((importance[i, r] * (rows[r] - target[i, r]) ** 2).sum() for r in range(3)) / 3
        expected.backward()
        torch.testing.assert_close(loss[i], expected.detach())
        for name, value in own.items():
            torch.testing.assert_close(gradients[name][i], value.grad, msg=name)


def test_gradients_are_finite_differences(small: Small) -> None:
    condition, parameters = random_models(small, 1, **ARCHITECTURES["deep, seen, bent"])
    x, context = random_samples(condition, 1, 4)
    arguments = (x, seen_of(condition, context), x, torch.ones_like(x))
    _, gradients = loss_and_gradients(condition.model, parameters, *arguments)
    for name, value in parameters.items():
        for place in [(0,) * value.ndim, tuple(size - 1 for size in value.shape)]:
            losses = []
            for step in (1e-5, -1e-5):
                moved = {**parameters, name: value.clone()}
                moved[name][place] += step
                losses.append(loss_and_gradients(condition.model, moved, *arguments)[0].item())
            assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(gradients[name][place].item(), abs=1e-7)


def with_parameters(dataset: xr.Dataset, parameters: dict[str, Tensor]) -> xr.Dataset:
    """`dataset` of one step whose seeds have these parameters."""
    one = dataset.isel(step=-1)
    new = {name: (one[name].dims, value.numpy().astype(np.float32)) for name, value in parameters.items()}
    return one.assign(new)


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_modules_and_statistics_see_the_same_model(small: Small, tmp_path: Path, changes: dict[str, object]) -> None:
    condition, parameters = random_models(small, 2, **changes)
    tree = toysup.train(small(**changes), seeds=2)
    toysup.save_runs(tree, tmp_path)
    dataset = with_parameters(toysup.open_runs(tmp_path)["small/small"].to_dataset(), parameters)
    x, context = random_samples(condition, 5)
    seen = seen_of(condition, context)
    expected = torch_engine.outputs(condition.model, parameters, x[None], seen[None])
    found = Models(dataset, toysup.regime_of(dataset), ["seed"], np.float64).outputs(x.numpy(), context.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    for seed in range(2):
        module = toysup.to_module(dataset.sel(seed=seed))
        assert {name for name, _ in module.named_parameters()} == set(parameters)
        torch.testing.assert_close(module(x.float(), context), expected[seed].float(), atol=1e-5, rtol=1e-5)
        plain = plain_states(condition.model, {n: v[seed] for n, v in parameters.items()}, x[0], seen[0])
        for one, other in zip(module.states(x[0].float(), context[0]), plain, strict=True):
            torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)


def test_a_module_that_sees_its_context_asks_for_it(small: Small) -> None:
    dataset = toysup.train(small(**FLAG), seeds=1)["small/small"].to_dataset().isel(seed=0, step=-1)
    with pytest.raises(toysup.UsageError, match="sees its context"):
        toysup.to_module(dataset)(torch.zeros(2, 6))


def test_what_the_model_sees() -> None:
    context = torch.tensor([0, 1, 1])
    assert context_inputs("flag", context, 2, torch).tolist() == [[1], [-1], [-1]]
    assert context_inputs("one-hot", context, 3, torch).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert context_inputs(None, context, 3, torch).shape == (3, 0)
    for kind, array in itertools.product(("flag", "one-hot", None), ([0], [1, 0])):
        found = context_inputs(kind, np.array(array), 2, np)
        np.testing.assert_array_equal(found, context_inputs(kind, torch.tensor(array), 2, torch).numpy())


def test_conditions_are_paired_by_the_shapes_of_their_weights(small: Small) -> None:
    def start(seed: int = 7, **changes: object) -> dict[str, Any]:
        condition = small(**changes).conditions[0]
        return initial_parameters(condition.model, condition.regimes()[0], seed)

    deep = {**UNTIED, "model__encoder_layers": [5]}
    blind, flag, target = start(**deep), start(**deep, **FLAG), start(**deep, regime__values="signed")
    for name, value in blind.items():
        np.testing.assert_array_equal(flag[name], value)
        np.testing.assert_array_equal(target[name], value)
    assert set(flag) - set(blind) == {"encoder_1_W_context"}
    np.testing.assert_array_equal(start(**UNTIED)["W"], start()["W"])
    assert (start(8)["W"] != start()["W"]).all()
    # A flag and a blind model of one shape also see the same samples, so at first they are one model.
    x, context = random_samples(small(**deep, **FLAG).conditions[0], 1, 5)
    pair = []
    for parameters, changes in ((blind, deep), (flag, {**deep, **FLAG})):
        condition = small(**changes).conditions[0]
        own = {name: torch.tensor(value, dtype=torch.float64)[None] for name, value in parameters.items()}
        pair.append(torch_engine.outputs(condition.model, own, x, seen_of(condition, context)))
    torch.testing.assert_close(*pair, rtol=0, atol=0)


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_parameter_is_stored_with_its_dims_and_required(small: Small, changes: dict[str, object]) -> None:
    (condition,) = small(**changes).conditions
    dataset = toysup.train(small(**changes), seeds=2)["small/small"].to_dataset()
    for name, parameter in parameters_of(condition.model, condition.regimes()[0]).items():
        assert dataset[name].dims == ("seed", "step", *parameter.dims)
        assert dataset[name].shape == (2, 3, *parameter.shape)
        assert dataset[name].attrs == {"long_name": parameter.long_name, "units": "1"}
        assert np.isfinite(dataset[name]).all()
        moved = (dataset[name].isel(step=-1) != dataset[name].isel(step=0)).mean()
        assert moved > 0.2, name
        with pytest.raises(toysup.ToysupError, match=f"here: damaged: the variable {name} is missing"):
            check(dataset.drop_vars(name), where="here")
        wider = dataset.drop_vars([other for other in dataset.coords if parameter.dims[-1] in dataset[other].dims])
        with pytest.raises(toysup.ToysupError, match=r"here: damaged: .* has 2 entries"):
            check(wider.isel({parameter.dims[-1]: [0, 0]}), where="here")


def gained(model: ModelSpec, regime: toysup.Regime) -> dict[str, Parameter]:
    return {
        "W": weights(("hidden", model.n_hidden), ("feature", model.n_features), "weights onto the hidden state"),
        "gain": Parameter(("feature",), (model.n_features,), 1.0, "gain of each output"),
        "b": bias(("feature", model.n_features), "output bias"),
    }


def gained_forward(model: ModelSpec, p: dict[str, Tensor], x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    hidden = x @ p["W"].mT
    return hidden, p["gain"] * (hidden @ p["W"]) + p["b"]


@pytest.fixture
def gain(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registered architecture, until the test ends."""
    monkeypatch.setattr(architectures, "_ARCHITECTURES", dict(architectures._ARCHITECTURES))
    toysup.register_model("gain", gained, gained_forward)
    return "gain"


def test_a_model_of_ones_own_trains_and_comes_back(
    small: Small, gain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = small(model__architecture=gain)
    runs = toysup.train(experiment, seeds=2)
    toysup.save_runs(runs, tmp_path)
    dataset = toysup.open_runs(tmp_path)["small/small"].to_dataset()
    assert dataset.attrs["engine"] == "torch"
    assert dataset.gain.dims == ("seed", "step", "feature")
    one = dataset.isel(seed=1, step=-1)
    x = torch.rand(4, 6)
    W, own, b = (torch.tensor(one[name].values) for name in ("W", "gain", "b"))
    torch.testing.assert_close(toysup.to_module(one)(x), torch.relu(own * (x @ W.T @ W) + b))
    assert np.isfinite(toysup.analysis.expected_loss(dataset, n_samples=50)).all()
    G = toysup.analysis.linear_response(one).G
    np.testing.assert_allclose(G, own[:, None] * (W.T @ W), atol=1e-6)
    # Where nobody has registered it, its file says so in one line.
    monkeypatch.setattr(architectures, "_ARCHITECTURES", {"autoencoder": architectures._ARCHITECTURES["autoencoder"]})
    with pytest.raises(toysup.UsageError, match=r"small\.nc: no architecture 'gain'.*register_model") as caught:
        toysup.open_runs(tmp_path)
    assert "\n" not in str(caught.value)


def test_names_of_architectures_are_their_own(small: Small, gain: str) -> None:
    toysup.register_model(gain, gained, gained_forward)
    with pytest.raises(toysup.UsageError, match="'gain' already"):
        toysup.register_model(gain, gained, lambda *_: (None, None))
    with pytest.raises(toysup.UsageError, match="'autoencoder' already"):
        toysup.register_model("autoencoder", gained, gained_forward)
    with pytest.raises(toysup.UsageError, match="no architecture 'gian'; did you mean gain"):
        small(model__architecture="gian")
