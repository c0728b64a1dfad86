"""Functions on a user's own arrays: what can be computed is, and everything else is refused in one clear line."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import toysup
from toysup import analysis
from toysup.errors import UsageError

# What each public function takes first, beside trained models: an array with these dims.
DIMS = {
    "gram": ("hidden", "feature"),
    "feature_norms": ("hidden", "feature"),
    "feature_dimensionality": ("hidden", "feature"),
    "total_dimensionality": ("hidden", "feature"),
    "represented": ("hidden", "feature"),
    "represented_count": ("hidden", "feature"),
    "feature_interference": ("hidden", "feature"),
    "quadrant_interference": ("hidden", "feature"),
    "gram_quadrants": ("feature", "other_feature"),
    "shared_directions": ("hidden", "feature"),
    "shared_direction_count": ("feature", "other_feature"),
    "merge_step": ("step", "feature", "other_feature"),
    "feature_onset": ("step", "hidden", "feature"),
    "plateaus": ("step",),
    "level_jumps": ("step",),
    "sampling_error": ("batch",),
    "over_seeds": ("seed",),
    "proportion_over_seeds": ("seed",),
    "bootstrap_over_seeds": ("seed",),
    "difference_over_seeds": ("seed",),
    "equivalence_over_seeds": ("seed",),
    "holm_adjusted": (),
}
OF_MODELS = (
    "probability_weighted_interference",
    "linear_response",
    "context_selectivity",
    "expected_loss",
    "loss_decomposition",
    "loss_by_active",
    "loss_references",
    "exchangeable_features",
    "quadrant_null",
    "pooled_quadrant_null",
    "paired_by_seed",
    "piecewise",
)
FURTHER: dict[str, Any] = {"margin": 1.0, "statistic": np.mean}


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    tree = toysup.open_example("conditional-importance")
    return tree["conditional-importance/fixed"].to_dataset().isel(step=-1)


def called(name: str, value: object) -> Any:
    """The function of that name with `value` for every argument that it needs, but numbers."""
    function: Callable[..., Any] = getattr(analysis, name)
    needed = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    return function(*(FURTHER.get(key, value) for key in needed))


def test_every_public_function_is_tried_here() -> None:
    functions = {name for name in analysis.__all__ if inspect.isfunction(getattr(analysis, name))}
    # One takes numbers alone, and the other a summary and its error.
    assert functions == {*DIMS, *OF_MODELS, "sharing_chance", "widened"}


@pytest.mark.parametrize("name", [*DIMS, *OF_MODELS])
def test_what_is_not_labelled_is_refused_in_one_line(name: str, dataset: xr.Dataset) -> None:
    odd = [[[1.0, 2.0]], np.ones((2, 2)), None, "W", 3, xr.DataArray(["a"], dims="text"), xr.Dataset()]
    odd += [dataset] if name in DIMS else [dataset["W"], dataset[["W"]]]
    odd += [xr.DataArray([0.5], dims="other")] if name != "holm_adjusted" else []
    for value in odd:
        with pytest.raises(UsageError) as error:
            called(name, value)
        assert "\n" not in str(error.value)
        assert any(word in str(error.value) for word in ("DataArray", "Dataset", "lacks", "real numbers")), error.value


@pytest.mark.parametrize("name", [name for name, dims in DIMS.items() if dims])
def test_integers_are_numbers(name: str) -> None:
    sizes = {"step": 8, "seed": 5, "batch": 4, "hidden": 2}
    shape = [sizes.get(dim, 3) for dim in DIMS[name]]
    whole = np.random.default_rng(0).integers(0, 2, shape)
    array = xr.DataArray(whole, dims=DIMS[name], coords={"step": range(8)} if "step" in DIMS[name] else {})
    xr.testing.assert_identical(called(name, array), called(name, array.astype(float)))


def test_probabilities_may_be_integers_but_not_a_list() -> None:
    assert analysis.holm_adjusted(xr.DataArray([0, 1], dims="test")).values.tolist() == [0, 1]
    with pytest.raises(UsageError, match=r"p_values must be a DataArray, not list; label an array with xarray\.Data"):
        analysis.holm_adjusted([0.01, 0.2])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-23, 1e-19, 1e19, 1e-300, 1e200])
def test_what_does_not_depend_on_the_scale_is_computed_at_any_scale(dtype: type[np.floating], scale: float) -> None:
    if scale in (1e-300, 1e200) and dtype is np.float32:
        pytest.skip("float32 cannot hold these")
    plain = xr.DataArray(np.random.default_rng(1).normal(size=(3, 5)), dims=("hidden", "feature"))
    scaled = (plain * scale).astype(dtype)
    rtol = 2e-6 if dtype is np.float32 else 1e-12
    compared = {
        "norms": (analysis.feature_norms(scaled) / scale, analysis.feature_norms(plain)),
        "D": (analysis.feature_dimensionality(scaled), analysis.feature_dimensionality(plain)),
        "sharing": tuple(analysis.shared_directions(W, represented_threshold=0) for W in (scaled, plain)),
    }
    for found, expected in compared.values():
        np.testing.assert_allclose(found, expected, rtol=rtol)
        assert found.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tiny_column_beside_usual_ones_has_its_own_dimension(dtype: type[np.floating]) -> None:
    for tiny in (1e-23, 1e-30):
        own = xr.DataArray(np.diag([1.0, tiny]).astype(dtype), dims=("hidden", "feature"))
        assert analysis.feature_dimensionality(own).values.tolist() == [1, 1]
        np.testing.assert_allclose(analysis.feature_norms(own), [1, tiny], rtol=1e-6)
        # The other feature projects onto the direction of the tiny one in full.
        parallel = xr.DataArray(np.array([[1, tiny], [0, 0]], dtype), dims=("hidden", "feature"))
        np.testing.assert_allclose(analysis.feature_interference(parallel)[1], 1)
        assert analysis.feature_dimensionality(parallel)[0] == 1
        assert analysis.feature_dimensionality(parallel)[1] < 1e-40


def test_the_norms_of_usual_weights_are_those_without_scaling_to_the_bit(dataset: xr.Dataset) -> None:
    weights = dataset["W"]
    np.testing.assert_array_equal(analysis.feature_norms(weights), (weights**2).sum("hidden") ** 0.5)
