"""Small tail probabilities of sums, against all sums and the normal law."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from toysup.analysis.inference.small_tails import two_sided_tail


@pytest.mark.parametrize("quantile", [0, 3, 20, 200])
def test_it_is_the_share_of_all_sums(quantile: int) -> None:
    rng = np.random.default_rng(quantile)
    values = rng.exponential(size=(6, 9))
    values -= values.mean(axis=1, keepdims=True)
    sums = np.sort(np.abs([sum(chosen) for chosen in product(*values)]))[::-1]
    distance = sums[quantile] - 1e-9
    assert two_sided_tail(values, distance) == pytest.approx((quantile + 1) / len(sums), rel=0.15)


def test_tiny_probabilities_are_those_of_the_normal_law() -> None:
    points = stats.norm.ppf((np.arange(1024) + 0.5) / 1024)
    values = np.array([points / points.std()] * 50)
    for z in (3, 5, 6):
        assert two_sided_tail(values, z * np.sqrt(50)) == pytest.approx(2 * stats.norm.sf(z), rel=0.15)


def test_what_no_sum_reaches_has_probability_0() -> None:
    assert two_sided_tail(np.array([[-1.0, np.nan, 1.0]] * 3), 3.1) == 0
    assert two_sided_tail(np.array([[-1.0, np.nan, 1.0]] * 3), 3) == pytest.approx(2 / 8)
