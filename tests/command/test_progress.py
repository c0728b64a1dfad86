"""What a person sees of the progress, on a terminal and in a log."""

from collections.abc import Callable
from pathlib import Path

import pytest

import toysup
from toysup.command.progress import ProgressBar, _duration, _short
from toysup.storage.store import Job
from toysup.training.train_runs import MissingBlocks, TrainingPlan

Small = Callable[..., toysup.Experiment]


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def missing(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[MissingBlocks]:
    """Two blocks of four models, each of which takes 100 steps."""
    from toysup.storage.blocks import _bytes

    experiment = small(training__steps=100)
    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 4 * _bytes(experiment.conditions[0]))
    return TrainingPlan.of(experiment, tmp_path, range(8)).missing()


def jobs_of(missing: list[MissingBlocks]) -> list[Job]:
    return [part.store.job(block) for part in missing for block in part.blocks]


def test_model_steps_are_counted_with_rate_and_time_left(missing: list[MissingBlocks]) -> None:
    clock = Clock()
    bar = ProgressBar(missing, clock)
    one, other = jobs_of(missing)
    assert bar.numbers() == "0 of 800 model-steps"
    bar.started(one, 0)
    clock.now += 2
    bar.step(one, 50, 0.25)
    assert (bar.done, bar.said) == (200, "small, loss 0.25")
    assert bar.numbers() == "200 of 800 model-steps, 100/s, 0:06 left"
    bar.step(one, 60, float("nan"))
    assert bar.said == "small"
    bar.finished(one)
    # A worker's last report arrives late.
    bar.step(one, 90, 0.1)
    assert bar.done == 400
    bar.started(other, 0)
    bar.finished(other)
    assert bar.numbers().startswith("800 of 800 model-steps")
    assert bar.numbers().endswith("0:00 left")


def test_steps_of_a_checkpoint_are_done_but_not_by_this_call(missing: list[MissingBlocks]) -> None:
    clock = Clock()
    bar = ProgressBar(missing, clock)
    job, _ = jobs_of(missing)
    bar.started(job, 75)
    clock.now += 10
    bar.step(job, 100, 0.1)
    assert bar.numbers() == "400 of 800 model-steps, 10/s, 0:40 left"


def test_a_block_that_is_trained_again_is_counted_once(missing: list[MissingBlocks]) -> None:
    bar = ProgressBar(missing, Clock())
    one, other = jobs_of(missing)
    bar.started(one, 0)
    bar.started(other, 0)
    bar.step(one, 50, 0.1)
    bar.step(other, 25, 0.1)
    assert bar.done == 300
    bar.workers_lost(1, 1)
    bar.started(one, 0)
    assert bar.done == 100
    for job in (one, other):
        bar.finished(job)
    assert bar.done == bar.total == 800
    assert bar.numbers().endswith("1 worker lost, 1 block trained again")


def test_the_rate_is_that_of_the_last_minute(missing: list[MissingBlocks]) -> None:
    clock = Clock()
    bar = ProgressBar(missing, clock)
    slow, fast = jobs_of(missing)
    for step in range(0, 101, 10):
        clock.now += 20
        bar.step(slow, step, 0.1)
    bar.finished(slow)
    for step in range(1, 51):
        clock.now += 2
        bar.step(fast, step, 0.1)
    assert "2/s" in bar.numbers()


def test_a_log_gets_a_line_now_and_then(missing: list[MissingBlocks], capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error is no terminal in a test."""
    clock = Clock()
    with ProgressBar(missing, clock) as bar:
        job, _ = jobs_of(missing)
        for step in range(1, 101):
            clock.now += 1
            bar.step(job, step, 0.5)
        first = capsys.readouterr().err.splitlines()
        # Four model-steps a second, so a twentieth takes ten seconds.
        assert len(first) == 10
        assert first[0] == "40 of 800 model-steps, 4/s, 3:10 left (small, loss 0.5)"
        bar.step(job, 100, 0.5)
        clock.now += 299
        bar.step(job, 100, 0.5)
        assert capsys.readouterr().err == ""
        clock.now += 1
        bar.step(job, 100, 0.5)
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (0.25, "0.25"), (999, "999"), (999.7, "1.00k"), (12_345, "12.3k"), (123_456, "123k"), (4.8e6, "4.80M")],
)
def test_counts_are_short(count: float, text: str) -> None:
    assert _short(count) == text


def test_durations_are_hours_minutes_and_seconds() -> None:
    assert [_duration(seconds) for seconds in (0, 59.2, 61, 3600, 7325)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "2:02:05",
    ]
