"""The fuzzer in miniature: a few inputs of each kind, the same ones each time. `make fuzz` tries 100,000 new ones."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_input_gets_its_answer_or_one_line() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.robustness.fuzzing", "--inputs", "200", "--seed", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, total = done.stdout.splitlines()
    name, inputs, fine, failed, wrong, failures, _ = total.split()
    assert (name, failures) == ("all", "0")
    assert int(inputs) == int(fine) + int(failed) + int(wrong) >= 200
    assert min(int(fine), int(failed), int(wrong)) > 0
