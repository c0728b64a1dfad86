"""A few kills of each cheap kind, as `make torture` does hundreds."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.robustness import torture


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with torture.site(tmp_path_factory.mktemp("torture"), random.Random(6)) as found:
        yield found


@pytest.mark.parametrize("kind", ["trainer", "writing", "worker", "full"])
def test_a_killed_training_ends_as_if_nothing_had_happened(place: object, kind: str) -> None:
    torture.torture(place, kind, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trainer_with_workers", "scheduler", "interrupted", "small_disk", "read_only"])
def test_more_ways_to_kill_it(place: object, kind: str) -> None:
    torture.torture(place, kind, 0)


@pytest.mark.parametrize("when", ["its workers start", "they train"])
def test_ctrl_c_is_answered_in_one_line_while(place: object, tmp_path: Path, when: str) -> None:
    """A terminal sends it to all processes."""
    runs = tmp_path / "runs"
    process = place.start(runs, "--workers", "1")

    def now() -> bool:
        if when == "they train":
            return any(runs.rglob("*.part*"))
        return len(torture.workers_of(process.pid)) == 1

    while process.poll() is None and not now():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    code, said = torture.end(process)
    assert code == 130
    torture.assert_interrupted(said)


def test_ctrl_c_is_answered_in_one_line_while_figures_are_drawn(runs: Path, tmp_path: Path) -> None:
    command = [torture.BIN / "toysup-analyze", "report", runs, "--output", tmp_path, "--condition", "fixed"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        # Once it imports; one that has just started would die without a word.
        while process.poll() is None and not any(sum(w.cpu_times()[:2]) > 0.2 for w in torture.workers_of(process.pid)):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        code, said = torture.end(process)
    assert code == 130
    assert [line for line in said.splitlines() if not line.startswith("wrote ")] == ["Interrupted."]


def test_the_harness_notices_what_is_not_as_it_should_be(place: object, tmp_path: Path) -> None:
    import netCDF4

    shutil.copytree(place.folder / "reference", tmp_path / "runs")
    expected = place.expected
    torture.require_whole(tmp_path / "runs", expected, all_of_it=True)
    one, other, *_ = (tmp_path / "runs").rglob("*.nc")
    with netCDF4.Dataset(one, "a") as file:
        file["b"][0, 0, 0] = 7.0
    with pytest.raises(AssertionError, match="b differs"):
        torture.require_whole(tmp_path / "runs", expected, all_of_it=False)
    one.unlink()
    torture.require_whole(tmp_path / "runs", expected, all_of_it=False)
    with pytest.raises(AssertionError, match="missing"):
        torture.require_whole(tmp_path / "runs", expected, all_of_it=True)
    other.with_name(".left.part.nc").touch()
    with pytest.raises(AssertionError):
        torture.require_whole(tmp_path / "runs", expected, all_of_it=True)
