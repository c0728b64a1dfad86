"""`--import`: a user's own activations and models in both commands, and on workers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup.experiments import activations, extensions
from toysup.experiments.extensions import Extension, extension, import_extension

Command = Callable[..., Result]
SOURCE = """
import toysup

def capped(a):
    return a.clamp(0, 1)

toysup.register_activation("capped-{name}", capped)
"""
SHORT = ["--seeds", 2, "--set", "training.steps=3"]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a new process does."""
    monkeypatch.setattr(activations, "_registered", {})
    monkeypatch.setattr(extensions, "_imported", {})


def test_a_file_and_a_module_are_in_both_commands_reach(
    run_train: Command, run_analyze: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, given in (("file", tmp_path / "own_file.py"), ("module", "own_module")):
        (tmp_path / f"own_{name}.py").write_text(SOURCE.format(name=name))
        arguments = ["tms-intro", "-o", tmp_path / name, *SHORT, "--set", f"model.activation=capped-{name}"]
        refused = run_train(*arguments)
        assert refused.exit_code == 2
        assert f"no activation 'capped-{name}'" in refused.stderr
        result = run_train(*arguments, "--import", given)
        assert result.exit_code == 0, result.output
        assert f"because fused cannot: the activation 'capped-{name}' is not built in" in result.stderr
        # As another process, which knows the file alone.
        monkeypatch.setattr(activations, "_registered", {})
        monkeypatch.setattr(extensions, "_imported", {})
        measure = ["losses", tmp_path / name, "--format", "csv", "--figure-format", "png"]
        assert run_analyze(*measure).exit_code == 2
        if name == "file":
            assert run_analyze(*measure, "--import", given).exit_code == 0


def test_what_cannot_be_imported_is_refused_in_one_line(
    run_train: Command, run_analyze: Command, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1\nraise RuntimeError('two\\nlines')\n")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("x =\n")
    for given, words in [
        (broken, "RuntimeError: two lines"),
        (wrong, "SyntaxError"),
        (tmp_path / "none.py", "cannot be read: No such file"),
        ("no_such_module_anywhere", "ModuleNotFoundError"),
    ]:
        for result in (run_train("tms-intro", "--import", given), run_analyze("info", tmp_path, "--import", given)):
            assert result.exit_code == 2
            last = result.stderr.rstrip().splitlines()[-1]
            assert last.startswith("Error: --import ")
            assert words in last


def test_a_file_runs_once_however_often_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(SOURCE.format(name="once"))
    for name in ("mine.py", str(tmp_path / "mine.py")):
        import_extension(extension(name))
    assert extensions.imported() == (Extension(str(tmp_path / "mine.py"), SOURCE.format(name="once")),)


def test_workers_import_it_too(run_train: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SOURCE.format(name="there"))
    arguments = ["tms-intro", "-o", tmp_path / "runs", *SHORT, "--set", "model.activation=capped-there"]
    result = run_train(*arguments, "--import", file, "--workers", 1)
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "runs" / "tms-intro" / "tms-intro.nc") as trained:
        assert trained.attrs["engine"] == "torch"
    again = toysup.load_experiment("tms-intro", changes={"training.steps": 3, "model.activation": "capped-there"})
    expected = toysup.train(again, seeds=2)["tms-intro/tms-intro"].W
    found = toysup.open_runs(tmp_path / "runs")["tms-intro/tms-intro"].W
    xr.testing.assert_allclose(found.load(), expected)
