"""What tests share: short trained runs, the commands, one torch thread per test worker, and skips without torch."""

import csv
import io
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest
import xarray as xr
from click.testing import CliRunner, Result
from hypothesis import settings

import toysup
from toysup.analysis.command import main as analyze
from toysup.command.train import main as train

try:
    import torch
except ModuleNotFoundError:
    torch = None
else:
    # Two test workers with two threads each would wait for one another on two cores.
    torch.set_num_threads(1)

# What a shell starts in the background ignores Ctrl-C, and so do its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NO_TORCH = "needs torch, which is not installed"

# Every run draws the same examples: what is compared with samples is certain to pass or certain to fail.
settings.register_profile("toysup", derandomize=True, deadline=None)
settings.load_profile("toysup")

Command = Callable[..., Result]
Rows = Callable[..., list[dict[str, str]]]
Small = Callable[..., toysup.Experiment]


@pytest.fixture(scope="session")
def short() -> toysup.Experiment:
    """The post's conditions, a few steps long."""
    changes = {"training.steps": 40, "training.dataset_size": 1000, "record.steps": [10, 20]}
    return toysup.load_experiment("conditional-importance", changes=changes)


@pytest.fixture(scope="session")
def trained(short: toysup.Experiment) -> xr.DataTree:
    return toysup.train(short, seeds=3)


@pytest.fixture(scope="session")
def swept() -> xr.DataTree:
    """tms-intro with two cells, a few steps long."""
    changes = {"training.steps": 30, "record.steps": [10], "regime.feature_probability": [0.5, 0.05]}
    return toysup.train(toysup.load_experiment("tms-intro", changes=changes), seeds=3)


@pytest.fixture(scope="session")
def small() -> Small:
    """One condition of six features and a few steps, changed by keys such as `regime__values="signed"`."""

    def make(**changes: object) -> toysup.Experiment:
        usual = {"training.steps": 4, "training.batch_size": 16, "record.steps": [2]}
        usual |= {"model.n_features": 6, "model.n_hidden": 3, "regime.feature_probability": 0.4}
        own = {key.replace("__", "."): value for key, value in changes.items()}
        if "regime.activation_probability" in own:
            del usual["regime.feature_probability"]
        return toysup.load_experiment("tms-intro", changes=usual | {"name": "small"} | own)

    return make


@pytest.fixture(scope="session")
def trained_on_disk(trained: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "runs"
    toysup.save_runs(trained, folder)
    return folder


@pytest.fixture
def runs(trained_on_disk: Path, tmp_path: Path) -> Path:
    """The conditions of `trained` in files that a test may change: to copy them costs less than to write them anew."""
    return shutil.copytree(trained_on_disk, tmp_path / "runs")


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A limit on the bytes of each file, which fails in the same call as a full disk does."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)

    return limited


@pytest.fixture
def run_train() -> Command:
    return lambda *args: _invoked(train, args)


@pytest.fixture
def run_analyze() -> Command:
    return lambda *args: _invoked(analyze, args)


@pytest.fixture
def rows_of(run_analyze: Command) -> Rows:
    """What a command of `toysup-analyze` prints as CSV. It draws nothing, which would take most of its time."""

    def rows(*args: object) -> list[dict[str, str]]:
        result = run_analyze(*args, "--format", "csv", "--no-figures")
        assert result.exit_code == 0, result.output
        return list(csv.DictReader(io.StringIO(result.stdout)))

    return rows


def _invoked(command: Any, args: tuple[object, ...]) -> Result:
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    if torch is None and _asks_for_torch(result.stderr):
        pytest.skip(NO_TORCH)
    return result


# A test that asks toysup for what needs torch is refused where torch is not installed, and is then skipped. What must
# work without torch is tested by `tests/test_without_torch.py`, which this does not touch.
def _asks_for_torch(text: object) -> bool:
    return 'pip install "toysup[torch]"' in str(text)


def _skipped_without_torch(outcome: Any) -> None:
    error = outcome.excinfo[1] if outcome.excinfo else None
    refused = isinstance(error, toysup.UsageError) and _asks_for_torch(error)
    if torch is None and (refused or _imported_torch_itself(error)):
        outcome.force_exception(pytest.skip.Exception(NO_TORCH))


def _imported_torch_itself(error: BaseException | None) -> bool:
    """Whether a test, an example, a page, a benchmark or the torch engine did.

    Other parts of toysup have to refuse in words of their own.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name != "torch":
        return False
    *_, (frame, _) = walk_tb(error.__traceback__)
    root, path = Path(__file__).parents[1], Path(frame.f_code.co_filename)
    if path.parent.name == "torch_engine" or path.name.startswith("<doctest "):
        return True
    return any(path.is_relative_to(root / name) for name in ("tests", "docs", "benchmarks", "README.md"))


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    _skipped_without_torch((yield))


# Of a test, not of a fixture: what a fixture of several tests raises is kept, and raised again for each.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    _skipped_without_torch((yield))


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """A module of tests that imports torch is skipped as a whole."""
    outcome: Any = yield
    report = outcome.get_result()
    if torch is None and report.failed and "No module named 'torch'" in str(report.longrepr):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 1, f"Skipped: {NO_TORCH}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if NO_TORCH in str(report.longrepr)]
    if skipped:
        text = f"torch is not installed: {len(skipped)} tests and modules of tests that need it were skipped"
        terminalreporter.write_sep("=", f'{text}; pip install "toysup[torch]"', yellow=True)
        for name in sorted({report.nodeid.partition("[")[0] for report in skipped}):
            terminalreporter.write_line(name)
