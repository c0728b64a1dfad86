"""Exact losses of y = φ(A x + a): closed forms, all samples one by one, and plainly drawn samples."""

from itertools import product

import numpy as np
import pytest

from toysup import theory
from toysup.analysis.loss.characteristic import Laws, Rows, errors_by_active, expected_errors
from toysup.experiments.numpy_activations import FUNCTIONS


def tied(W: np.ndarray, b: np.ndarray) -> Rows:
    return Rows(W.T @ W, b, np.arange(len(b)), np.ones(len(b)), np.zeros(len(b), int))


def random_rows(seed: int, n: int, m: int) -> Rows:
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(m, n))
    return tied(W / np.linalg.norm(W, axis=0), -0.1 * rng.random(n))


@pytest.mark.parametrize("p", [0.001, 0.05, 0.5])
def test_antipodal_pairs_lose_p_squared_over_3_each(p: float) -> None:
    W = np.hstack([np.eye(3), -np.eye(3)])
    errors = expected_errors(tied(W, np.zeros(6)), Laws(np.full((1, 6), p), 0.0, 1.0, False), "relu")
    np.testing.assert_allclose(errors, p**2 / 6, rtol=1e-12)


@pytest.mark.parametrize("p", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_of_constant_values_all_samples_can_be_counted(activation: str, p: float) -> None:
    rows = random_rows(0, 8, 3)
    x = np.array(list(product([0.0, 1.0], repeat=8)))
    chance = np.where(x > 0, p, 1 - p).prod(axis=1)
    each = chance[:, None] * (FUNCTIONS[activation](x @ rows.A.T + rows.a) - x) ** 2
    law = Laws(np.full((1, 8), p), 1.0, 1.0, False)
    np.testing.assert_allclose(expected_errors(rows, law, activation).sum(), each.sum(), rtol=5e-5)
    active = x.sum(axis=1)
    found = errors_by_active(rows, law, activation, 5).sum(axis=1)
    expected = [each[active == k].sum() for k in range(5)] + [each[active >= 5].sum()]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * each.sum())


@pytest.mark.parametrize("p", [0.001, 0.05])
def test_few_active_features_lose_what_the_theory_says(p: float) -> None:
    rng = np.random.default_rng(3)
    W, b = rng.normal(size=(3, 7)), 0.2 * rng.normal(size=7)
    parts = theory.loss_parts(W, b, theory.one_context(p, np.ones(7)))
    found = errors_by_active(tied(W, b), Laws(np.full((1, 7), p), 0.0, 1.0, False), "relu", 5)
    for k, expected in enumerate(parts[:3]):
        np.testing.assert_allclose(found[k], expected, rtol=2e-4, atol=1e-5 * p**2)


@pytest.mark.parametrize(
    ("low", "high", "absolute"), [(0.0, 1.0, False), (-1.0, 1.0, False), (-1.0, 1.0, True), (-2.0, -2.0, True)]
)
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_errors_are_those_of_plain_samples(activation: str, low: float, high: float, absolute: bool) -> None:
    """With features that are always or never active, and an output whose target is 0."""
    rng = np.random.default_rng(7)
    W, a, p = 0.6 * rng.normal(size=(3, 5)), 0.3 * rng.normal(size=5), np.array([0.1, 0.5, 1.0, 0.0, 0.3])
    rows = tied(W, a)._replace(wanted=np.array([1.0, 1, 1, 1, 0]))
    x = np.where(rng.random((100_000, 5)) < p, low + (high - low) * rng.random((100_000, 5)), 0)
    error = (FUNCTIONS[activation](x @ rows.A + a) - (np.abs(x) if absolute else x) * rows.wanted) ** 2
    law = Laws(p[None], low, high, absolute)
    found = expected_errors(rows, law, activation)
    assert (np.abs(found - error.mean(axis=0)) <= 4.5 * error.std(axis=0) / 100_000**0.5 + 1e-5).all()
    np.testing.assert_allclose(errors_by_active(rows, law, activation, 5).sum(axis=0), found, rtol=1e-9, atol=1e-12)


def test_more_terms_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many sparse features, whose sum could be far larger than it ever is."""
    from toysup.analysis.loss import characteristic

    rows, law = random_rows(5, 150, 20), Laws(np.full((1, 150), 0.001), 0.0, 1.0, False)
    usual = expected_errors(rows, law, "relu").sum()
    for name, value in {"TERMS": 4096, "_POINTS": 8192}.items():
        monkeypatch.setattr(characteristic, name, value)
    assert expected_errors(rows, law, "relu").sum() == pytest.approx(usual, rel=2e-4)


def test_company_changes_no_bit_of_a_row() -> None:
    rows, law = random_rows(1, 9, 4), Laws(np.linspace(0, 0.3, 9)[None], 0.0, 1.0, False)
    together = expected_errors(rows, law, "gelu")
    for i in range(9):
        alone = Rows(*(each[i : i + 1] for each in rows))
        np.testing.assert_array_equal(expected_errors(alone, law, "gelu"), together[i : i + 1])
