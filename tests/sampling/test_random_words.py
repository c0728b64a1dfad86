"""The counter-based generator against published answers, and the law of what is drawn from it."""

import numpy as np
import pytest
from scipy import stats

from toysup.experiments.regime import Regime
from toysup.sampling import random_words
from toysup.sampling.random_words import normal, order, philox, words
from toysup.sampling.samples import context_thresholds, sample, thresholds, value_scale

PI = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
# Random123's known answers for philox4x32 with 7 and with 10 rounds: counter, key, words.
KNOWN_ANSWERS = [
    (7, [0] * 4, [0] * 2, [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]),
    (7, [0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662]),
    (10, [0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (10, [0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (10, *PI, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


@pytest.mark.parametrize(("rounds", "counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(
    rounds: int, counter: list[int], key: list[int], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert random_words.ROUNDS == 7
    monkeypatch.setattr(random_words, "ROUNDS", rounds)
    drawn = philox(tuple(np.array([part]) for part in counter), tuple(key))
    assert [int(word[0]) for word in drawn] == expected


def test_words_depend_on_seed_purpose_and_index_only() -> None:
    assert words(3, "W", 10)[:4].tolist() == words(3, "W", 4).tolist()
    different = [words(3, "W", 4), words(4, "W", 4), words(3, "V", 4), words(3, "W", 4, index=1), words(2**40, "W", 4)]
    assert len({tuple(drawn) for drawn in different}) == 5


def test_normal_draws_are_standard_normal() -> None:
    drawn = normal(0, "W", (100, 200)).ravel()
    assert stats.kstest(drawn, "norm").pvalue > 0.001
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / np.sqrt(len(drawn))
    assert abs(np.corrcoef(drawn, normal(1, "W", (100, 200)).ravel())[0, 1]) < 4 / np.sqrt(len(drawn))


def test_order_is_a_permutation_of_its_own_for_each_seed_and_epoch() -> None:
    one = order(0, 0, 1000)
    assert sorted(one) == list(range(1000))
    assert (one != order(0, 1, 1000)).mean() > 0.9
    assert (one != order(1, 0, 1000)).mean() > 0.9
    assert order(0, 0, 1).tolist() == [0]


def test_order_is_uniform_over_permutations() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(2400):
        key = tuple(order(5, epoch, 4).tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


def regime(*, activation: list[list[float]], contexts: list[float]) -> Regime:
    n = len(activation[0])
    names = tuple("abc"[: len(contexts)])
    tables = (np.array(contexts), np.array(activation), np.ones((len(contexts), n)))
    return Regime(names, ("all",) * n, *tables)


def test_samples_follow_the_tables() -> None:
    count = 40_000
    law = regime(activation=[[0.1, 0.5, 1.0, 0.0], [0.3, 0.2, 1.0, 0.9]], contexts=[0.25, 0.75])
    x, context = sample(law, 1, np.arange(count))
    assert stats.binomtest(int((context == 0).sum()), count, 0.25).pvalue > 0.001
    for c in range(2):
        rows = x[context == c]
        for i, p in enumerate(law.activation_probability[c]):
            active = rows[:, i] > 0
            if p in (0.0, 1.0):
                assert active.all() == bool(p)
                assert active.any() == bool(p)
            else:
                assert stats.binomtest(int(active.sum()), len(rows), p).pvalue > 0.001
            if p > 0:
                assert stats.kstest(rows[active, i], "uniform").pvalue > 0.001
    independent = np.corrcoef(np.c_[x[:, :2], x[:, 3]][context == 1].T)
    assert np.abs(independent - np.eye(3)).max() < 4 / np.sqrt((context == 1).sum())


def test_a_feature_that_cannot_fire_in_a_context_changes_nothing_else() -> None:
    everywhere = regime(activation=[[0.5, 0.5], [0.5, 0.5]], contexts=[0.5, 0.5])
    one_each = regime(activation=[[0.5, 0.0], [0.0, 0.5]], contexts=[0.5, 0.5])
    (x, context), (z, same) = (sample(law, 3, np.arange(500)) for law in (everywhere, one_each))
    np.testing.assert_array_equal(context, same)
    np.testing.assert_array_equal(z, x * np.stack([context == 0, context == 1], axis=1))


def test_values_by_hand() -> None:
    # p = 1/2 has t = 2^31, so half of the words are active, with value word / 2^31.
    threshold = thresholds([0.5, 0.5, 0.5, 0.0, 1.0])
    assert threshold.tolist() == [2**31, 2**31, 2**31, 0, 2**32 - 1]
    drawn = np.array([0, 2**30, 2**31, 0, 2**31])
    values = np.where(drawn < threshold, drawn.astype(np.float32) * value_scale(threshold), 0)
    assert values.tolist() == [0.0, 0.5, 0.0, 0.0, 0.5]
    assert context_thresholds([0.25, 0.25, 0.5]).tolist() == [2**30, 2**31]


def test_samples_do_not_depend_on_which_others_are_drawn() -> None:
    law = regime(activation=[[1.0] * 6], contexts=[1.0])
    alone, _ = sample(law, 7, [2**33 + 5])
    among, _ = sample(law, 7, np.arange(2**33, 2**33 + 10))
    np.testing.assert_array_equal(alone[0], among[5])
    assert (sample(law, 7, [5])[0] != alone).any()


def test_seeds_see_unrelated_samples() -> None:
    law = regime(activation=[[0.5] * 8], contexts=[1.0])
    drawn = np.stack([sample(law, seed, np.arange(4000))[0].ravel() for seed in (0, 1, 2, 2**32)])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 4 / np.sqrt(drawn.shape[1])
