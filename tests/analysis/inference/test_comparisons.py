"""Differences between conditions: intervals, permutation tests, effect sizes, equivalence, many comparisons."""

import random
import warnings
from collections.abc import Iterable

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import toysup
from toysup import analysis
from toysup.analysis.inference import permutations

COLUMNS = ["mean", "ci_low", "ci_high", "n_seeds", "n_excluded", "effect_size", "p_value"]


def seeds(*numbers: float, first: int = 0) -> xr.DataArray:
    return xr.DataArray(list(numbers), dims="seed", coords={"seed": range(first, first + len(numbers))}, name="x")


def row(a: object, b: object, **options: object) -> dict[str, float]:
    summary = analysis.difference_over_seeds(seeds(*a), seeds(*b), **options)
    return {name: summary[name].item() for name in COLUMNS}


def welch(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """The statistic that is permuted, from scipy; of two groups that do not vary it is infinite, or 0 where equal."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        variance = x.var(axis=axis, ddof=1) / x.shape[axis] + y.var(axis=axis, ddof=1) / y.shape[axis]
        variance = np.where(variance < 1e-12, 0, variance)
        return np.abs(x.mean(axis=axis) - y.mean(axis=axis)) / np.sqrt(variance)


def test_unpaired_by_hand() -> None:
    """m = 3 and 7, s² = 1 and 4, three and three seeds, neither side skewed."""
    found = row([2, 3, 4], [5, 7, 9])
    error, degrees = np.sqrt(1 / 3 + 4 / 3), (5 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    q = stats.t.ppf(0.975, degrees)
    J = 1 / (np.sqrt(2) * np.sqrt(np.pi) / 2)  # Γ(2) / (√2 Γ(3/2))
    expected = [-4, -4 - q * error, -4 + q * error, 6, 0, J * -4 / np.sqrt(2.5), 2 / 20]
    np.testing.assert_allclose(list(found.values()), expected)
    np.testing.assert_allclose(
        [found["ci_low"], found["ci_high"]],
        stats.ttest_ind([2, 3, 4], [5, 7, 9], equal_var=False).confidence_interval(),
    )


def test_paired_by_hand() -> None:
    """Differences 1, 2, 3: of eight patterns of signs two have as large a mean."""
    found = row([2, 4, 6], [1, 2, 3], paired=True)
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    # J(2) = Γ(1) / (√1 Γ(1/2)).
    expected = [2, 2 - half, 2 + half, 3, 0, 2 / np.sqrt(np.pi), 2 / 8]
    np.testing.assert_allclose(list(found.values()), expected)


def test_the_interval_of_pairs_is_that_of_their_differences() -> None:
    a, b = np.random.default_rng(0).exponential(size=(2, 20))
    expected = analysis.over_seeds(seeds(*(a - b)))
    found = analysis.difference_over_seeds(seeds(*a), seeds(*b), paired=True)
    for name in ("mean", "ci_low", "ci_high", "n_seeds"):
        assert found[name].item() == expected[name].item()


def test_the_interval_of_two_groups_solves_halls_equation() -> None:
    a, b = np.random.default_rng(1).exponential(size=12), np.random.default_rng(2).normal(size=7)
    found = row(a, b)
    variances = [x.var(ddof=1) / len(x) for x in (a, b)]
    error = np.sqrt(sum(variances))
    third = [stats.skew(x) / np.sqrt(len(x)) * v**1.5 for x, v in zip((a, b), variances, strict=True)]
    degrees = error**4 / (variances[0] ** 2 / 11 + variances[1] ** 2 / 6)
    # Shrunk, as the skewness of a mean of one seed more than the degrees of freedom.
    k = (third[0] - third[1]) / error**3 * (degrees + 1) / (degrees + 6)
    T = (found["mean"] - np.array([found["ci_low"], found["ci_high"]])) / error
    q = stats.t.ppf(0.975, degrees)
    np.testing.assert_allclose(T + k * T**2 / 3 + k**2 * T**3 / 27 + k / 6, [q, -q])


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 5), (2, 9), (3, 3)])
def test_few_labels_are_permuted_exactly(n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(n_a)
    for a, b in [
        (rng.normal(size=n_a), rng.normal(1, 2, size=n_b)),
        (rng.integers(0, 3, n_a), rng.integers(0, 3, n_b)),
    ]:
        expected = stats.permutation_test((a * 1.0, b * 1.0), welch, vectorized=True, alternative="greater")
        assert row(a, b)["p_value"] == pytest.approx(expected.pvalue)


def test_few_signs_are_flipped_exactly() -> None:
    rng = np.random.default_rng(0)
    for d in (rng.normal(0.5, size=9), np.array([1, 2, -1, 3, 0, 0, 1])):
        expected = stats.permutation_test(
            (d,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", vectorized=True
        )
        assert row(d, np.zeros(len(d)), paired=True)["p_value"] == pytest.approx(expected.pvalue)


def test_many_permutations_are_drawn() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=25), rng.normal(0.6, 1, size=20)
    expected = stats.permutation_test(
        (a, b), welch, vectorized=True, alternative="greater", rng=np.random.default_rng(1)
    )
    assert row(a, b)["p_value"] == pytest.approx(expected.pvalue, abs=0.01)
    d = rng.normal(0.4, size=25)
    one = stats.permutation_test((d,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", vectorized=True)
    assert row(d, 0 * d, paired=True)["p_value"] == pytest.approx(one.pvalue, abs=0.01)
    # What was seen counts: with nothing as far, 1 of N + 1.
    assert row(a, b + 100)["p_value"] == row(a, a + 100 + d[:25] / 10, paired=True)["p_value"] == 1e-4


# Few enough for all permutations, which do not depend on the order of seeds as drawn ones do.
numbers = arrays(np.int64, st.integers(3, 6), elements=st.integers(-9, 9))


@given(
    numbers, numbers, st.booleans(), st.integers(-4, 4), st.sampled_from([0.5, 4]), st.randoms(use_true_random=False)
)
def test_differences_move_with_the_values(
    a: np.ndarray, b: np.ndarray, paired: bool, shift: int, scale: float, random: random.Random
) -> None:
    if paired:
        a, b = a[: len(b)], b[: len(a)]
    one = row(a, b, paired=paired)
    # What counts as a mode depends on how large values are, and on whether they are whole numbers.
    moved = row(scale * (a + shift), scale * (b + shift), paired=paired)
    assume(np.isfinite(one["mean"]) and np.isfinite(moved["mean"]))
    opposite = {"mean": -one["mean"], "ci_low": -one["ci_high"], "ci_high": -one["ci_low"]}
    opposite["effect_size"] = -one["effect_size"]
    scaled = {name: scale * one[name] for name in ("mean", "ci_low", "ci_high")}
    order = random.sample(range(len(a)), len(a))
    for found, expected in [
        (row(b, a, paired=paired), one | opposite),
        (moved, one | scaled),
        (row(a[order], b[order] if paired else b, paired=paired), one),
    ]:
        np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-9)
    assert np.isfinite(one["p_value"]) == np.isfinite(one["ci_low"])


def test_without_spread_nothing_is_concluded() -> None:
    none = ["ci_low", "ci_high", "effect_size", "p_value"]
    for a, b, paired in [
        ([1], [2], True),
        ([1], [2, 3, 4], False),
        ([3, 4, 5], [1, 2, 3], True),
        ([1, 2, 3], [1, 2, 3], True),
        ([20, 20, 20], [17, 17], False),
        ([np.nan, 1], [2, 3], True),
    ]:
        found = row(a, b, paired=paired)
        assert np.isfinite(found["mean"])
        assert all(np.isnan(found[name]) for name in none), (a, b, paired)
    # A side whose seeds agree adds no variance to that of the other.
    found = row([20, 20, 20], [16, 17, 18])
    assert found["ci_high"] - found["mean"] == pytest.approx(stats.t.ppf(0.975, 2) / np.sqrt(3))
    assert found["p_value"] == 2 / 20


def test_pairs_are_of_the_same_seed() -> None:
    a = seeds(1, 2, 4, np.nan, 8)
    b = seeds(7, 1, 1, 0, 5, first=1)[::-1]  # seeds 5 … 1
    found = analysis.difference_over_seeds(a, b, paired=True)
    expected = analysis.over_seeds(seeds(2 - 7, 4 - 1, 8 - 0))
    assert found["mean"].item() == pytest.approx(expected["mean"].item())
    assert found.ci_low.item() == pytest.approx(expected.ci_low.item())
    # Seeds 0 and 5 are of one side only, 3 is not finite.
    assert (found.n_seeds.item(), found.n_excluded.item()) == (3, 3)
    with pytest.raises(toysup.UsageError, match="coordinate seed"):
        analysis.difference_over_seeds(a.drop_vars("seed"), b, paired=True)
    unpaired = analysis.difference_over_seeds(a, b)
    assert (unpaired.n_seeds.item(), unpaired.n_excluded.item()) == (9, 1)
    assert unpaired["mean"].item() == pytest.approx(15 / 4 - 14 / 5)


def test_entries_meet_by_their_labels() -> None:
    rng = np.random.default_rng(0)
    a = xr.DataArray(rng.normal(size=(6, 2, 3)), dims=("seed", "p", "subset"), coords={"p": [0.1, 0.2]})
    b = xr.DataArray(rng.normal(size=(3, 5)), dims=("subset", "seed"))
    a[2, 1, 0] = np.inf
    summary = analysis.difference_over_seeds(a, b)
    assert summary["mean"].dims == ("p", "subset")
    assert summary.n_excluded.values.tolist() == [[0, 0, 0], [1, 0, 0]]
    one = analysis.difference_over_seeds(a.isel(p=1, subset=0), b.isel(subset=0))
    for name in COLUMNS:
        assert summary[name].values[1, 0] == pytest.approx(one[name].item())
    with pytest.raises(toysup.UsageError, match="different entries"):
        analysis.difference_over_seeds(a, a.assign_coords(p=[0.1, 0.3]))
    with pytest.raises(toysup.UsageError, match="needs the dims seed"):
        analysis.difference_over_seeds(a, b.isel(seed=0))
    with pytest.raises(toysup.UsageError, match="between 0 and 1"):
        analysis.difference_over_seeds(a, b, confidence=1)


def test_equivalence_is_an_interval_within_the_margin() -> None:
    a, b = seeds(1, 2, 3, 4, 5), seeds(1.5, 2, 3.5, 4, 5)
    for paired in (True, False):
        inner = analysis.difference_over_seeds(a, b, paired=paired, confidence=0.9)
        furthest = max(-inner.ci_low.item(), inner.ci_high.item())
        within = analysis.equivalence_over_seeds(a, b, furthest * 1.001, paired=paired)
        assert within.equivalent
        assert not analysis.equivalence_over_seeds(a, b, furthest * 0.999, paired=paired).equivalent
        assert within.ci_low.item() == inner.ci_low.item()
        assert within.attrs["confidence_level"] == 0.9
    assert not analysis.equivalence_over_seeds(seeds(1, 1), seeds(1, 1), 1.0).equivalent
    for margin in (0, -1, np.nan, np.inf):
        with pytest.raises(toysup.UsageError, match="margin"):
            analysis.equivalence_over_seeds(a, b, margin)


def test_holm_by_hand() -> None:
    p = xr.DataArray([0.04, np.nan, 0.01, 0.03, 0.9], dims="row")
    np.testing.assert_allclose(analysis.holm_adjusted(p), [0.09, np.nan, 0.04, 0.09, 0.9])
    both = xr.DataArray([[0.01, 0.5], [0.04, 0.02]], dims=("x", "y"))
    np.testing.assert_allclose(analysis.holm_adjusted(both), [[0.04, 0.5], [0.08, 0.06]])
    np.testing.assert_allclose(analysis.holm_adjusted(both, dim="x"), [[0.02, 0.5], [0.04, 0.04]])
    with pytest.raises(toysup.UsageError, match="needs the dims z"):
        analysis.holm_adjusted(both, dim="z")


def test_equal_shapes_and_samples_are_paired(trained: xr.DataTree, swept: xr.DataTree) -> None:
    own = {name: node.to_dataset() for name, node in trained["conditional-importance"].children.items()}
    assert analysis.paired_by_seed(own["fixed"], own["conditional"])
    assert analysis.paired_by_seed(own["fixed"], own["fixed"].isel(step=-1, seed=[0]))
    assert not analysis.paired_by_seed(own["fixed"], own["anticorrelated"]), "other samples"
    assert not analysis.paired_by_seed(own["anticorrelated"], own["split-40"]), "other shapes"
    assert not analysis.paired_by_seed(own["fixed"], own["fixed"].assign_attrs(values="signed"))
    assert not analysis.paired_by_seed(own["fixed"], own["fixed"].assign_coords(group=("feature", ["+"] * 20)))
    assert not analysis.paired_by_seed(own["fixed"], own["fixed"].drop_vars("b"))
    (node,) = swept["tms-intro"].children.values()
    whole = node.to_dataset()
    assert analysis.paired_by_seed(whole, whole)
    cells = [whole.isel(feature_probability=k) for k in (0, 1)]
    assert not analysis.paired_by_seed(*cells)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (range(20), range(2, 25), True),
        (range(6), range(6, 12), False),
        (range(10), range(5, 15), False),
        (range(10), range(4, 14), True),
        (range(100), range(3), True),
        # Of two seeds one alone would be a pair without an interval.
        ([0, 1], [1, 2], False),
        ([0], [0], True),
    ],
)
def test_conditions_are_paired_where_most_seeds_are_shared(
    trained: xr.DataTree, one: Iterable[int], other: Iterable[int], together: bool
) -> None:
    dataset = trained["conditional-importance/fixed"].to_dataset().isel(step=-1)
    of = (list(one), list(other))
    sides = [dataset.isel(seed=np.zeros(len(own), dtype=int)).assign_coords(seed=own) for own in of]
    assert analysis.paired_by_seed(*sides) == analysis.paired_by_seed(*sides[::-1]) == together


def test_among_many_comparisons_small_p_values_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    a = xr.DataArray(rng.normal([0, 1.2, 9], size=(20, 3)), dims=["seed", "entry"]).assign_coords(seed=range(20))
    b = xr.DataArray(rng.normal(size=(20, 3)), dims=["seed", "entry"]).assign_coords(seed=range(20))
    for paired in (True, False):
        few, many = (
            analysis.difference_over_seeds(a, b, paired=paired, comparisons=count)["p_value"].values
            for count in (3, 560)
        )
        assert few[2] == 1e-4
        assert many[2] == pytest.approx(1 / 56_000)
        # Where ten draws are as far, further ones change nothing.
        assert few[0] == many[0] > 1e-3
        exact = stats.ttest_rel if paired else stats.ttest_ind
        assert many[1] == pytest.approx(exact(a[:, 1], b[:, 1]).pvalue, rel=1)


def test_small_p_values_hold_their_level() -> None:
    rows = np.random.default_rng(4).normal(size=(4000, 16))
    for p in (permutations.sign_flip_p(rows, 500), permutations.relabelling_p(rows[:, :15], 8, 500)):
        for level in (1e-2, 2e-3):
            assert stats.binomtest(int((p <= level).sum()), len(p), level).pvalue > 0.001


@pytest.mark.parametrize(("n", "other"), [(4, None), (7, None), (20, None), (3, 3), (4, 3), (20, 20)])
@pytest.mark.parametrize("comparisons", [1, 500])
def test_the_least_p_value_is_that_of_sides_far_apart(n: int, other: int | None, comparisons: int) -> None:
    rng = np.random.default_rng(0)
    far = rng.normal(100, 1, size=(1, n))
    if other is None:
        least, p = (
            permutations.least_sign_flip_p(np.array([n]), comparisons),
            permutations.sign_flip_p(far, comparisons),
        )
    else:
        least = permutations.least_relabelling_p(np.array([n]), np.array([other]), comparisons)
        p = permutations.relabelling_p(np.hstack([far, rng.normal(size=(1, other))]), n, comparisons)
    assert p == pytest.approx(least)
