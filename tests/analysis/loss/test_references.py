"""References: closed forms, all arrangements one by one, the predictors themselves, and other ways to the optimum."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import toysup
from toysup import analysis, theory
from toysup.analysis.loss.linear_map import linear_loss
from toysup.analysis.loss.moments import Moments, exact_moments, moments_of
from toysup.theory import arrangements

Small = Callable[..., toysup.Experiment]

TWO = {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-3", "b": "4-6"}, "regime__importance_decay": 0.8}
LEAKY = {**TWO, "regime__outside_probability": 0.3, "regime__outside_importance": 0.2}


def untrained(small: Small, **changes: object) -> xr.Dataset:
    return (
        toysup.train(small(**{"training__steps": 1, "record__steps": [0]} | changes), seeds=1)["small/small"]
        .to_dataset()
        .isel(step=-1)
    )


def loss_of(dataset: xr.Dataset) -> dict[str, float]:
    found = analysis.loss_references(dataset)
    return dict(zip(found.reference.values.tolist(), found.loss.values.tolist(), strict=True))


@pytest.mark.parametrize(("p", "I"), [(0.2, 0.3), (0.4, 0.3), (0.9, 1.0)])
def test_two_features_in_one_dimension(small: Small, p: float, I: float) -> None:  # noqa: E741
    # FACTS: drop feature 2 and predict its mean, I(p/3 − p²/4); antipodal with b = 0, (1 + I)p²/6.
    changes = {"model__n_features": 2, "model__n_hidden": 1, "regime__importance": [1, I]}
    found = loss_of(untrained(small, **changes, regime__feature_probability=p))
    dropped, pair = I * (p / 3 - p**2 / 4), (1 + I) * p**2 / 6
    expected = {"zero": (1 + I) * p / 3, "constant": (1 + I) * (p / 3 - p**2 / 4), "best_features": dropped}
    # The best line of rank 1 for independent features keeps the one whose I Var(x) is larger.
    assert found == pytest.approx(expected | {"linear": dropped, "antipodal": min(dropped, pair)})


def arrangements_of(n: int, m: int) -> Iterator[list[tuple[int, ...]]]:
    """All ways to put some of n features on at most m directions, one or two each."""

    def rest(first: int, placed: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        if first == n:
            yield placed
            return
        yield from rest(first + 1, placed)
        if len(placed) < m:
            yield from rest(first + 1, [*placed, (first,)])
        for at, group in enumerate(placed):
            if len(group) == 1:
                yield from rest(first + 1, [*placed[:at], (*group, first), *placed[at + 1 :]])

    return rest(0, [])


def regime_of_tables(seed: int, n: int, contexts: int, scale: float = 1.0) -> toysup.Regime:
    rng = np.random.default_rng(seed)
    tables = rng.uniform(0, 1, (contexts, n)), scale * rng.uniform(0, 1, (contexts, n)) ** 3
    names = tuple("abc"[:contexts])
    return toysup.Regime(names, ("all",) * n, np.full(contexts, 1 / contexts), *tables)


@given(st.integers(0, 10**6), st.sampled_from([(5, 2), (5, 1), (6, 3), (4, 2), (3, 3)]), st.sampled_from([1.0, 1e-9]))
@settings(max_examples=20)
def test_the_best_arrangement_is_the_best_of_all(seed: int, size: tuple[int, int], scale: float) -> None:
    n, m = size
    regime = regime_of_tables(seed, n, contexts=2, scale=scale)
    share, drop = theory.sharing_cost(regime), theory.dropping_cost(regime)

    def cost(placed: list[tuple[int, ...]]) -> float:
        pairs = sum(share[group] for group in placed if len(group) == 2)
        return pairs + sum(drop[i] for i in range(n) if not any(i in group for group in placed))

    best = theory.best_arrangement(regime, m)
    assert best.exact
    assert best.loss == pytest.approx(min(map(cost, arrangements_of(n, m))), rel=1e-6, abs=1e-12 * scale)
    taken = [*best.pairs.ravel(), *best.dropped]
    assert len(set(taken)) == len(taken)
    assert len(best.pairs) + n - len(taken) <= m


@given(st.integers(0, 10**6), st.integers(1, 9))
@settings(max_examples=10)
def test_of_many_features_the_arrangement_is_an_upper_bound(seed: int, m: int) -> None:
    regime = regime_of_tables(seed, 8, contexts=1)
    best = theory.best_arrangement(regime, m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrangements, "MOST_EXACT", 4)
        bound = theory.best_arrangement(regime, m)
    assert not bound.exact
    assert best.loss - 1e-12 <= bound.loss <= np.sort(theory.dropping_cost(regime))[: max(0, 8 - m)].sum() + 1e-12
    assert len(bound.pairs) + 8 - 2 * len(bound.pairs) - len(bound.dropped) <= m


def test_equal_features_fill_the_directions_with_pairs() -> None:
    best = theory.best_arrangement(theory.one_context(0.01, np.ones(7)), 3)
    assert (best.pairs.shape, len(best.dropped)) == ((3, 2), 1)
    assert best.loss == pytest.approx(3 * 0.01**2 / 3 + 0.01 / 3 - 0.01**2 / 4)
    with pytest.raises(toysup.UsageError, match="n_hidden must be at least 1"):
        theory.best_arrangement(theory.one_context(0.01, np.ones(7)), 0)


def test_anticorrelated_features_in_pairs_lose_nothing(trained: xr.DataTree) -> None:
    found = loss_of(trained["conditional-importance/anticorrelated"].to_dataset())
    assert found["antipodal"] == 0
    assert found["linear"] < found["best_features"] < found["constant"] < found["zero"]


def tied(dataset: xr.Dataset, W: np.ndarray, b: np.ndarray) -> xr.Dataset:
    return dataset.assign(
        W=(dataset.W.dims, W[None].astype(np.float32)), b=(dataset.b.dims, b[None].astype(np.float32))
    )


@pytest.mark.parametrize(
    "changes", [{"regime__importance_decay": 0.8}, {**TWO, "regime__outside_importance": 0.0}, LEAKY]
)
def test_the_predictors_lose_what_the_references_say(small: Small, changes: dict[str, object]) -> None:
    """Each as the weights of a tied model, on samples."""
    dataset = untrained(small, **changes)
    regime = toysup.regime_of(dataset)
    weight = (regime.context_probability[:, None] * regime.importance).sum(axis=0)
    mean = (regime.context_probability[:, None] * regime.importance * regime.activation_probability).sum(axis=0) / 2
    constant, nothing = mean / weight, np.zeros((3, 6))
    kept = np.argsort(theory.dropping_cost(regime))[3:]
    best = theory.best_arrangement(regime, 3)
    alone = np.setdiff1d(np.arange(6), [*best.pairs.ravel(), *best.dropped])
    features, arranged = nothing.copy(), nothing.copy()
    features[np.arange(3), kept] = 1
    for direction, placed in enumerate([*best.pairs, *alone[:, None]]):
        arranged[direction, placed] = [1, -1][: len(placed)]
    left_out = np.isin(np.arange(6), best.dropped)
    models = {
        "zero": (nothing, 0 * constant),
        "constant": (nothing, constant),
        "best_features": (features, constant * ~np.isin(np.arange(6), kept)),
        "antipodal": (arranged, constant * left_out),
    }
    expected = loss_of(dataset)
    for name, (W, b) in models.items():
        loss = analysis.expected_loss(tied(dataset, W, b), by_batch=True).sum(["context", "feature"]).isel(seed=0)
        assert abs(float(loss.mean()) - expected[name]) <= 5 * float(analysis.sampling_error(loss)) + 1e-9, name


def moments_of_samples(regime: toysup.Regime, n_samples: int) -> Moments:
    x, context = toysup.sample(regime, 99, np.arange(n_samples))
    return moments_of(regime, x, (context == np.arange(len(regime.contexts))[:, None]) / n_samples)


def plain_optimum(regime: toysup.Regime, m: int, n_samples: int = 2**10) -> tuple[float, float]:
    """The least loss of b + U V x on samples by another way, all parameters at once, and what `linear_loss` says."""
    moments = moments_of_samples(regime, n_samples)
    x, context = toysup.sample(regime, 99, np.arange(n_samples))
    weight, n = regime.importance[context], x.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        U, V, b = flat[: n * m].reshape(n, m), flat[n * m : 2 * n * m].reshape(m, n), flat[2 * n * m :]
        error = x @ V.T @ U.T + b - x
        slope = 2 * weight * error / len(x)
        parts = (slope.T @ (x @ V.T), (slope @ U).T @ x, slope.sum(axis=0))
        return float((weight * error**2).sum() / len(x)), np.concatenate([part.ravel() for part in parts])

    rng = np.random.default_rng(1)
    starts = (rng.normal(size=2 * n * m + n) for _ in range(3))
    found = [minimize(loss, start, jac=True, method="BFGS").fun for start in starts]
    return min(found), linear_loss(moments, m)[0]


@pytest.mark.parametrize("kind", ["fixed importance", "context apart from x", "both"])
def test_the_best_linear_map_is_what_another_search_finds(kind: str) -> None:
    regime = regime_of_tables(3, 4, contexts=2)
    if kind == "fixed importance":
        regime.importance[1] = regime.importance[0]
    if kind == "context apart from x":
        regime.activation_probability[1] = regime.activation_probability[0]
    for m in (1, 2):
        searched, said = plain_optimum(regime, m)
        assert said == pytest.approx(searched, rel=1e-4)
    moments = moments_of_samples(regime, 2**10)
    assert linear_loss(moments, 4)[0] == pytest.approx(0, abs=1e-9)
    # Samples meet their contexts at random: only a fixed importance sees the same moments to the last digit.
    assert linear_loss(moments, 2)[1] == (kind == "fixed importance")


def test_what_the_importance_does_not_depend_on_is_exact(small: Small) -> None:
    kinds = {}
    for name, (outside, share) in {
        "fixed": (1, 1),
        "conditional": (1, 0),
        "anticorrelated": (0, 1),
        "leaky": (0.3, 0.2),
    }.items():
        changes = {**TWO, "regime__outside_probability": outside, "regime__outside_importance": share}
        kinds[name] = str(analysis.loss_references(untrained(small, **changes)).kind.sel(reference="linear").values)
    assert kinds == {"fixed": "exact", "conditional": "exact", "anticorrelated": "exact", "leaky": "bound"}


def test_independent_features_keep_those_of_most_variance() -> None:
    regime = regime_of_tables(5, 6, contexts=1)
    p, importance = regime.activation_probability[0], regime.importance[0]
    variance = np.sort(importance * (p / 3 - p**2 / 4))
    dims = ("context", "feature")
    tables = xr.Dataset(
        {"activation_probability": (dims, p[None]), "importance": (dims, importance[None])},
        {"feature": np.arange(1, 7)},
    )
    moments = exact_moments(tables, regime)
    for m in (1, 3, 6, 9):
        assert linear_loss(moments, m) == (pytest.approx(variance[: max(0, 6 - m)].sum(), abs=1e-12), True)


KINDS_OF_REGIMES: dict[str, dict[str, object]] = {
    "leaky": LEAKY,
    "signed": {**LEAKY, "regime__values": "signed"},
    "constant": {**LEAKY, "regime__values": -2.0},
    "abs": {**LEAKY, "regime__values": "signed", "regime__target": "abs"},
    "abs of a constant": {**LEAKY, "regime__values": -2.0, "regime__target": "abs"},
    "seen": {**LEAKY, "regime__context_input": "one-hot", "model__tied": False},
    "z": {**LEAKY, "regime__target": "z", "regime__context_input": "flag", "model__tied": False},
    "groups": {"regime__together": ["1-3"], "regime__exclusive": ["4-5"], "regime__correlation": 0.5},
}


@pytest.mark.parametrize("changes", KINDS_OF_REGIMES.values(), ids=KINDS_OF_REGIMES)
def test_moments_are_those_of_samples(small: Small, changes: dict[str, object]) -> None:
    dataset = untrained(small, **changes)
    regime = toysup.regime_of(dataset)
    exact, sampled = exact_moments(dataset, regime), moments_of_samples(regime, 2**17)
    for one, other in zip(exact, sampled, strict=True):
        np.testing.assert_allclose(one, other, atol=0.015 * max(1, np.abs(one).max()))
    # With the same moments the references are the same but for the samples.
    assert linear_loss(exact, 3)[0] == pytest.approx(linear_loss(sampled, 3)[0], rel=0.05, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "undefined"),
    [
        ({"regime__values": "signed"}, {"best_features": "outputs of relu", "antipodal": "values are signed"}),
        ({"regime__values": "signed", "model__activation": "identity"}, {"antipodal": "identity, not relu"}),
        (
            {"regime__values": 2.0, "model__activation": "tanh"},
            {"best_features": "features can be 2, but outputs of tanh are at most 1", "antipodal": "tanh, not relu"},
        ),
        ({"regime__values": 1.0, "model__activation": "tanh"}, {"antipodal": "tanh, not relu"}),
        (KINDS_OF_REGIMES["abs"], {"best_features": "abs, not x", "antipodal": "values are signed"}),
        (KINDS_OF_REGIMES["z"], {"best_features": "z, not x", "antipodal": "z, not x"}),
        (KINDS_OF_REGIMES["groups"], {"antipodal": "in groups"}),
        ({"regime__contexts": ["a", "b"], "regime__context_rule": "x_1 > 0.1"}, {"antipodal": "follows from x"}),
    ],
)
def test_what_has_no_meaning_says_why(small: Small, changes: dict[str, object], undefined: dict[str, str]) -> None:
    found = analysis.loss_references(untrained(small, **changes))
    assert set(found.reference.values[np.isnan(found.loss.values)]) == set(undefined)
    for name, words in undefined.items():
        one = found.sel(reference=name)
        assert (str(one.kind.values), words in str(one.reason.values)) == ("undefined", True)
    defined = found.sel(reference=[name for name in found.reference.values if name not in undefined])
    assert set(defined.reason.values) == {""}
    expected = "sampled" if "regime__context_rule" in changes else "exact"
    assert set(defined.kind.sel(reference=["zero", "constant"]).values) == {expected}


@pytest.mark.parametrize(
    ("activation", "value", "best"),
    [("sigmoid", -2.0, 0.0), ("tanh", 5.0, 1.0), ("relu", 5.0, 2.0), ("relu", -2.0, 0.0)],
)
def test_a_constant_is_one_that_the_activation_can_say(
    small: Small, activation: str, value: float, best: float
) -> None:
    # Six features of importance 1 that are v with probability 0.4; the best of all constants is 0.4 v.
    changes = {"model__activation": activation, "regime__values": value, "regime__importance": [1] * 6}
    expected = 6 * (0.6 * best**2 + 0.4 * (best - value) ** 2)
    assert loss_of(untrained(small, **changes))["constant"] == pytest.approx(expected, rel=1e-5)


def test_references_follow_a_sweep(swept: xr.DataTree) -> None:
    dataset = swept["tms-intro/tms-intro"].to_dataset()
    found = analysis.loss_references(dataset)
    assert found.loss.dims == ("feature_probability", "reference")
    alone = analysis.loss_references(dataset.sel(feature_probability=0.05))
    assert found.sel(feature_probability=0.05, drop=True).identical(
        alone.drop_vars("feature_probability", errors="ignore")
    )
