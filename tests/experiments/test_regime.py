"""What regimes have beyond their tables: what is drawn, the same in every engine, and its way through a file."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import toysup
from toysup.engines.compiled_samples.batches import draw_batch
from toysup.engines.instances import instances_of
from toysup.sampling.samples import sample

Small = Callable[..., toysup.Experiment]
COUNT = 40_000

THREE = {
    "regime__contexts": ["a", "b", "c"],
    "regime__subsets": {"a": "1-3", "b": "3-4", "c": [4, 5]},
    "regime__outside_probability": 0.25,
    "regime__outside_importance": 0.5,
}
RULE = {"regime__contexts": ["first", "other"], "regime__context_rule": "sum(x) > median"}
# Whatever decides what is drawn, alone and together.
LAWS: dict[str, dict[str, object]] = {
    "signed": {"regime__values": "signed"},
    "binary": {"regime__values": "binary"},
    "constant": {"regime__values": 0.1},
    "negative": {"regime__values": -2},
    "three contexts": THREE,
    "together": {"regime__together": ["1-2", "4-6"]},
    "correlated": {"regime__together": ["1-2", "4-6"], "regime__correlation": 0.3},
    "exclusive": {"regime__exclusive": ["1, 3"], "regime__values": "signed"},
    "groups by context": {**THREE, "regime__together": ["1-2"], "regime__exclusive": [[3, 6]]},
    "rule on the sum": RULE,
    "rule on constants": {**RULE, "regime__values": 0.1},
    "rule on a feature": {**RULE, "regime__context_rule": "x_3 > 0.2", "regime__values": "signed"},
    "rule beside groups": {**RULE, "regime__context_rule": "x_3 > median", "regime__together": ["1-2"]},
    "rule along a sweep": {**RULE, "regime__feature_probability": [0.05, 0.9]},
    "correlations": {"regime__together": ["1-2"], "regime__correlation": [0.0, 0.5, 1.0]},
}
# What does not change what is drawn, but has to come back from a file.
SHOWN: dict[str, dict[str, object]] = {
    "one-hot": {**THREE, "regime__context_input": "one-hot", "model__tied": False},
    "flag": {"regime__contexts": ["a", "b"], "regime__context_input": "flag"},
    "z": {**THREE, "regime__target": "z", "model__tied": False},
    "abs": {"regime__values": "signed", "regime__target": "abs"},
}


def regime_with(small: Small, **changes: object) -> toysup.Regime:
    (regime,) = small(**changes).conditions[0].regimes()
    return regime


def drawn(regime: toysup.Regime, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return sample(regime, seed, np.arange(COUNT))


def assert_mean(values: np.ndarray, expected: float) -> None:
    """Within four standard errors."""
    assert abs(values.mean() - expected) <= 4 * values.std() / np.sqrt(len(values)), (values.mean(), expected)


def assert_equal(one: toysup.Regime, other: toysup.Regime) -> None:
    for field in fields(toysup.Regime):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs, field.name


@pytest.mark.parametrize("changes", LAWS.values(), ids=LAWS)
def test_engines_draw_the_same_to_the_bit(small: Small, changes: dict[str, object]) -> None:
    import torch

    from toysup.engines.torch_engine.sampler import Sampler

    condition = small(**changes).conditions[0]
    seeds = [3, 2**40]
    sampler = Sampler(instances_of(condition, seeds), torch.device("cpu"))
    indices = np.stack([np.r_[0:200, 2**33 + 7], np.r_[100:300, 5]])
    indices = np.tile(indices, (len(condition.regimes()), 1))
    compiled, plain = draw_batch(sampler.law, indices), sampler.drawn_by_torch(torch.tensor(indices))
    for place, (regime, seed) in enumerate((regime, seed) for regime in condition.regimes() for seed in seeds):
        for one, other, expected in zip(compiled, plain, sample(regime, seed, indices[place]), strict=True):
            np.testing.assert_array_equal(one[place], expected)
            np.testing.assert_array_equal(other[place].numpy(), expected)
            assert one.dtype == other.numpy().dtype == expected.dtype


@pytest.mark.parametrize("values", ["uniform", "signed", "binary", 0.1, -2.0])
def test_values_have_their_law_and_leave_activity_as_it_is(small: Small, values: str | float) -> None:
    x, _ = drawn(regime_with(small, regime__values=values))
    usual, _ = drawn(regime_with(small))
    active = usual != 0
    np.testing.assert_array_equal(x != 0, active)
    if values in ("uniform", "signed"):
        low = {"uniform": 0, "signed": -1}[str(values)]
        for i in range(6):
            assert stats.kstest(x[active[:, i], i], stats.uniform(low, 1 - low).cdf).pvalue > 0.001
    else:
        assert set(x[active]) == {np.float32(1 if values == "binary" else values)}


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8, 1.0])
def test_features_that_fire_together_are_correlated_by_rho(small: Small, rho: float) -> None:
    regime = regime_with(small, regime__together=["1-3"], regime__correlation=rho)
    x, _ = drawn(regime)
    active, p = x > 0, 0.4
    for i in range(6):
        assert_mean(active[:, i], p)
        assert stats.kstest(x[active[:, i], i], "uniform").pvalue > 0.001
    for i, j, expected in [(0, 1, rho), (1, 2, rho), (0, 3, 0), (4, 5, 0)]:
        assert_mean((active[:, i] - p) * (active[:, j] - p), expected * p * (1 - p))
        both = x[active[:, i] & active[:, j]]
        assert abs(np.corrcoef(both[:, i], both[:, j])[0, 1]) < 4 / np.sqrt(len(both))
    if rho == 1:
        np.testing.assert_array_equal(active[:, 0], active[:, 1])


def test_features_that_exclude_one_another_are_never_active_together(small: Small) -> None:
    regime = regime_with(
        small, regime__activation_probability=[[0.1, 0.6, 0.3, 0.5, 0.4, 0.5]], regime__exclusive=["1-3", "5-6"]
    )
    assert regime.group == ("exclusive-1",) * 3 + ("",) + ("exclusive-2",) * 2
    active = drawn(regime)[0] > 0
    # The probabilities of the first group sum to 1, so one of it is active (but for 2⁻³²); the other has 0.1 left.
    assert (active[:, :3].sum(1) == 1).all()
    assert active[:, 4:].sum(1).max() == 1
    assert_mean(active[:, 4:].sum(1), 0.9)
    for i, p in enumerate(regime.activation_probability[0]):
        assert_mean(active[:, i], p)
    assert_mean((active[:, 0] - 0.1) * (active[:, 3] - 0.5), 0)
    assert_mean((active[:, 1] - 0.6) * (active[:, 4] - 0.4), 0)


def test_a_group_follows_its_context(small: Small) -> None:
    """Features 1 and 2 fire together with p = 0.4 in their own context, 0.1 in others; 3 and 6 exclude each other."""
    regime = regime_with(small, **LAWS["groups by context"])
    x, context = drawn(regime)
    active = x > 0
    np.testing.assert_array_equal(active[:, 0], active[:, 1])
    assert not (active[:, 2] & active[:, 5]).any()
    for c in range(3):
        assert_mean(context == c, 1 / 3)
        for i in range(6):
            assert_mean(active[context == c, i], regime.activation_probability[c, i])


def test_three_contexts_whose_subsets_overlap(small: Small) -> None:
    regime = regime_with(small, **THREE)
    assert regime.subset == ("a", "a", "a+b", "b+c", "c", "none")
    inside = np.array([[1, 1, 1, 0, 0, 1], [0, 0, 1, 1, 0, 1], [0, 0, 0, 1, 1, 1]])
    np.testing.assert_allclose(regime.activation_probability, 0.4 * np.where(inside, 1, 0.25))
    # tms-intro decays by 0.9 from 1, within each subset.
    np.testing.assert_allclose(regime.importance, np.where(inside, 1, 0.5) * [1, 0.9, 1, 1, 1, 1])
    np.testing.assert_allclose(regime.context_probability, [1 / 3] * 3)


def test_contexts_are_short_for_equal_probabilities(small: Small) -> None:
    def identity(**changes: object) -> object:
        return json.loads(small(**changes).conditions[0].identity)

    for names in (["a", "b"], ["a", "b", "c"], ["only"]):
        explicit = {"regime__context_probability": dict.fromkeys(names, 1 / len(names))}
        assert identity(regime__contexts=names) == identity(**explicit)
        assert_equal(regime_with(small, regime__contexts=names), regime_with(small, **explicit))
    assert identity() == identity(regime__contexts=["all"]) != identity(regime__contexts=["a"])


TWO = {"regime__contexts": ["a", "b"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({**TWO, "regime__subsets": {"a": "1-3"}}, {**TWO, "regime__subsets": {"a": [3, 1, 2]}}),
        ({"regime__together": ["1-2", "3, 5"]}, {"regime__together": [[5, 3], [2, 1]]}),
        ({"regime__exclusive": ["1-2"]}, {"regime__exclusive": ["1, 2"]}),
        ({**TWO, "regime__context_rule": "sum(x)>1"}, {**TWO, "regime__context_rule": " sum(x) > 1.0"}),
        ({**TWO, "regime__context_rule": "x_01 > median"}, {**TWO, "regime__context_rule": "x_1 > median"}),
        ({"regime__values": 1}, {"regime__values": "binary"}),
        ({"model__layer_activation": "tanh"}, {}),
    ],
)
def test_equal_conditions_written_differently_have_one_identity(small: Small, one: dict, other: dict) -> None:
    assert small(**one).conditions[0].identity == small(**other).conditions[0].identity
    assert_equal(regime_with(small, **one), regime_with(small, **other))


def test_the_order_of_contexts_is_part_of_an_identity(small: Small, tmp_path: Path) -> None:
    """Rows of the tables, and what a flag says, follow it; more seeds of the other order would not be the same runs."""
    for names in (["a", "b"], ["b", "a"]):
        tree = toysup.train(small(regime__contexts=names, regime__subsets={"a": "1-3", "b": "4-6"}), seeds=len(names))
        if names[0] == "a":
            toysup.save_runs(tree, tmp_path)
    with pytest.raises(toysup.UsageError, match=r"regime\.context_probability: \{'a': 0\.5, 'b': 0\.5\} there, \{'b'"):
        toysup.save_runs(tree, tmp_path)


def test_names_of_files_before_there_were_additions_are_still_theirs(tmp_path: Path) -> None:
    """The examples were trained when a specification had none of the newer keys; the same command still joins them."""
    from toysup.storage.store import refuse_other

    example = toysup.open_example("conditional-importance")["conditional-importance"]
    for condition in toysup.load_experiment("conditional-importance").conditions:
        there = example[condition.name].to_dataset()
        assert "values" not in there.attrs["condition"]
        refuse_other(there, identity=condition.identity, engine=there.attrs["engine"], where=tmp_path)
        other = condition.model_copy(update={"regime": condition.regime.model_copy(update={"values": "signed"})})
        with pytest.raises(toysup.UsageError, match=r"regime\.values: 'uniform' there, 'signed' here"):
            refuse_other(there, identity=other.identity, engine=there.attrs["engine"], where=tmp_path)


@pytest.mark.parametrize("changes", [*LAWS.values(), *SHOWN.values()], ids=[*LAWS, *SHOWN])
def test_a_regime_comes_back_from_its_file(small: Small, tmp_path: Path, changes: dict[str, object]) -> None:
    experiment = small(**changes)
    (condition,) = experiment.conditions
    trained = toysup.train(experiment, seeds=2)
    toysup.save_runs(trained, tmp_path)
    dataset = toysup.open_runs(tmp_path)["small/small"].to_dataset()
    xr.testing.assert_equal(dataset, trained["small/small"].to_dataset())
    for cell, regime in zip(condition.cells(), condition.regimes(), strict=True):
        assert_equal(toysup.regime_of(dataset.sel(cell)), regime)
    for variable in dataset.variables.values():
        assert variable.attrs["long_name"]
        assert variable.attrs["units"] == "1"


def test_what_varies_along_a_sweep_has_its_axis(small: Small) -> None:
    swept = toysup.train(small(**LAWS["rule along a sweep"]), seeds=1)["small/small"].to_dataset()
    assert swept.rule_threshold.dims == swept.rule_tie.dims == ("feature_probability",)
    # Six features with p = 0.05 are mostly all inactive: the median is 0, and the coin decides.
    assert swept.rule_threshold.values[0] == 0
    none = 0.95**6
    assert swept.rule_tie.values[0] == pytest.approx((0.5 - (1 - none)) / none)
    assert swept.rule_threshold.values[1] > 2
    assert swept.context_probability.dims == ("context",)
    with pytest.raises(toysup.UsageError, match="varies along feature_probability"):
        toysup.regime_of(swept)
    correlated = toysup.train(small(**LAWS["correlations"]), seeds=1)["small/small"].to_dataset()
    assert correlated.group_correlation.dims == ("correlation",)
    assert correlated.activation_probability.dims == ("context", "feature")


def test_labels_of_a_regime_are_coordinates(small: Small) -> None:
    z = toysup.train(small(**SHOWN["z"], regime__context_input="one-hot"), seeds=1)["small/small"].to_dataset()
    assert z.context_input.values.tolist() == ["a", "b", "c"]
    assert z.sizes["output"] == 18
    assert z.output_feature.values.tolist() == [1, 2, 3, 4, 5, 6] * 3
    assert z.output_context.values.tolist() == ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    assert z.attrs["target"] == "z"
    assert z.attrs["context_input"] == "one-hot"
    grouped = toysup.train(small(**LAWS["correlated"]), seeds=1)["small/small"].to_dataset()
    assert grouped.group.values.tolist() == ["together-1"] * 2 + [""] + ["together-2"] * 3
    plain = toysup.train(small(), seeds=1)["small/small"].to_dataset()
    assert not {"group", "context_input", "output"} & set(plain.coords)
    assert not {"values", "target", "context_rule", "context_input"} & set(plain.attrs)


@pytest.mark.parametrize(("changes", "name"), [(LAWS["together"], "group"), (SHOWN["z"], "output_context")])
def test_a_file_without_a_label_of_its_regime_is_damaged(small: Small, changes: dict[str, object], name: str) -> None:
    from toysup.storage.validation import check

    dataset = toysup.train(small(**changes), seeds=1)["small/small"].to_dataset()
    check(dataset, where="here")
    with pytest.raises(toysup.ToysupError, match=f"the coordinate {name} is missing"):
        check(dataset.drop_vars(name), where="here")


def test_probabilities_that_sum_to_one_up_to_rounding_are_taken(small: Small) -> None:
    """Seven digits of 1/6 and of 1/3, and what a computation in float32 leaves."""
    for p in (0.1666667, float(np.float32(1 / 6)), 1 / 6):
        changes = {"regime__feature_probability": p, "regime__exclusive": ["1-6"]}
        (condition,) = small(**changes).conditions
        assert condition.first_regime.group == ("exclusive-1",) * 6
    with pytest.raises(toysup.UsageError, match=r"sum to 1\.0002 in context all; the sum must be at most 1"):
        small(regime__feature_probability=0.1667, regime__exclusive=["1-6"])
    thirds = {"a": 0.3333333, "b": 0.3333333, "c": 0.3333333}
    (condition,) = small(regime__context_probability=thirds).conditions
    assert condition.first_regime.context_probability.sum() == pytest.approx(1, abs=1e-12)
    with pytest.raises(toysup.UsageError, match=r"these sum to 0\.999"):
        small(regime__context_probability={"a": 0.333, "b": 0.333, "c": 0.333})
