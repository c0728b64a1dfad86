"""How losses are evaluated: what is exact, what is sampled and how accurately, and without torch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import toysup
from toysup import analysis, theory
from toysup.analysis.loss import sampled_losses
from toysup.analysis.loss.expected_loss import expected_losses
from toysup.analysis.loss.samples import CommonSamples, sampled_from

Small = Callable[..., toysup.Experiment]
HIDDEN_RELU = {"model__tied": False, "model__hidden_activation": "relu"}


def untrained(small: Small, seeds: int, **changes: object) -> xr.Dataset:
    experiment = small(**{"training__steps": 1, "record__steps": [0]} | changes)
    return toysup.train(experiment, seeds=seeds)["small/small"].to_dataset().isel(step=-1)


def octahedra(small: Small, p: float, *, sampled: bool) -> xr.Dataset:
    """Six octahedra that pair different features: equal losses of p². Sampled ones have six hidden ReLUs."""
    changes = {"regime__feature_probability": p, "regime__importance": [1] * 6, "model__n_hidden": 6 if sampled else 3}
    dataset = untrained(small, 6, **changes, **(HIDDEN_RELU if sampled else {}))
    dataset = dataset.assign(b=0 * dataset.b)
    W, rng = np.zeros((6, 3, 6), "f"), np.random.default_rng(0)
    for k in range(6):
        first, second = rng.permutation(6).reshape(2, 3)
        W[k, range(3), first], W[k, range(3), second] = 1, -1
    if not sampled:
        return dataset.assign(W=(dataset.W.dims, W))
    turned = W.swapaxes(1, 2)
    both = {"W": np.concatenate([W, -W], axis=1), "W_out": np.concatenate([turned, -turned], axis=2)}
    return dataset.assign({name: (dataset[name].dims, values) for name, values in both.items()})


@pytest.mark.parametrize("p", [0.01, 0.05, 0.15])
def test_octahedra_that_pair_different_features_lose_the_same(small: Small, p: float) -> None:
    loss = analysis.expected_loss(octahedra(small, p, sampled=False)).sum(["context", "feature"])
    np.testing.assert_allclose(loss, p**2, rtol=1e-6)


@pytest.mark.parametrize("p", [0.01, 0.05, 0.15])
def test_samples_are_doubled_until_the_error_is_small(small: Small, monkeypatch: pytest.MonkeyPatch, p: float) -> None:
    monkeypatch.setattr(sampled_losses, "ACCURACY", 0.015)
    loss = analysis.expected_loss(octahedra(small, p, sampled=True), by_batch=True).sum(["context", "feature"])
    error = analysis.sampling_error(loss)
    assert (error > 0).all()
    assert (error <= sampled_losses.ACCURACY * loss.mean("batch")).all()
    assert (abs(loss.mean("batch") - p**2) <= 5 * error).all()


def test_at_the_cap_doubling_ends(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = octahedra(small, 0.15, sampled=True)
    monkeypatch.setattr(sampled_losses, "ACCURACY", 1e-9)
    monkeypatch.setattr(sampled_losses, "MOST_SAMPLES", sampled_losses.FEWEST_SAMPLES)
    fewest = analysis.expected_loss(dataset)
    np.testing.assert_array_equal(fewest, analysis.expected_loss(dataset, n_samples=sampled_losses.FEWEST_SAMPLES))


@pytest.mark.parametrize("groups", [{}, {"regime__together": ["1-3"], "regime__correlation": 0.5}])
@pytest.mark.parametrize("p", [0.01, 0.3])
def test_no_linear_model_loses_less_than_the_best_linear_map(small: Small, p: float, groups: dict) -> None:
    """Not even the best one itself, which keeps the features of largest I Var(x)."""
    changes = {"model__activation": "identity", "regime__feature_probability": p, "regime__importance_decay": 0.8}
    dataset = untrained(small, 3, **changes, **groups)
    best = np.zeros((3, 6), "f")
    best[range(3), range(3)] = 1
    bias = np.where(np.arange(6) < 3, 0, p / 2).astype("f")
    dataset = dataset.assign(
        W=(dataset.W.dims, np.concatenate([best[None], dataset.W.values[1:]])),
        b=(dataset.b.dims, np.concatenate([bias[None], dataset.b.values[1:]])),
    )
    loss = analysis.expected_loss(dataset).sum(["context", "feature"])
    linear = analysis.loss_references(dataset).loss.sel(reference="linear")
    assert (loss >= linear * (1 - 1e-6)).all()
    if not groups:
        assert float(loss[0]) == pytest.approx(float(linear), rel=1e-6)


def test_untied_and_seen_contexts_and_z_are_exact_too(small: Small) -> None:
    base = {"model__tied": False, "regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}}
    for more in ({}, {"regime__context_input": "flag"}, {"regime__target": "z"}):
        loss = analysis.expected_loss(untrained(small, 2, **base, **more), by_batch=True)
        np.testing.assert_array_equal(analysis.sampling_error(loss), 0)


def test_most_samples_have_the_least_number_active(small: Small) -> None:
    regime = theory.one_context(0.05, np.ones(6))
    assert sampled_from(regime, 0, 2) == 2
    (points,) = CommonSamples(regime, 0, 2).batch(0, 0, 512)
    assert points.active.min() == 2
    # Where most samples have that many anyway, they are drawn as in training.
    assert sampled_from(theory.one_context(0.5, np.ones(6)), 0, 2) == 0


def test_very_many_features_are_evaluated(small: Small) -> None:
    """More than a Sobol' sequence has dimensions."""
    changes = {"model__n_features": 21_300, "regime__importance": [1.0] * 21_300, "regime__feature_probability": 1e-4}
    dataset = untrained(small, 1, **changes, model__n_hidden=2, training__batch_size=1)
    dataset = dataset.assign(W=0 * dataset.W)
    loss = analysis.expected_loss(dataset, n_samples=160)
    assert loss.sizes["feature"] == 21_300
    assert float(loss.sum()) == pytest.approx(21_300 * 1e-4 / 3, rel=0.3)
    references = analysis.loss_references(dataset)
    assert float(references.loss.sel(reference="zero")) == pytest.approx(21_300 * 1e-4 / 3)
    assert "more than 2,000 features" in str(references.reason.sel(reference="linear").values)


def test_losses_and_claims_need_no_torch(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = None
import toysup
from toysup import analysis
runs = toysup.open_example("conditional-importance")
assert len(analysis.report.losses(runs, own=True, conditions=["fixed"]).table) == 1
assert len(analysis.report.claims(runs).table) == 13
fixed = runs["conditional-importance/fixed"].to_dataset().isel(step=-1, seed=[0])
analysis.loss_decomposition(fixed), analysis.loss_by_active(fixed), analysis.loss_references(fixed)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_registered_functions_say_that_they_need_torch(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    from toysup.experiments import activations

    toysup.register_activation("tripled", lambda a: 3 * a)
    dataset = untrained(small, 1, model__activation="tripled")
    try:
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(toysup.ToysupError, match=r"'tripled', which was registered, needs torch"):
            analysis.expected_loss(dataset)
    finally:
        activations._registered.pop("tripled")


def test_regimes_with_one_law_share_their_samples(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may need different numbers of them, and losses are as under each alone."""
    base = {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}, **HIDDEN_RELU}
    importances = (1.0, 0.3, 0.0)
    regimes = [untrained(small, 3, **base, regime__outside_importance=mu) for mu in importances]
    # Some of these need more samples than the first regime.
    other = untrained(small, 3, **base, regime__importance=[1, 0, 0, 0, 0, 0])
    unders = [*regimes, other, untrained(small, 3, **base, regime__feature_probability=0.3)]
    alone = [analysis.expected_loss(regimes[0], under, by_batch=True) for under in unders]
    drawn: list[tuple[int, int]] = []
    add = sampled_losses.SampledLosses._add

    def adding(self: sampled_losses.SampledLosses, members: np.ndarray, between: tuple[int, int], sums: object) -> None:
        drawn.extend([between] * len(members))
        add(self, members, between, sums)

    monkeypatch.setattr(sampled_losses.SampledLosses, "_add", adding)
    for found, expected in zip(expected_losses(regimes[0], unders, by_batch=True), alone, strict=True):
        xr.testing.assert_identical(found, expected)
    # Two laws and three models.
    assert drawn.count((0, sampled_losses.FEWEST_SAMPLES)) == 6
