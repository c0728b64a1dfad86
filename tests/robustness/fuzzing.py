"""Inputs by the thousand for both commands: each gets its answer or one line, in bounded time and memory.

`python -m tests.robustness.fuzzing --inputs 100000 --seed 0` runs all kinds and prints what came of each. An input that
is met with anything else than success or one `Error:` line, that takes too long or too much memory, changes a file or
ends the interpreter is a failure; it is printed, and kept under --keep.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import stat
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import click
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import toysup.command.errors
import toysup.command.train
from toysup.analysis.command import main as analyze

_MEMORY = 2**31
_SHOWN = 4000


class Kind(NamedTuple):
    """How inputs are drawn, what is done with each in an empty folder, their share of all, the seconds one may take."""

    inputs: st.SearchStrategy[Any]
    answer: Callable[[Any, Path], "Answer"]
    share: float
    seconds: float = 20


@dataclass
class Answer:
    """Exit code, and what is wrong about it, if anything is."""

    code: int
    fault: str = ""


def judged(result: Result) -> Answer:
    """An answer is fine with code 0 (3 where claims are refuted), or one line with 1 or 2."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        trace = "".join(traceback.format_exception(*result.exc_info)) if result.exc_info else ""
        return Answer(result.exit_code, f"raised {result.exception!r:.300}\n{trace[-1500:]}")
    if result.exit_code in (0, 3):
        return Answer(0)
    lines = [line for line in result.stderr.splitlines() if not line.startswith(("Usage:", "Try ", "note:")) and line]
    if result.exit_code not in (1, 2) or len(lines) != 1 or not lines[0].startswith("Error: "):
        return Answer(result.exit_code, f"exit code {result.exit_code} with {result.stderr[:500]!r}")
    if len(lines[0]) > _SHOWN:
        return Answer(result.exit_code, f"a line of {len(lines[0])} characters: {lines[0][:200]}")
    return Answer(result.exit_code, "took too much memory" if "out of memory" in lines[0] else "")


def contents(folder: Path) -> dict[str, str]:
    """What is in a folder and what it holds, besides figures."""
    found = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "figures"]
        for name in (*folders, *files):
            path = Path(root, name)
            mode = path.lstat().st_mode
            readable = stat.S_ISREG(mode) and os.access(path, os.R_OK, effective_ids=True)
            found[str(path)] = f"{mode} " + (hashlib.sha256(path.read_bytes()).hexdigest() if readable else "")
    return found


def run_analyze(folder: Path, *args: str) -> Answer:
    """The answer of toysup-analyze to what is in the folder, which has to stay as it is."""
    before = contents(folder)
    answer = judged(CliRunner().invoke(analyze, [*args]))
    if contents(folder) != before:
        answer.fault += "the folder changed"
    return answer


def run_train(output: Path, *args: str) -> Answer:
    """The answer of toysup-train up to the point where it would train; what it refuses leaves no trace."""

    def reached(*_: object) -> None:
        raise click.exceptions.Exit(0)

    before = contents(output)
    with (
        mock.patch.object(toysup.command.train, "_train_missing", reached),
        mock.patch.object(toysup.command.train, "_prepare_engines"),
    ):
        answer = judged(CliRunner().invoke(toysup.command.train.main, [*args, "-o", str(output)]))
    if answer.code and (contents(output) != before):
        answer.fault += "the output folder changed"
    return answer


def _work(kind: Kind, number: int, start: int, folder: Path, connection: Connection) -> None:
    """In a process of its own: `number` inputs, each announced before it is tried."""

    def end(reason: str) -> None:
        connection.send(("ended", Answer(1, "" if len(reason) <= _SHOWN else f"a line of {len(reason)} characters")))
        os._exit(0)

    toysup.command.errors.end_process = end
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    warnings.simplefilter("default")

    @seed(start)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    @given(kind.inputs)
    def tried(case: Any) -> None:
        place = folder / "case"
        place.mkdir()
        connection.send(("input", repr(case)[:_SHOWN]))
        try:
            answer = kind.answer(case, place)
        except Exception:
            answer = Answer(0, f"the fuzzer itself: {traceback.format_exc()[-1500:]}")
        connection.send(("answer", answer))
        _remove(place)

    try:
        tried()
        connection.send(("done", ""))
    finally:
        connection.close()


def _remove(folder: Path) -> None:
    def anyway(function: Callable[..., object], path: str, _: object) -> None:
        os.chmod(Path(path).parent, 0o700)
        os.chmod(path, 0o700)
        function(path)

    shutil.rmtree(folder, onerror=anyway)


@dataclass
class Outcome:
    """What came of the inputs of a kind."""

    answers: Counter[str]
    failures: list[tuple[str, str]]
    seconds: float


def run(kind: Kind, number: int, start: int) -> Outcome:
    """Try `number` inputs in processes of their own; one that dies or hangs is a failure, and the next goes on."""
    context = multiprocessing.get_context("fork")
    outcome, began, tries = Outcome(Counter(), [], 0.0), time.monotonic(), 0
    while (left := number - sum(outcome.answers.values())) > 0 and tries < 50:
        with tempfile.TemporaryDirectory() as folder:
            here, there = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(kind, left, start + tries, Path(folder), there))
            worker.start()
            there.close()
            ended = _followed(here, worker, kind.seconds, outcome)
            worker.kill()
            worker.join()
            _remove(Path(folder))
            Path(folder).mkdir()
        tries += 1
        if ended:
            break
    outcome.seconds = time.monotonic() - began
    return outcome


def _followed(here: Connection, worker: Any, seconds: float, outcome: Outcome) -> bool:
    """Count a worker's answers; True where it came to its end, and not one of its inputs."""
    case = "(none yet)"
    while True:
        # The first message waits for the strategy to be made.
        if not here.poll(seconds if case != "(none yet)" else 120):
            _fail(outcome, case, f"no answer after {seconds} s")
            return False
        try:
            what, content = here.recv()
        except EOFError:
            worker.join()
            _fail(outcome, case, f"the process ended with {worker.exitcode}")
            return False
        if what == "done":
            return True
        if what == "input":
            case = content
            continue
        if content.fault:
            _fail(outcome, case, content.fault)
        else:
            outcome.answers[{0: "fine"}.get(content.code, f"refused with {content.code}")] += 1
        if what == "ended":
            return False


def _fail(outcome: Outcome, case: str, fault: str) -> None:
    outcome.answers["failures"] += 1
    outcome.failures.append((case, fault))


def table(outcomes: dict[str, Outcome]) -> Iterator[str]:
    columns = ("fine", "refused with 1", "refused with 2", "failures")
    yield f"{'kind':<12}{'inputs':>8}" + "".join(f"{name:>16}" for name in columns) + f"{'per second':>12}"
    total = Outcome(
        sum((own.answers for own in outcomes.values()), Counter()), [], sum(o.seconds for o in outcomes.values())
    )
    for name, own in (outcomes | {"all": total}).items():
        inputs = sum(own.answers.values())
        counts = "".join(f"{own.answers[column]:>16}" for column in columns)
        yield f"{name:<12}{inputs:>8}{counts}{inputs / max(own.seconds, 1e-9):>12.1f}"


def main(args: list[str]) -> int:
    from tests.robustness.fuzz_kinds import KINDS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000, help="how many, over all kinds")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="which ones (default: new ones each time)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; repeats")
    parser.add_argument("--keep", type=Path, help="a file for the failures")
    chosen = parser.parse_args(args)
    names = chosen.kind or list(KINDS)
    whole = sum(KINDS[name].share for name in names)
    print(f"seed {chosen.seed}", flush=True)
    outcomes = {}
    for name in names:
        outcomes[name] = run(KINDS[name], max(1, round(chosen.inputs * KINDS[name].share / whole)), chosen.seed)
        for case, fault in outcomes[name].failures:
            if chosen.keep:
                chosen.keep.parent.mkdir(parents=True, exist_ok=True)
                with chosen.keep.open("a") as file:
                    file.write(json.dumps({"kind": name, "fault": fault, "input": case}) + "\n")
        print(list(table({name: outcomes[name]}))[1], flush=True)
        for case, fault in outcomes[name].failures[:3]:
            print(f"  {fault[-400:]}\n  {case[:300]}", flush=True)
    print(*table(outcomes), sep="\n")
    return int(any(own.failures for own in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
