"""Statistics of weights: frames with known dimensionality, arithmetic by hand, and what must hold for any W."""

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import toysup
from toysup import analysis


def weights(columns: list[list[float]] | np.ndarray, subset: list[str] | None = None) -> xr.DataArray:
    """W (hidden, feature) from one direction per feature."""
    W = np.asarray(columns, dtype=float).T
    array = xr.DataArray(W, dims=("hidden", "feature"), coords={"feature": np.arange(1, W.shape[1] + 1)})
    return array if subset is None else array.assign_coords(subset=("feature", subset))


def polygon(k: int) -> list[list[float]]:
    return [[np.cos(2 * np.pi * i / k), np.sin(2 * np.pi * i / k)] for i in range(k)]


def antiprism() -> np.ndarray:
    """Two squares at heights ±1/√3 on the unit sphere, one turned by 45°."""
    height, radius = 1 / np.sqrt(3), np.sqrt(2 / 3)
    turns = np.pi / 2 * np.arange(4)
    lower = np.c_[radius * np.cos(turns), radius * np.sin(turns), np.full(4, -height)]
    upper = np.c_[radius * np.cos(turns + np.pi / 4), radius * np.sin(turns + np.pi / 4), np.full(4, height)]
    return np.r_[lower, upper]


FRAMES = [
    ("digon", [[1.0], [-1.0]], 1 / 2),
    ("triangle", polygon(3), 2 / 3),
    ("square", polygon(4), 1 / 2),
    ("pentagon", polygon(5), 2 / 5),
    ("tetrahedron", [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], 3 / 4),
    ("square antiprism", antiprism(), 3 / 8),
]


@pytest.mark.parametrize(("name", "columns", "expected"), FRAMES, ids=[frame[0] for frame in FRAMES])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_dimensionality_of_frames(name: str, columns: list[list[float]], expected: float, scale: float) -> None:
    W = weights(columns) * scale
    np.testing.assert_allclose(analysis.feature_dimensionality(W), expected, atol=1e-6)
    np.testing.assert_allclose(analysis.feature_dimensionality(W.astype(np.float32)), expected, atol=1e-6)
    rank = W.sizes["hidden"]
    np.testing.assert_allclose(analysis.total_dimensionality(W), rank, atol=1e-6)


def test_an_antiprism_at_another_height_is_not_uniform_at_three_eighths() -> None:
    W = antiprism() * [1.1, 1.1, 0.8]
    assert np.abs(analysis.feature_dimensionality(weights(W)) - 3 / 8).max() > 0.005


def test_zero_columns_have_no_dimension_and_meet_no_interference() -> None:
    W = weights([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    assert analysis.feature_dimensionality(W).values.tolist() == [1, 0, 1]
    assert analysis.feature_interference(W).values.tolist() == [0, 0, 0]
    assert analysis.feature_dimensionality(W * 0).values.tolist() == [0, 0, 0]


@st.composite
def any_weights(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 7)))
    elements = st.floats(-10, 10, allow_nan=False).map(lambda value: round(value, 3))
    return draw(arrays(np.float64, shape, elements=elements))


@given(any_weights())
@settings(max_examples=200, deadline=None)
def test_total_dimensionality_is_at_most_the_rank(W: np.ndarray) -> None:
    D = analysis.feature_dimensionality(xr.DataArray(W, dims=("hidden", "feature")))
    assert (D >= 0).all()
    assert (D <= 1 + 1e-9).all()
    assert D.sum() <= np.linalg.matrix_rank(W) + 1e-6


@given(any_weights(), st.integers(0, 10**6), st.floats(0.01, 100))
@settings(max_examples=100, deadline=None)
def test_dimensionality_does_not_change_under_rotation_and_scaling(W: np.ndarray, seed: int, scale: float) -> None:
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(W), len(W))))[0]
    plain, turned = (xr.DataArray(value, dims=("hidden", "feature")) for value in (W, scale * rotation @ W))
    np.testing.assert_allclose(
        analysis.feature_dimensionality(plain), analysis.feature_dimensionality(turned), atol=1e-8
    )
    np.testing.assert_allclose(analysis.gram(turned), scale**2 * analysis.gram(plain), atol=1e-8 * scale**2 * 100)


@given(any_weights())
@settings(max_examples=100, deadline=None)
def test_dimensionality_equals_its_formula_written_out(W: np.ndarray) -> None:
    expected = np.zeros(W.shape[1])
    for i, column in enumerate(W.T):
        if column.any():
            unit = column / np.linalg.norm(column)
            expected[i] = np.linalg.norm(column) ** 2 / sum((unit @ other) ** 2 for other in W.T)
    found = analysis.feature_dimensionality(xr.DataArray(W, dims=("hidden", "feature")))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_gram_and_norms_by_hand() -> None:
    W = weights([[3.0, 4.0], [0.0, 2.0]], ["a", "b"])
    G = analysis.gram(W)
    assert G.values.tolist() == [[25, 8], [8, 4]]
    assert G.other_subset.values.tolist() == ["a", "b"]
    assert G.other_feature.values.tolist() == [1, 2]
    assert analysis.feature_norms(W).values.tolist() == [5, 2]


def test_represented_is_a_threshold_on_the_squared_norm() -> None:
    W = weights([[0.7], [0.71], [-1.0]])  # squares 0.49, 0.5041, 1
    assert analysis.represented(W).values.tolist() == [False, True, True]
    assert analysis.represented(W, threshold=0.4).values.tolist() == [True, True, True]
    assert analysis.represented_count(W) == 2


def test_feature_interference_by_hand() -> None:
    # Ŵ_1 = (1, 0): (Ŵ_1·W_2)² = 4, (Ŵ_1·W_3)² = 0. Ŵ_2 = (1, 1)/√2: (3/√2)² + (1/√2)² = 5. Ŵ_3 = (0, 1): 0 + 4.
    W = weights([[3.0, 0.0], [2.0, 2.0], [0.0, 1.0]])
    np.testing.assert_allclose(analysis.feature_interference(W), [4, 5, 4])


def test_probability_weighted_interference_by_hand() -> None:
    W = weights([[3.0, 0.0], [2.0, 2.0], [0.0, 1.0]], ["a", "a", "b"])
    activation = [[0.5, 0.2, 0.0], [0.0, 0.2, 0.4]]
    dataset = xr.Dataset(
        {"W": W, "context_probability": ("context", [0.25, 0.75])}
        | {"activation_probability": (("context", "feature"), activation)},
        coords={"context": ["a", "b"]},
    )
    # P(2|1) = .25·.5·.2 / (.25·.5) = .2, P(3|1) = 0; P(1|2) = .25·.5·.2 / .2 = .125, P(3|2) = .75·.4·.2 / .2 = .3;
    # P(1|3) = 0, P(2|3) = .2.
    expected = [0.2 * 4, 0.125 * 4.5 + 0.3 * 0.5, 0.2 * 4]
    np.testing.assert_allclose(analysis.probability_weighted_interference(dataset), expected)


def test_independent_features_are_weighted_with_their_probability(trained: xr.DataTree) -> None:
    dataset = trained["conditional-importance/fixed"].to_dataset()
    weighted = analysis.probability_weighted_interference(dataset)
    np.testing.assert_allclose(weighted, 0.15 * analysis.feature_interference(dataset.W), rtol=1e-5)
    assert weighted.dims == ("seed", "step", "feature")


def test_quadrants_by_hand() -> None:
    # G = [[1, .5, -.2], [.5, 1.25, .05..], ...] from W_1 = (1, 0), W_2 = (.5, 1), W_3 = (-.2, .15), subsets a, a, b.
    W = weights([[1.0, 0.0], [0.5, 1.0], [-0.2, 0.15]], ["a", "a", "b"])
    G = [[1, 0.5, -0.2], [0.5, 1.25, 0.05], [-0.2, 0.05, 0.0625]]
    np.testing.assert_allclose(analysis.gram(W), G)
    found = analysis.quadrant_interference(W)

    def quadrant(name: str, one: str, other: str) -> float:
        return float(found[name].sel(subset=one, other_subset=other))

    expected_within = {"energy": 0.5, "rms": 0.5, "mean_abs": 0.5, "max_abs": 0.5, "interfering_fraction": 1}
    for name, value in expected_within.items():
        assert quadrant(name, "a", "a") == pytest.approx(value)
    assert quadrant("negative_fraction", "a", "a") == 0
    expected_across = {"energy": 0.0425, "rms": np.sqrt(0.02125), "mean_abs": 0.125, "max_abs": 0.2}
    for name, value in expected_across.items():
        assert quadrant(name, "a", "b") == pytest.approx(value)
        assert quadrant(name, "b", "a") == pytest.approx(value)
    assert quadrant("interfering_fraction", "a", "b") == 0.5  # |−.2| > .1, |.05| is not
    assert quadrant("negative_fraction", "a", "b") == 1
    assert quadrant("energy_share", "a", "a") == pytest.approx(0.5 / 0.585)
    assert quadrant("energy", "b", "b") == 0  # one feature has no pairs
    assert np.isnan(quadrant("mean_abs", "b", "b"))
    assert float(analysis.quadrant_interference(W, threshold=0.01).interfering_fraction[0, 1]) == 1


def test_quadrants_of_scattered_subsets_are_those_of_the_gram_matrix_written_out() -> None:
    W = np.random.default_rng(5).normal(size=(300, 4, 7))
    labels = np.array(list("abacbca"))
    array = xr.DataArray(W, dims=("model", "hidden", "feature"), coords={"subset": ("feature", labels)})
    found = analysis.quadrant_interference(array)
    G = np.swapaxes(W, 1, 2) @ W
    for one in "abc":
        for other in "abc":
            pairs = (labels == one)[:, None] & (labels == other) & ~np.eye(7, dtype=bool)
            entries = G[:, pairs]
            there = {name: found[name].sel(subset=one, other_subset=other) for name in found}
            np.testing.assert_allclose(there["energy"], (entries**2).sum(axis=1))
            np.testing.assert_allclose(there["mean_abs"], abs(entries).mean(axis=1))
            np.testing.assert_allclose(there["max_abs"], abs(entries).max(axis=1))
            interfering = abs(entries) > 0.1
            np.testing.assert_allclose(there["interfering_fraction"], interfering.mean(axis=1))
            negative = (interfering & (entries < 0)).sum(axis=1)
            # Without an interfering pair the fraction is NaN.
            known = interfering.any(axis=1)
            np.testing.assert_allclose(
                there["negative_fraction"][known], (negative / interfering.sum(axis=1).clip(1))[known]
            )
            assert np.isnan(there["negative_fraction"][~known]).all()


def test_orthogonal_features_have_no_energy_to_share() -> None:
    found = analysis.quadrant_interference(weights([[1.0, 0.0], [0.0, 1.0]], ["a", "b"]))
    assert (found.energy == 0).all()
    assert np.isnan(found.energy_share).all()
    assert np.isnan(found.negative_fraction).all()


@given(any_weights(), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_quadrant_energies_partition_the_off_diagonal_energy(W: np.ndarray, count: int) -> None:
    labels = [f"s{i % count}" for i in range(W.shape[1])]
    found = analysis.quadrant_interference(weights(W.T, labels))
    G = W.T @ W
    np.testing.assert_allclose(found.energy.sum(), (G**2).sum() - (np.diag(G) ** 2).sum(), rtol=1e-7, atol=1e-12)


WEIGHT_STATISTICS = [
    analysis.gram,
    analysis.feature_norms,
    analysis.feature_dimensionality,
    analysis.total_dimensionality,
    analysis.represented,
    analysis.represented_count,
    analysis.feature_interference,
    lambda W: analysis.quadrant_interference(W).energy,
    lambda W: analysis.quadrant_interference(W).negative_fraction,
]


@pytest.mark.parametrize("statistic", WEIGHT_STATISTICS)
def test_leading_dims_order_of_dims_dtype_and_chunks(statistic, trained: xr.DataTree) -> None:
    W = trained["conditional-importance/anticorrelated"].W
    whole = statistic(W)
    assert whole.dims[:2] == ("seed", "step")
    assert whole.dtype in (np.float32, np.bool_) or whole.name == "represented"
    one = statistic(W.isel(seed=1, step=-1))
    np.testing.assert_allclose(whole.isel(seed=1, step=-1), one, rtol=1e-5, atol=1e-6)
    turned = statistic(W.transpose("feature", "step", "hidden", "seed"))
    np.testing.assert_allclose(turned.transpose(*whole.dims), whole, rtol=1e-4, atol=1e-5)
    chunked = statistic(W.chunk({"seed": 1, "step": 2}))
    assert isinstance(chunked.data, dask.array.Array)
    xr.testing.assert_allclose(chunked.compute(), whole)
    bare = statistic(W.drop_vars(list(W.coords)))
    assert bare.dims == whole.dims or "subset" in whole.dims
    assert whole.attrs["long_name"]
    assert whole.attrs["units"] == "1"
    assert whole.attrs["long_name"] != W.attrs["long_name"]


@pytest.mark.parametrize("statistic", WEIGHT_STATISTICS)
def test_a_model_that_is_not_finite_gives_nan_and_spoils_no_other(statistic, trained: xr.DataTree) -> None:
    W = trained["conditional-importance/fixed"].W.isel(step=-1).copy(deep=True)
    healthy = statistic(W)
    W[1, 3, 4] = np.nan
    spoilt = statistic(W)
    np.testing.assert_array_equal(spoilt.isel(seed=[0, 2]), healthy.isel(seed=[0, 2]))
    if spoilt.dtype != np.bool_:
        assert np.isnan(spoilt.isel(seed=1)).any()


def test_missing_dims_are_named(trained: xr.DataTree) -> None:
    W = trained["conditional-importance/fixed"].W
    with pytest.raises(toysup.UsageError, match="W needs the dims hidden, feature; it has seed, step, feature"):
        analysis.gram(W.isel(hidden=0))
    with pytest.raises(toysup.UsageError, match="not ndarray"):
        analysis.gram(W.values)
