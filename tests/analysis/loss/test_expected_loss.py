"""Losses: the identity of the post, closed forms, and sums of parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

import toysup
from toysup import analysis

Small = Callable[..., toysup.Experiment]


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
    fixed = analysis.expected_loss(models, n_samples=500)
    conditional = analysis.expected_loss(models, dataset_of(trained, "conditional"), n_samples=500)
    np.testing.assert_allclose(total(conditional), total(fixed) / 2, rtol=1e-6)


def test_conditional_loss_is_half_the_fixed_loss_for_trained_models() -> None:
    example = toysup.open_example("conditional-importance")["conditional-importance"]
    fixed, conditional = (example[name].to_dataset().isel(step=-1) for name in ("fixed", "conditional"))
    for models in (fixed, conditional):
        halves = total(analysis.expected_loss(models, conditional)) / total(analysis.expected_loss(models, fixed))
        np.testing.assert_allclose(halves, 0.5, rtol=1e-6)


def test_antipodal_pairs_across_the_subsets_have_no_anticorrelated_loss(trained: xr.DataTree) -> None:
    W = np.hstack([np.eye(10), -np.eye(10)])
    models = with_weights(dataset_of(trained, "anticorrelated"), W, np.zeros(20))
    assert total(analysis.expected_loss(models)) == 0
    assert total(analysis.expected_loss(models, dataset_of(trained, "fixed"))) > 0.01


def test_predicting_zero_loses_the_second_moment(trained: xr.DataTree) -> None:
    # E x² = p/3 for a feature that is active with probability p and then U[0,1].
    models = with_weights(dataset_of(trained, "fixed"), np.zeros((10, 20)), np.zeros(20))
    parts = analysis.expected_loss(models, n_samples=200_000)
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
    loss = total(analysis.expected_loss(models, n_samples=400_000))
    np.testing.assert_allclose(loss, 1.3 * 0.4**2 / 6, rtol=0.02)


def test_losses_equal_the_module_on_plainly_drawn_samples(trained: xr.DataTree) -> None:
    import torch

    dataset = dataset_of(trained, "conditional").sel(seed=1).isel(step=-1)
    regime = toysup.regime_of(dataset)
    x, context = toysup.sample(regime, 99, np.arange(100_000))
    with torch.no_grad():
        y = toysup.to_module(dataset)(torch.tensor(x)).numpy()
    plain = (regime.importance[context] * (y - x) ** 2).sum(axis=1)
    error = plain.std() / np.sqrt(len(plain))
    assert abs(float(analysis.expected_loss(dataset).sum()) - plain.mean()) < 4 * error * np.sqrt(1 + 100_000 / 20_000)


def test_the_activation_is_the_models_own() -> None:
    import torch

    changes = {"model.activation": "identity", "training.steps": 5, "regime.feature_probability": 0.5}
    tree = toysup.train(toysup.load_experiment("tms-intro", changes=changes), seeds=1)
    dataset = tree["tms-intro/tms-intro"].to_dataset().isel(seed=0, step=-1)
    x, _ = toysup.sample(toysup.regime_of(dataset), 99, np.arange(50_000))
    with torch.no_grad():
        y = toysup.to_module(dataset)(torch.tensor(x)).numpy()
    assert (y < 0).any()
    plain = (toysup.regime_of(dataset).importance * (y - x) ** 2).sum(axis=1).mean()
    assert float(analysis.expected_loss(dataset).sum()) == pytest.approx(plain, rel=0.03)


def test_models_are_evaluated_on_samples_that_no_training_sees() -> None:
    from toysup.analysis.loss.samples import EVALUATION_SEED

    with pytest.raises(toysup.UsageError, match="distinct integers"):
        toysup.train("conditional-importance", seeds=[EVALUATION_SEED])


def test_leading_dims_and_sweeps(swept: xr.DataTree) -> None:
    dataset = swept["tms-intro/tms-intro"].to_dataset()
    parts = analysis.expected_loss(dataset, n_samples=300)
    assert parts.dims == ("feature_probability", "seed", "step", "context", "feature")
    cell = dataset.sel(feature_probability=0.05)
    alone = analysis.expected_loss(cell, n_samples=300)
    np.testing.assert_allclose(parts.sel(feature_probability=0.05), alone)
    turned = analysis.expected_loss(dataset.transpose("step", "seed", ...), n_samples=300)
    np.testing.assert_allclose(turned.transpose(*parts.dims), parts, rtol=1e-5)
    # Models of one cell under the regime of another.
    other = analysis.expected_loss(dataset.sel(feature_probability=0.5), cell, n_samples=300)
    assert other.dims == ("seed", "step", "context", "feature")
    with pytest.raises(toysup.UsageError, match="varies along feature_probability"):
        analysis.expected_loss(cell, dataset)


@pytest.mark.parametrize("n_hidden", [1, 2])
def test_company_changes_no_bit_of_a_loss(small: Small, n_hidden: int) -> None:
    """Models lie in other parts, on other threads, and one may be left over."""
    experiment = small(model__n_features=20, model__n_hidden=n_hidden, regime__feature_probability=0.2)
    dataset = toysup.train(experiment, seeds=29)["small/small"].to_dataset().isel(step=-1)
    whole = analysis.expected_loss(dataset, by_batch=True)
    for count in (1, 2, 25, 26):
        some = analysis.expected_loss(dataset.isel(seed=slice(29 - count, None)), by_batch=True)
        np.testing.assert_array_equal(some.values, whole.values[29 - count :])


def test_models_with_other_inputs_are_refused(trained: xr.DataTree) -> None:
    with pytest.raises(toysup.UsageError, match="different numbers of features: 20 and 40"):
        analysis.expected_loss(dataset_of(trained, "fixed"), dataset_of(trained, "split-40"))


DEEP = {
    "regime__contexts": ["a", "b", "c"],
    "regime__subsets": {"a": "1-2", "b": "3-4", "c": "5-6"},
    "model__tied": False,
    "model__encoder_layers": [8],
    "model__decoder_layers": [7],
}
RULE = {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}, "regime__outside_importance": 0.0}
ON_PLAIN_SAMPLES: dict[str, dict[str, object]] = {
    "deep": {**DEEP, "regime__outside_importance": 0.0},
    "seen": {**DEEP, "regime__outside_importance": 0.2, "regime__context_input": "one-hot"},
    "rule on the sum": {**RULE, "regime__context_rule": "sum(x) > median"},
    "rule on a feature": {**RULE, "regime__context_rule": "x_2 > 0.3", "regime__values": "signed"},
    "unequal contexts": {
        "regime__context_probability": {"a": 0.8, "b": 0.2},
        "regime__activation_probability": [[0.1, 0.9, 0.5, 0.5, 0.2, 0.3], [0.7, 0.2, 0.5, 0.5, 0.9, 0.0]],
    },
    "abs": {"regime__values": "signed", "regime__target": "abs"},
    "z": {**DEEP, "regime__target": "z", "regime__outside_importance": 0.3},
    "z, seen": {**DEEP, "regime__target": "z", "regime__context_input": "one-hot"},
    "groups": {"regime__together": ["1-3"], "regime__exclusive": ["4-5"], "regime__correlation": 0.5},
}


def small_dataset(small: Small, **changes: object) -> xr.Dataset:
    """Two seeds at the last step, with weights far from those that they started with, and biases."""
    dataset = toysup.train(small(**changes), seeds=2)["small/small"].to_dataset().isel(step=-1)
    generator = np.random.default_rng(0)
    own = {name: variable for name, variable in dataset.data_vars.items() if variable.dtype == np.float32}
    return dataset.assign(
        {name: v + np.float32(0.3) * generator.normal(size=v.shape).astype("f") for name, v in own.items()}
    )


@pytest.mark.parametrize("changes", ON_PLAIN_SAMPLES.values(), ids=ON_PLAIN_SAMPLES)
def test_losses_equal_plain_samples(small: Small, changes: dict[str, object]) -> None:
    import torch

    dataset = small_dataset(small, **changes)
    regime = toysup.regime_of(dataset)
    x, context = toysup.sample(regime, 99, np.arange(60_000))
    count, n = len(x), 6
    if regime.target == "z":
        # One output for each context and feature: x_i where it is that context, else 0; each weighs as in its context.
        target = np.zeros((count, len(regime.contexts), n), dtype=x.dtype)
        target[np.arange(count), context] = x
        weight = np.broadcast_to(regime.importance, target.shape)
    else:
        target = (np.abs(x) if regime.target == "abs" else x)[:, None]
        weight = regime.importance[context][:, None]
    parts = analysis.expected_loss(dataset, n_samples=60_000)
    assert parts.dims == ("seed", "context", "feature")
    for seed in range(2):
        with torch.no_grad():
            y = toysup.to_module(dataset.sel(seed=seed))(torch.tensor(x), torch.tensor(context)).numpy()
        plain = (weight * (y.reshape(target.shape) - target) ** 2).sum(axis=1)
        for c, name in enumerate(regime.contexts):
            own = plain * (context == c)[:, None]
            error = own.std(axis=0) * np.sqrt(2 / count)
            assert (np.abs(parts.sel(seed=seed, context=name) - own.mean(axis=0)) <= 4.5 * error).all()


def test_conditional_loss_is_half_the_fixed_loss_at_any_depth(small: Small) -> None:
    """Of whatever does not see the context, where the subsets are each context's own and equally likely."""
    two = {**DEEP, "regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}}
    fixed = small_dataset(small, **two)
    conditional = small_dataset(small, **two, regime__outside_importance=0.0)
    for models in (fixed, conditional):
        halves = total(analysis.expected_loss(models, conditional, n_samples=500)) / total(
            analysis.expected_loss(models, fixed, n_samples=500)
        )
        np.testing.assert_allclose(halves, 0.5, rtol=1e-6)
    # A model that sees it gives other outputs in each context, and the law ends.
    seen = {"regime__context_input": "flag"}
    flag, other = (small_dataset(small, **two, **seen, regime__outside_importance=mu) for mu in (1.0, 0.0))
    halves = total(analysis.expected_loss(flag, other, n_samples=500)) / total(
        analysis.expected_loss(flag, n_samples=500)
    )
    assert (np.abs(halves - 0.5) > 1e-4).all()


def test_a_context_that_never_comes_costs_nothing(small: Small) -> None:
    dataset = small_dataset(small, regime__context_probability={"never": 0.0, "always": 1.0})
    parts = analysis.expected_loss(dataset, n_samples=200)
    assert (parts.sel(context="never") == 0).all()
    assert (parts.sel(context="always").sum("feature") > 0).all()


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({}, {"model__n_features": 7}, "different numbers of features: 6 and 7"),
        ({**DEEP, "regime__context_input": "one-hot"}, DEEP, "different inputs of the context"),
        (
            {**DEEP, "regime__target": "z"},
            {**DEEP, "regime__target": "z", "regime__contexts": ["b", "a", "c"]},
            "different contexts",
        ),
        ({}, {"regime__values": "signed"}, "different laws of values: uniform and signed"),
        ({"regime__values": "signed"}, {"regime__values": "signed", "regime__target": "abs"}, "different targets"),
    ],
)
def test_models_are_compared_where_inputs_and_outputs_are_the_same(
    small: Small, one: dict, other: dict, words: str
) -> None:
    from toysup.analysis.loss.evaluation import comparable

    ours, theirs = small_dataset(small, **one), small_dataset(small, **other)
    assert comparable(ours, ours)
    assert not comparable(ours, theirs)
    with pytest.raises(toysup.UsageError, match=words):
        analysis.expected_loss(ours, theirs, n_samples=10)


def test_a_rule_and_its_controls_are_compared(small: Small) -> None:
    deducible, coin = small_dataset(small, **ON_PLAIN_SAMPLES["rule on the sum"]), small_dataset(small, **RULE)
    for models in (deducible, coin):
        for under in (deducible, coin):
            assert np.isfinite(analysis.expected_loss(models, under, n_samples=100)).all()


def test_conditions_that_share_only_some_cells_are_drawn(
    run_train: Callable[..., Result], run_analyze: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "e.toml").write_text(
        """
        name = "e"
        model = { n_features = 4, n_hidden = 2 }
        training = { steps = 4, batch_size = 8 }
        regime = { feature_probability = 0.2 }
        condition = [
            { name = "a", training.learning_rate = [1e-3, 3e-3], regime.feature_probability = [0.1, 0.2] },
            { name = "b", training.learning_rate = [3e-3, 1e-2], regime.feature_probability = [0.2, 0.3] },
        ]
        """
    )
    assert run_train(tmp_path / "e.toml", "-o", tmp_path / "runs", "--seeds", 2, "-q").exit_code == 0
    result = run_analyze("losses", tmp_path / "runs")
    assert result.exit_code == 0, result.output
