"""Which features share a direction."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from toysup import analysis
from toysup.errors import UsageError


def weights(columns: object) -> xr.DataArray:
    """W from (..., feature, hidden)."""
    array = np.asarray(columns, dtype=float).swapaxes(-1, -2)
    return xr.DataArray(array, dims=("model", "hidden", "feature")[-array.ndim :])


def at_angles(degrees: object) -> xr.DataArray:
    """Unit features in two dimensions, (..., feature)."""
    angles = np.deg2rad(np.asarray(degrees, dtype=float))
    return weights(np.stack([np.cos(angles), np.sin(angles)], axis=-1))


def test_sharing_has_a_sign_and_needs_both_features() -> None:
    W = weights([[1, 0], [-2, 0], [0.8, 0.1], [0.5, 0], [0, 1]])
    found = analysis.shared_directions(W)
    expected = np.zeros((5, 5))
    # 1 and 2 are antipodal, 1 and 3 are nearly parallel; 4 points the same way, but ‖W_4‖² is 0.25.
    expected[0, 1] = expected[1, 0] = expected[1, 2] = expected[2, 1] = -1
    expected[0, 2] = expected[2, 0] = 1
    np.testing.assert_array_equal(found, expected)
    assert analysis.shared_direction_count(analysis.shared_directions(W)).item() == 3
    assert analysis.shared_direction_count(analysis.shared_directions(W, represented_threshold=0.2)).item() == 6
    # cos(1, 3) is 0.8 / √0.65 = 0.9923.
    assert analysis.shared_direction_count(analysis.shared_directions(W, threshold=0.993)).item() == 1
    with pytest.raises(UsageError, match="above 0 and at most 1, got"):
        analysis.shared_directions(W, threshold=1.5)


@settings(max_examples=30)
@given(arrays(float, (5, 4), elements=st.floats(0, 359)), st.permutations(range(4)), st.floats(0, 359))
def test_sharing_is_symmetric_and_does_not_depend_on_order_or_rotation(
    degrees: np.ndarray, order: list[int], turn: float
) -> None:
    found = analysis.shared_directions(at_angles(degrees)).values
    np.testing.assert_array_equal(found, found.swapaxes(-1, -2))
    permuted = analysis.shared_directions(at_angles(degrees[:, order])).values
    np.testing.assert_array_equal(permuted, found[..., order, :][..., order])
    # Away from the threshold, where rounding decides.
    cosine = np.cos(np.deg2rad(degrees[:, :, None] - degrees[:, None, :]))
    clear = np.abs(np.abs(cosine) - 0.9) > 1e-4
    np.testing.assert_array_equal(analysis.shared_directions(at_angles(degrees + turn)).values[clear], found[clear])


def test_the_chance_of_sharing_is_that_of_random_directions() -> None:
    rng = np.random.default_rng(0)
    for m in (1, 2, 3, 5):
        directions = rng.normal(size=(20_000, 2, m))
        cosine = (directions[:, 0] * directions[:, 1]).sum(1) / np.linalg.norm(directions, axis=2).prod(axis=1)
        for threshold in (0.5, 0.9):
            expected = (np.abs(cosine) >= threshold - 1e-9).mean()
            assert analysis.sharing_chance(m, threshold=threshold) == pytest.approx(expected, abs=0.012)
    # Of the ten pairs of five features in the plane.
    assert 10 * analysis.sharing_chance(2) == pytest.approx(10 * 2 * np.arccos(0.9) / np.pi)
    for wrong in (0, 2.5):
        with pytest.raises(UsageError, match="n_hidden must be a whole number of at least 1, got"):
            analysis.sharing_chance(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threshold"):
        analysis.sharing_chance(2, threshold=0)
