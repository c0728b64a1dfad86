"""Exchangeable features, their relabellings, and quadrant statistics against models that swap their labels."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import toysup
from toysup import analysis
from toysup.analysis.inference.exchangeable_features import (
    MOST_RELABELLINGS,
    exchangeable_classes,
    no_null,
    relabellings,
)
from toysup.analysis.inference.quadrant_null import DRAWS
from toysup.storage.schema import assembled

RUNS = "conditional-importance"

Small = Callable[..., toysup.Experiment]


def regime(labels: Sequence[str], importance: Sequence[float]) -> xr.Dataset:
    """Tables in which a feature matters in the context that its subset is named after."""
    contexts = sorted(set(labels))
    inside = np.array([[label == context for label in labels] for context in contexts])
    tables = {
        "context_probability": ("context", np.full(len(contexts), 1 / len(contexts))),
        "activation_probability": (("context", "feature"), np.full(inside.shape, 0.2)),
        "importance": (("context", "feature"), inside * np.asarray(importance)),
    }
    coords = {"context": contexts, "feature": np.arange(1, len(labels) + 1), "subset": ("feature", list(labels))}
    return xr.Dataset(tables, coords)


def responses(G: np.ndarray, dataset: xr.Dataset, *leading: str) -> xr.DataArray:
    features, subset = dataset["feature"].values, dataset["subset"].values
    coords = {"feature": features, "other_feature": features, "other_subset": ("other_feature", subset)}
    return xr.DataArray(G, coords, (*leading, "feature", "other_feature"))


def symmetric(rng: np.random.Generator, *shape: int) -> np.ndarray:
    G = rng.normal(size=shape) * (rng.random(shape) < 0.6)
    return np.asarray(G + np.swapaxes(G, -1, -2))


def relabelled(G: xr.DataArray, labels: Sequence[str], threshold: float) -> xr.DataArray:
    """The plain way: other labels, and the quadrants of `gram_quadrants`."""
    quadrants = analysis.gram_quadrants(G.assign_coords(other_subset=("other_feature", labels)), threshold=threshold)
    return quadrants.to_dataarray("statistic")


def slow_null(dataset: xr.Dataset, G: xr.DataArray, threshold: float) -> dict[str, xr.DataArray]:
    """Every swap within classes, one by one."""
    own = dataset["subset"].values
    classes = analysis.exchangeable_features(dataset).values
    orders = _swaps(tuple(own), [np.flatnonzero(classes == one) for one in np.unique(classes)])
    values = relabelled(G, own, threshold)
    every = [relabelled(G, list(order), threshold).reindex_like(values) for order in sorted(orders)]
    table = xr.concat(every, "relabelling")
    mean = table.mean("relabelling")
    sd = ((table - mean) ** 2).mean("relabelling") ** 0.5
    as_far = (np.abs(table - mean) >= np.abs(values - mean) - 1e-5).sum("relabelling")
    p = as_far / table.notnull().sum("relabelling")
    known = values.notnull()
    return {"null_mean": mean.where(known), "null_sd": sd.where(known), "p_value": p.where(known)}


def _swaps(labels: tuple[str, ...], classes: Sequence[np.ndarray]) -> set[tuple[str, ...]]:
    found = {labels}
    for members in classes:
        for i, j in product(members, members):
            swapped = [tuple(one[{i: j, j: i}.get(k, k)] for k in range(len(one))) for one in found]
            found |= set(swapped)
    return found


def test_two_pairs_of_twins_by_hand() -> None:
    dataset = regime(["a", "a", "b", "b"], [1, 0.5, 1, 0.5])
    assert analysis.exchangeable_features(dataset).values.tolist() == [1, 2, 1, 2]
    G = np.array([[9, 1, 2, 3], [1, 9, 4, -5], [2, 4, 9, 6], [3, -5, 6, 9.0]])
    found = analysis.quadrant_null(dataset, responses(G, dataset)).sel(subset="a", other_subset="a", statistic="energy")
    # The subset a is {1, 2}, {3, 2}, {1, 4} or {3, 4}: energies 2·1², 2·4², 2·3² and 2·6², 31 on average.
    deviations = np.array([2, 32, 18, 72]) - 31
    assert found["n_relabellings"] == 4
    assert found["null_mean"] == 31
    assert float(found["null_sd"]) == pytest.approx((deviations**2).mean() ** 0.5)
    assert float(found["z"]) == pytest.approx(-29 / (deviations**2).mean() ** 0.5)
    assert found["p_value"] == 2 / 4  # 72 is farther from 31, too
    pooled = analysis.pooled_quadrant_null(dataset, responses(np.stack([G, G]), dataset, "seed"))
    pooled = pooled.sel(subset="a", other_subset="a", statistic="energy")
    sums = np.add.outer(deviations, deviations)  # each seed is relabelled by itself
    assert float(pooled["null_mean"]) == pytest.approx(31)
    assert float(pooled["null_sd"]) == pytest.approx((sums**2).mean() ** 0.5 / 2)
    assert float(pooled["z"]) == pytest.approx(-58 / (sums**2).mean() ** 0.5)
    assert float(pooled["p_value"]) == pytest.approx((np.abs(sums) >= 58).mean(), abs=0.02)
    assert float(pooled["null_low"]) == pytest.approx(2)
    assert float(pooled["null_high"]) == pytest.approx(72)


@pytest.mark.parametrize("labels", ["aabb", "aaabbb", "abcabc", "abacbb"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_statistic_is_that_of_models_with_other_labels(labels: str, dtype: type) -> None:
    rng = np.random.default_rng(3)
    n = len(labels)
    dataset = regime(list(labels), [1, 0.5, 0.5] * (n // 3) if n % 3 == 0 else [1, 0.5] * (n // 2))
    for G in (symmetric(rng, 3, n, n), rng.normal(size=(3, n, n))):
        array = responses(G.astype(dtype), dataset, "seed")
        found = analysis.quadrant_null(dataset, array, threshold=0.7)
        assert (found["n_relabellings"] > 1).all()
        for name, values in slow_null(dataset, array, 0.7).items():
            values = values.transpose(*found[name].dims).assign_coords(found[name].coords)
            xr.testing.assert_allclose(found[name].drop_attrs(), values.drop_attrs(), rtol=1e-5, atol=1e-6)


def test_outputs_belong_to_the_feature_that_they_are_about() -> None:
    dataset = regime(["a", "a", "b", "b"], [1, 0.5, 1, 0.5])
    G = np.random.default_rng(0).normal(size=(6, 4))
    coords = {
        "other_feature": [1, 2, 3, 4],
        "other_subset": ("other_feature", ["a", "a", "b", "b"]),
        "output_feature": ("output", [1, 2, 3, 4, 1, 3]),
    }
    array = xr.DataArray(G, coords, ("output", "other_feature"))
    found = analysis.quadrant_null(dataset, array)
    for name, values in slow_null(dataset, array, 0.1).items():
        values = values.transpose(*found[name].dims)
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)


def head(name: str, condition: str) -> xr.Dataset:
    """A dataset of a built-in experiment with all that needs no training."""
    experiment = toysup.load_experiment(name)
    (one,) = [one for one in experiment.conditions if one.name == condition]
    return assembled(one, [0], {}, {})


@pytest.mark.parametrize(
    ("experiment", "condition", "expected"),
    [
        *((RUNS, name, [*range(1, 11)] * 2) for name in ("fixed", "conditional", "anticorrelated")),
        (RUNS, "split-40", [*range(1, 11), *[11] * 20, *range(1, 11)]),
        ("contexts-3", "anticorrelated", [*range(1, 11)] * 3),
        ("activations", "tanh-anticorrelated", [*range(1, 11)] * 2),
        ("context-visible", "blind-2", [*range(1, 11)] * 2),
        ("z-target", "blind-0", [*range(1, 11)] * 2),
        ("context-deducible", "uniform-sum-conditional", [*range(1, 11)] * 2),
        # Its first feature is always active.
        ("context-deducible", "uniform-x1-fixed", [*range(1, 12), *range(2, 11)]),
        # Rules and flags tell the contexts apart.
        ("context-deducible", "uniform-sum-deducible", [*range(1, 21)]),
        ("context-deducible", "signed-x1-deducible", [*range(1, 21)]),
        ("context-visible", "flag-1", [*range(1, 21)]),
    ],
)
def test_twins_of_built_in_experiments(experiment: str, condition: str, expected: list[int]) -> None:
    found = analysis.exchangeable_features(head(experiment, condition))
    assert found.values.tolist() == expected
    assert (found["subset"] == head(experiment, condition)["subset"]).all()


def test_every_built_in_condition_has_twins_or_a_reason() -> None:
    reasons = {}
    for name in toysup.builtin_experiments():
        for condition in toysup.load_experiment(name).conditions:
            if none := no_null(head(name, condition.name)):
                assert not none.cells
                reasons[f"{name}/{condition.name}"] = none.reason.split(",")[0]
    flags = {f"{name}/flag-{depth}" for name in ("context-visible", "z-target") for depth in range(3)}
    assert {name for name, reason in reasons.items() if reason == "a flag shows the context"} == flags
    rules = {name for name, reason in reasons.items() if reason == "its context follows from x"}
    assert rules == {name for name in reasons if name.endswith("deducible")}
    assert len(rules) == 6
    assert set(reasons) - flags - rules == {"tms-intro/tms-intro"}
    assert reasons["tms-intro/tms-intro"] == "its features are all of one subset"


def test_what_else_tells_features_apart(small: Small) -> None:
    def classes(**changes: object) -> list[tuple[int, ...]]:
        usual = {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}}
        usual |= {"regime__importance_decay": 1.0, "regime__feature_probability": 0.3}
        (condition,) = small(**(usual | changes)).conditions
        return exchangeable_classes(condition.regimes()[0])

    assert classes() == [(0, 1, 2, 3, 4, 5)]
    assert classes(regime__outside_importance=0.0) == [(0, 1, 2, 3, 4, 5)]
    # Features of one group may swap labels with one another, and those of none.
    assert classes(regime__together=["1,4"]) == [(0, 3), (1, 2, 4, 5)]
    assert classes(regime__exclusive=["1,2", "4,5"]) == [(0, 1), (2, 5), (3, 4)]
    # Of contexts that differ in probability, one does not stand for the other, unless they make no difference.
    law = {"regime__context_probability": {"a": 0.25, "b": 0.75}, "regime__contexts": None}
    assert classes(**law) == [(0, 1, 2, 3, 4, 5)]
    assert classes(regime__outside_importance=0.0, **law) == [(0, 1, 2), (3, 4, 5)]
    # A feature of two subsets, or of none, has no twin where contexts make a difference.
    overlap = {"regime__subsets": {"a": "1-3", "b": "3-5"}, "regime__outside_importance": 0.0}
    assert classes(**overlap) == [(0, 1, 3, 4), (2, 5)]
    # What a model sees of its contexts leaves them alike, unless it is one flag; a rule singles out its feature.
    shown = {"regime__outside_importance": 0.0, "model__tied": False}
    assert classes(regime__context_input="one-hot", **shown) == [(0, 1, 2, 3, 4, 5)]
    assert classes(regime__context_input="flag", **shown) == [(0, 1, 2), (3, 4, 5)]
    assert classes(regime__context_rule="x_2 > 0.5") == [(0, 2, 3, 4, 5), (1,)]
    assert classes(regime__context_rule="sum(x) > 0.5", regime__outside_importance=0.0) == [(0, 1, 2), (3, 4, 5)]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=7), st.data())
def test_relabellings_are_all_orders_within_classes(labels: list[int], data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.integers(0, 2), min_size=len(labels), max_size=len(labels)))
    classes = [tuple(np.flatnonzero(np.array(kinds) == kind)) for kind in sorted(set(kinds))]
    found = relabellings(labels, classes)
    assert found[0].tolist() == labels
    names = tuple(map(str, labels))
    assert sorted(tuple(map(str, row)) for row in found) == sorted(_swaps(names, [np.array(one) for one in classes]))


def test_of_too_many_relabellings_some_are_drawn() -> None:
    labels = [0] * 10 + [1] * 10 + [2]
    found = relabellings(labels, [range(20), [20]])
    assert found.shape == (MOST_RELABELLINGS, 21)
    assert found[0].tolist() == labels
    assert (np.sort(found[:, :20], axis=1) == labels[:20]).all()
    assert (found[:, 20] == 2).all()
    assert found[1:, :20].mean(axis=0) == pytest.approx(0.5, abs=0.07)  # 4.5 standard errors


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(["aabb", "abcabc", "aaabbb"]))
def test_names_and_the_order_of_features_do_not_matter(seed: int, labels: str) -> None:
    rng = np.random.default_rng(seed)
    dataset = regime(list(labels), np.ones(len(labels)))
    G = symmetric(rng, 2, len(labels), len(labels))
    found = analysis.quadrant_null(dataset, responses(G, dataset, "seed"))
    p = found["p_value"]
    assert bool(((p >= 1 / found["n_relabellings"] - 1e-12) | p.isnull()).all())
    assert bool(((p <= 1) | p.isnull()).all())
    order = rng.permutation(len(labels))
    new = dict(zip("abc", rng.permutation(list("abc")).tolist(), strict=True))
    other = regime([new[labels[i]] for i in order], np.ones(len(labels)))
    moved = analysis.quadrant_null(other, responses(G[:, order][:, :, order], other, "seed"))
    renamed = [new[label] for label in found["subset"].values]
    moved = moved.sel(subset=renamed, other_subset=renamed).assign_coords(
        subset=found["subset"], other_subset=found["other_subset"]
    )
    xr.testing.assert_allclose(found, moved)


def test_p_values_are_uniform_where_labels_are_exchangeable() -> None:
    rng = np.random.default_rng(0)
    labels = ["a"] * 8 + ["b"] * 8
    dataset = regime(labels, [0.7**i for i in range(8)] * 2)
    # Twins have the same law whatever their label; features with other importances need not.
    scale = np.tile(0.8 ** np.arange(8), 2)
    G = symmetric(rng, 250, 4, 16, 16) * scale * scale[:, None]
    each = analysis.quadrant_null(dataset, responses(G[:, 0], dataset, "model")).sel(statistic="energy")
    pooled = analysis.pooled_quadrant_null(dataset, responses(G, dataset, "model", "seed")).sel(statistic="rms")
    for p, steps in ((each["p_value"], 2**8), (pooled["p_value"], DRAWS + 1)):
        for one, other in (("a", "a"), ("a", "b")):
            values = p.sel(subset=one, other_subset=other).values
            for level in (0.01, 0.05, 0.1):
                assert (values <= level).mean() <= level + 3 * (level * (1 - level) / len(values)) ** 0.5
            # What is discrete is spread over its steps, and then continuous.
            spread = values - rng.random(len(values)) / steps
            assert stats.kstest(spread, "uniform").pvalue > 0.001
    z = pooled["z"].sel(subset="a", other_subset="a").values
    assert abs(z.mean()) < 4 / len(z) ** 0.5
    assert z.std() == pytest.approx(1, abs=0.2)


def test_seeds_that_are_not_finite_are_left_out() -> None:
    dataset = regime(["a", "a", "b", "b"], [1, 0.5, 1, 0.5])
    G = symmetric(np.random.default_rng(5), 4, 4, 4)
    broken = G.copy()
    broken[1, 0, 2] = np.nan
    all_but_one = analysis.pooled_quadrant_null(dataset, responses(np.delete(G, 1, axis=0), dataset, "seed"))
    found = analysis.pooled_quadrant_null(dataset, responses(broken, dataset, "seed"))
    xr.testing.assert_allclose(found, all_but_one)
    each = analysis.quadrant_null(dataset, responses(broken, dataset, "seed"))
    assert bool(each.isel(seed=1)["p_value"].isnull().all())
    nothing = analysis.pooled_quadrant_null(dataset, responses(np.full_like(G, np.inf), dataset, "seed"))
    assert bool(nothing[["null_mean", "z", "p_value"]].isnull().all().to_dataarray().all())


def test_seeds_whose_statistic_overflows_are_left_out() -> None:
    dataset = regime(["a", "a", "b", "b"], [1, 0.5, 1, 0.5])
    G = 1 + symmetric(np.random.default_rng(5), 4, 4, 4) ** 2
    large = G * np.array([1, 1e20, 1, 1e20])[:, None, None]
    nulls = (analysis.pooled_quadrant_null(dataset, responses(own, dataset, "seed")) for own in (large, G[::2]))
    found, few = (null.sel(statistic="energy") for null in nulls)
    xr.testing.assert_allclose(found[["null_mean", "null_sd", "z"]], few[["null_mean", "null_sd", "z"]])
    np.testing.assert_allclose(found["p_value"], few["p_value"], atol=0.03)  # they draw other relabellings


def test_where_all_relabellings_agree_nothing_can_be_told() -> None:
    dataset = regime(["a", "a", "b", "b"], [1, 0.5, 1, 0.5])
    flat = responses(np.full((3, 4, 4), 0.3), dataset, "seed")
    for found in (analysis.quadrant_null(dataset, flat), analysis.pooled_quadrant_null(dataset, flat)):
        assert bool((found["null_sd"].sel(statistic="energy") == 0).all())
        assert bool(found["z"].isnull().all())
        assert bool((found["p_value"].sel(statistic=["energy", "max_abs", "energy_share"]) == 1).all())


def test_relabellings_that_do_not_define_a_statistic_are_left_out() -> None:
    dataset = regime(["a", "a", "b", "b"], [1, 0.5, 1, 0.5])
    G = np.zeros((4, 4))
    G[0, 1] = G[1, 0] = -1  # a = {1, 2}, b = {1, 2}, or across
    G[0, 3] = G[3, 0] = 1
    array = responses(G, dataset).expand_dims(seed=50)
    share = {"statistic": "negative_fraction", "subset": "a", "other_subset": "a"}
    for found in (analysis.quadrant_null(dataset, array).isel(seed=0), analysis.pooled_quadrant_null(dataset, array)):
        # Of the four, a = {1, 2} has the share 1, {1, 4} has 0, and {3, 2} and {3, 4} have no pair that interferes.
        assert float(found["null_mean"].sel(share)) == 0.5
    assert float(found["z"].sel(share)) == pytest.approx(50**0.5)
    # Every seed has the larger one of two values; all draws together would hardly show that once.
    assert float(found["p_value"].sel(share)) == pytest.approx(2 * 0.5**50, rel=0.05)
    assert float(found["null_high"].sel(share)) == pytest.approx(0.5 + 1.96 * 0.5 / 50**0.5, abs=0.02)


def test_draws_are_among_the_relabellings_that_define_a_statistic() -> None:
    dataset = regime(list("aaabbb"), [1, 0.5, 0.25] * 2)
    rng = np.random.default_rng(8)
    G = symmetric(rng, 100, 1, 6, 6) * (rng.random((100, 1, 1, 1)) < 0.8)
    G *= np.tril(np.triu(np.ones((6, 6)), -2), 2)
    of_one = analysis.quadrant_null(dataset, responses(G[:, 0], dataset, "model"))["p_value"]
    pooled = analysis.pooled_quadrant_null(dataset, responses(G, dataset, "model", "seed"))["p_value"]
    share = {"statistic": "negative_fraction"}
    assert len(np.unique(of_one.sel(share))) > 8  # thirds and fifths among them: as many are defined
    # Of one model, the draws are of its own null: they differ from it by chance, 0.005 at most, alone.
    np.testing.assert_allclose(pooled.sel(share), of_one.sel(share).transpose(*pooled.sel(share).dims), atol=0.025)


def test_every_cell_of_a_sweep_and_every_step_has_its_own_null(small: Small) -> None:
    changes = {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}}
    changes |= {"regime__importance_decay": 0.8, "regime__outside_importance": [0.0, 0.5, 1.0]}
    ds = toysup.train(small(**changes), seeds=3)["small/small"].to_dataset()
    found = analysis.quadrant_null(ds)
    assert found["z"].dims == ("statistic", "outside_importance", "seed", "step", "subset", "other_subset")
    cell = {"outside_importance": 0.5}
    alone = analysis.quadrant_null(ds.sel(cell).isel(step=1))
    xr.testing.assert_allclose(found.sel(cell).isel(step=1), alone)
    pooled = analysis.pooled_quadrant_null(ds)
    xr.testing.assert_allclose(pooled.sel(cell).isel(step=1), analysis.pooled_quadrant_null(ds.sel(cell).isel(step=1)))
    assert analysis.exchangeable_features(ds).sel(cell).values.tolist() == [1, 2, 3, 1, 2, 3]
    with pytest.raises(toysup.errors.UsageError, match="G needs the dims outside_importance, seed"):
        analysis.pooled_quadrant_null(ds, analysis.gram(ds.W.isel(seed=0)))
    by_parts = analysis.pooled_quadrant_null(ds, response=lambda models: analysis.gram(models.W))
    xr.testing.assert_identical(by_parts, analysis.pooled_quadrant_null(ds, analysis.gram(ds.W)))
    with pytest.raises(toysup.errors.UsageError, match="not both"):
        analysis.pooled_quadrant_null(ds, analysis.gram(ds.W), response=lambda models: analysis.gram(models.W))


@pytest.mark.parametrize(
    ("condition", "arranged"), [("fixed", False), ("conditional", False), ("anticorrelated", True), ("split-40", True)]
)
def test_interference_of_the_post_is_arranged_by_subset_only_where_features_exclude_one_another(
    condition: str, arranged: bool
) -> None:
    models = toysup.open_example(RUNS)[f"{RUNS}/{condition}"].to_dataset().isel(step=-1)
    null = analysis.pooled_quadrant_null(models).sel(statistic="energy")
    within = null["subset"] == null["other_subset"]
    if arranged:
        assert bool((null["p_value"] < 1e-9).all())
        assert bool((null["z"].where(within) < -10).sum() == 2)
        assert bool((null["z"].where(~within) > 10).sum() == 2)
    else:
        assert bool((null["p_value"] > 0.1).all())
        assert bool((np.abs(null["z"]) < 2).all())
    start = toysup.open_example(RUNS)[f"{RUNS}/{condition}"].to_dataset().isel(step=0)
    assert bool((np.abs(analysis.pooled_quadrant_null(start)["z"].sel(statistic="energy")) < 3.5).all())
