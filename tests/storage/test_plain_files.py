"""Files that are opened without decoding: the dataset is xarray's own, and damage is met before a number is given."""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import toysup
from toysup.storage import netcdf, plain_files
from toysup.storage.netcdf import open_trajectory
from toysup.storage.plain_files import Header, State, StoredFile, append_summary, header_of, summarised_header


@pytest.fixture(params=["plain", "swept"])
def path(request: pytest.FixtureRequest, trained: xr.DataTree, swept: xr.DataTree, tmp_path: Path) -> Path:
    """A file of one condition, with and without a sweep."""
    return toysup.save_runs(trained.leaves[0].to_dataset() if request.param == "plain" else swept, tmp_path)[0]


def opened(header: Header | None, path: Path) -> xr.Dataset:
    assert header is not None
    return header.dataset(StoredFile(path, State.of(path)))


def decoded(path: Path) -> xr.Dataset:
    return netcdf._with_strings(netcdf._decoded(path, path))


def test_the_dataset_is_the_one_that_xarray_decodes(path: Path) -> None:
    with netCDF4.Dataset(path) as file:
        direct = opened(header_of(file), path)
    for dataset in (direct, opened(summarised_header(path), path)):
        with decoded(path) as expected:
            for name, variable in expected.variables.items():
                assert dataset.variables[name].dtype == variable.dtype
            for key in ("chunksizes", "preferred_chunks", "fletcher32", "original_shape"):
                assert dataset["W"].encoding[key] == expected["W"].encoding[key]
            assert not dataset["W"].variable._in_memory
            xr.testing.assert_identical(pickle.loads(pickle.dumps(dataset)).load(), expected.load())
        dataset.close()


def test_a_file_with_a_summary_is_opened_by_no_library_before_a_value_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = open_trajectory(path).load()
    calls: list[object] = []
    original = netCDF4.Dataset
    monkeypatch.setattr(netCDF4, "Dataset", lambda *args, **options: calls.append(args) or original(*args, **options))
    dataset = toysup.open_runs(path).leaves[0].to_dataset()
    assert dataset["seed"].values.tolist() == expected["seed"].values.tolist()
    assert not calls
    np.testing.assert_array_equal(dataset["W"], expected["W"])
    assert calls


def test_a_summary_counts_only_if_every_byte_of_the_file_is_as_it_was(path: Path) -> None:
    content = path.read_bytes()
    assert summarised_header(path) is not None
    for at in np.linspace(0, len(content) - 1, 97).astype(int):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert summarised_header(path) is None, at
    for cut in (0, 1, 40, 5000, len(content) - 1):
        path.write_bytes(content[:cut])
        assert summarised_header(path) is None, cut
    path.write_bytes(content + b"0")
    assert summarised_header(path) is None


def negative(file: netCDF4.Dataset) -> None:
    file["importance"][:] = -1


def another_seed(file: netCDF4.Dataset) -> None:
    file["seed"][0] = -3


def packed(file: netCDF4.Dataset) -> None:
    file["W"].scale_factor = 2.0


@pytest.mark.parametrize(
    ("edit", "words"), [(negative, "importance has entries that are negative"), (another_seed, "its seeds are not")]
)
def test_a_file_that_somebody_edited_is_checked_as_a_whole(
    path: Path, edit: Callable[[netCDF4.Dataset], None], words: str
) -> None:
    with netCDF4.Dataset(path, "a") as file:
        edit(file)
    with pytest.raises(toysup.ToysupError, match=words):
        toysup.open_runs(path)


def test_packed_values_are_decoded(path: Path) -> None:
    before = open_trajectory(path)["W"].load()
    with netCDF4.Dataset(path, "a") as file:
        packed(file)
    np.testing.assert_array_equal(open_trajectory(path)["W"], 2 * before)


@pytest.mark.parametrize("was_read", [False, True])
def test_damage_after_opening_is_met_before_a_number_is_given(path: Path, was_read: bool) -> None:
    """No checksum of HDF5 covers the loss, and no read of the weights has met its damage."""
    runs = toysup.open_runs(path)
    dataset = runs.leaves[0].to_dataset()
    content = bytearray(path.read_bytes())
    at = content.index(open_trajectory(path)["train_loss"].values.tobytes())
    if was_read:
        dataset["W"].isel(step=0).load()
    content[at + 9] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(0, State.of(path).changed + 10**9))
    with pytest.raises(toysup.ToysupError, match="has changed since it was opened; open it again") as caught:
        dataset["train_loss"].load()
    assert str(caught.value).startswith(str(path))


def test_a_file_that_was_replaced_is_refused_unless_it_is_still_open(path: Path) -> None:
    """Seeds may have been added in front of those that the dataset shows."""
    unread, read = (toysup.open_runs(path).leaves[0].to_dataset() for _ in range(2))
    before = read["W"].isel(step=0).values
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(toysup.ToysupError, match="has changed since it was opened"):
        unread["W"].load()
    np.testing.assert_array_equal(read["W"].isel(step=0), before)


def forged(path: Path, change: Callable[[dict], object]) -> None:
    """Give a file a summary that says something else, with the right checksum."""
    content = path.read_bytes()
    start = content.rindex(b'{"attrs"')
    summary = json.loads(content[start : -plain_files._FOOTER])
    change(summary)
    text = json.dumps(summary).encode()
    body = content[:start] + text + plain_files._MARK + len(text).to_bytes(8, "little")
    path.write_bytes(body + hashlib.sha256(body).digest())


def variable(summary: dict, name: str) -> list:
    return next(own for own in summary["variables"] if own[0] == name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda summary: variable(summary, "importance").__setitem__(5, [[-1.0] * 20] * 2),
            "entries that are negative",
        ),
        (lambda summary: variable(summary, "W").__setitem__(3, "|O"), None),
        (lambda summary: variable(summary, "W").__setitem__(2, [10**15]), None),
        (lambda summary: variable(summary, "subset").__setitem__(3, "<U999999999"), None),
        (lambda summary: summary.__setitem__("variables", 7), None),
        (lambda summary: summary["attrs"].__setitem__("toysup_schema", 2), "schema version 2"),
        (lambda summary: variable(summary, "seed").__setitem__(5, [0, 0, 1]), "its seeds are not distinct"),
        (lambda summary: variable(summary, "train_loss").__setitem__(3, "<f4"), "its summary is of another file"),
    ],
)
def test_a_forged_summary_is_checked_like_a_file(
    trained: xr.DataTree, tmp_path: Path, change: Callable[[dict], object], words: str | None
) -> None:
    """It is refused, or left unread where it is not a summary at all."""
    (path,) = toysup.save_runs(trained.leaves[0].to_dataset(), tmp_path)
    expected = decoded(path).load()
    forged(path, change)
    if words is None:
        xr.testing.assert_equal(toysup.open_runs(path).leaves[0].to_dataset().load(), expected)
        return
    with pytest.raises(toysup.ToysupError, match=words):
        toysup.open_runs(path).leaves[0].to_dataset().load()


def test_large_files_and_blocks_have_no_summary(
    path: Path, trained: xr.DataTree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    block = trained.leaves[0].to_dataset().assign_attrs(block_of="a plan")
    netcdf.write(block, tmp_path / "block.nc")
    assert summarised_header(tmp_path / "block.nc") is None
    monkeypatch.setattr(plain_files, "MOST_SUMMARISED", 1000)
    size = path.stat().st_size
    append_summary(path)
    assert path.stat().st_size == size
