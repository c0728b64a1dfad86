"""The benchmarks run, in miniature; what they find is a matter for a quiet machine."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import toysup

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch  # noqa: F401  (what is compared is torch's own loop)

    folder = tmp_path_factory.mktemp("benchmarks")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--threads", "1", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_part_gives_rows_with_machine_and_spread(output: Path) -> None:
    table = pd.read_csv(output / "benchmarks.csv")
    assert set(table["part"]) == {
        "machine",
        "training",
        "sparse",
        "split",
        "scaling",
        "memory",
        "at scale",
        "analysis",
        "losses",
        "commands",
        "phases",
    }
    assert (table["low"] <= table["median"]).all()
    assert (table["median"] <= table["high"]).all()
    assert table[["processor", "cores", "threads", "torch", "numba", "date"]].notna().all(axis=None)


def test_the_contenders_stand_side_by_side(output: Path) -> None:
    table = pd.read_csv(output / "benchmarks.csv")
    training = table[table["part"] == "training"].set_index("quantity")["median"]
    assert {"notebook", "torch engine", "fused engine", "notebook / torch", "notebook / fused"} <= set(training.index)
    assert (training > 0).all()


def test_every_turn_of_an_engine_trains_all_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.training_speed import QUICK_CASES, contenders

    (case,) = QUICK_CASES
    for contender in contenders(case, threads=1, budget=0.001)[1:]:
        first, *_, last = contender.turn()
        assert (first, last * case.instances) == (0, contender.work)
        assert contender.turn() == [first, last]


@pytest.mark.parametrize(
    ("steps", "epoch", "expected"), [(21, 100, (20, 5)), (99, 100, (50, 2)), (250, 100, (200, 1)), (21, 0, (21, 1))]
)
def test_growth_is_measured_over_whole_epochs(
    steps: int, epoch: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.scaling import _whole_epochs

    assert _whole_epochs(steps, epoch) == expected


def test_the_table_and_the_picture_are_written(output: Path) -> None:
    text = (output / "benchmarks.md").read_text()
    for heading in ("Training", "Where a step", "Cost per model-step", "Memory", "Whole processes"):
        assert f"### {heading}" in text
    assert (output / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_the_notebook_and_the_torch_engine_take_turns_on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured on a GPU, on the CPU."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.training_speed import measure_on_gpu

    found = {item.quantity: np.array(item.values) for item in measure_on_gpu(threads=1, quick=True, device="cpu")}
    assert set(found) == {"notebook", "torch engine", "notebook / torch"}
    np.testing.assert_allclose(found["notebook / torch"], found["notebook"] / found["torch engine"])
    with pytest.raises(toysup.UsageError, match="'cuda:77' is not there"):
        next(measure_on_gpu(threads=1, device="cuda:77"))
