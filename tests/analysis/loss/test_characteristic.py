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


def plainly(A: np.ndarray, a: float, own: int, wanted: float, law: Laws, activation: str) -> float:
    """E[(y − t)²] of one output: the same series, term by term and with a fine sum over the own feature's values."""
    terms, points, gap = 256, 512, 1e-3
    low, high, p = law.low, law.high, law.probability[0]
    others = [j for j in range(len(A)) if j != own and p[j] > 0 and A[j] != 0]
    ends = [sorted((0.0, A[j] * low, A[j] * high)) for j in others]
    start, stop = sum(end[0] for end in ends), sum(end[2] for end in ends)
    length = stop - start

    def h(s: float) -> float:
        v = low + (high - low) * (np.arange(200_000) + 0.5) / 200_000
        error = FUNCTIONS[activation](a + s + A[own] * v) - wanted * (abs(v) if law.absolute else v)
        idle = FUNCTIONS[activation](np.array([a + s]))[0]
        return float((1 - p[own]) * idle**2 + p[own] * (error**2).mean())

    def transform(u: float) -> complex:
        whole = 1 + 0j
        for j in others:
            w = u * A[j]
            one = (np.exp(1j * w * high) - np.exp(1j * w * low)) / (1j * w * (high - low)) if w else 1
            whole *= 1 + p[j] * (one - 1)
        return whole - atom

    atom = np.prod([1 - p[j] for j in others])
    at = [start, start + gap * length, start + 2 * gap * length, stop - 2 * gap * length, stop - gap * length, stop]
    e = [h(s) for s in at]
    at_start = (-3 * e[0] + 4 * e[1] - e[2]) / (2 * gap * length)
    at_stop = (e[3] - 4 * e[4] + 3 * e[5]) / (2 * gap * length)
    second = (at_stop - at_start) / (2 * length)
    first = at_start - 2 * second * start
    s = start + length * (np.arange(points) + 0.5) / points
    rest = np.array([h(x) - first * x - second * x * x for x in s])
    total = atom * h(0.0)
    for k in range(terms):
        u = np.pi * k / length
        coefficient = (2 if k else 1) * (rest * np.cos(u * (s - start))).mean()
        total += coefficient * (transform(u) * np.exp(-1j * u * start)).real
    value, square = (low + high) / 2, (low * low + low * high + high * high) / 3
    mean = sum(p[j] * A[j] * value for j in others)
    variance = sum(p[j] * A[j] ** 2 * (square - p[j] * value**2) for j in others)
    return float(total + first * mean + second * (variance + mean**2))


@pytest.mark.parametrize(
    ("low", "high", "absolute", "activation"),
    [(0.0, 1.0, False, "relu"), (-1.0, 1.0, True, "leaky_relu"), (-1.0, 1.0, True, "tanh"), (0.5, 1.0, False, "abs")],
)
def test_compiled_loops_compute_the_series(low: float, high: float, absolute: bool, activation: str) -> None:
    """Features so often active that the interval of s is that of all of them."""
    rows = random_rows(4, 4, 2)._replace(wanted=np.array([1.0, 1, 0, 1]))
    law = Laws(np.array([[0.4, 0.5, 0.9, 0.6]]), low, high, absolute)
    found = expected_errors(rows, law, activation)
    for i in (0, 2):
        plain = plainly(rows.A[i], rows.a[i], i, rows.wanted[i], law, activation)
        assert found[i] == pytest.approx(plain, rel=1e-8)


def test_rows_of_several_laws_are_computed_at_once() -> None:
    rows = random_rows(2, 6, 3)._replace(law=np.array([0, 1, 2, 1, 0, 2]))
    p = np.array([np.full(6, 0.02), np.linspace(0, 1, 6), np.full(6, 0.5)])
    together = errors_by_active(rows, Laws(p, 0.0, 1.0, False), "relu", 3)
    for law in range(3):
        here = rows.law == law
        alone = rows._replace(law=np.zeros(6, int))
        of_one = errors_by_active(alone, Laws(p[law : law + 1], 0.0, 1.0, False), "relu", 3)
        np.testing.assert_array_equal(together[:, here], of_one[:, here])
