"""What strangers give: files of any kind under any name, which are data and never more. Each defect met stays here."""

import ast
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from tests.robustness import fuzz_files
from toysup.storage import read_timeout
from toysup.storage.netcdf import open_trajectory

FullDisk = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def path(trained: xr.DataTree, tmp_path: Path) -> Path:
    """A file of one condition."""
    return toysup.save_runs(trained["conditional-importance"].filter(lambda node: True), tmp_path)[0]


@contextmanager
def bounded(seconds: int = 20, memory: int = 2**27) -> Iterator[None]:
    """An error where what is inside takes longer, or this much more memory than there is now."""

    def late(*_: object) -> None:
        raise AssertionError("it takes too long")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refusal(runs: Path) -> str:
    with bounded(), pytest.raises(toysup.ToysupError) as caught:
        toysup.open_runs(runs).load()
    return str(caught.value)


def many_seeds(path: Path) -> None:
    """A coordinate of 80 GB that was never written, which a tiny file can declare."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("seed", 10**10)
        file.createVariable("seed", "i8", ("seed",), chunksizes=(2**20,), zlib=True, fill_value=0)


def large_chunks(path: Path) -> None:
    """One number, in a chunk of 256 MiB."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("seed", None)
        file.createVariable("seed", "i8", ("seed",), chunksizes=(2**25,), zlib=True)[:] = [0]


@pytest.mark.parametrize("bomb", [many_seeds, large_chunks])
def test_a_small_file_cannot_ask_for_much_memory(path: Path, bomb: Callable[[Path], None]) -> None:
    bomb(path)
    assert "bytes of values, but the file has" in refusal(path)


def test_a_compressed_file_is_read(path: Path) -> None:
    dataset = xr.load_dataset(path, decode_timedelta=False)
    dataset.to_netcdf(path, encoding={"W": {"zlib": True}})
    np.testing.assert_array_equal(toysup.open_runs(path).leaves[0]["W"], dataset["W"])


def test_what_is_no_file_is_not_opened(path: Path) -> None:
    """To open a pipe would wait for ever."""
    path.unlink()
    os.mkfifo(path)
    assert "a pipe or a device, not a file" in refusal(path.parent)
    path.unlink()
    path.mkdir()
    assert "a folder, not a file" in refusal(path.parent)


def test_a_type_that_no_trajectory_has_is_refused(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        kind = file.createCompoundType(np.dtype([("a", "i4")]), "pair")
        file.createVariable("odd", kind, ("seed",))
    assert "odd is of a type that no trajectory has" in refusal(path)


def test_a_unit_of_time_makes_no_date(path: Path) -> None:
    with netCDF4.Dataset(path, "a") as file:
        file["train_loss"].units = "days since 0"
    assert toysup.open_runs(path).leaves[0]["train_loss"].dtype == np.float64


def test_damage_that_is_met_when_it_is_read_names_the_file(path: Path) -> None:
    """Each chunk has a sum, which a flipped bit of a weight does not keep."""
    with open_trajectory(path) as dataset:
        values = dataset["W"].isel(step=-1).values.tobytes()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(values)] ^= 1
    path.write_bytes(damaged)
    assert toysup.open_runs(path).leaves
    assert refusal(path) == f"{path}: is damaged or cannot be read"


@pytest.mark.parametrize(
    "plan", ["{}", "[]", '{"cells_per_block": 1.5, "seeds_per_block": 1, "engine": "fused", "condition": %s}']
)
def test_a_plan_of_any_json_is_refused(path: Path, plan: str) -> None:
    """Its cells may be no list at all."""
    with netCDF4.Dataset(path, "a") as file:
        file.block_of = plan.replace("%s", file.condition)
    assert "the attribute block_of is not the JSON of a plan" in refusal(path)


def test_reading_that_does_not_end_is_one_line(tmp_path: Path) -> None:
    """HDF5 looks for an object of a heap for ever where its size is another one."""
    path = fuzz_files.place(2, tmp_path)
    content = bytearray(path.read_bytes())
    # Where the size of its 13th object stands, whatever version wrote the file.
    size = content.index(b"GCOL") + 312
    assert content[size] == 8
    content[size] = 239
    path.write_bytes(content)
    code = "from toysup.storage import read_timeout; read_timeout.SECONDS = 1.0\n"
    code += "from toysup.analysis.command import main; main()"
    words = [sys.executable, "-c", code, "claims", str(tmp_path)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {path}")
    assert done.stderr.count("\n") == 1


def test_reading_times_out_only_where_someone_ends_it_and_only_for_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(read_timeout, "SECONDS", 0.1)
    monkeypatch.setattr(read_timeout, "_SECONDS_BETWEEN_LOOKS", 0.05)

    def busy() -> None:
        until = time.thread_time() + 0.3
        while time.thread_time() < until:
            pass

    with read_timeout.reading("quiet.nc"):
        busy()
    with read_timeout.ending(ended.append):
        with read_timeout.reading("slow-disk.nc"):
            time.sleep(0.4)
        assert not ended
        with read_timeout.reading("bad.nc"):
            busy()
    assert set(ended) == {"bad.nc: is damaged: reading it does not end"}
    assert read_timeout._end is None


def test_fill_values_at_odds_say_nothing(path: Path) -> None:
    """The libraries would warn on stderr, beside the one line of an error."""
    with netCDF4.Dataset(path, "a") as file:
        file["b"].missing_value = [0.0, 1.0]
        file.delncattr("engine")
    assert "the attribute engine is missing" in refusal(path)


def test_a_name_that_cannot_be_looked_up_is_one_line(run_analyze: Callable[..., Result]) -> None:
    """A name may be longer than the file system allows."""
    result = run_analyze("info", "x" * 5000)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: xxx")


def test_a_file_system_that_fails_anywhere_is_one_line(
    run_analyze: Callable[..., Result], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "locked")

    monkeypatch.setattr(Path, "exists", fail)
    result = run_analyze("info", path)
    assert (result.exit_code, result.stderr) == (1, "Error: locked: Permission denied\n")


@pytest.mark.parametrize("format", ["pdf", "png", "svg"])
@pytest.mark.parametrize("limit", [0, 3000])
def test_a_full_disk_leaves_no_part_of_a_figure(
    run_analyze: Callable[..., Result], full_disk: FullDisk, path: Path, limit: int, format: str
) -> None:
    """At the first byte or later."""
    with full_disk(limit):
        result = run_analyze("gram", path, "--figure-format", format)
    assert result.exit_code == 1, result.output
    *_, error = result.stderr.splitlines()
    assert error.startswith("Error: ")
    assert "cannot be written: File too large" in error
    assert not [file for file in path.parent.rglob("*") if file.is_file() and file.suffix != ".nc"]


def test_nothing_that_is_read_is_ever_run() -> None:
    """No module unpickles or evaluates, so that a dataset of a stranger is data and no more."""
    forbidden = {
        "eval",
        "exec",
        "compile",
        "pickle",
        "cPickle",
        "dill",
        "joblib",
        "marshal",
        "shelve",
        "yaml",
        "allow_pickle",
    }
    root = Path(__file__).parents[2]
    for path in [*(root / "toysup").rglob("*.py"), *(root / "analysis").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names) | ast.ImportFrom(names=names):
                    found = {part for alias in names for part in alias.name.split(".")}
                    found |= set((getattr(node, "module", None) or "").split("."))
                case ast.Call(func=ast.Name(id=name)):
                    found = {name}
                case ast.keyword(arg=name):
                    found = {name}
                case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                    found = {"eval"}
                case _:
                    continue
            assert not found & forbidden, f"{path}:{getattr(node, 'lineno', 0)}: {found}"
