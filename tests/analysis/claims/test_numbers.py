"""The statistics that claims are about, on models made by hand."""

import numpy as np
import pytest
import xarray as xr

from toysup.analysis.claims import numbers
from toysup.analysis.claims.numbers import Trajectory


def tied(W: np.ndarray, importance: np.ndarray) -> Trajectory:
    """A trajectory of one step: W (seed, hidden, feature) with the first half of the features in one subset."""
    n = W.shape[-1]
    subset = ["day"] * (n // 2) + ["night"] * (n - n // 2)
    dataset = xr.Dataset(
        {
            "W": (("seed", "step", "hidden", "feature"), W[:, None]),
            "train_loss": (("seed", "step"), np.zeros((len(W), 1))),
            "context_probability": ("context", [0.5, 0.5]),
            "importance": (("context", "feature"), np.broadcast_to(importance, (2, n))),
        },
        coords={"subset": ("feature", subset), "seed": np.arange(len(W)), "feature": np.arange(1, n + 1)},
    )
    return Trajectory(dataset)


def test_concordance_counts_pairs_of_a_represented_and_an_unrepresented_feature() -> None:
    importance = np.array([4.0, 3.0, 2.0, 2.0])
    # Represented: 1 and 3, against 2 and 4. 1 wins both; 3 loses to 2, and ties with 4, which does not count.
    W = np.array([[[1.0, 0, 1, 0]], [[1, 1, 1, 1]], [[0, 0, 0, 1]], [[np.nan, 0, 1, 0]]])
    found = numbers.importance_concordance(tied(W, importance).last)
    np.testing.assert_allclose(found, [2 / 3, np.nan, 0.0, np.nan])


def test_features_share_a_direction_across_subsets_in_either_sense() -> None:
    across = [[1.0, 0, -0.8, 0.1], [0, 1, 0.01, 2]]
    # Feature 3 points away from feature 1, but is not represented.
    too_short = [[1.0, 0, -0.5, 0.1], [0, 1, 0.01, 2]]
    within = [[1.0, -1, 0, 0], [0, 0, 1, 1]]
    zero = np.zeros((2, 4))
    diverged = np.full((2, 4), np.inf)
    found = numbers.shared_across(tied(np.array([across, too_short, within, zero, diverged]), np.ones(4)).last)
    np.testing.assert_allclose(found, [1, 0.5, 0, 0, np.nan])


def test_phases_are_counted_in_parts_of_the_whole_fall() -> None:
    loss = np.array([[np.nan, 1.1, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]])
    run = xr.Dataset({"train_loss": (("seed", "step"), loss)}, coords={"epoch": ("step", np.arange(8.0))})
    falls, flat = (part.summary(0.95)["mean"].item() for part in numbers.phases({"a": Trajectory(run)}).values())
    assert falls == pytest.approx(0.1 - 0.005)
    assert flat == pytest.approx(0.005)


def test_phases_need_losses_of_single_epochs() -> None:
    """A training loss is a mean since the snapshot before."""
    for epochs in ([1, 4, 5, 8, 12], [1, 3, 4, 5, 10, 12], [1, 3, 4, 4.5, 5, 11, 12], [0, 3, 4, 5, 10, 11, 12]):
        loss = xr.DataArray(np.ones((1, len(epochs))), dims=("seed", "step"))
        run = xr.Dataset({"train_loss": loss}, {"epoch": ("step", np.array(epochs, dtype=float))})
        with pytest.raises(numbers.NotRecordedError, match="the last two of a recorded"):
            numbers.phases({"a": Trajectory(run)})
