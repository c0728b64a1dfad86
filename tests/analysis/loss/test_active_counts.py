"""The law of the number of active features, and samples drawn given that number."""

import numpy as np
import pytest

from toysup.analysis.loss.active_counts import CountLaw, most_active, none_active, one_active

P = np.array([0.1, 0.5, 1.0, 0.0, 0.3])


def test_the_law_is_that_of_coins() -> None:
    law = CountLaw(P)
    np.testing.assert_allclose(law.counts, [0, 0.315, 0.485, 0.185, 0.015], atol=1e-15)
    assert law.at_least(2) == pytest.approx(0.685)
    assert none_active(P) == 0
    np.testing.assert_allclose(one_active(P), [0, 0, 0.315, 0, 0])
    assert most_active(P) == 4
    assert most_active(np.full(10_000, 1e-4)) < 20


def test_samples_have_the_law_given_their_number_active() -> None:
    rng = np.random.default_rng(0)
    active, quantile = CountLaw(P).drawn(rng.random((200_000, 6)), 2)
    plain = rng.random((400_000, 5)) < P
    plain = plain[plain.sum(axis=1) >= 2]
    np.testing.assert_allclose(active.mean(axis=0), plain.mean(axis=0), atol=0.006)
    np.testing.assert_allclose(np.corrcoef(active[:, [0, 1, 4]].T), np.corrcoef(plain[:, [0, 1, 4]].T), atol=0.012)
    shares = [np.bincount(each.sum(axis=1), minlength=6) / len(each) for each in (active, plain)]
    np.testing.assert_allclose(*shares, atol=0.006)
    for j in (0, 1, 2, 4):
        np.testing.assert_allclose(np.quantile(quantile[active[:, j], j], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)
