"""Compiled layers: the outputs of the plain forward pass, and sums of their squared errors."""

from collections.abc import Callable

import numpy as np
import pytest

import toysup
from toysup.analysis.loss.decomposition import STAGES
from toysup.analysis.loss.networks import Network, layers_of
from toysup.analysis.loss.sampled_losses import targets_of
from toysup.analysis.statistics.forward_pass import Models
from toysup.sampling.samples import targets

Small = Callable[..., toysup.Experiment]
CONTEXTS = {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}}
DEEP = {"model__tied": False, "model__encoder_layers": [5, 9], "model__decoder_layers": [7]}
MODELS = {
    "tied": {},
    "untied without biases": {"model__tied": False, "model__biases": False, "model__hidden_activation": "gelu"},
    "deep": {**DEEP, "model__activation": "softplus", "model__layer_activation": "tanh"},
    "seen": {**CONTEXTS, **DEEP, "regime__context_input": "one-hot"},
    "flag": {**CONTEXTS, "model__tied": False, "regime__context_input": "flag", "model__activation": "sigmoid"},
    "z": {**CONTEXTS, **DEEP, "regime__target": "z"},
    "abs": {"regime__values": "signed", "regime__target": "abs", "model__activation": "leaky_relu"},
}


def models_of(small: Small, changes: dict[str, object], seeds: int = 5) -> Models:
    experiment = small(training__steps=1, record__steps=[0], **changes)
    dataset = toysup.train(experiment, seeds=seeds)["small/small"].to_dataset().isel(step=0)
    rng = np.random.default_rng(0)
    own = {name: v for name, v in dataset.data_vars.items() if v.dtype == np.float32 and "seed" in v.dims}
    dataset = dataset.assign({name: v + 0.3 * rng.normal(size=v.shape).astype("f") for name, v in own.items()})
    return Models(dataset, toysup.regime_of(dataset), ["seed"], np.float64).single()


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_errors_are_those_of_the_forward_pass(small: Small, changes: dict[str, object]) -> None:
    models = models_of(small, changes)
    regime = models.regime
    # More samples than are computed at once, and not a multiple of any width.
    x, _ = toysup.sample(regime, 3, np.arange(1003))
    share = np.random.default_rng(1).random((2, len(x)))
    for context in range(len(regime.contexts)):
        target = targets(regime.target, x, np.full(len(x), context), len(regime.contexts), np)
        errors = np.square(models.outputs(x, context) - target, dtype=np.float64)
        total = np.ones((len(models), 2, regime.n_outputs))
        Network(layers_of(models, context)).add_errors(slice(1, 4), x, share, targets_of(regime, context), total)
        expected = np.ones_like(total)
        expected[1:4] += share @ errors[1:4]
        np.testing.assert_allclose(total, expected, rtol=2e-5, atol=1e-6)


def test_company_and_zeros_change_no_bit(small: Small) -> None:
    models = models_of(small, MODELS["deep"], seeds=7)
    x, _ = toysup.sample(models.regime, 3, np.arange(700))
    network, wanted = Network(layers_of(models, 0)), targets_of(models.regime, 0)

    def summed(part: slice) -> np.ndarray:
        total = np.zeros((7, 1, 6))
        network.add_errors(part, x, np.ones((1, len(x))), wanted, total)
        return total[part]

    together = summed(slice(0, 7))
    for m in range(7):
        np.testing.assert_array_equal(summed(slice(m, m + 1)), together[m : m + 1])


def test_models_that_are_not_finite_have_no_finite_error(small: Small) -> None:
    models = models_of(small, {})
    models.parameters["W"][2] = np.nan
    total = np.zeros((5, 1, 6))
    x = np.ones((3, 6), "f")
    Network(layers_of(models, 0)).add_errors(slice(0, 5), x, np.ones((1, 3)), targets_of(models.regime, 0), total)
    assert np.isnan(total[2]).all()
    assert np.isfinite(total[[0, 1, 3, 4]]).all()


def test_the_stages_of_the_parts_are_layers_too(small: Small) -> None:
    models = models_of(small, {})
    x, _ = toysup.sample(models.regime, 3, np.arange(50))
    for layers, plain in zip(STAGES.layers(models, 0), STAGES.outputs(models, x, 0), strict=True):
        total = np.zeros((5, 1, 6))
        Network(layers).add_errors(slice(0, 5), x, np.ones((1, 50)), targets_of(models.regime, 0), total)
        np.testing.assert_allclose(total[:, 0], np.square(plain - x).sum(axis=1), rtol=1e-4, atol=1e-7)
