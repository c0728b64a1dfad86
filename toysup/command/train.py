"""The command `toysup-train`, which trains the conditions of an experiment and writes their trajectories."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toysup.command.errors import with_error_line
from toysup.command.imports import IMPORT
from toysup.command.streams import Command

if TYPE_CHECKING:
    from distributed import Client

    from toysup.engines.fused.engine import Kernel
    from toysup.experiments.experiment import Condition
    from toysup.training.train_runs import MissingBlocks, TrainingPlan

INTERRUPTED = "Interrupted: finished blocks are kept; the same command trains the rest."


def _list_experiments(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from toysup.experiments.experiment_file import builtin_experiments

    for name, title in builtin_experiments().items():
        click.echo(f"{name:<24} {title}")
    context.exit()


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("experiment")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("runs"), help="Write the runs to this folder."
)
@click.option("--seeds", type=click.IntRange(min=1, max=2 * 10**7), default=20, help="Train this number of seeds.")
@click.option("--first-seed", type=click.IntRange(min=0, max=2**61), default=0, help="Count the seeds from this one.")
@click.option(
    "--condition", "conditions", multiple=True, metavar="NAME", help="Train only this condition. Can be repeated."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the experiment, such as training.epochs=2. Can be repeated.",
)
@click.option("--import", **IMPORT)
@click.option(
    "--engine",
    help="Train with this engine: fused, which is compiled and runs on the CPU, or torch. By default fused trains each "
    "condition that it can, and torch the others.",
)
@click.option("--device", default="cpu", help="Train on this device: cpu, or with torch also cuda or cuda:1.")
@click.option("--workers", type=click.IntRange(min=1), help="Train with this number of processes on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Train on the dask cluster of this scheduler.")
@click.option("--overwrite", is_flag=True, help="Train all seeds anew and replace the old runs.")
@click.option("-q", "--quiet", is_flag=True, help="Print no progress, no notes and no summary.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_experiments,
    help="List the built-in experiments and exit.",
)
@click.version_option(package_name="toysup")
@functools.partial(with_error_line, interrupted=INTERRUPTED)
def main(
    experiment: str,
    output: Path,
    seeds: int,
    first_seed: int,
    conditions: tuple[str, ...],
    changes: tuple[str, ...],
    engine: str | None,
    device: str,
    workers: int | None,
    scheduler: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train the models of EXPERIMENT and write their trajectories.

    EXPERIMENT is the name of a built-in experiment (see --list) or the path of a TOML file. Each condition is written
    to OUTPUT/<experiment>/<condition>.nc, or to a folder of blocks if it is large. A file is written whole or not at
    all. Finished runs are kept: the same command resumes after an interruption, and adds seeds that are missing.
    """
    from toysup.experiments.experiment_file import load_experiment, parse_change
    from toysup.training.train_runs import LEFT, TrainingPlan

    if workers is not None and scheduler is not None:
        raise click.UsageError("--workers and --scheduler exclude one another; give one of them")
    loaded = load_experiment(experiment, changes=dict(map(parse_change, changes)))
    plan = TrainingPlan.of(
        loaded,
        output,
        range(first_seed, first_seed + seeds),
        conditions=conditions,
        engine=engine,
        device=device,
        overwrite=overwrite,
    )
    with plan.locked() as missing:
        if not quiet:
            _tell_plan(plan, missing)
        if scheduler is None:
            _prepare_engines(missing, quiet)
        with _client(workers, scheduler) as client:
            _train_missing(plan, missing, client, workers, quiet)
    if not quiet:
        for path in plan.left_conditions():
            click.echo(f"note: {path}: {LEFT.format(loaded.name)}", err=True)
        for part in missing:
            click.echo(_summary(part))


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Client | None]:
    """A client of the cluster that trains; None to train in this process."""
    if workers is None and scheduler is None:
        yield None
        return
    from toysup.training.cluster import client_of, local_client

    with local_client(workers) if workers is not None else client_of(str(scheduler)) as client:
        yield client


def _train_missing(
    plan: TrainingPlan, missing: list[MissingBlocks], client: Client | None, workers: int | None, quiet: bool
) -> None:
    from toysup.training.one_block import ProgressListener
    from toysup.training.train_runs import train_missing

    # Workers on this machine share its cores. On another cluster each thread of a worker trains a block by itself.
    threads = max(1, (os.cpu_count() or 1) // workers) if workers else 1
    if quiet:
        train_missing(plan, missing, ProgressListener(), client, threads=threads)
        return
    from toysup.command.progress import ProgressBar

    with ProgressBar(missing) as bar:
        train_missing(plan, missing, bar, client, threads=threads)
    if bar.workers or bar.again:
        click.echo(f"note: {bar.lost_work()}", err=True)


def _tell_plan(plan: TrainingPlan, missing: Sequence[MissingBlocks]) -> None:
    """Print to stderr what the user may not expect of the conditions, and which engine trains which."""
    from toysup.training.train import left_out_recordings

    for note in left_out_recordings(plan.conditions):
        click.echo(f"note: {note}", err=True)
    for condition in plan.conditions:
        _note_floor(condition)
        _note_decay(condition)
    _tell_engines(plan, missing)


def _tell_engines(plan: TrainingPlan, missing: Sequence[MissingBlocks]) -> None:
    """Print to stderr which engine trains which conditions, and why."""
    names: dict[tuple[str, str], list[str]] = {}
    for part in missing:
        if part.blocks:
            condition = part.store.condition
            names.setdefault((part.store.engine, plan.why_engine(condition)), []).append(condition.name)
    for (engine, reason), own in names.items():
        click.echo(f"training {', '.join(own)}: {engine} engine{reason and f', {reason}'}", err=True)


def _note_floor(condition: Condition) -> None:
    """Print a lower bound on the loss to stderr if features can be negative but outputs cannot."""
    from toysup.errors import UsageError
    from toysup.experiments.activations import NEVER_NEGATIVE
    from toysup.theory import output_floor

    name, regimes = condition.model.activation, condition.checked_regimes()
    if name not in NEVER_NEGATIVE or regimes[0].value_range[0] >= 0 or regimes[0].target == "abs":
        return
    try:
        floor = f"has a loss below {min(output_floor(regime).sum() for regime in regimes):.3g}"
    except UsageError:
        floor = "can output negative values"
    click.echo(
        f"note: {condition.name}: outputs of {name} cannot be negative, so no model of this condition {floor}", err=True
    )


def _note_decay(condition: Condition) -> None:
    """Print to stderr for how many features an L2 penalty outweighs what representing them gains."""
    from toysup.experiments.model import is_plain
    from toysup.theory.costs import outweighed_features

    training, regimes = condition.training, condition.checked_regimes()
    if training.optimizer == "adamw" or not is_plain(condition.model, regimes[0]):
        return
    decays = training.weight_decay
    decay = max(decays) if isinstance(decays, tuple) else decays
    count = max(int(outweighed_features(regime, decay).sum()) for regime in regimes)
    if count:
        click.echo(
            f"note: {condition.name}: the weight decay of {training.optimizer} is an L2 penalty, under which "
            f"{count} of {condition.model.n_features} features hardly reach ‖W_i‖² = 0.5 (p·I·E[x²] is below "
            f"{decay / 2:g}, half of weight_decay); adamw decays apart from the loss",
            err=True,
        )


def _prepare_engines(missing: Sequence[MissingBlocks], quiet: bool) -> None:
    """Compile what will train in this process or in workers on this machine, or load it from the cache."""
    fused = [part.store.condition for part in missing if part.blocks and part.store.engine == "fused"]
    if not fused:
        return
    from toysup.engines.compiled_code import why_not_kept
    from toysup.engines.fused.engine import kernels_of

    beside: list[subprocess.Popen[bytes]] = []
    kernels = sorted(set().union(*map(kernels_of, fused)))
    for number, kernel in enumerate(kernels):
        _prepare_kernel(kernel, kernels[number + 1 :], beside, quiet)
    if not quiet and (reason := why_not_kept()):
        advice = "set NUMBA_CACHE_DIR to a folder that can be written, or each training compiles anew"
        click.echo(f"note: the compiled engine cannot be kept: {reason}; {advice}", err=True)


def _prepare_kernel(
    kernel: Kernel, others: Sequence[Kernel], beside: list[subprocess.Popen[bytes]], quiet: bool
) -> None:
    """Compile or load one loop of the fused engine. If it is compiled, report that, and how long it takes.

    The `others` are then compiled at the same time by processes of their own (`beside`), whose code is loaded later.
    """
    from toysup.engines.compiled_code import calling_when_compiling, last_duration, note_duration
    from toysup.engines.fused.engine import compiling_process, prepare

    began, compiled, waited = time.monotonic(), bool(beside), bool(beside)
    for process in beside:
        process.wait()

    def notice() -> None:
        nonlocal compiled
        compiled = True
        before = last_duration(kernel.name)
        expected = "once; this takes 5 to 30 s" if before is None else f"once; it took {before:.0f} s last time"
        names = ", and beside it for ".join(each.name for each in (kernel, *others))
        if not quiet:
            click.echo(f"Compiling the fused engine for {names} ({expected}) …", err=True)
        # What is already being compiled is waited for above.
        beside.extend(map(compiling_process, others if not beside else ()))

    with calling_when_compiling(notice):
        prepare(kernel)
    if compiled:
        seconds = time.monotonic() - began
        if not waited:
            note_duration(kernel.name, seconds)
        if not quiet:
            click.echo(f"Compiled in {seconds:.0f} s.", err=True)


def _summary(part: MissingBlocks) -> str:
    from toysup.storage.runs import open_runs
    from toysup.storage.schema import sweep_axes

    store = part.store
    (leaf,) = open_runs(store.where()).leaves
    dataset = leaf.to_dataset()
    diverged = dataset["diverged_at"]
    finite = dataset["train_loss"].isel(step=-1).where(diverged < 0)
    loss = f"mean training loss {finite.mean():.3g}"
    line = f"{store.where()}: {dataset.sizes['seed']} seeds, {part.n_seeds} trained now, {loss}"
    first = diverged.where(diverged > 0).min(sweep_axes(dataset))
    dataset.close()
    return line + "".join(
        f"\n  seed {seed} diverged, first at step {step:.0f}"
        for seed, step in zip(dataset["seed"].values, first.values, strict=True)
        if step > 0
    )
