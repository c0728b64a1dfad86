"""Compiled code is kept in the user's cache folder, and a folder or file that is no good only costs time."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import caching

import toysup
from toysup.engines import compiled_code
from toysup.engines.compiled_code import (
    cache_folder,
    calling_when_compiling,
    kept_njit,
    last_duration,
    note_duration,
    part_njit,
    why_not_kept,
)

New = Callable[[], Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled_code, "_not_kept", [])
    return tmp_path


@pytest.fixture
def new(folder: Path) -> New:
    """Makes a dispatcher that has compiled nothing yet, as a new process has it."""

    def half(x):  # type: ignore[no-untyped-def]
        return x / 2

    return lambda: kept_njit()(half)


def hits(function: Any) -> int:
    assert function(3.0) == 1.5
    return sum(function.stats.cache_hits.values())


def test_a_second_process_loads_what_the_first_compiled(new: New, folder: Path) -> None:
    assert hits(new()) == 0
    assert hits(new()) == 1
    assert sorted(path.suffix for path in folder.rglob("*") if path.is_file()) == [".nbc", ".nbi"]
    assert why_not_kept() is None


def test_a_folder_that_can_only_be_read_is_read(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    assert hits(new()) == 0
    monkeypatch.setattr(caching.tempfile, "TemporaryFile", refused)
    assert hits(new()) == 1
    assert why_not_kept() is None
    assert new()(3) == 1.5
    reason = why_not_kept()
    assert reason is not None
    assert reason.endswith(f": {os.strerror(errno.EROFS)}")


def test_a_file_in_the_place_of_the_folder_is_no_failure(
    new: New, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", str(folder / "file"))
    assert [hits(new()), hits(new())] == [0, 0]
    assert str(folder / "file") in str(why_not_kept())


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"no pickle at all"])
def test_a_damaged_file_is_compiled_and_replaced(new: New, folder: Path, suffix: str, content: bytes) -> None:
    assert hits(new()) == 0
    (path,) = folder.rglob(f"*{suffix}")
    path.write_bytes(content)
    assert [hits(new()), hits(new())] == [0, 1]


def test_compiling_is_told_once_and_loading_is_not(new: New) -> None:
    told: list[str] = []
    for expected in (1, 1):
        function = new()
        with calling_when_compiling(lambda: told.append("compiling")):
            function(3.0)
            function(3.0)
        assert len(told) == expected
    with calling_when_compiling(lambda: told.append("compiling")):
        new()(3), new()("text".__len__())
    assert len(told) == 2


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "toysup"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "toysup"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "toysup"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "toysup"
    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", str(tmp_path / "numba"))
    assert cache_folder() == tmp_path / "numba"


def test_without_a_home_folder_nothing_is_kept_and_nothing_fails(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder() is None
    assert [hits(new()), hits(new())] == [0, 0]
    assert why_not_kept() == "there is no home folder"


def test_nothing_is_written_beside_the_package(tmp_path: Path) -> None:
    """A folder that `pip uninstall` leaves would be imported as an empty package later."""
    copied = tmp_path / "installed" / "toysup"
    shutil.copytree(Path(toysup.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    known = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CACHE")}
    environment = known | {"PYTHONPATH": str(copied.parent), "XDG_CACHE_HOME": str(tmp_path / "caches")}
    code = "from toysup.engines.compiled_samples import batches; batches.order(3, 1, 20); print(batches.__file__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(copied)
    assert not [path for path in copied.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert [path for path in (tmp_path / "caches" / "toysup").rglob("*") if path.suffix == ".nbc"]


def test_an_engine_in_the_cache_compiles_nothing() -> None:
    """Not even a helper that Python calls, such as the rounding up of sizes."""
    prepared = (
        "from toysup.engines.compiled_code import calling_when_compiling\n"
        "from toysup.engines.fused.engine import prepare\n"
        "with calling_when_compiling(lambda: print('compiles')):\n"
        "    prepare()"
    )
    said = [subprocess.run([sys.executable, "-c", prepared], capture_output=True, text=True, check=True) for _ in "12"]
    assert said[1].stdout == ""


def test_a_part_of_compiled_code_is_refused_to_python() -> None:
    """It has no wrapper, without which a call from Python would end the interpreter."""

    @part_njit()
    def half(x):  # type: ignore[no-untyped-def]
        return x / 2

    @numba.njit
    def quarter(x):  # type: ignore[no-untyped-def]
        return half(x) / 2

    assert quarter(8.0) == 2
    with pytest.raises(TypeError, match="half is a part of compiled code"):
        half(8.0)
    assert quarter(4.0) == 1


def test_how_long_a_part_took_to_compile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_code.config, "CACHE_DIR", str(tmp_path))
    assert last_duration("a") is None
    note_duration("a", 12.5)
    note_duration("b", 3)
    assert (last_duration("a"), last_duration("b")) == (12.5, 3)
    (file,) = tmp_path.iterdir()
    for damaged in ("", "[1]", '{"a": "x"}'):
        file.write_text(damaged)
        assert last_duration("a") is None
    file.unlink()
    file.mkdir()
    note_duration("a", 1)
    assert last_duration("a") is None
