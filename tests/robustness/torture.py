"""Kill training at random instants, in every way, and see that the same command ends as if nothing had happened.

`make torture` runs this with 200 kills; a few of each kind are tests. After each kill whatever lies in the folder must
be whole and as in an uninterrupted run; then the same command is given again, and must end with all of it.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
import xarray as xr

BIN = Path(sys.executable).parent
# Six blocks: each condition's seeds lie on both sides of where its blocks begin.
SPECIFICATION = """
name = "torture"
[model]
n_features = 20
n_hidden = 10
[training]
steps = 1000
batch_size = 64
[record]
log_spaced = 1000
[regime]
feature_probability = 0.1
[[condition]]
name = "plain"
[[condition]]
name = "sgd"
training = { optimizer = "sgd", learning_rate = 0.1 }
[[condition]]
name = "sweep"
regime = { feature_probability = [0.1, 0.2] }
"""
SEEDS = ["--first-seed", "175", "--seeds", "10"]
BLOCKS = 6
# A hung command is a failure.
LIMIT = 240.0

Trajectories = dict[str, xr.Dataset]


@dataclass
class Site:
    """Where the kills happen: the specification, the uninterrupted run, and how long that took."""

    folder: Path
    specification: Path
    expected: Trajectories
    seconds: float
    draw: random.Random

    def command(self, output: Path, *options: str) -> list[str]:
        return [str(BIN / "toysup-train"), str(self.specification), "-o", str(output), *SEEDS, *options]

    def start(self, output: Path, *options: str, **settings: object) -> subprocess.Popen[str]:
        # With a checkpoint every now and then, kills hit those as well.
        environment = os.environ | {"TOYSUP_CHECKPOINT_SECONDS": "0.2", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            self.command(output, *options), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, **settings,
        )  # fmt: skip

    def instant(self) -> float:
        """A random time while it trains; the first third goes into imports."""
        return self.draw.uniform(0.3, 1.1) * self.seconds


def run(site: Site, output: Path, *options: str, **settings: object) -> tuple[int, str]:
    """The command to its end: exit code and what it said on stderr."""
    process = site.start(output, *options, **settings)
    _, said = process.communicate(timeout=LIMIT)
    return process.returncode, said


def trajectories(folder: Path) -> Trajectories:
    """Every file there, loaded and checked."""
    import toysup

    return {
        str(path.relative_to(folder)): next(iter(toysup.open_runs(path).leaves)).to_dataset().load()
        for path in sorted(folder.rglob("*.nc"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def require_whole(folder: Path, expected: Trajectories, *, all_of_it: bool) -> None:
    """What is there is as it should be; with `all_of_it`, it is all that should be, and nothing else lies around."""
    found = trajectories(folder)
    for name, dataset in found.items():
        for variable in dataset.variables:
            one, other = dataset[variable].values, expected[name][variable].values
            assert one.dtype == other.dtype, f"{name}: {variable} has another dtype"
            assert one.tobytes() == other.tobytes(), f"{name}: {variable} differs"
    if all_of_it:
        assert found.keys() == expected.keys(), f"missing: {expected.keys() - found.keys()}"
        left = [path for path in folder.rglob("*") if path.is_file() and str(path.relative_to(folder)) not in expected]
        assert not left, f"left behind: {left}"


@contextmanager
def site(folder: Path, draw: random.Random) -> Iterator[Site]:
    specification = folder / "torture.toml"
    specification.write_text(SPECIFICATION)
    place = Site(folder, specification, {}, 0.0, draw)
    from toysup.engines.fused.engine import prepare

    # Compiles what the run that is timed will load.
    prepare()
    start = time.monotonic()
    code, said = run(place, folder / "reference")
    assert code == 0, said
    place.seconds = time.monotonic() - start
    place.expected = trajectories(folder / "reference")
    assert len(place.expected) == BLOCKS
    yield place


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=LIMIT)
    return process.returncode, said


def trainer(place: Site, output: Path) -> None:
    """SIGKILL to the trainer, which trains by itself."""
    process = place.start(output)
    time.sleep(place.instant())
    kill(process.pid)
    end(process)


def trainer_with_workers(place: Site, output: Path) -> None:
    """SIGKILL to the trainer, whose workers are left alone."""
    process = place.start(output, "--workers", "2")
    time.sleep(place.instant() + 2)
    workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    kill(process.pid)
    end(process)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "workers outlive their trainer"


def worker(place: Site, output: Path) -> None:
    """SIGKILL to one of the workers; the command goes on by itself."""
    process = place.start(output, "--workers", "2")
    time.sleep(place.instant() + 2)
    workers = workers_of(process.pid)
    for victim in place.draw.sample(workers, min(1, len(workers))):
        kill(victim.pid)
    code, said = end(process)
    assert code == 0, said


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes that a trainer started to train."""
    return [child for child in _children(pid) if "spawn_main" in " ".join(_line(child))]


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def writing(place: Site, output: Path) -> None:
    """SIGKILL as soon as a file is being written, of a random block."""
    process, which, seen = place.start(output), place.draw.randrange(BLOCKS), set()
    while process.poll() is None and len(seen) <= which:
        seen |= {path.name for path in output.rglob("*.part.nc")}
    time.sleep(place.draw.uniform(0, 0.03))
    kill(process.pid)
    end(process)


def interrupted(place: Site, output: Path) -> None:
    """Ctrl-C, which goes to all processes of the terminal: exit 130 and a line that says how to go on."""
    workers = place.draw.choice([[], ["--workers", "2"]])
    process = place.start(output, *workers)
    while process.poll() is None and not (output / "torture").exists():
        time.sleep(0.01)
    # A cluster starts for seconds, and is seconds at work.
    time.sleep(place.draw.uniform(0, 0.6) * place.seconds + place.draw.uniform(0, 3) * len(workers))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    code, said = end(process)
    # Python itself, which has no more to do than to end, is ended by the signal.
    assert code in (0, 130, -signal.SIGINT), (code, said)
    assert code != 130 or said.strip().endswith("the same command trains the rest."), said
    assert "Traceback" not in said, said


def full(place: Site, output: Path) -> None:
    """No file may grow beyond a random size, which a full disk looks like: one line, exit 1."""
    size = place.draw.randrange(1000, 3_000_000)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    code, said = run(place, output, preexec_fn=limited)
    assert code == 1, (code, said)
    assert_one_line(said)


def small_disk(place: Site, output: Path) -> None:
    """A disk of a random small size, which is then enlarged. Where nothing can be mounted, `full` stands for it."""
    output.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={place.draw.randrange(1, 20)}M", "none", str(output)],
        capture_output=True, check=False,
    ).returncode == 0  # fmt: skip
    if not mounted:
        full(place, output)
        return
    try:
        code, said = run(place, output)
        if code:
            assert code == 1, (code, said)
            assert_one_line(said)
        require_whole(output, place.expected, all_of_it=False)
        subprocess.run(["mount", "-o", "remount,size=100M", str(output)], check=True)
        code, said = run(place, output)
        assert code == 0, said
        require_whole(output, place.expected, all_of_it=True)
    finally:
        subprocess.run(["umount", "-l", str(output)], check=True)


def read_only(place: Site, output: Path) -> None:
    """A folder that may not be written to: one line, exit 1. Root, who may write anywhere, needs a mount for that."""
    output.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(output)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    output.chmod(0o555) if not mounted else None
    try:
        if mounted or os.geteuid():
            code, said = run(place, output)
            assert code == 1, (code, said)
            assert_one_line(said)
            assert not list(output.iterdir())
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(output)], check=True)
        else:
            output.chmod(0o755)


def scheduler(place: Site, output: Path) -> None:
    """SIGKILL to a scheduler of its own, or to one of its workers, or to the trainer that it works for."""
    with ExitStack() as stack:
        file = place.folder / f"scheduler-{output.name}.json"
        boss = stack.enter_context(_started("scheduler", "--scheduler-file", str(file), "--port", "0"))
        workers = [
            stack.enter_context(_started("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny"))
            for _ in range(2)
        ]
        address = _address(file)
        process = place.start(output, "--scheduler", address)
        time.sleep(place.instant())
        victim = place.draw.choice(["scheduler", "worker", "trainer"])
        kill({"scheduler": boss.pid, "worker": workers[0].pid, "trainer": process.pid}[victim])
        code, said = end(process)
        if victim == "worker":
            assert code == 0, said
        elif victim == "scheduler" and code:
            assert code == 1, (code, said)
            assert_one_line(said)


@contextmanager
def _started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _address(file: Path) -> str:
    import json

    for _ in range(600):
        with suppress(OSError, ValueError):
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.1)
    raise TimeoutError("no scheduler")


def _of_progress(line: str) -> bool:
    """Whether a line says what is being done: notes, the engine, model-steps, and that an interrupt was heard."""
    return line.startswith(("note:", "training ", "Stopping at ")) or " model-steps" in line


def assert_interrupted(said: str) -> None:
    """It says once what is kept and how to go on, and nothing after that."""
    *before, last = said.splitlines()
    assert last.startswith("Interrupted: "), said
    assert last.endswith("kept; the same command trains the rest."), said
    assert all(map(_of_progress, before)), said


def assert_one_line(said: str) -> None:
    lines = [line for line in said.splitlines() if not _of_progress(line)]
    assert len(lines) == 1, said
    assert lines[0].startswith("Error: "), said


KINDS: dict[str, Callable[[Site, Path], None]] = {
    kind.__name__: kind
    for kind in (
        trainer, writing, trainer_with_workers, worker, scheduler, interrupted, full, small_disk, read_only,
    )
}  # fmt: skip
# Of so many runs: what happens most is most likely to hit something new.
WEIGHTS = {"trainer": 5, "writing": 5, "trainer_with_workers": 2, "worker": 2, "scheduler": 2}


def torture(place: Site, kind: str, number: int) -> None:
    """One kill, and the same command to its end."""
    output = place.folder / f"{kind}-{number}"
    KINDS[kind](place, output)
    if output.exists() and kind != "small_disk":
        require_whole(output, place.expected, all_of_it=False)
    if kind != "small_disk" or not output.exists():
        code, said = run(place, output)
        assert code == 0, said
        require_whole(output, place.expected, all_of_it=True)
    shutil.rmtree(output, ignore_errors=True)


@click.command()
@click.option("--runs", default=200, show_default=True, help="How many kills.")
@click.option("--seed", type=int, help="Of what is drawn.  [default: another each time]")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only this kind; repeats.")
def main(runs: int, seed: int | None, kinds: tuple[str, ...]) -> None:
    """Kill training at random instants, and count what did not end as if nothing had happened."""
    seed = random.randrange(2**31) if seed is None else seed
    draw = random.Random(seed)
    names = list(kinds or KINDS)
    order = names + draw.choices(names, [WEIGHTS.get(name, 1) for name in names], k=max(0, runs - len(names)))
    good, bad = Counter[str](), Counter[str]()
    click.echo(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, site(Path(folder), draw) as place:
        for number, kind in enumerate(order[:runs]):
            try:
                torture(place, kind, number)
                good[kind] += 1
                click.echo(f"run {number}, {kind}: identical", err=True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                bad[kind] += 1
                click.echo(f"run {number}, {kind}: {str(error)[:2000]}", err=True)
    click.echo(f"{'kind':<22}{'identical':>10}{'failed':>8}")
    for kind in names:
        click.echo(f"{kind:<22}{good[kind]:>10}{bad[kind]:>8}")
    click.echo(f"{sum(good.values())} of {min(runs, len(order))} runs ended identical")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
