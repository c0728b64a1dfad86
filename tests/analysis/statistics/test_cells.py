"""The cells of a regime, and the axes of a sweep."""

import numpy as np
import xarray as xr

import toysup
from toysup.analysis.statistics.cells import regime_cells, regime_sizes
from toysup.storage.schema import leading_dims, sweep_axes


def test_a_regime_has_a_cell_for_each_place_along_the_axes_that_vary_it() -> None:
    changes = {
        "training.steps": 2,
        "training.learning_rate": [0.1, 0.01, 0.001],
        "regime.feature_probability": [0.5, 0.25],
        "record.steps": [1],
    }
    dataset = toysup.train(toysup.load_experiment("tms-intro", changes=changes), seeds=1).leaves[0].to_dataset()
    assert regime_sizes(dataset) == {"feature_probability": 2}
    cells = list(regime_cells(dataset))
    assert [(cell.at, cell.place) for cell in cells] == [
        ({"feature_probability": 0}, (0,)),
        ({"feature_probability": 1}, (1,)),
    ]
    for cell, p in zip(cells, [0.5, 0.25], strict=True):
        np.testing.assert_array_equal(cell.regime.activation_probability, p)
    # The learning rate sweeps models, not regimes.
    assert set(sweep_axes(dataset)) == {"learning_rate", "feature_probability"}
    assert set(leading_dims(dataset)) == {"learning_rate", "feature_probability", "seed", "step"}
    assert "step" not in leading_dims(dataset.isel(step=-1))


def test_one_regime_is_one_cell_without_axes(trained: xr.DataTree) -> None:
    (cell,) = regime_cells(trained["conditional-importance/fixed"].to_dataset())
    assert (cell.at, cell.place) == ({}, ())
    assert cell.regime.contexts
