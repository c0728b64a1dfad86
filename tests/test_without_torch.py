"""Without torch: tied models are trained and analysed, and what needs torch is refused in one line before any work."""

import json
import subprocess
import sys
from pathlib import Path

import netCDF4
import pytest

import toysup

# Hides torch, its version included, as where only the dependencies are installed.
HIDDEN = """
import importlib.metadata, sys
if "torch" in sys.modules:
    raise SystemExit("torch was imported too early")
class Hidden:
    # Not None in sys.modules: SciPy takes what is there for the module.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
version = importlib.metadata.version
def without_torch(name):
    if name == "torch":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without_torch
"""
SHORT = [
    "--seeds",
    "3",
    "--set",
    "training.steps=12",
    "--set",
    "training.dataset_size=500",
    "--set",
    "record.steps=[4]",
]
# A model that is not tied, and activations that only torch has.
OTHER = [*SHORT, "--condition", "fixed", "--set", "model.tied=false"]


def run(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDDEN + code, *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def train(*words: object) -> subprocess.CompletedProcess[str]:
    return run("from toysup.command.train import main; main()", *words)


def analyze(*words: object) -> subprocess.CompletedProcess[str]:
    return run("from toysup.analysis.command import start; start()", *words)


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert line.endswith('needs torch, which is not installed; pip install "toysup[torch]"')
    assert all(word in line for word in words), line
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that were trained without torch."""
    folder = tmp_path_factory.mktemp("runs")
    done = train("conditional-importance", *SHORT, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_file_has_the_versions_of_what_is_there(folder: Path) -> None:
    with netCDF4.Dataset(folder / "conditional-importance" / "fixed.nc") as dataset:
        assert set(json.loads(dataset.versions)) == {"python", "numba", "numpy", "xarray"}
        assert dataset.engine == "fused"


COMMANDS = [
    ["info", "--verify"],
    ["claims", "--no-fail"],
    *([*words, "--no-figures"] for words in (
        ["gram"],
        ["dimensionality"],
        ["dimensionality", "--against", "fixed"],
        ["interference"],
        ["interference", "--by", "feature"],
        ["dynamics"],
        ["losses"],
        *(["losses", "--by", by] for by in ("part", "active", "reference")),
        ["losses", "--against", "fixed"],
    )),
]  # fmt: skip
EACH = """
import json, sys
from toysup.analysis.command import main
for words in json.loads(sys.argv[1]):
    print("command", *words, file=sys.stderr, flush=True)
    main(words, standalone_mode=False)
"""


def test_every_command_works_on_tied_models(folder: Path) -> None:
    """One after the other in one process: the last command that it names is the one that failed."""
    done = run(EACH, json.dumps([[*words, str(folder)] for words in COMMANDS]))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("command ") == len(COMMANDS)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_report_works_on_tied_models(folder: Path, tmp_path: Path) -> None:
    done = analyze("report", folder, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_training_that_needs_torch_is_refused_before_any(tmp_path: Path) -> None:
    assert_refused(
        train("conditional-importance", *SHORT, "--engine", "torch", "-o", tmp_path / "r"), "the torch engine"
    )
    done = train("conditional-importance", *OTHER, "-o", tmp_path / "r")
    assert_refused(done, "training fixed", "the fused engine cannot: the model is not φ(WᵀW x + b)")
    assert not (tmp_path / "r").exists()


def test_what_cannot_be_trained_again_is_refused_before_any(tmp_path: Path) -> None:
    """The first condition is trained by the fused engine, the second one by torch."""
    code = """
import toysup
from toysup.engines import choice
changes = {"training.steps": 3, "record.steps": [1]}
tree = toysup.train(toysup.load_experiment("conditional-importance", changes=changes), seeds=2, conditions=["fixed"])
fixed = tree["conditional-importance/fixed"].to_dataset()
tree["conditional-importance/other"] = fixed.assign_attrs(engine="torch", condition_name="other")
toysup.analysis.report.info(tree, verify=True).table
"""
    done = run(code)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith('needs torch, which is not installed; pip install "toysup[torch]"')


def test_a_module_is_refused_and_its_name_is_there() -> None:
    code = """
import toysup
assert set(toysup.__all__) == {name for name in toysup.__all__ if getattr(toysup, name) is not None}
dataset = toysup.open_example("conditional-importance")["conditional-importance/fixed"].to_dataset()
try:
    toysup.to_module(dataset.isel(seed=0, step=-1))
except toysup.UsageError as error:
    print(error)
"""
    done = run(code)
    assert done.stdout.strip() == 'a torch module needs torch, which is not installed; pip install "toysup[torch]"'


def test_a_torch_that_is_broken_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder that an uninstalled torch left, and a torch whose library does not load."""
    # Set first, so that what is imported here is taken back where torch is not installed either.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    with pytest.raises(
        toysup.UsageError, match=r'^it needs torch, which is not installed; pip install "toysup\[torch\]"$'
    ):
        toysup.errors.require_torch("it")
    monkeypatch.delitem(sys.modules, "torch")
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.12: no such\\nfile')")
    with pytest.raises(
        toysup.UsageError, match=r"^it needs torch, which cannot be imported \(libcudart.so.12: no such file\)"
    ):
        toysup.errors.require_torch("it")
