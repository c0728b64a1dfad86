"""What toysup raises, and as what it can be caught."""

import pickle
from pathlib import Path

import pytest
import xarray as xr

import toysup
from toysup.experiments.model import Architecture


def test_a_usage_error_is_a_value_error_and_an_error_of_toysup() -> None:
    for kind in (ValueError, toysup.ToysupError):
        with pytest.raises(kind, match="no experiment 'nowhere'"):
            toysup.load_experiment("nowhere")
    assert not issubclass(toysup.ToysupError, ValueError)
    # A worker of a cluster hands it back.
    again = pickle.loads(pickle.dumps(toysup.UsageError("wrong")))
    assert (type(again), str(again), again.exit_code) == (toysup.UsageError, "wrong", 2)


def test_catching_value_errors_swallows_no_usage_error(
    trained: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown architecture is wrong usage where a specification is read, neither damage nor an unreadable file."""
    from toysup.experiments import model

    def wrong(*_: object) -> dict[str, object]:
        raise toysup.UsageError("this architecture needs two contexts")

    node = trained["conditional-importance/fixed"].to_dataset()
    strange = node.assign_attrs(condition=node.attrs["condition"].replace('"autoencoder"', '"mine"'))
    tree = xr.DataTree.from_dict({"/conditional-importance/fixed": strange})
    with pytest.raises(toysup.UsageError, match="no architecture 'mine'"):
        toysup.save_runs(tree, tmp_path)
    monkeypatch.setitem(model._ARCHITECTURES, "mine", Architecture(wrong, wrong))
    with pytest.raises(toysup.UsageError, match="needs two contexts"):
        toysup.save_runs(tree, tmp_path)
    path = tmp_path / "fixed.nc"
    strange.to_netcdf(path)
    with pytest.raises(toysup.UsageError, match=r"fixed\.nc: this architecture needs two contexts"):
        toysup.open_runs(path)
