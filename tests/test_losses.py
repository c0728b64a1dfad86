"""Losses: the identity of the post, closed forms, and sums of parts."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import toysup
from toysup import analysis


def dataset_of(trained: xr.DataTree, condition: str) -> xr.Dataset:
    return trained[f"conditional-importance/{condition}"].to_dataset()


def with_weights(dataset: xr.Dataset, W: np.ndarray, b: np.ndarray) -> xr.Dataset:
    one = dataset.isel(seed=[0], step=-1)
    return one.assign(W=(one.W.dims, W[None].astype(np.float32)), b=(one.b.dims, b[None].astype(np.float32)))


def total(parts: xr.DataArray) -> np.ndarray:
    return parts.sum(("context", "feature")).values


@given(st.integers(0, 10**6), st.floats(0.01, 3))
@settings(max_examples=25, deadline=None)
def test_conditional_loss_is_half_the_fixed_loss_for_random_models(
    trained: xr.DataTree, seed: int, scale: float
) -> None:
    generator = np.random.default_rng(seed)
    W, b = scale * generator.normal(size=(10, 20)), scale * generator.normal(size=20)
    models = with_weights(dataset_of(trained, "fixed"), W, b)
    fixed = analysis.losses(models, n_samples=500)
    conditional = analysis.losses(models, dataset_of(trained, "conditional"), n_samples=500)
    np.testing.assert_allclose(total(conditional), total(fixed) / 2, rtol=1e-6)


def test_conditional_loss_is_half_the_fixed_loss_for_trained_models() -> None:
    example = toysup.open_example("conditional-importance")["conditional-importance"]
    fixed, conditional = (example[name].to_dataset().isel(step=-1) for name in ("fixed", "conditional"))
    for models in (fixed, conditional):
        halves = total(analysis.losses(models, conditional)) / total(analysis.losses(models, fixed))
        np.testing.assert_allclose(halves, 0.5, rtol=1e-6)


def test_antipodal_pairs_across_the_subsets_have_no_anticorrelated_loss(trained: xr.DataTree) -> None:
    W = np.hstack([np.eye(10), -np.eye(10)])
    models = with_weights(dataset_of(trained, "anticorrelated"), W, np.zeros(20))
    assert total(analysis.losses(models)) == 0
    assert total(analysis.losses(models, dataset_of(trained, "fixed"))) > 0.01


def test_predicting_zero_loses_the_second_moment(trained: xr.DataTree) -> None:
    # E x² = p/3 for a feature that is active with probability p and then U[0,1].
    models = with_weights(dataset_of(trained, "fixed"), np.zeros((10, 20)), np.zeros(20))
    parts = analysis.losses(models, n_samples=200_000)
    regime = toysup.regime_of(models)
    expected = 0.5 * regime.importance * 0.15 / 3
    np.testing.assert_allclose(parts.isel(seed=0), expected, rtol=0.03)
    np.testing.assert_allclose(total(parts), expected.sum(), rtol=0.01)


def test_two_antipodal_features_in_one_dimension() -> None:
    # FACTS: antipodal with b = 0 loses (1 + I) p²/6; only samples with both features active are wrong.
    text = {
        "model.n_features": 2,
        "model.n_hidden": 1,
        "regime.feature_probability": 0.4,
        "regime.importance": [1, 0.3],
    }
    experiment = toysup.load_experiment("tms-intro", changes=text | {"training.steps": 1})
    dataset = toysup.train(experiment, seeds=1)["tms-intro/tms-intro"].to_dataset()
    models = with_weights(dataset, np.array([[1.0, -1.0]]), np.zeros(2))
    loss = total(analysis.losses(models, n_samples=400_000))
    np.testing.assert_allclose(loss, 1.3 * 0.4**2 / 6, rtol=0.02)


def test_losses_equal_the_module_on_plainly_drawn_samples(trained: xr.DataTree) -> None:
    dataset = dataset_of(trained, "conditional").sel(seed=1).isel(step=-1)
    regime = toysup.regime_of(dataset)
    x, context = toysup.sample(regime, 99, np.arange(100_000))
    with torch.no_grad():
        y = toysup.to_module(dataset)(torch.tensor(x)).numpy()
    plain = (regime.importance[context] * (y - x) ** 2).sum(axis=1)
    error = plain.std() / np.sqrt(len(plain))
    assert abs(float(analysis.losses(dataset).sum()) - plain.mean()) < 4 * error * np.sqrt(1 + 100_000 / 20_000)


def test_the_activation_is_the_models_own() -> None:
    changes = {"model.activation": "identity", "training.steps": 5, "regime.feature_probability": 0.5}
    tree = toysup.train(toysup.load_experiment("tms-intro", changes=changes), seeds=1)
    dataset = tree["tms-intro/tms-intro"].to_dataset().isel(seed=0, step=-1)
    x, _ = toysup.sample(toysup.regime_of(dataset), 99, np.arange(50_000))
    with torch.no_grad():
        y = toysup.to_module(dataset)(torch.tensor(x)).numpy()
    assert (y < 0).any()
    plain = (toysup.regime_of(dataset).importance * (y - x) ** 2).sum(axis=1).mean()
    assert float(analysis.losses(dataset).sum()) == pytest.approx(plain, rel=0.03)


def test_models_are_evaluated_on_samples_that_no_training_sees() -> None:
    from toysup.analysis.losses import EVALUATION, EVALUATION_SEED
    from toysup.sampling import sample_words

    seen = sample_words(EVALUATION_SEED, "feature", np.arange(100), 4)
    assert not np.intersect1d(seen, sample_words(EVALUATION_SEED, EVALUATION, np.arange(100), 4)).size


def test_leading_dims_and_sweeps(swept: xr.DataTree) -> None:
    dataset = swept["tms-intro/tms-intro"].to_dataset()
    parts = analysis.losses(dataset, n_samples=300)
    assert parts.dims == ("feature_probability", "seed", "step", "context", "feature")
    cell = dataset.sel(feature_probability=0.05)
    alone = analysis.losses(cell, n_samples=300)
    np.testing.assert_allclose(parts.sel(feature_probability=0.05), alone)
    turned = analysis.losses(dataset.transpose("step", "seed", ...), n_samples=300)
    np.testing.assert_allclose(turned.transpose(*parts.dims), parts, rtol=1e-5)
    # Models of one cell under the regime of another.
    other = analysis.losses(dataset.sel(feature_probability=0.5), cell, n_samples=300)
    assert other.dims == ("seed", "step", "context", "feature")
    with pytest.raises(toysup.UsageError, match="varies along feature_probability"):
        analysis.losses(cell, dataset)


def test_models_with_other_inputs_are_refused(trained: xr.DataTree) -> None:
    with pytest.raises(toysup.UsageError, match="20 features cannot be evaluated under a regime with 40"):
        analysis.losses(dataset_of(trained, "fixed"), dataset_of(trained, "split-40"))
