"""What the commands print: in any encoding, to readers that leave early, and in the width of a terminal."""

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result

from toysup.command.streams import plain_text

ANALYZE = "import sys; from toysup.analysis.command import start; start()"
TRAINS = "import sys; from toysup.command.train import main; main()"


def called(code: str, *arguments: object, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_encoding_can_take_what_is_printed(runs: Path, encoding: str) -> None:
    for arguments, words in [
        (["gram", "--help"], "y = phi(W^TW x + b)"),
        (["claims", runs], ">= "),
        (["dimensionality", runs, "--no-figures", "--condition", "fixed"], " ------"),
    ]:
        done = called(ANALYZE, *arguments, encoding=encoding)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout.decode(encoding)
        assert done.stderr == b""
    done = called(ANALYZE, "losses", runs / "Σᵀ", encoding=encoding)
    assert done.stderr.decode(encoding) == f"Error: {runs / 'sum^T'}: no such file or folder\n"
    done = called(TRAINS, "Σ.toml", encoding=encoding)
    assert done.stderr.decode(encoding).startswith("Error: sum.toml: cannot be read")


@pytest.mark.parametrize(
    ("letter", "text"), [("─", "-"), ("ᵢ", "i"), ("Ⅳ", "IV"), ("é", "\\xe9"), ("日", "\\u65e5"), ("\udce9", b"\xe9")]
)
def test_letters_keep_their_meaning(letter: str, text: str | bytes) -> None:
    error = UnicodeEncodeError("ascii", f"a{letter}b", 1, 2, "not in range")
    assert plain_text(error) == (text, 2)


@pytest.mark.parametrize("arguments", [["interference"], ["--help"]])
def test_a_reader_that_leaves_early_stops_no_work(runs: Path, arguments: Sequence[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        where = [] if arguments == ["--help"] else [str(runs)]
        done = subprocess.run(
            [sys.executable, "-c", ANALYZE, *arguments, *where], stdout=nobody, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 0
    figure = runs / "figures" / "conditional-importance" / "interference-energy.pdf"
    drawn = arguments == ["interference"]
    assert figure.exists() is drawn
    assert done.stderr.decode() == (f"wrote {figure}\n" if drawn else "")


def test_nobody_has_to_read_the_notes(runs: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        command = [sys.executable, "-c", ANALYZE, "interference", str(runs)]
        assert subprocess.run(command, stdout=nobody, stderr=nobody, check=False).returncode == 0
        wrong = [sys.executable, "-c", ANALYZE, "interference", str(runs / "nowhere")]
        assert subprocess.run(wrong, stdout=nobody, stderr=nobody, check=False).returncode == 1


EACH = """
import json, sys
from toysup.analysis.command import main
for words in json.loads(sys.argv[1]):
    main(words, standalone_mode=False)
"""


def on_a_terminal(width: int, *commands: Sequence[str]) -> str:
    """What commands print to a terminal of this width, one after the other."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-c", EACH, json.dumps(commands)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        found = io.BytesIO()
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that nobody writes any more
                break
            if not piece:
                break
            found.write(piece)
        assert process.wait() == 0
    os.close(ours)
    return found.getvalue().decode().replace("\r\n", "\n")


def test_tables_fit_the_terminal(runs: Path) -> None:
    folder = str(runs)
    text = on_a_terminal(80, ["interference", folder, "--no-figures"], ["info", folder], ["claims", folder])
    assert all(word in text for word in ("energy_share", "snapshots: 4", "half-identity"))
    assert max(map(len, text.splitlines())) <= 80


def test_a_table_in_a_file_has_one_line_for_each_row(
    runs: Path, run_analyze: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = run_analyze("interference", runs, "--no-figures").stdout.strip().splitlines()[2:]
    assert len(rows) == 4 * 4 * 7
    monkeypatch.setenv("COLUMNS", "90")
    assert max(map(len, run_analyze("interference", runs, "--no-figures").stdout.splitlines())) <= 90
    # The width is for readers alone.
    csv = run_analyze("interference", runs, "--no-figures", "--format", "csv").stdout
    assert len(csv.splitlines()) == 1 + 4 * 4 * 7
