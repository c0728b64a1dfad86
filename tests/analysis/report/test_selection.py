"""What is measured of a selected condition: once, and only as long as somebody holds the condition."""

import gc
import weakref

import xarray as xr

from toysup.analysis.report.selection import Selected, computed_once, select
from toysup.analysis.report.topics.losses import total_loss


def test_a_measure_is_computed_once_for_a_condition_and_all_its_cells(swept: xr.DataTree) -> None:
    calls = []

    @computed_once
    def last_bias(item: Selected) -> xr.DataArray:
        calls.append(item)
        return item.at_step["b"]

    (item,) = select(swept)
    for cell in item.cells():
        xr.testing.assert_equal(last_bias(cell), cell.at_step["b"])
    assert last_bias(item) is last_bias(item)
    assert calls == [item]
    # The same condition selected anew, or one seed of it, is another.
    assert last_bias(item.of_one_seed()).sizes["seed"] == 1
    assert len(calls) == 2


def test_what_was_computed_goes_with_its_condition(swept: xr.DataTree) -> None:
    (item,) = select(swept)
    total_loss(item, item)
    gone = weakref.ref(item)
    del item
    gc.collect()
    assert gone() is None
