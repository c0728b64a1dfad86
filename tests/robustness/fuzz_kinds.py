"""The kinds of inputs that are tried, and what is done with them."""

import functools
import os
import resource
import signal
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

# What the commands import when they need it is imported once, before the processes that try them begin.
import toysup.analysis.report.report
from tests.robustness import fuzz_files, fuzz_inputs
from tests.robustness.fuzzing import Answer, Kind, run_analyze, run_train

with suppress(ModuleNotFoundError):
    import toysup.engines.torch_engine.engine  # noqa: F401

COMMANDS = [
    ["gram"], ["dimensionality"], ["interference"], ["interference", "--by", "feature"], ["interference", "--by",
    "seed"],
    ["losses"], ["losses", "--by", "part"], ["losses", "--by", "active"], ["losses", "--by", "reference"], ["dynamics"],
    ["dynamics", "--by", "event"], ["dynamics", "--by", "feature"], ["claims"],
    ["dimensionality", "--against", "conditional"], ["report"],
]  # fmt: skip


def _experiment(text: bytes, folder: Path) -> Answer:
    path = folder / "x.toml"
    path.write_bytes(text)
    return run_train(folder / "runs", str(path), "--seeds", "2", "-q")


def _options(options: list[str], folder: Path) -> Answer:
    return run_train(folder / "runs", *options, "tms-intro", "-q")


def _edited(case: tuple[int, list[fuzz_files.Edit]], folder: Path) -> Answer:
    source, edits = case
    fuzz_files.edit(fuzz_files.place(source, folder), edits)
    return run_analyze(folder, "info", str(folder))


def _analysed(case: tuple[int, list[fuzz_files.Edit], list[str], str], folder: Path) -> Answer:
    source, edits, command, format = case
    fuzz_files.edit(fuzz_files.place(source, folder), edits)
    return run_analyze(folder, *command, str(folder), "--format", format, "--figure-format", "png")


def _flipped(case: tuple[int, list[tuple[float, int]], float | None], folder: Path) -> Answer:
    source, flips, cut = case
    fuzz_files.flip(fuzz_files.place(source, folder), flips, cut)
    # All of it is read, not just its labels.
    return run_analyze(folder, "claims", str(folder))


def _bomb(case: tuple[Any, ...], folder: Path) -> Answer:
    fuzz_files.write_bomb(folder / "x.nc", *case)
    return run_analyze(folder, "info", str(folder))


def _full_disk(case: tuple[int, list[str], int], folder: Path) -> Answer:
    """A limit on the size of files fails in the same call as a full disk does."""
    source, command, limit = case
    fuzz_files.place(source, folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        return run_analyze(folder, *command, str(folder), "--output", str(folder / "figures"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


_BLOCK = "cells0-seeds0to1-0123456789abcdef0123.nc"
NAMES = [
    "x.nc", "figures", "figures/x.nc", ".x.nc", "a\nb.nc", b"\xff.nc".decode("utf-8", "surrogateescape"),
    "y" * 250 + ".nc", ".nc",
    "tms-intro", "tms-intro.nc", "tms-intro/tms-intro.nc", "tms-intro/tms-intro", f"tms-intro/tms-intro/{_BLOCK}",
    f"a/{_BLOCK}",
    "tms-intro/.tms-intro.replaced", "tms-intro/.tms-intro.x.part.nc", "a/b/c/d/e/f.nc", "a.nc/b.nc", "x.NC",
    "x.nc.nc", "*.nc", "~",
    "http:", "-x.nc", "\U0001f600.nc",
]  # fmt: skip
THINGS = ["real", "real", "text", "empty", "folder", "pipe", "socket", "zero", "circle", "itself", "dangling",
"outside", "locked",
          "locked folder", "many"]  # fmt: skip
things = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(THINGS)), min_size=1, max_size=4)


def _make(path: Path, what: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return
    match what:
        case "real":
            path.write_bytes(next(iter(fuzz_files.saved(3).values())))
        case "text" | "empty":
            path.write_text("text" if what == "text" else "")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        case "zero":
            path.symlink_to("/dev/zero")
        case "circle":
            path.symlink_to(path.parent)
        case "itself":
            path.symlink_to(path.name)
        case "dangling":
            path.symlink_to("nowhere.nc")
        case "outside":
            path.symlink_to("/proc/self")
        case "locked":
            path.touch(mode=0)
        case "locked folder":
            path.mkdir()
            (path / "x.nc").touch()
            path.chmod(0)
        case "many":
            path.mkdir()
            for k in range(1000):
                (path / f"{k}.txt").touch()


@functools.cache
def _load() -> None:
    """Import what the commands import later, which nobody else may be allowed to read."""
    with tempfile.TemporaryDirectory() as folder:
        fuzz_files.place(3, Path(folder))
        run_analyze(Path(folder), "info", folder)
        run_train(Path(folder), "tms-intro", "--seeds", "2", "-q")
        run_train(Path(folder) / "runs", "tms-intro", "--seeds", "2", "-q")


def _folder(case: tuple[list[tuple[str, str]], int], folder: Path) -> Answer:
    """Links, pipes, locked folders, foreign names; without the rights of root, where it has them."""
    entries, which = case
    _load()
    folder.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        folder.parent.chmod(0o777)
        os.seteuid(65534)
    try:
        for name, what in entries:
            try:
                _make(folder / name, what)
            except OSError:
                continue
        if which == 0:
            return run_train(folder, "tms-intro", "--seeds", "2", "-q", "--set", "training.steps=6")
        if which == 1:
            return run_train(folder, "tms-intro", "--seeds", "2", "-q", "--overwrite")
        if which == 2:
            return run_analyze(folder, "info", str(folder / entries[0][0]))
        return run_analyze(folder, "info", str(folder))
    finally:
        if is_root:
            os.seteuid(0)


# All kinds that are slow to draw or to answer have small shares: 100,000 inputs take half an hour of one core.
KINDS = {
    "tables": Kind(fuzz_inputs.tables, _experiment, 30),
    "text": Kind(fuzz_inputs.texts(), _experiment, 25),
    "options": Kind(fuzz_inputs.options, _options, 30),
    "edited": Kind(st.tuples(fuzz_files.sources, fuzz_files.edits), _edited, 5),
    "flipped": Kind(st.tuples(fuzz_files.sources, fuzz_files.flips, fuzz_files.cuts), _flipped, 5, 90),
    "bombs": Kind(fuzz_files.bombs, _bomb, 2),
    "folders": Kind(st.tuples(things, st.integers(0, 3)), _folder, 2.5),
    "full disk": Kind(
        st.tuples(fuzz_files.sources, st.sampled_from(COMMANDS[:3]), st.integers(0, 60_000)), _full_disk, 0.1, 60
    ),
    "analysed": Kind(
        st.tuples(
            fuzz_files.sources, fuzz_files.edits, st.sampled_from(COMMANDS), st.sampled_from(["table", "csv", "json"])
        ),
        _analysed,
        0.4,
        180,
    ),
}
