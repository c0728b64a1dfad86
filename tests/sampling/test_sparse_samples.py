"""Samples of sparse regimes: bits that all implementations share, and the law of the dense definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import toysup
from toysup.engines.compiled_samples.batches import draw_batch
from toysup.experiments.regime import Regime
from toysup.sampling.random_words import WORD_VALUES, words
from toysup.sampling.samples import draw, sample, sample_law
from toysup.sampling.sparse_samples import most_active, survival


def regime(probability: object, *, context_probability: object = (1.0,), values: str = "uniform") -> Regime:
    table = np.atleast_2d(np.asarray(probability, float))
    names = tuple(f"c{i}" for i in range(len(table)))
    mean = np.asarray(context_probability, float)
    return Regime(names, ("all",) * table.shape[1], mean, table, np.ones(table.shape), values)


def slow_sample(law: Regime, seed: int, j: int) -> tuple[np.ndarray, int]:
    """One sample, word by word, from the definition alone."""
    share = words(seed, "first", 4, index=j // 8)[j % 8 // 2]
    half = int(share) >> 16 if j % 2 else int(share) & 0xFFFF
    context = 0
    if len(law.contexts) > 1:
        ends = np.floor(np.cumsum(law.context_probability)[:-1] * WORD_VALUES)
        context = int((words(seed, "context", 1, index=j)[0] >= ends).sum())
    p = law.activation_probability[context]
    own = words(seed, "active", 2 * len(p) + 4, index=j).tolist()
    x, last = np.zeros(len(p), np.float32), 0
    number = (half * 2**16 + (own[0] >> 16)) / WORD_VALUES
    after = [1.0]
    for each in p:
        after.append(after[-1] * (1 - min(each, 1 - 1 / WORD_VALUES)))
    low, high = law.value_range
    for k in range(most_active(law.activation_probability)):
        level = number * after[last] if k else number
        if level < after[-1]:
            break
        last = next(f for f in range(last + 1, len(p) + 1) if after[f] <= level)
        x[last - 1] = np.float32(own[2 * k + 1]) * np.float32((high - low) / WORD_VALUES) + np.float32(low)
        number = own[2 * k + 2] / WORD_VALUES
    return x, context


SOME = [
    regime(np.full(20, 0.05)),
    regime(np.full(5, 0.01)),
    regime(np.where(np.arange(40) % 3 == 0, 0.15, 0.0), values="signed"),
    regime([np.full(37, 0.06), np.linspace(0, 0.1, 37)], context_probability=[0.3, 0.7]),
    regime([np.r_[1.0, np.zeros(30)], np.r_[np.zeros(30), 0.5], np.zeros(31)], context_probability=[0.2, 0.3, 0.5]),
    regime(np.full(400, 0.02)),
]


@pytest.mark.parametrize("law", SOME, ids=range(len(SOME)))
@pytest.mark.parametrize("first", [0, 13, 2**40 - 3])
def test_every_implementation_draws_the_same_bits(law: Regime, first: int) -> None:
    assert law.is_sparse
    indices = np.arange(first, first + 300)
    x, context = sample(law, 7, indices)
    for row in range(0, 300, 7):
        own, at = slow_sample(law, 7, first + row)
        assert x[row].tobytes() == own.tobytes()
        assert context[row] == at
    several = sample_law([law, law], [7, 2**61 + 5])
    compiled, contexts = draw_batch(several, indices[None])
    assert compiled[0].tobytes() == x.tobytes()
    assert (contexts[0] == context).all()
    on_torch = several._replace(
        key=tuple(torch.as_tensor(part) for part in several.key),
        context_threshold=torch.as_tensor(several.context_threshold),
        threshold=torch.as_tensor(several.threshold),
        scale=torch.as_tensor(several.scale),
        sparse=several.sparse._replace(
            chosen=torch.as_tensor(several.sparse.chosen),
            survival=torch.as_tensor(several.sparse.survival),
            most=torch.as_tensor(several.sparse.most),
        ),
    )
    drawn, again = draw(on_torch, torch.as_tensor(indices[None]), torch)
    assert drawn.numpy().tobytes() == compiled.tobytes()
    assert (again.numpy() == contexts).all()


def test_cells_that_are_not_sparse_are_drawn_densely() -> None:
    sparse, dense = regime(np.full(20, 0.05)), regime(np.full(20, 0.15))
    x, _ = draw_batch(sample_law([sparse, dense], [3, 3]), np.arange(500)[None])
    assert x[0].tobytes() == sample(sparse, 3, range(500))[0].tobytes()
    assert x[1].tobytes() == sample(dense, 3, range(500), draws="dense")[0].tobytes()
    plain, _ = draw(sample_law([sparse, dense], [3, 3]), np.arange(500)[None], np)
    assert plain.tobytes() == x.tobytes()
    assert x[0].tobytes() != sample(sparse, 3, range(500), draws="dense")[0].tobytes()


def test_which_regimes_are_sparse() -> None:
    assert regime(np.full(16, 1 / 16)).is_sparse
    assert not regime(np.full(16, 0.063)).is_sparse
    # At most 8 features are active in the mean, however many there are.
    assert regime(np.full(400, 0.02)).is_sparse
    assert not regime(np.full(400, 0.0201)).is_sparse
    # Contexts count with their probabilities: .25 · 4 of 20, and .1 · 4.
    table = [np.full(20, 0.2), np.zeros(20)]
    assert not regime(table, context_probability=[0.5, 0.5]).is_sparse
    assert regime(table, context_probability=[0.25, 0.75]).is_sparse
    (grouped,) = toysup.Condition(
        name="grouped",
        model={"n_features": 20, "n_hidden": 5},
        regime={"feature_probability": 0.01, "together": ["1-2"]},
        training={"steps": 1, "batch_size": 1},
    ).regimes()
    assert not grouped.is_sparse


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_survival_is_the_product_of_what_is_inactive(p: list[float]) -> None:
    expected = 1.0
    for each, found in zip(p, survival(p), strict=True):
        expected *= 1 - min(each, 1 - 2**-32)
        assert found == expected


def test_more_than_the_most_active_features_have_a_negligible_chance() -> None:
    for n, p in ((400, 0.02), (80, 0.05), (20, 0.001), (5, 0.01)):
        most = most_active(np.full((1, n), p))
        assert most == n or stats.binom.sf(most, n, p) < 2.0**-64
        # The bound is not wasteful: a third fewer would be cut more often.
        assert stats.binom.sf(most * 2 // 3, n, p) > 2.0**-64 or most == n


@pytest.mark.parametrize("law", SOME[:4], ids=range(4))
def test_the_law_is_that_of_the_dense_definition(law: Regime) -> None:
    """Marginals, pairs, triples, number active, values and contexts of 160,000 samples against the tables."""
    count, seeds = 20_000, 8
    parts = [sample(law, seed, range(count)) for seed in range(seeds)]
    x, context = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    total, on = len(x), x != 0
    share = np.bincount(context, minlength=len(law.contexts)) / total
    assert np.abs(share - law.context_probability).max() < 5 * np.sqrt(0.25 / total)
    low, high = law.value_range
    values = (x[on] - low) / (high - low)
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    for c in range(len(law.contexts)):
        here, p = on[context == c].astype(float), law.activation_probability[c]
        rows = len(here)
        spread = np.sqrt(np.maximum(p * (1 - p), 1e-9) / rows)
        assert (np.abs(here.mean(0) - p) < 5 * spread + 1e-12).all()
        pairs, expected = here.T @ here / rows, np.outer(p, p)
        off = ~np.eye(len(p), dtype=bool)
        z = (pairs - expected)[off] / np.sqrt(np.maximum(expected * (1 - expected), 1e-9)[off] / rows)
        assert np.abs(z).max() < 6.5
        # Of few pairs, or pairs that are seldom active, the mean of squares is itself uncertain.
        if rows * expected[off].min() > 30 and len(p) > 10:
            assert abs(np.mean(z**2) - 1) < 0.35
        number = here.sum(1)
        assert abs(number.mean() - p.sum()) < 5 * np.sqrt((p * (1 - p)).sum() / rows)
        assert number.var() == pytest.approx((p * (1 - p)).sum(), rel=0.05)
        # E[N (N − 1)(N − 2)] is the sum over triples of different features.
        triples = (number * (number - 1) * (number - 2)).mean()
        ideal = p.sum() ** 3 - 3 * p.sum() * (p**2).sum() + 2 * (p**3).sum()
        assert triples == pytest.approx(ideal, rel=0.25, abs=5e-4)
        assert (number == 0).mean() == pytest.approx(np.prod(1 - p), abs=5 * np.sqrt(0.25 / rows))
