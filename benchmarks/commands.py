"""Whole processes, from a cold start: the commands' help, an analysis, an experiment and its report."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measurements import Measurement
from benchmarks.timing import Contender, alternate, seconds

DEMO = "conditional-importance"
# The words of a command, and how many seconds it may take.
Command = tuple[list[str], float | None]


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Each process starts afresh, with its files in the system's cache."""
    del threads
    helps: list[Command] = [(["toysup-analyze", "--help"], 0.3), (["toysup-train", "--help"], 0.3)]
    if quick:
        yield from _processes(helps, repeats=1)
        return
    with tempfile.TemporaryDirectory() as name:
        train(Path(name), seeds=20)
        analyses: list[Command] = [
            (["toysup-analyze", "interference", name], 2.5),
            (["toysup-analyze", "interference", "--no-figures", name], None),
            (["toysup-analyze", "info", name], None),
        ]
        yield from _processes([*helps, *analyses], repeats=7)


def measure_experiment(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """The whole experiment with 100 seeds for each of its four conditions, and the report of it; once."""
    del threads, quick
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name)
        taken = seconds(partial(train, runs, seeds=100))
        yield _measurement(f"toysup-train {DEMO} --seeds 100", [taken], 120)
        taken = seconds(partial(run, ["toysup-analyze", "report", str(runs)]))
        yield _measurement("toysup-analyze report, 100 seeds × 4 conditions", [taken], 30)


def train(runs: Path, *, seeds: int) -> None:
    run(["toysup-train", DEMO, "--quiet", "--output", str(runs), "--seeds", str(seeds)])


def run(command: Sequence[str]) -> None:
    """The command of the environment that runs the benchmark, which must succeed."""
    own = Path(sys.executable).with_name(command[0])
    subprocess.run([own, *command[1:]], check=True, capture_output=True)


def _processes(commands: Sequence[Command], *, repeats: int) -> Iterator[Measurement]:
    taken = alternate([Contender(_title(command), partial(run, command)) for command, _ in commands], repeats=repeats)
    for command, limit in commands:
        yield _measurement(_title(command), taken[_title(command)], limit)


def _title(command: Sequence[str]) -> str:
    """The command without the path of its runs."""
    return " ".join("RUNS" if Path(word).is_absolute() else word for word in command)


def _measurement(what: str, values: list[float], limit: float | None) -> Measurement:
    return Measurement("commands", {"what": what}, "time", "s", values, at_most=limit)
