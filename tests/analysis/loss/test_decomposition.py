"""The parts of a loss, the loss by number of active features, and what samples leave uncertain."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

import toysup
from toysup import analysis, theory
from toysup.analysis.loss import samples

Small = Callable[..., toysup.Experiment]

REGIMES: dict[str, dict[str, object]] = {
    "one context": {},
    "leaky": {
        "regime__contexts": ["a", "b"],
        "regime__subsets": {"a": "1-3", "b": "4-6"},
        "regime__outside_probability": 0.2,
        "regime__outside_importance": 0.3,
    },
    "rule": {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3"}, "regime__context_rule": "x_2 > 0.1"},
    "abs": {"regime__values": "signed", "regime__target": "abs", "model__activation": "gelu"},
}


def moved(small: Small, **changes: object) -> xr.Dataset:
    """Two seeds with weights far from those that they started with, and biases."""
    dataset = toysup.train(small(**changes), seeds=2)["small/small"].to_dataset().isel(step=-1)
    rng = np.random.default_rng(0)
    noise = {name: np.float32(0.3) * rng.normal(size=dataset[name].shape).astype("f") for name in ("W", "b")}
    return dataset.assign({name: dataset[name] + array for name, array in noise.items()})


def with_weights(small: Small, W: list[list[float]], b: list[float], **changes: object) -> xr.Dataset:
    sizes = {"model__n_features": len(b), "model__n_hidden": len(W), "regime__importance": [1, 0.3][: len(b)]}
    dataset = toysup.train(small(**sizes | changes), seeds=1)["small/small"].to_dataset().isel(step=-1)
    return dataset.assign(W=(dataset.W.dims, np.array([W], "f")), b=(dataset.b.dims, np.array([b], "f")))


def by_part(dataset: xr.Dataset) -> dict[str, list[float]]:
    parts = analysis.loss_decomposition(dataset, n_samples=2**18).sum("context").isel(seed=0)
    return {str(part): parts.sel(part=part).values.tolist() for part in parts.part.values}


@pytest.mark.parametrize("changes", REGIMES.values(), ids=REGIMES)
def test_parts_and_numbers_sum_to_the_loss(small: Small, changes: dict[str, object]) -> None:
    dataset = moved(small, **changes)
    whole = analysis.expected_loss(dataset)
    parts, active = analysis.loss_decomposition(dataset), analysis.loss_by_active(dataset)
    assert parts.dims == ("seed", "part", "context", "feature")
    np.testing.assert_allclose(parts.sum("part"), whole, rtol=1e-6)
    np.testing.assert_allclose(active.loss.sum("active"), whole, rtol=1e-6)
    np.testing.assert_allclose(
        active.probability.sum("active"), toysup.regime_of(dataset).context_probability, atol=0.02
    )
    # A feature has a loss of its own kind: as one that is represented, or as one that is not.
    shown = analysis.represented(dataset.W)
    assert shown.any()
    assert not shown.all()
    assert (parts.sel(part="unrepresented").where(shown, 0) == 0).all()
    assert (parts.sel(part=["own", "interference", "bias"]).where(~shown, 0) == 0).all()


def test_parts_of_an_antipodal_pair(small: Small) -> None:
    # Alone, x_i is exact; together ReLU(x_i − x_j) is min(x_1, x_2) too low, whose square has mean p²/6.
    parts = by_part(with_weights(small, [[1, -1]], [0, 0]))
    assert parts["unrepresented"] == parts["own"] == parts["bias"] == [0, 0]
    assert parts["interference"] == pytest.approx([0.4**2 / 6, 0.3 * 0.4**2 / 6], rel=0.01)


def test_parts_of_features_of_other_lengths(small: Small) -> None:
    # G_11 = 0.81 leaves 0.19 x_1; the other feature, of squared norm 0.01, is not represented.
    dataset = with_weights(small, [[0.9, 0.1]], [0, 0.2])
    parts = by_part(dataset)
    assert parts["own"] == pytest.approx([0.19**2 * 0.4 / 3, 0], rel=0.01)
    # y_1 = 0.81 x_1 + 0.09 x_2: the error is 0.09 x_2 − 0.19 x_1, with means 0.2 of both.
    adds = 0.09**2 * 0.4 / 3 - 2 * 0.09 * 0.19 * 0.2 * 0.2
    assert parts["interference"] == pytest.approx([adds, 0], rel=0.02)
    assert parts["bias"] == pytest.approx([0, 0])
    whole = analysis.expected_loss(dataset, n_samples=2**18).sum("context").values[0]
    assert parts["unrepresented"] == pytest.approx([0, whole[1]])
    # With the threshold below, the second is represented as well.
    low = analysis.loss_decomposition(dataset, threshold=0.001)
    assert (low.sel(part="unrepresented") == 0).all()


def test_parts_of_a_bias(small: Small) -> None:
    # ReLU(x − 0.1) is 0.1 too low above 0.1, and x below: 0.4 (0.1² · 0.9 + 0.1³/3).
    parts = by_part(with_weights(small, [[1, 0], [0, 1]], [-0.1, 0]))
    assert parts["bias"] == pytest.approx([0.4 * (0.009 + 0.001 / 3), 0], rel=0.01)
    assert parts["own"] == parts["interference"] == [0, 0]
    # Of an antipodal pair that is a little too long, a negative bias may help.
    helped = by_part(with_weights(small, [[1.1, -1.1]], [-0.05, -0.05], regime__feature_probability=0.1))
    assert helped["bias"][0] < 0 < helped["own"][0]


def test_the_loss_of_few_active_features_is_the_theorys(small: Small) -> None:
    dataset = moved(small, **REGIMES["leaky"])
    regime = toysup.regime_of(dataset)
    loss = analysis.loss_by_active(dataset).loss.sum("context")
    exact = theory.loss_parts(dataset.W.values, dataset.b.values, regime)
    for number, expected in zip("012", exact[:3], strict=True):
        np.testing.assert_allclose(loss.sel(active=number), expected, rtol=1e-5, atol=1e-8, err_msg=number)


@pytest.mark.parametrize("kind", ["one context", "leaky"])
def test_so_many_features_are_active_as_independent_coins_say(small: Small, kind: str) -> None:
    dataset = moved(small, **REGIMES[kind])
    regime = toysup.regime_of(dataset)
    probability = analysis.loss_by_active(dataset).probability
    for c, context in enumerate(regime.contexts):
        counts = np.ones(1)
        for p in regime.activation_probability[c]:
            counts = np.convolve(counts, [1 - p, p])
        expected = regime.context_probability[c] * np.array([*counts[:5], counts[5:].sum()])
        np.testing.assert_allclose(probability.sel(context=context), expected, atol=0.005)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__tied": False}, "not y = φ"),
        ({"model__biases": False}, "not y = φ"),
        ({"model__hidden_activation": "relu"}, "not y = φ"),
        ({"regime__contexts": ["a", "b"], "regime__target": "z", "model__tied": False}, "target is z"),
    ],
)
def test_other_models_have_no_parts(small: Small, changes: dict[str, object], words: str) -> None:
    dataset = toysup.train(small(**changes), seeds=1)["small/small"].to_dataset().isel(step=-1)
    with pytest.raises(toysup.UsageError, match=f"the loss of small has no parts: .*{words}"):
        analysis.loss_decomposition(dataset)
    assert np.isfinite(analysis.loss_by_active(dataset, n_samples=64).loss).all()


def test_a_model_that_is_not_finite_has_none_either(small: Small) -> None:
    dataset = moved(small)
    dataset.W[1, 0, 0] = np.nan
    parts, active = analysis.loss_decomposition(dataset, n_samples=64), analysis.loss_by_active(dataset, n_samples=64)
    assert np.isnan(parts.isel(seed=1)).all()
    assert np.isfinite(parts.isel(seed=0)).all()
    assert np.isnan(active.loss.isel(seed=1).sum("active", skipna=False)).all()


def test_the_sampling_error_is_that_of_other_samples(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many sets of samples, the loss varies as the sampling error of each says."""
    dataset = moved(small, model__hidden_activation="relu")
    found, said = [], []
    for seed in range(40):
        monkeypatch.setattr(samples, "EVALUATION_SEED", seed)
        loss = analysis.expected_loss(dataset, n_samples=1024, by_batch=True).sum(["context", "feature"])
        difference = loss.isel(seed=0) - loss.isel(seed=1)
        values = xr.concat([loss.isel(seed=0), difference, loss.mean("seed")], "what")
        found.append(values.mean("batch"))
        said.append(analysis.sampling_error(values))
    spread = xr.concat(found, "set").std("set", ddof=1)
    expected = (xr.concat(said, "set") ** 2).mean("set") ** 0.5
    assert ((spread / expected > 0.65) & (spread / expected < 1.5)).all()


def test_evenly_spread_samples_vary_less_and_keep_the_mean(small: Small) -> None:
    """Of a model that is sampled, and whose output is 0."""
    dataset = moved(small, model__hidden_activation="relu")
    dataset = dataset.assign(W=0 * dataset.W, b=0 * dataset.b)
    regime = toysup.regime_of(dataset)
    loss = analysis.expected_loss(dataset, n_samples=2**14, by_batch=True).sum(["context", "feature"]).isel(seed=0)
    exact = float((regime.importance * regime.activation_probability / 3).sum())
    error = float(analysis.sampling_error(loss))
    assert error > 0
    assert abs(float(loss.mean()) - exact) <= 4 * error
    x, _ = toysup.sample(regime, 99, np.arange(2**15))
    plain = (regime.importance * x**2).sum(axis=1).std() / 2**7.5
    assert error < plain / 3


def test_batches_are_of_one_size(small: Small) -> None:
    dataset = moved(small, model__hidden_activation="relu")
    whole, batches = (
        analysis.expected_loss(dataset, n_samples=160),
        analysis.expected_loss(dataset, n_samples=160, by_batch=True),
    )
    np.testing.assert_allclose(batches.mean("batch"), whole, rtol=1e-12)
    assert batches.sizes["batch"] == 16
    with pytest.raises(toysup.UsageError, match="multiple of 16, got 100"):
        analysis.expected_loss(dataset, n_samples=100, by_batch=True)
    with pytest.raises(toysup.UsageError, match="at least 1, got 0"):
        analysis.expected_loss(dataset, n_samples=0)
    with pytest.raises(toysup.UsageError, match="batch"):
        analysis.sampling_error(whole)
    # With fewer samples than batches, or batches that are not full, a loss is still the mean over its samples.
    for count in (1, 10, 17, 100):
        assert np.isfinite(analysis.expected_loss(dataset, n_samples=count)).all()
