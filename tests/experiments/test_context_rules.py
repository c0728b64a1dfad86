"""Contexts that follow from x: the law of the statistic, its median and its ties, by hand and against samples."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import toysup
from toysup.experiments import context_rules
from toysup.experiments.context_rules import irwin_hall
from toysup.experiments.regime_spec import RegimeSpec
from toysup.sampling.samples import sample

Small = Callable[..., toysup.Experiment]
COUNT = 40_000
CASES = [
    *[
        (text, values)
        for text in ("sum(x) > median", "x_3 > median")
        for values in ("uniform", "signed", "binary", 0.1)
    ],
    *[("sum(x) > 0.3", values) for values in ("uniform", "signed", "binary", 0.1)],
    *[("x_2 > 0.25", values) for values in ("uniform", "signed", "binary")],
    *[("sum(x) > -0.5", values) for values in ("signed", -0.5)],
]


def resolved(rule: str, values: str | float, probability: list[float]) -> toysup.Regime:
    spec = RegimeSpec(
        contexts=("first", "other"), context_rule=rule, values=values, activation_probability=tuple(probability)
    )
    return spec.resolve(len(probability))


@given(st.floats(0, 1), st.floats(0, 2))
def test_irwin_hall_by_hand(x: float, y: float) -> None:
    assert irwin_hall(x, 1) == pytest.approx(x)
    # Two uniform numbers have a triangular density, so the law is a parabola up to 1 and its mirror image from there.
    assert irwin_hall(y, 2) == pytest.approx(y**2 / 2 if y <= 1 else 1 - (2 - y) ** 2 / 2)


@given(st.integers(1, 9), st.floats(0, 1))
def test_irwin_hall_is_scipys(k: int, share: float) -> None:
    assert irwin_hall(share * k, k) == pytest.approx(stats.irwinhall(k).cdf(share * k), abs=1e-9)


@given(st.integers(1, 60), st.floats(-0.2, 1.2), st.floats(0, 0.5))
def test_irwin_hall_is_a_symmetric_law_of_any_order(k: int, share: float, more: float) -> None:
    low, high = irwin_hall(share * k, k), irwin_hall((share + more) * k, k)
    assert -1e-12 <= low <= high + 1e-12 <= 1 + 2e-12
    assert low + irwin_hall((1 - share) * k, k) == pytest.approx(1)
    # Far from the tails it is nearly normal, with mean k/2 and variance k/12.
    if k > 30:
        assert low == pytest.approx(stats.norm(k / 2, (k / 12) ** 0.5).cdf(share * k), abs=0.01)


@pytest.mark.parametrize(("text", "values"), CASES)
@pytest.mark.parametrize("probability", [[0.15, 0.5, 0.9, 0.3], [0.05, 0.1, 0.6, 0.02]])
def test_contexts_are_as_likely_as_the_rule_says(text: str, values: str | float, probability: list[float]) -> None:
    regime = resolved(text, values, probability)
    x, context = sample(regime, 3, np.arange(COUNT))
    first = regime.context_probability[0]
    assert 0 < first < 1
    assert abs((context == 0).mean() - first) < 4 * np.sqrt(first * (1 - first) / COUNT)
    if text.endswith("median"):
        assert regime.context_probability.tolist() == [0.5, 0.5]
    # What is drawn does not depend on the rule; which context it is follows from it, but for ties.
    statistic = x.astype(np.float64).sum(1) if regime.rule.feature == 0 else x[:, regime.rule.feature - 1]
    decided = statistic != regime.rule.threshold
    np.testing.assert_array_equal(context[decided], (statistic <= regime.rule.threshold)[decided])
    tied = context[~decided] == 0
    if len(tied):
        assert abs(tied.mean() - regime.rule.tie) <= 4 * np.sqrt(regime.rule.tie * (1 - regime.rule.tie) / len(tied))


def test_probabilities_by_hand() -> None:
    # Two features that are active with probability 1/2: S = 0, U or U + U' with weights 1/4, 1/2, 1/4.
    regime = resolved("sum(x) > 0.5", "uniform", [0.5, 0.5])
    assert regime.context_probability[0] == pytest.approx(1 / 2 * 1 / 2 + 1 / 4 * 7 / 8)
    # S > 0 by symmetry as often as S < 0; S = 0 is decided by a fair coin.
    assert resolved("sum(x) > 0", "signed", [0.2, 0.7]).context_probability[0] == pytest.approx(0.5)
    # U[−1, 1] exceeds 1/2 with probability 1/4.
    assert resolved("x_1 > 0.5", "signed", [0.4, 0.7]).context_probability[0] == pytest.approx(0.1)
    # Of three coins of probability 1/2, two or three show heads half of the time.
    assert resolved("sum(x) > 1.5", "binary", [0.5] * 3).context_probability[0] == pytest.approx(0.5)
    # A constant that float32 rounds still meets a threshold that is written as it is.
    for value in (0.1, 0.3, 0.7):
        assert resolved(f"x_1 > {value}", value, [0.4, 0.7]).context_probability[0] == pytest.approx(0.2)
        tied = resolved(f"sum(x) > {2 * value}", value, [0.5] * 3).context_probability[0]
        assert tied == pytest.approx(1 / 8 + 3 / 16)
    # Exactly two of them tie with the threshold, with probability 3/8, and three exceed it, with 1/8.
    assert resolved("sum(x) > 2", "binary", [0.5] * 3).context_probability[0] == pytest.approx(1 / 8 + 3 / 16)


def test_medians_and_their_coins_by_hand() -> None:
    # A feature that is mostly inactive has the median 0, which it exceeds with probability 0.3: the coin of the other
    # 0.7 adds what lacks to one half.
    rule = resolved("x_1 > median", "binary", [0.3, 0.9]).rule
    assert (rule.feature, rule.threshold) == (1, 0)
    assert rule.tie == pytest.approx((0.5 - 0.3) / 0.7)
    # One that is mostly active has the median 1, which nothing exceeds.
    assert resolved("x_1 > median", "binary", [0.8, 0.9]).rule == (1, 1, pytest.approx(0.5 / 0.8))
    # Without an atom at the median there is none: U[0, 1] with p = 0.8 has 0.5 = 0.8 (1 − t) at t = 3/8.
    rule = resolved("x_2 > median", "uniform", [0.3, 0.8]).rule
    assert (rule.threshold, rule.tie) == (pytest.approx(3 / 8), 0.5)
    # All features together, always active: the median of U + U' is 1.
    assert resolved("sum(x) > median", "uniform", [1.0, 1.0]).rule.threshold == pytest.approx(1)


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=12),
    st.sampled_from(["uniform", "signed", "binary", 0.3, -2.0]),
    st.booleans(),
)
def test_a_median_splits_evenly(probability: list[float], values: str | float, one: bool) -> None:
    regime = resolved("x_1 > median" if one else "sum(x) > median", values, probability)
    own = tuple(probability[:1] if one else probability)
    law = context_rules._law(own, *regime.value_range, regime.rule.threshold)
    assert law.above + regime.rule.tie * law.at == pytest.approx(0.5, abs=1e-6)
    assert 0 <= regime.rule.tie <= 1


def test_the_coin_is_independent_of_the_features_and_of_nothing_else() -> None:
    regime = resolved("x_1 > 0", "signed", [0.3, 0.5])
    x, context = sample(regime, 5, np.arange(COUNT))
    tied = x[:, 0] == 0
    assert tied.mean() == pytest.approx(0.7, abs=0.01)
    other, coin = x[tied, 1], context[tied]
    assert abs(np.corrcoef(other, coin)[0, 1]) < 4 / np.sqrt(tied.sum())
    assert (context != sample(regime, 6, np.arange(COUNT))[1]).any()


def test_stored_probabilities_are_the_laws_and_not_those_of_the_samples(small: Small) -> None:
    changes = {"regime__contexts": ["first", "other"], "regime__context_rule": "sum(x) > 0.5"}
    expected = resolved("sum(x) > 0.5", "uniform", [0.4] * 6).context_probability
    for seeds in ([0], [5, 9]):
        dataset = toysup.train(small(**changes), seeds=seeds)["small/small"].to_dataset()
        np.testing.assert_array_equal(dataset.context_probability, expected)


def refusal(small: Small, **changes: object) -> str | None:
    try:
        small(**changes)
    except toysup.UsageError as error:
        return str(error)
    return None


@given(st.text(max_size=30) | st.from_regex(r"(sum\(x\)|x_-?[0-9]{0,12}) ?[><] ?(median|[-+0-9.eE]{0,12})"))
def test_a_malformed_rule_is_refused_in_one_line(small: Small, text: str) -> None:
    line = refusal(small, regime__contexts=["first", "other"], regime__context_rule=text, regime__values="signed")
    assert line is None or ("context_rule" in line and "\n" not in line)
