"""`toysup-train`: train an experiment's conditions and keep their trajectories."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toysup.command_errors import with_error_line

if TYPE_CHECKING:
    from toysup.blocks import Block
    from toysup.experiments import Condition, Experiment
    from toysup.instances import Progress
    from toysup.store import Store

INTERRUPTED = "Interrupted: finished conditions are kept; the same command trains what is left."


def _list_experiments(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from toysup.experiments import builtin_experiments

    for name, title in builtin_experiments().items():
        click.echo(f"{name:<24} {title}")
    context.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("experiment")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs"), help="Folder for the runs.")
@click.option("--seeds", type=click.IntRange(min=1), default=20, help="Number of seeds.")
@click.option("--first-seed", type=click.IntRange(min=0, max=2**61), default=0, help="The first of them.")
@click.option("--condition", "conditions", multiple=True, metavar="NAME", help="Train only this condition; repeats.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="training.epochs=2 and so on; repeats.")
@click.option("--engine", help="What trains: fused (on the CPU) or torch.  [default: fused where it can]")
@click.option("--device", default="cpu", help="Where it runs: cpu, or with torch cuda, cuda:1 and so on.")
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
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train EXPERIMENT, a built-in name (--list) or the path of a TOML file.

    Writes OUTPUT/<experiment>/<condition>.nc, each whole or not at all. Seeds that are there already are kept, so the
    same command with more seeds adds them.
    """
    from toysup.experiments import load_experiment, parse_change
    from toysup.storage import refuse_unwritable
    from toysup.store import Store
    from toysup.training import choose_engine

    loaded = load_experiment(experiment, changes=dict(map(parse_change, changes)))
    chosen = loaded.select(conditions)
    engines = {condition.name: choose_engine(condition, engine, device) for condition in chosen}
    wanted = range(first_seed, first_seed + seeds)
    stores = {
        condition.name: Store(output, loaded.name, condition, engines[condition.name], overwrite=overwrite)
        for condition in chosen
    }
    todo = {name: store.missing(wanted) for name, store in stores.items()}
    for name, store in stores.items():
        if todo[name]:
            refuse_unwritable(store.file.parent)
    if not quiet:
        for condition in chosen:
            _note_floor(condition)
    if any(todo[name] and own == "fused" for name, own in engines.items()):
        _prepare_fused(quiet)
    for name, store in stores.items():
        _train(loaded, store, todo[name], device, quiet)
        if not quiet:
            click.echo(_summary(store, sum(len(block.seeds) for block in todo[name])))


def _note_floor(condition: Condition) -> None:
    """Say on stderr which loss no model can go below, where values can be negative and outputs cannot."""
    from toysup.activations import NEVER_NEGATIVE
    from toysup.errors import UsageError
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
    from toysup.fused.engine import prepare

    notice = threading.Timer(2.0, lambda: click.echo("Compiling the fused engine, once: 20 to 40 s.", err=True))
    if not quiet:
        notice.start()
    prepare()
    notice.cancel()


def _train(experiment: Experiment, store: Store, blocks: list[Block], device: str, quiet: bool) -> None:
    from toysup.training import train_job

    store.begin(blocks)
    for block in blocks:
        job = store.job(block)
        with _progress(job.condition, len(block.seeds), quiet) as progress:
            job.keep(train_job(experiment, job, device, progress))
    store.finish()


@contextmanager
def _progress(condition: Condition, n_seeds: int, quiet: bool) -> Iterator[Progress | None]:
    """A bar on stderr with the loss and the time left."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, loss {task.fields[loss]}, left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Without a terminal rich leaves an empty line for each bar.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{condition.name}, {n_seeds} seeds", total=condition.training.n_steps, loss="-")
        yield lambda step, loss: bar.update(task, completed=step, loss=f"{loss:.3g}")


def _summary(store: Store, n_trained: int) -> str:
    from toysup.runs import open_runs

    (leaf,) = open_runs(store.where()).leaves
    dataset = leaf.to_dataset()
    diverged = dataset["diverged_at"]
    finite = dataset["train_loss"].isel(step=-1).where(diverged < 0)
    loss = f"mean training loss {finite.mean():.3g}"
    line = f"{store.where()}: {dataset.sizes['seed']} seeds, {n_trained} trained now, {loss}"
    first = diverged.where(diverged > 0).min([dim for dim in diverged.dims if dim != "seed"])
    dataset.close()
    return line + "".join(
        f"\n  seed {seed} diverged, first at step {step:.0f}"
        for seed, step in zip(dataset["seed"].values, first.values, strict=True)
        if step > 0
    )
