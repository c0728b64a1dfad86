"""Which conditions are selected, at which step; what is measured of one is measured once, and goes with it."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from click.testing import Result

import toysup
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


def test_what_was_asked_is_done_where_it_was_recorded(swept: xr.DataTree, trained: xr.DataTree) -> None:
    both = xr.DataTree.from_dict({leaf.path: leaf.to_dataset() for tree in (trained, swept) for leaf in tree.leaves})
    said = r"step 30 was not recorded; recorded steps of conditional-importance/fixed, .*: 0, 10, 20, 40; left out$"
    with pytest.warns(UserWarning, match=said):
        (item,) = select(both, step=30)
    assert item.path == "tms-intro/tms-intro"
    assert int(item.at_step["step"]) == 30
    assert item.step_was_chosen
    assert [item.path for item in select(both, step=10)][-1] == "tms-intro/tms-intro"
    assert len(select(both, step=10)) == 5


def test_a_step_or_epoch_that_no_condition_has_is_refused_with_those_recorded(
    swept: xr.DataTree, trained: xr.DataTree
) -> None:
    both = xr.DataTree.from_dict({leaf.path: leaf.to_dataset() for tree in (trained, swept) for leaf in tree.leaves})
    with pytest.raises(toysup.UsageError, match=r"^step 7 .*fixed, .*split-40: 0, 10, 20, 40; tms-.*: 0, 10, 30$"):
        select(both, step=7)
    with pytest.raises(toysup.UsageError, match=r"^epoch 4 .* tms-intro/tms-intro: none, trained by steps$"):
        select(swept, epoch=4)
    with pytest.raises(toysup.UsageError, match=r"^epoch 4 .* of tms-intro/tms-intro: none, trained by steps$"):
        select(both, conditions=["tms-intro"], epoch=4)


@pytest.mark.parametrize("command", ["gram", "dimensionality", "interference", "losses", "dynamics", "info", "report"])
def test_the_readme_in_order(
    command: str, runs: Path, swept: xr.DataTree, run_analyze: Callable[..., Result], tmp_path: Path
) -> None:
    """An experiment that was trained by epochs and one that was trained by steps in one folder."""
    toysup.save_runs(swept, runs)
    # What is drawn does not matter here, and drawing takes most of the time.
    words = [command, runs] if command == "info" else [command, runs, "--output", tmp_path / "figures", "--no-figures"]
    refused = run_analyze(*words, "--epoch", "4")
    assert refused.exit_code == 2
    assert "Error: epoch 4 was not recorded; recorded epochs of conditional-importance/fixed, " in refused.stderr
    assert not (tmp_path / "figures").exists()
    done = run_analyze(*words, "--epoch", "10")
    assert done.exit_code == 0, done.stderr
    note = "note: epoch 10 was not recorded; recorded epochs of tms-intro/tms-intro: none, trained by steps; left out"
    assert note in done.stderr
