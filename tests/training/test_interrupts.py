"""Ctrl-C and SIGTERM: training stops where it can go on later, and a line says what is kept."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import toysup
from toysup.engines.fused import engine as fused_engine
from toysup.training.interrupts import Interrupted, stop_on_signals
from toysup.training.one_block import ProgressListener
from toysup.training.train_runs import train_runs

Small = Callable[..., toysup.Experiment]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks_and_the_second_interrupts(number: signal.Signals) -> None:
    told: list[str] = []
    before = signal.getsignal(number)
    with stop_on_signals(lambda: told.append("asked")) as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert stop.number == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert told == ["asked"]
    assert signal.getsignal(number) == before


def test_signals_that_another_one_handles_are_left_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with stop_on_signals(lambda: None) as stop:
            signal.raise_signal(signal.SIGTERM)
            assert not stop()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]

    # Python allows no handlers in other threads.
    def elsewhere() -> None:
        with stop_on_signals(lambda: None) as stop:
            heard.append(int(stop()))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert heard[1:] == [0]


class SignalsAt(ProgressListener):
    """Sends this process a signal when the second block has reached a step."""

    def __init__(self, step: int) -> None:
        self.at, self.stopped, self.starts = step, 0, list[int]()

    def started(self, job: Any, step: int) -> None:
        self.starts.append(step)

    def step(self, job: Any, step: int, loss: float) -> None:
        if len(self.starts) == 2 and step == self.at:
            signal.raise_signal(signal.SIGINT)

    def stopping(self) -> None:
        self.stopped += 1


@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_what_is_interrupted_keeps_a_checkpoint_and_goes_on_from_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    from toysup.storage.blocks import _bytes

    experiment = small(training__steps=500, record__steps=[100, 300])
    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 2 * _bytes(experiment.conditions[0]))
    monkeypatch.setattr(fused_engine, "_KEPT_BYTES", 1)
    listener = SignalsAt(100)
    with pytest.raises(Interrupted) as caught:
        train_runs(experiment, tmp_path, seeds=6, engine=engine, listener=listener)
    assert str(caught.value) == (
        "Interrupted: 1 of 3 blocks are finished and kept, and a checkpoint of small at step 100 of 500; "
        "the same command goes on from there."
    )
    assert caught.value.exit_code == 130
    assert listener.stopped == 1
    assert len(list(tmp_path.rglob(".*checkpoint.npz"))) == 1
    again = SignalsAt(-1)
    runs = train_runs(experiment, tmp_path, seeds=6, engine=engine, listener=again)
    assert again.starts == [100, 0]
    assert not list(tmp_path.rglob(".*"))
    whole = toysup.train(experiment, seeds=6, engine=engine)
    compare = xr.testing.assert_equal if engine == "fused" else xr.testing.assert_allclose
    compare(runs["small/small"].to_dataset().load(), whole["small/small"].to_dataset())


def test_between_blocks_there_is_nothing_to_keep(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toysup.storage.blocks import _bytes

    class Finished(ProgressListener):
        def finished(self, job: Any) -> None:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", 2 * _bytes(small().conditions[0]))
    with pytest.raises(
        Interrupted, match="1 of 2 blocks are finished and kept; the same command trains the rest"
    ) as at:
        train_runs(small(), tmp_path, seeds=4, listener=Finished())
    assert at.value.exit_code == 143


SLOW = """
name = "slow"
model = { n_features = 6, n_hidden = 3, tied = false }
regime = { feature_probability = 0.2 }
training = { steps = 1000000, batch_size = 256 }
record = { every_steps = 1000 }
"""


@pytest.mark.parametrize("options", [[], ["--workers", "1"]], ids=["here", "workers"])
def test_the_command_says_what_it_kept(tmp_path: Path, options: list[str]) -> None:
    import torch  # noqa: F401  (which the command needs)

    (tmp_path / "slow.toml").write_text(SLOW)
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from toysup.command.train import main; main()"
    words = [sys.executable, "-c", code, str(tmp_path / "slow.toml"), "-o", str(tmp_path), "--seeds", "2", *options]
    checkpoint, begun = tmp_path / "slow" / ".slow.checkpoint.npz", time.monotonic()
    own = os.environ | {"TOYSUP_CHECKPOINT_SECONDS": "0.1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=own) as process:
        # Where there is one, training is under way.
        while not checkpoint.exists():
            assert process.poll() is None
            assert time.monotonic() - begun < 100, "training does not begin"
            time.sleep(0.1)
        checkpoint.unlink()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    first, *_, stopping, last = errors.splitlines()
    assert first == "training slow: torch engine, because fused cannot: the model is not φ(WᵀW x + b)"
    assert stopping == "Stopping at the next checkpoint; Ctrl-C again stops at once."
    assert last.startswith("Interrupted: 0 of 1 blocks are finished and kept, and a checkpoint of slow at step ")
    assert last.endswith(" of 1000000; the same command goes on from there.")
    assert list((tmp_path / "slow").iterdir()) == [checkpoint]
