"""Responses, which stand for W and WᵀW, and what they say of a model that sees its context."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import toysup
from toysup import analysis
from toysup.analysis.statistics.forward_pass import Models

Small = Callable[..., toysup.Experiment]

FLAG = {
    "regime__contexts": ["a", "b"],
    "regime__subsets": {"a": "1-3", "b": "4-6"},
    "regime__context_input": "flag",
    "model__tied": False,
}
DEEP = {"model__tied": False, "model__encoder_layers": [12], "model__decoder_layers": [5]}


def dataset_with(small: Small, weights: dict[str, np.ndarray] | None = None, **changes: object) -> xr.Dataset:
    """Two seeds at the last step; with `weights`, both seeds have those and zero elsewhere."""
    dataset = toysup.train(small(**changes), seeds=2)["small/small"].to_dataset().isel(step=-1)
    if weights is None:
        return dataset
    own = [name for name, variable in dataset.data_vars.items() if variable.dtype == np.float32]
    assert set(weights) <= set(own)
    zero = {name: np.zeros(dataset[name].shape[1:]) for name in own}
    new = {name: np.stack([value] * 2).astype(np.float32) for name, value in (zero | weights).items()}
    return dataset.assign({name: (dataset[name].dims, value) for name, value in new.items()})


def test_a_tied_model_responds_with_its_weights(small: Small) -> None:
    dataset = toysup.train(small(), seeds=3)["small/small"].to_dataset()
    found = analysis.linear_response(dataset)
    np.testing.assert_array_equal(found.H, dataset.W)
    xr.testing.assert_equal(found.G, analysis.gram(dataset.W))
    assert found.G.dims == ("seed", "step", "feature", "other_feature")
    # The general way, through the forward pass, finds the same, at any value and whatever the bias.
    biased = dataset.isel(step=-1).assign(b=dataset.b.isel(step=-1) + 0.3)
    models = Models(biased, toysup.regime_of(biased), ["seed"], np.float64)
    for value in (1.0, -0.5):
        at = np.concatenate([value * np.eye(6), np.zeros((1, 6))])
        hidden, before = models.states(at, 0)
        np.testing.assert_allclose((hidden[:, :6] - hidden[:, 6:]).mT / value, found.H[:, -1], atol=1e-6)
        np.testing.assert_allclose((before[:, :6] - before[:, 6:]).mT / value, found.G[:, -1], atol=1e-6)


def test_a_tied_model_that_is_not_plain_goes_the_general_way(small: Small) -> None:
    """Without biases, or with a context that is seen, a linear hidden state still gives W and WᵀW."""
    for changes in ({"model__biases": False}, {**FLAG, "model__tied": True}):
        dataset = toysup.train(small(**changes), seeds=3)["small/small"].to_dataset()
        found = analysis.linear_response(dataset)
        H, G = dataset.W, analysis.gram(dataset.W)
        np.testing.assert_allclose(found.H, H.broadcast_like(found.H).transpose(*found.H.dims), atol=1e-6)
        np.testing.assert_allclose(found.G, G.broadcast_like(found.G).transpose(*found.G.dims), atol=1e-6)
        assert found.G.other_feature.values.tolist() == [1, 2, 3, 4, 5, 6]
        assert list(found.G.other_subset.values) == list(dataset.subset.values)
        assert ("context" in found.H.dims) == ("regime__contexts" in changes)
        for array in found.data_vars.values():
            assert array.dtype == np.float32
            assert array.attrs["units"] == "1"
            assert array.attrs["long_name"]


def test_an_untied_model_responds_with_the_product_of_its_weights(small: Small) -> None:
    dataset = dataset_with(small, model__tied=False)
    found = analysis.linear_response(dataset)
    np.testing.assert_allclose(found.H, dataset.W, atol=1e-6)
    product = dataset.W_out.values @ dataset.W.values
    np.testing.assert_allclose(found.G.transpose("seed", "feature", "other_feature"), product, atol=1e-6)


def test_a_deep_model_by_hand(small: Small) -> None:
    """The layer of ReLU passes x_j on where j < 3, and else the part of x_j above 1/2; outputs add up what comes by."""
    layer = np.vstack([np.eye(6), np.zeros((6, 6))])
    kink = np.where(np.arange(12) < 3, 0.0, -0.5)
    onto = np.hstack([np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 2, 0, 0], [0, 0, 0, 0, 1, -1]]), np.zeros((3, 6))])
    weights = {"encoder_1_W": layer, "encoder_1_b": kink, "W": onto, "decoder_1_W": np.eye(5, 3), "W_out": np.eye(6, 5)}
    dataset = dataset_with(small, weights, **DEEP)
    for value, above in [(1.0, 0.5), (2.0, 0.75), (0.4, 0.0)]:
        found = analysis.linear_response(dataset, value=value).isel(seed=0)
        H = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 2 * above, 0, 0], [0, 0, 0, 0, above, -above]])
        np.testing.assert_allclose(found.H, H, atol=1e-6)
        # The decoder's ReLU drops the negative response of the last hidden state.
        G = np.zeros((6, 6))
        G[:3] = np.maximum(H, 0)
        np.testing.assert_allclose(found.G, G, atol=1e-6)


def test_a_negative_value_asks_for_the_other_side(small: Small) -> None:
    weights = {"encoder_1_W": np.vstack([np.eye(6), -np.eye(6)]), "W": np.zeros((3, 12))}
    weights["W"][0, 0], weights["W"][1, 6] = 2, 3
    dataset = dataset_with(small, weights, **DEEP, regime__values="signed")
    # h_1 = 2 ReLU(x_1) and h_2 = 3 ReLU(−x_1): switching x_1 to −1 moves the second by 3, so by −3 per unit of x_1.
    both = analysis.linear_response(dataset)
    assert both.H.dims == ("seed", "value", "hidden", "feature")
    assert both.G.dims == ("seed", "value", "feature", "other_feature")
    assert both.value.values.tolist() == [1, -1]
    assert both.H.isel(seed=0, feature=0).values.tolist() == [[2, 0, 0], [0, -3, 0]]
    assert analysis.linear_response(dataset, value=1).H.isel(seed=0, feature=0).values.tolist() == [2, 0, 0]
    assert analysis.linear_response(dataset, value=-1).H.isel(seed=0, feature=0).values.tolist() == [0, -3, 0]
    for value in (0.0, np.inf, np.nan):
        with pytest.raises(toysup.UsageError, match="finite and non-zero, got"):
            analysis.linear_response(dataset, value=value)


def test_only_a_model_that_can_tell_signs_apart_responds_to_both(small: Small) -> None:
    signed, negative = {"regime__values": "signed"}, {"regime__values": -0.5}
    # What is linear up to the output activation responds alike to both signs, and what has one sign to that one alone.
    for changes in (signed, signed | {"model__tied": False}, DEEP, DEEP | negative):
        assert "value" not in analysis.linear_response(dataset_with(small, **changes)).dims
    dead_above = {"encoder_1_W": np.vstack([-np.eye(6), np.zeros((6, 6))]), "W": np.eye(3, 12)}
    assert analysis.linear_response(dataset_with(small, dead_above, **DEEP | negative)).H[0, 0, 0] == -1
    hidden = signed | {"model__tied": False, "model__hidden_activation": "relu"}
    assert analysis.context_selectivity(dataset_with(small, **hidden)).dims == ("seed", "value", "feature")


def test_outputs_of_the_target_z_make_a_rectangular_response(small: Small) -> None:
    dataset = dataset_with(small, regime__contexts=["a", "b"], regime__target="z", model__tied=False)
    G = analysis.linear_response(dataset).G
    assert dict(G.sizes) == {"seed": 2, "output": 12, "other_feature": 6}
    np.testing.assert_allclose(G, dataset.W_out.values @ dataset.W.values, atol=1e-6)
    assert G.output_feature.values.tolist() == [1, 2, 3, 4, 5, 6] * 2
    assert G.output_context.values.tolist() == ["a"] * 6 + ["b"] * 6


def translating(big: float = 10.0) -> dict[str, np.ndarray]:
    """A layer of ReLU(x_j − big·[the context is not that of j]): what the flag (+1 in a, −1 in b) can decide."""
    own = np.repeat([1.0, -1.0], 3)
    layer = np.vstack([np.eye(6), np.zeros((6, 6))])
    # −big·(1 − flag·own)/2 is 0 in the own context and −big in the other.
    flag, offset = np.zeros((12, 1)), np.zeros(12)
    flag[:6, 0], offset[:6] = big / 2 * own, -big / 2
    onto = np.hstack([np.tile(np.eye(3), 2), np.zeros((3, 6))])
    return {"encoder_1_W": layer, "encoder_1_W_context": flag, "encoder_1_b": offset, "W": onto}


def test_a_translating_model_is_selective(small: Small) -> None:
    changes = FLAG | DEEP
    dataset = dataset_with(small, translating(), **changes)
    np.testing.assert_array_equal(analysis.context_selectivity(dataset), np.ones((2, 6)))
    found = analysis.linear_response(dataset).H.isel(seed=0)
    np.testing.assert_array_equal(found.sel(context="a"), [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]])
    np.testing.assert_array_equal(found.sel(context="b"), [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]])
    # One that shows each feature only in the context of the others is at −1; half as large there, at 3/5.
    flipped = translating() | {"encoder_1_W_context": -translating()["encoder_1_W_context"]}
    np.testing.assert_array_equal(analysis.context_selectivity(dataset_with(small, flipped, **changes)), -1)
    halved = analysis.context_selectivity(dataset_with(small, translating(0.5), **changes))
    np.testing.assert_allclose(halved, (1 - 0.25) / (1 + 0.25), atol=1e-6)


def test_selectivity_of_what_cannot_be_selective(small: Small) -> None:
    blind = {key: value for key, value in FLAG.items() if key != "regime__context_input"}
    for changes in (blind, blind | DEEP, FLAG):
        # A hidden state that is linear cannot gate, whether it sees the context or not.
        found = analysis.context_selectivity(dataset_with(small, **changes))
        assert found.dims == ("seed", "feature")
        np.testing.assert_allclose(found, 0, atol=1e-6)
    # A dead feature has no response; one of no subset, or of all, has no context of its own.
    dead = translating()
    dead["W"][:, 1] = 0
    found = analysis.context_selectivity(dataset_with(small, dead, **FLAG | DEEP))
    assert np.isnan(found.isel(seed=0)).values.tolist() == [False, True, False, False, False, False]
    overlapping = FLAG | DEEP | {"regime__subsets": {"a": "1-3", "b": "3-5"}}
    found = analysis.context_selectivity(dataset_with(small, translating(), **overlapping))
    assert np.isnan(found.isel(seed=0)).values.tolist() == [False, False, True, False, False, True]


def test_several_contexts_average_their_squares(small: Small) -> None:
    three = {
        "regime__contexts": ["a", "b", "c"],
        "regime__subsets": {"a": "1-2", "b": "2-4", "c": "5-6"},
        "regime__context_input": "one-hot",
        **DEEP,
    }
    # ReLU(x_j + s_jc − 1) with s = 1 shows feature j fully in context c, s = 1/2 half of it.
    share = np.zeros((12, 3))
    share[0], share[1], share[4] = [1, 0.5, 0], [1, 0.5, 0.5], [0.5, 0.5, 0.5]
    weights = {"encoder_1_W": np.eye(12, 6), "encoder_1_W_context": share, "encoder_1_b": -np.ones(12)}
    found = analysis.context_selectivity(dataset_with(small, weights | {"W": np.ones((3, 12))}, **three)).isel(seed=0)
    # Feature 1 is a's: 1 against the mean of 1/4 and 0. Feature 2 is a's and b's: the mean of 1 and 1/4 against 1/4.
    expected = [(1 - 1 / 8) / (1 + 1 / 8), (5 / 8 - 1 / 4) / (5 / 8 + 1 / 4)]
    np.testing.assert_allclose(found[:2], expected, rtol=1e-6)
    assert float(found[4]) == 0
    assert np.isnan(found[[2, 3, 5]]).all()


@pytest.fixture(scope="module")
def flagged(small: Small) -> xr.Dataset:
    return toysup.train(small(**FLAG | DEEP), seeds=2)["small/small"].to_dataset().isel(step=-1)


@given(st.integers(0, 10**6), st.floats(0.01, 30), st.sampled_from([1.0, -1.0, 0.3]))
@settings(max_examples=25)
def test_selectivity_is_a_share(flagged: xr.Dataset, seed: int, scale: float, value: float) -> None:
    generator = np.random.default_rng(seed)
    own = {
        name: (variable.dims, (scale * generator.normal(size=variable.shape)).astype(np.float32))
        for name, variable in flagged.data_vars.items()
        if variable.dtype == np.float32
    }
    found = analysis.context_selectivity(flagged.assign(own), value=value)
    assert ((found >= -1) & (found <= 1) | np.isnan(found)).all()
    # The other context's name for each feature turns the sign.
    swapped = flagged.assign(own).assign_coords(context=["b", "a"])
    np.testing.assert_allclose(analysis.context_selectivity(swapped, value=value), -found, rtol=1e-5)


def test_what_is_not_registered_is_refused(small: Small) -> None:
    dataset = dataset_with(small, **DEEP)
    other = dataset.assign_attrs(condition=dataset.attrs["condition"].replace('"relu"', '"rela"'))
    for compute in (analysis.linear_response, analysis.context_selectivity):
        with pytest.raises(toysup.UsageError, match="no activation 'rela'; did you mean relu"):
            compute(other)


def test_responses_of_the_module_are_the_same(small: Small) -> None:
    import torch

    dataset = dataset_with(small, **FLAG | DEEP)
    found = analysis.linear_response(dataset, value=0.7).sel(seed=1)
    module = toysup.to_module(dataset.sel(seed=1))
    for c, name in enumerate(["a", "b"]):
        context = torch.full((7,), c)
        hidden, before = module.states(torch.vstack([0.7 * torch.eye(6), torch.zeros(1, 6)]), context)
        for states, array in ((hidden, found.H), (before, found.G)):
            expected = (states[:6] - states[6]).T.detach() / 0.7
            np.testing.assert_allclose(array.sel(context=name), expected, atol=1e-5)


def test_what_overflows_is_not_finite_without_a_warning(small: Small) -> None:
    dataset = dataset_with(small, **DEEP)
    weights = [name for name, variable in dataset.data_vars.items() if variable.dtype == np.float32]
    found = analysis.linear_response(dataset.assign({name: dataset[name] * 1e20 for name in weights}))
    assert np.isinf(found["G"]).any()
    # Norms that are finite although their squares are not, and projections whose sum is not.
    plain = dataset_with(small)
    plain = plain.assign(W=xr.full_like(plain["W"], 1.5e19))
    np.testing.assert_allclose(analysis.feature_norms(plain["W"]), 1.5e19 * 3**0.5, rtol=1e-6)
    assert (analysis.represented_count(plain["W"]) == 6).all()
    assert np.isinf(analysis.feature_interference(plain["W"])).all()
    assert np.isinf(analysis.probability_weighted_interference(plain)).all()
    # Norms that no float32 holds.
    beyond = xr.full_like(plain["W"], 3e38)
    assert np.isinf(analysis.feature_norms(beyond)).all()
    assert np.isnan(analysis.represented_count(beyond)).all()
