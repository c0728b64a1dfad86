"""The formulas of toysup.theory against exact rational arithmetic, quadrature, samples and the sources' numbers."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

import toysup
from toysup import Regime, UsageError, theory
from toysup.experiments.regime_spec import RegimeSpec
from toysup.theory.costs import outweighed_features
from toysup.theory.integrals import one_active, two_active

N_SAMPLES = 40_000


def uniform(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def models(draw: st.DrawFn, n: int) -> tuple[np.ndarray, np.ndarray]:
    W = draw(arrays(np.float64, (draw(st.integers(1, 3)), n), elements=uniform(-1.5, 1.5)))
    return W, draw(arrays(np.float64, n, elements=uniform(-0.8, 0.8)))


@st.composite
def regimes(draw: st.DrawFn, n: int, low: float = 0.0, high: float = 1.0) -> Regime:
    """Any two contexts."""
    first = draw(uniform(0.1, 0.9))
    return Regime(
        contexts=("one", "other"),
        subset=("all",) * n,
        context_probability=np.array([first, 1 - first]),
        activation_probability=draw(arrays(np.float64, (2, n), elements=uniform(low, high))),
        importance=draw(arrays(np.float64, (2, n), elements=uniform(0, 2))),
    )


def outside_regime(n_contexts: int, p: float, share: float, importance: float) -> Regime:
    """Two features in each subset of equally likely contexts."""
    names = [f"c{k}" for k in range(n_contexts)]
    spec = RegimeSpec(
        context_probability=dict.fromkeys(names, 1 / n_contexts),
        subsets={name: f"{2 * k + 1}-{2 * k + 2}" for k, name in enumerate(names)},
        feature_probability=p,
        outside_probability=share,
        outside_importance=importance,
    )
    return spec.resolve(2 * n_contexts)


# References


def clipped_polygon(b: Fraction, g: Fraction, h: Fraction) -> list[tuple[Fraction, Fraction]]:
    """The corners of the part of the unit square where b + g x + h z ≥ 0."""
    corners = [(Fraction(x), Fraction(z)) for x, z in ((0, 0), (1, 0), (1, 1), (0, 1))]
    kept = []
    for (x0, z0), (x1, z1) in zip(corners, corners[1:] + corners[:1], strict=True):
        a0, a1 = b + g * x0 + h * z0, b + g * x1 + h * z1
        if a0 >= 0:
            kept.append((x0, z0))
        if a0 * a1 < 0:
            t = a0 / (a0 - a1)
            kept.append((x0 + t * (x1 - x0), z0 + t * (z1 - z0)))
    return kept


def over_polygon(f: Callable[[Fraction, Fraction], Fraction], corners: Sequence[tuple[Fraction, Fraction]]) -> Fraction:
    """The integral of a quadratic: a third of each triangle's area times the sum over the midpoints of its edges."""
    total = Fraction(0)
    for second, third in itertools.pairwise(corners[1:]):
        triangle = (corners[0], second, third)
        (x0, z0), (x1, z1), (x2, z2) = triangle
        area = abs((x1 - x0) * (z2 - z0) - (x2 - x0) * (z1 - z0)) / 2
        middles = [((u[0] + v[0]) / 2, (u[1] + v[1]) / 2) for u, v in itertools.combinations(triangle, 2)]
        total += area / 3 * sum(f(*middle) for middle in middles)
    return total


def exact_square(b: float, g: float, h: float, own_x: int, own_z: int) -> Fraction:
    """∫∫ (ReLU(b + g x + h z) − own·(x, z))² over the unit square, in rational numbers."""
    B, G, H = map(Fraction, (b, g, h))
    below, above = clipped_polygon(-B, -G, -H), clipped_polygon(B, G, H)
    if (B, G, H) == (0, 0, 0):
        above = []
    inactive = over_polygon(lambda x, z: (own_x * x + own_z * z) ** 2, below)
    return inactive + over_polygon(lambda x, z: (B + G * x + H * z - own_x * x - own_z * z) ** 2, above)


def quadrature(f: Callable[[float], float], kinks: Sequence[float]) -> float:
    """∫₀¹ f by Gauss–Legendre with eight points between the kinks."""
    edges = [0.0, *sorted(kink for kink in kinks if 0 < kink < 1), 1.0]
    points, weights = np.polynomial.legendre.leggauss(8)
    return sum(
        (high - low)
        / 2
        * sum(w * f((low + high) / 2 + (high - low) / 2 * t) for t, w in zip(points, weights, strict=True))
        for low, high in itertools.pairwise(edges)
    )


def crossing(b: float, slope: float) -> list[float]:
    return [-b / slope] if slope else []


def parts_by_quadrature(W: np.ndarray, b: np.ndarray, p: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """The parts none, one, two (3, feature) from their definition, one set of active features after another."""
    n, G = len(b), W.T @ W
    parts = np.zeros((3, n))
    for size in range(3):
        for active in itertools.combinations(range(n), size):
            chance = np.prod([p[j] if j in active else 1 - p[j] for j in range(n)])
            for i in range(n):
                g, own = [G[i, j] for j in active], [float(i == j) for j in active]

                def error(*x: float, i: int = i, g: list[float] = g, own: list[float] = own) -> float:
                    return (max(b[i] + np.dot(g, x), 0) - np.dot(own, x)) ** 2

                if size == 0:
                    mean = error()
                elif size == 1:
                    mean = quadrature(error, crossing(b[i], g[0]))
                else:
                    mean = quadrature(
                        lambda x, i=i, g=g, error=error: quadrature(
                            lambda z: error(x, z), crossing(b[i] + g[0] * x, g[1])
                        ),
                        crossing(b[i], g[0]) + crossing(b[i] + g[1], g[0]),
                    )
                parts[size, i] += chance * importance[i] * mean
    return parts


def squared_errors(W: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (np.maximum(x @ (W.T @ W) + b, 0) - x) ** 2


def sampled(W: np.ndarray, b: np.ndarray, regime: Regime) -> tuple[np.ndarray, np.ndarray]:
    """What the features contribute to the loss in samples that an engine sees, and how many of them are active."""
    x, context = toysup.sample(regime, 0, np.arange(N_SAMPLES))
    x = x.astype(np.float64)
    return regime.importance[context] * squared_errors(W, b, x), (x > 0).sum(axis=1)


def assert_mean(samples: np.ndarray, expected: float | np.ndarray) -> None:
    """The mean of samples (sample, ...) is within four standard errors, and the rounding of float32 samples."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) <= 4 * error + 1e-7).all()


# The integrals

SLOPES = st.sampled_from([0.0, 1.0, -1.0, 1e-300, -1e-18, 1e-9, 1e6, -1e6]) | uniform(-3, 3)


@given(SLOPES, SLOPES, SLOPES, st.sampled_from([(0, 0), (1, 0), (0, 1)]))
@settings(max_examples=400)
def test_integrals_are_those_over_the_clipped_square(b: float, g: float, h: float, own: tuple[int, int]) -> None:
    G, bias, owns = np.array([[g, h]]), np.array([b]), np.array([own], dtype=float)
    both = two_active(G, bias, owns, (np.array([0]), np.array([1])))[0, 0]
    alone = one_active(G, bias, owns)[0]
    expected = [exact_square(b, g, h, *own), exact_square(b, g, 0, own[0], 0), exact_square(b, 0, h, 0, own[1])]
    # An output that rounding moves by a few 1e-16 of its largest term has its square moved by so much.
    scale = 1 + abs(b) + abs(g) + abs(h)
    for value, exact in zip([both, *alone], map(float, expected), strict=True):
        assert abs(value - exact) <= 1e-14 * exact + 1e-15 * scale * np.sqrt(exact) + (1e-15 * scale) ** 2


def test_integrals_by_hand() -> None:
    G, b, own = np.array([[1.0, -1.0], [2.0, 0.0]]), np.array([0.0, -1.0]), np.eye(2)
    # ReLU(x) − x; ReLU(−z) − 0; ReLU(2x − 1): ∫_½¹ (2x − 1)² = 1/6; nothing but −z.
    np.testing.assert_allclose(one_active(G, b, own), [[0, 0], [1 / 6, 1 / 3]], rtol=1e-15, atol=1e-30)
    # ReLU(x − z) − x = −min(x, z), of mean square 1/6; (ReLU(2x − 1) − z)²: 1/6 − 2 · ¼ · ½ + 1/3.
    pairs = (np.array([0]), np.array([1]))
    np.testing.assert_allclose(two_active(G, b, own, pairs), [[1 / 6], [1 / 4]], rtol=1e-15)


# The loss by number of active features


@given(st.integers(1, 3).flatmap(lambda n: st.tuples(models(n), regimes(n))))
@settings(max_examples=30)
def test_parts_are_those_of_quadrature(case: tuple[tuple[np.ndarray, np.ndarray], Regime]) -> None:
    (W, b), regime = case
    parts = theory.loss_parts(W, b, regime)
    tables = zip(regime.context_probability, regime.activation_probability, regime.importance, strict=True)
    expected = sum(P * parts_by_quadrature(W, b, p, importance) for P, p, importance in tables)
    np.testing.assert_allclose(parts[:3], expected, rtol=0, atol=1e-8)


@given(models(4), regimes(4, 0.2, 0.7))
@settings(max_examples=30)
def test_parts_are_those_of_samples(model: tuple[np.ndarray, np.ndarray], regime: Regime) -> None:
    errors, active = sampled(*model, regime)
    parts = theory.loss_parts(*model, regime)
    for size in range(3):
        assert_mean(errors * (active == size)[:, None], parts[size])
    rest = errors * (active > 2)[:, None]
    assert (rest.mean(axis=0) <= parts.more_at_most + 4 * rest.std(axis=0) / np.sqrt(N_SAMPLES) + 1e-7).all()


@given(models(2), regimes(2, 0.2, 0.7))
@settings(max_examples=10)
def test_two_features_leave_nothing_out(model: tuple[np.ndarray, np.ndarray], regime: Regime) -> None:
    parts = theory.loss_parts(*model, regime)
    assert not parts.more_at_most.any()
    assert_mean(sampled(*model, regime)[0], sum(parts))


def test_what_remains_is_third_order_and_exact_where_nothing_is_represented() -> None:
    """With W = 0 and b = 0 the error is −x_i: E[x_i²; three or more] = p/3 · P(two of the other three or more)."""
    p = 0.3
    others = 3 * p**2 * (1 - p) + p**3
    more = theory.loss_parts(np.zeros((2, 4)), np.zeros(4), theory.one_context(np.full(4, p), 0.5)).more_at_most
    np.testing.assert_allclose(more, 0.5 * p / 3 * others, rtol=1e-14)
    W, b = np.random.default_rng(0).normal(size=(3, 12)), np.zeros(12)
    dense, sparse = (theory.loss_parts(W, b, theory.one_context(np.full(12, p), 1)).more_at_most for p in (1e-5, 1e-6))
    np.testing.assert_allclose(dense / sparse, 1000, rtol=1e-3)
    orthogonal = theory.loss_parts(np.eye(4), np.zeros(4), theory.one_context(np.full(4, p), 1))
    assert not np.any(orthogonal)


def test_second_moments_are_sums_over_sets() -> None:
    from toysup.theory.remainder import _moments_of_more

    p = np.array([[0.2, 1.0, 0.7, 0.4], [0.0, 0.3, 0.1, 0.9]])
    expected = np.zeros((2, 5, 5))
    for size in (3, 4):
        for active in itertools.combinations(range(4), size):
            x = np.zeros(5)
            x[0], x[[j + 1 for j in active]] = 1, 1 / 2
            moment = np.outer(x, x)
            moment[np.arange(1, 5), np.arange(1, 5)] = x[1:] * 2 / 3
            chance = np.where(np.isin(range(4), active), p, 1 - p).prod(axis=1)
            expected += chance[:, None, None] * moment
    np.testing.assert_allclose(_moments_of_more(p), expected, rtol=1e-13, atol=1e-16)


def test_any_leading_dims_at_once_and_models_apart() -> None:
    random = np.random.default_rng(1)
    # Enough pairs that one call takes several blocks.
    W, b = random.normal(size=(2, 3, 4, 40)) / 2, random.normal(size=(3, 40)) / 5
    regime = theory.one_context(np.linspace(0, 1, 40), random.random(40))
    parts, loss = theory.loss_parts(W, b, regime), theory.one_hot_loss(W, b)
    for cell in np.ndindex(2, 3):
        alone = theory.loss_parts(W[cell], b[cell[1]], regime)
        np.testing.assert_allclose([part[cell] for part in parts], alone, rtol=1e-12)
        np.testing.assert_allclose(loss[cell], theory.one_hot_loss(W[cell], b[cell[1]]), rtol=1e-12)


def test_a_model_that_diverged_has_no_loss_and_leaves_the_others_theirs() -> None:
    W, b = np.ones((3, 1, 2)), np.zeros((3, 2))
    W[0, 0, 1], b[1, 0] = np.inf, np.nan
    parts = np.array(theory.loss_parts(W, b, theory.one_context([0.1, 0.2], 1)))
    assert np.isnan(parts[:, :2]).all()
    assert np.isfinite(parts[:, 2]).all()


def test_conditional_importance_halves_every_part() -> None:
    """The context is independent of x, so a loss that counts half of the time is half the loss."""
    tree = toysup.open_example("conditional-importance")["conditional-importance"]
    models = tree["fixed"].to_dataset().isel(step=-1, seed=slice(3))
    fixed, conditional = (toysup.regime_of(tree[name].to_dataset()) for name in ("fixed", "conditional"))
    W, b = models.W.transpose("seed", "hidden", "feature"), models.b.transpose("seed", "feature")
    half = np.array(theory.loss_parts(W, b, conditional))
    np.testing.assert_allclose(half, np.array(theory.loss_parts(W, b, fixed)) / 2, rtol=1e-12)


# One-hot inputs


@given(models(4), arrays(np.float64, 4, elements=uniform(0.05, 0.9)), arrays(np.float64, 4, elements=uniform(0, 2)))
@settings(max_examples=50)
def test_the_one_hot_loss_is_that_of_one_active_feature(
    model: tuple[np.ndarray, np.ndarray], p: np.ndarray, importance: np.ndarray
) -> None:
    odds = p / (1 - p)
    one = theory.loss_parts(*model, theory.one_context(p, importance)).one
    one_hot = theory.one_hot_loss(*model, importance, feature_probability=odds / odds.sum())
    np.testing.assert_allclose(one, one_hot * np.prod(1 - p) * odds.sum(), rtol=1e-12, atol=1e-15)


def polygon_loss(k: int, length: float, bias: float, *, c: int, unused_bias: float = 0.0) -> float:
    b = np.where(np.arange(c) < k, bias, unused_bias)
    return float(theory.one_hot_loss(theory.polygon(k, length, n_features=c), b).sum())


@pytest.mark.parametrize(
    ("k", "length", "bias", "features_lost"),
    [(4, 1, 0, 0), (5, 1.17046, -0.28230, 0.23738), (6, 1.32053, -0.61814, 0.86746)],
)
def test_polygons_of_chen_et_al(k: int, length: float, bias: float, features_lost: float) -> None:
    found = minimize(
        lambda at: polygon_loss(k, *at, c=k), [1.1, -0.2], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-14}
    )
    np.testing.assert_allclose(found.x, [length, bias], atol=6e-6)
    np.testing.assert_allclose(3 * k * found.fun, features_lost, atol=6e-6)


PENTAGON, HEXAGON, SQUARE = (5, 1.17046, -0.28230), (6, 1.32053, -0.61814), (4, 1.0, 0.0)


@pytest.mark.parametrize(
    ("polygon", "c", "unused_bias", "loss"),
    [
        (PENTAGON, 6, 0.0, 0.06874),
        (PENTAGON, 6, 1 / 12, 0.06180),
        (HEXAGON, 6, 0.0, 0.04819),
        (SQUARE, 5, 0.0, 0.06667),
        (SQUARE, 5, 1 / 10, 0.05667),
        (PENTAGON, 5, 0.0, 0.01583),
        (SQUARE, 4, 0.0, 0.0),
    ],
)
def test_losses_of_chen_et_al(polygon: tuple[int, float, float], c: int, unused_bias: float, loss: float) -> None:
    np.testing.assert_allclose(polygon_loss(*polygon, c=c, unused_bias=unused_bias), loss, atol=6e-6)


def test_a_positive_bias_on_an_unused_feature_gains_a_quarter_of_a_squared_share() -> None:
    gain = polygon_loss(*PENTAGON, c=6) - polygon_loss(*PENTAGON, c=6, unused_bias=1 / 12)
    np.testing.assert_allclose(gain, 1 / (4 * 6**2), rtol=1e-12)


# Two features in one dimension

STRATEGIES = {
    "drop_second": lambda p: ([[1.0, 0.0]], [0.0, p / 2]),
    "drop_first": lambda p: ([[0.0, 1.0]], [p / 2, 0.0]),
    "antipodal": lambda p: ([[1.0, -1.0]], [0.0, 0.0]),
}


@given(uniform(0, 3), uniform(0, 1))
@settings(max_examples=50)
def test_losses_of_the_strategies_are_those_of_their_weights(importance: float, p: float) -> None:
    regime = theory.one_context(p, [1, importance])
    for name, loss in theory.two_feature_losses(importance, p)._asdict().items():
        expected = np.sum(theory.loss_parts(*STRATEGIES[name](p), regime))
        np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-15)


def test_the_phases_meet_at_four_sevenths() -> None:
    np.testing.assert_allclose(theory.two_feature_losses(1, 4 / 7), [16 / 147] * 3, rtol=1e-14)
    importance = np.array([0.2, 0.5, 0.9, 1.0, 1.5, 4.0])
    limit = np.array([0.8 / 3, 2 / 4.5, 3.6 / 6.5, 4 / 7, 4 / 8, 4 / 13])
    np.testing.assert_allclose(theory.antipodal_limit(importance), limit, rtol=1e-14)
    assert set(theory.two_feature_phase(importance, limit - 1e-9)) == {"antipodal"}
    above = theory.two_feature_phase(importance, limit + 1e-9)
    assert above[[0, 1, 2, 4, 5]].tolist() == ["drop_second"] * 3 + ["drop_first"] * 2


@given(uniform(0, 3))
@settings(max_examples=50)
def test_two_features_are_a_regime_of_one_context(importance: float) -> None:
    limit = theory.sharing_limit(theory.one_context(1, [1, importance]))
    np.testing.assert_allclose(limit[0, 1], theory.antipodal_limit(importance), rtol=1e-12)


# Sharing a direction


@given(regimes(4, 0.2, 0.7))
@settings(max_examples=20)
def test_sharing_costs_what_samples_say(regime: Regime) -> None:
    cost = theory.sharing_cost(regime)
    # 1 with 3, 2 with 4.
    W = np.array([[1.0, 0, -1, 0], [0, 1, 0, -1]])
    errors, _ = sampled(W, np.zeros(4), regime)
    assert_mean(errors[:, [0, 2]].sum(axis=1), cost[0, 2])
    assert_mean(errors.sum(axis=1), cost[0, 2] + cost[1, 3])
    np.testing.assert_array_equal(cost, cost.T)
    assert np.isnan(np.diagonal(cost)).all()


@given(regimes(2))
@settings(max_examples=50)
def test_sharing_costs_what_the_loss_of_a_pair_is(regime: Regime) -> None:
    loss = np.sum(theory.loss_parts([[1, -1]], [0, 0], regime))
    np.testing.assert_allclose(theory.sharing_cost(regime)[0, 1], loss, rtol=1e-12, atol=1e-15)


@given(regimes(2, 0.1, 0.9), uniform(-0.2, 0.2))
@settings(max_examples=50)
def test_dropping_costs_what_the_best_constant_leaves(regime: Regime, away: float) -> None:
    weight = regime.context_probability[:, None] * regime.importance
    total = np.where(weight.sum(axis=0) > 0, weight.sum(axis=0), 1)
    best = (weight * regime.activation_probability).sum(axis=0) / (2 * total)
    cost = theory.dropping_cost(regime)
    losses = [
        np.sum(theory.loss_parts(np.zeros((1, 2)), b, regime), axis=0) for b in (best, np.maximum(best + away, 0))
    ]
    np.testing.assert_allclose(cost, losses[0], rtol=1e-12, atol=1e-15)
    assert (cost <= losses[1] + 1e-15).all()
    assert_mean(sampled(np.zeros((1, 2)), best, regime)[0], cost)


@given(regimes(3, 0.05, 0.5), uniform(0.5, 0.95))
@settings(max_examples=50)
def test_sharing_pays_up_to_its_limit(regime: Regime, share: float) -> None:
    limit = theory.sharing_limit(regime)
    for i, j in itertools.permutations(range(3), 2):
        for scale in (share * limit[i, j], limit[i, j] / share):
            scaled = dataclasses.replace(regime, activation_probability=scale * regime.activation_probability)
            dropping, sharing = theory.dropping_cost(scaled), theory.sharing_cost(scaled)[i, j]
            if min(dropping[i], dropping[j]) > 1e-12:
                assert (sharing < min(dropping[i], dropping[j])) == (scale < limit[i, j])


def test_a_feature_that_never_matters_or_never_fires_is_not_worth_sharing_with() -> None:
    regime = theory.one_context([0.1, 0.1, 0.0], [1.0, 0.0, 1.0])
    assert theory.dropping_cost(regime)[1:].tolist() == [0, 0]
    limit = theory.sharing_limit(regime)
    assert limit[0, 1] == limit[0, 2] == limit[1, 2] == 0


# Features that keep a share outside their context


@given(st.integers(2, 4), uniform(0.05, 1), uniform(0, 1), uniform(0, 2))
@settings(max_examples=50)
def test_outside_shares_are_the_tables_of_a_regime(K: int, p: float, share: float, importance: float) -> None:
    regime = outside_regime(K, p, share, importance)
    costs, limits = (
        theory.outside_costs(p, share, importance, n_contexts=K),
        theory.outside_limits(share, importance, n_contexts=K),
    )
    sharing, limit = theory.sharing_cost(regime), theory.sharing_limit(regime)
    np.testing.assert_allclose(costs.across, sharing[0, 2], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(costs.within, sharing[0, 1], rtol=1e-12)
    np.testing.assert_allclose(costs.dropping, theory.dropping_cost(regime), rtol=1e-12)
    np.testing.assert_allclose(limits, [p * limit[0, 2], p * limit[0, 1]], rtol=1e-12)


def test_importance_alone_changes_nothing_and_exclusion_everything() -> None:
    share, importance = np.meshgrid([0, 0.25, 1], [0, 0.5, 1, 3])
    costs = theory.outside_costs(0.15, share, importance)
    expected = share * (1 + importance) / (1 + share**2 * importance)
    np.testing.assert_allclose(costs.across / costs.within, expected, rtol=1e-14)
    assert (costs.across[:, 0] == 0).all()
    for K in (2, 3, 7):
        fixed = theory.outside_costs(0.15, 1, importance, n_contexts=K)
        np.testing.assert_allclose(fixed.across, fixed.within, rtol=1e-14)
        np.testing.assert_allclose(theory.outside_limits(1, importance, n_contexts=K), 4 / 7, rtol=1e-14)


def test_conditional_importance_shares_across_up_to_a_share_of_probability() -> None:
    """μ = 0: across pays below 4/(3 + 4λ), that is for λ < 1/p − 3/4; within below 4/7."""
    limits = theory.outside_limits([0, 0.5, 1], 0)
    np.testing.assert_allclose(limits.across, [4 / 3, 4 / 5, 4 / 7], rtol=1e-14)
    np.testing.assert_allclose(limits.within, [4 / 7] * 3, rtol=1e-14)
    for share, pays in ((0.49, True), (0.51, False)):
        costs = theory.outside_costs(0.8, share, 0)
        assert (costs.across < costs.dropping) == pays


# Outputs that are never negative


@given(models(3), regimes(3, 0.2, 0.7))
@settings(max_examples=20)
def test_no_output_that_is_never_negative_goes_below_the_floor(
    model: tuple[np.ndarray, np.ndarray], regime: Regime
) -> None:
    x, context = toysup.sample(regime, 0, np.arange(N_SAMPLES))
    signed = np.where(x > 0, 2 * x.astype(np.float64) - 1, 0)
    importance = regime.importance[context]
    floor = theory.output_floor(dataclasses.replace(regime, values="signed"))
    assert_mean(importance * squared_errors(np.eye(3), np.zeros(3), signed), floor)
    W, b = model
    linear = signed @ (W.T @ W) + b
    for output in (np.maximum(linear, 0), np.logaddexp(linear, 0), 1 / (1 + np.exp(-linear)), np.abs(linear)):
        errors = importance * (output - signed) ** 2
        assert (errors.mean(axis=0) >= floor - 4 * errors.std(axis=0) / np.sqrt(N_SAMPLES) - 1e-7).all()


def with_additions(**changes: object) -> Regime:
    spec = RegimeSpec(contexts=("a", "b"), feature_probability=0.2, **changes)
    return spec.resolve(4)


def test_the_floor_is_that_of_signed_samples_in_groups_too() -> None:
    regime = with_additions(values="signed", exclusive=("1-2",), together=("3-4",), correlation=0.5)
    x, _ = toysup.sample(regime, 0, np.arange(N_SAMPLES))
    assert_mean(np.minimum(x, 0.0) ** 2, theory.output_floor(regime))


# Wrong input

REGIME_FUNCTIONS = [
    theory.sharing_cost,
    theory.dropping_cost,
    theory.sharing_limit,
    lambda regime: theory.loss_parts(np.eye(4), np.zeros(4), regime),
]


@pytest.mark.parametrize("function", REGIME_FUNCTIONS)
def test_regimes_that_have_no_formula_are_refused(function: Callable[[Regime], object]) -> None:
    function(with_additions())
    for additions, words in [
        ({"values": "signed"}, "its values are signed, not uniform"),
        ({"values": 0.5}, "its values are 0.5, not uniform"),
        ({"together": ("1-2",)}, "its features are in groups"),
        ({"exclusive": ("1-2",)}, "its features are in groups"),
        ({"context_rule": "x_1 > median"}, "its context follows from x"),
        ({"target": "z"}, "its target is z, not x"),
    ]:
        with pytest.raises(UsageError, match=words):
            function(with_additions(**additions))


def test_the_floor_is_of_signed_values_alone() -> None:
    for additions, words in [
        ({}, "its values are uniform, not signed"),
        ({"values": -1.0}, "its values are -1.0, not signed"),
        ({"values": "signed", "target": "abs"}, "its target is abs"),
        ({"values": "signed", "context_rule": "sum(x) > 0"}, "its context follows from x"),
    ]:
        with pytest.raises(UsageError, match=words):
            theory.output_floor(with_additions(**additions))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.one_context([0.1, 1.2], 1), r"probability must be in \[0, 1\], not 1\.2"),
        (lambda: theory.one_context(np.nan, 1), r"probability must be in \[0, 1\], not nan"),
        (lambda: theory.one_context(0.1, [-1]), "importance must be finite and at least 0, not -1"),
        (lambda: theory.one_context(0.1, np.inf), "importance must be finite and at least 0, not inf"),
        (lambda: theory.one_context([0.1, 0.2], [1, 1, 1]), r"one number, or one for each feature"),
        (lambda: theory.loss_parts(np.ones((1, 3)), np.zeros(3), theory.one_context(0.1, [1, 1])), "the regime has 2"),
        (lambda: theory.loss_parts(np.ones((1, 3)), np.zeros(2), theory.one_context(0.1, [1, 1])), r"W \(1, 3\)"),
        (lambda: theory.loss_parts(np.ones((2, 1, 1)), np.zeros((3, 1)), theory.one_context(0.1, 1)), "leading dims"),
        (lambda: theory.one_hot_loss(np.ones((1, 3)), np.zeros(3), [1, 2]), "one for each of 3 features"),
        (lambda: theory.one_hot_loss(np.ones((1, 2)), np.zeros(2), feature_probability=[0.5, 0.6]), "sum to 1"),
        (lambda: theory.polygon(3, n_features=2), "k=3, n_features=2"),
        (lambda: theory.outside_limits(0.5, 0, n_contexts=1), "n_contexts must be at least 2, not 1"),
        (lambda: theory.outside_costs(0.1, 2, 0), "outside_probability must be in"),
        (lambda: theory.antipodal_limit(-1), "importance must be"),
    ],
)
def test_wrong_input_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@given(regimes(3), uniform(0.0, 0.3))
def test_a_penalty_outweighs_a_feature_whose_best_norm_is_below_a_half(regime: Regime, penalty: float) -> None:
    q = np.linspace(0, 1, 20_001)
    gain = regime.context_probability @ (regime.importance * regime.activation_probability) * regime.value_moments[1]
    best = q[np.argmin(gain[:, None] * (1 - q) ** 2 + penalty * q / 2, axis=1)]
    clear = abs(best - 0.5) > 1e-3
    expected = (gain > 0) & (best < 0.5)
    assert (outweighed_features(regime, penalty) == expected)[clear].all()
