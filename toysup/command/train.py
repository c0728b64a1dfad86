"""`toysup-train`: train an experiment's conditions and keep their trajectories."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toysup.command.errors import with_error_line

if TYPE_CHECKING:
    from distributed import Client

    from toysup.experiments.experiment import Condition
    from toysup.training.train_runs import MissingBlocks, TrainingPlan

INTERRUPTED = "Interrupted: finished blocks are kept; the same command trains what is left."


def _list_experiments(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from toysup.experiments.experiment_file import builtin_experiments

    for name, title in builtin_experiments().items():
        click.echo(f"{name:<24} {title}")
    context.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("experiment")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs"), help="Folder for the runs.")
@click.option("--seeds", type=click.IntRange(min=1, max=2 * 10**7), default=20, help="Number of seeds.")
@click.option("--first-seed", type=click.IntRange(min=0, max=2**61), default=0, help="The first of them.")
@click.option("--condition", "conditions", multiple=True, metavar="NAME", help="Train only this condition; repeats.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="training.epochs=2 and so on; repeats.")
@click.option("--engine", help="What trains: fused (on the CPU) or torch.  [default: fused where it can]")
@click.option("--device", default="cpu", help="Where it runs: cpu, or with torch cuda, cuda:1 and so on.")
@click.option("--workers", type=click.IntRange(min=1), help="Train with so many processes on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Train on the dask cluster whose scheduler is there.")
@click.option("--overwrite", is_flag=True, help="Train anew and replace what is there.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_experiments, help="Name the experiments."
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
    """Train EXPERIMENT, a built-in name (--list) or the path of a TOML file.

    Writes OUTPUT/<experiment>/<condition>.nc, or a folder of blocks where a condition is large; each file whole or not
    at all. What is there already is kept: the same command goes on where it stopped, and with more seeds adds them.
    """
    from toysup.experiments.experiment_file import load_experiment, parse_change
    from toysup.training.train_runs import TrainingPlan

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
            for condition in plan.conditions:
                _note_floor(condition)
        if any(part.blocks and part.store.engine == "fused" for part in missing) and scheduler is None:
            _prepare_fused(quiet)
        with _client(workers, scheduler) as client:
            _train_missing(plan, missing, client, workers, quiet)
    if not quiet:
        for part in missing:
            click.echo(_summary(part))


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Client | None]:
    """Whom the work is given to; nobody, if it is done here."""
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

    # Workers on this machine share its cores; of another's workers each thread takes a block.
    threads = max(1, (os.cpu_count() or 1) // workers) if workers else 1
    if quiet:
        train_missing(plan, missing, ProgressListener(), client, threads=threads)
        return
    from toysup.command.progress import ProgressBar

    with ProgressBar(missing) as bar:
        train_missing(plan, missing, bar, client, threads=threads)
    if bar.workers or bar.again:
        click.echo(f"note: {bar.lost_work()}", err=True)


def _note_floor(condition: Condition) -> None:
    """Say on stderr which loss no model can go below, where values can be negative and outputs cannot."""
    from toysup.errors import UsageError
    from toysup.experiments.activations import NEVER_NEGATIVE
    from toysup.theory import output_floor

    name, regimes = condition.model.activation, condition.checked_regimes()
    if name not in NEVER_NEGATIVE or regimes[0].value_range[0] >= 0 or regimes[0].target == "abs":
        return
    try:
        floor = f"has a loss below {min(output_floor(regime).sum() for regime in regimes):.3g}"
    except UsageError:
        floor = "can say what is negative"
    click.echo(
        f"note: {condition.name}: outputs of {name} cannot be negative, so no model of this condition {floor}", err=True
    )


def _prepare_fused(quiet: bool) -> None:
    """Compile the fused engine, or load it where that was done before; say so if it takes a while."""
    from toysup.engines.fused.engine import prepare

    notice = threading.Timer(4.0, lambda: click.echo("Compiling the fused engine, once: 20 to 40 s.", err=True))
    if not quiet:
        notice.start()
    try:
        prepare()
    finally:
        notice.cancel()


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
