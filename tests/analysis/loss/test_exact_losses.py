"""Exact losses under several regimes: as one by one, and each law of features only once."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

import toysup
from toysup.analysis.loss import characteristic, exact_losses
from toysup.analysis.loss.expected_loss import expected_losses

Small = Callable[..., toysup.Experiment]
CONTEXTS = {"regime__context_probability": {"a": 0.5, "b": 0.5}, "regime__subsets": {"a": "1-3", "b": "4-6"}}


def trained(small: Small, **changes: object) -> xr.Dataset:
    experiment = small(**{"training__steps": 1, "record__steps": [0], **CONTEXTS, **changes})
    return toysup.train(experiment, seeds=3)["small/small"].to_dataset().isel(step=-1)


def test_under_several_regimes_losses_are_those_under_each(small: Small) -> None:
    swept = {"regime__feature_probability": [0.1, 0.3]}
    models = trained(small, **swept)
    unders = [
        models,
        trained(small, **swept, regime__outside_importance=0.2),
        trained(small, regime__outside_probability=0.0),
        trained(small, regime__together=["1-3"]),
    ]
    for under, found in zip(unders, expected_losses(models, unders, by_batch=True), strict=True):
        xr.testing.assert_identical(found, toysup.analysis.expected_loss(models, under, by_batch=True))
    for p in (0.1, 0.3):
        cell = toysup.analysis.expected_loss(models.sel(feature_probability=p), unders[1].sel(feature_probability=p))
        together = toysup.analysis.expected_loss(models, unders[1]).sel(feature_probability=p)
        np.testing.assert_array_equal(cell, together)


@pytest.mark.parametrize(
    ("changes", "laws"),
    [
        # The same law in both contexts and under both importances.
        ({"regime__outside_importance": 0.2}, 1),
        # Each context has its own, and the first regime has another.
        ({"regime__outside_probability": 0.0}, 3),
        ({"regime__context_probability": {"a": 0.9, "b": 0.1}}, 1),
    ],
)
def test_a_law_of_features_is_evaluated_once(
    small: Small, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], laws: int
) -> None:
    models, other = trained(small), trained(small, **changes)
    counted: list[int] = []

    def counting(rows: characteristic.Rows, *others: object) -> np.ndarray:
        counted.append(len(rows.a))
        return characteristic.errors_by_active(rows, *others)

    monkeypatch.setattr(exact_losses, "errors_by_active", counting)
    list(expected_losses(models, [models, other]))
    assert sum(counted) == 3 * 6 * laws
