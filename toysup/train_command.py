"""`toysup-train`: train an experiment's conditions and keep their trajectories."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toysup.command_errors import with_error_line

if TYPE_CHECKING:
    from toysup.experiments import Condition, Experiment
    from toysup.instances import Progress

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
@click.option("--engine", default="torch", help="What trains: torch.")
@click.option("--device", default="cpu", help="Where the torch engine runs: cpu, cuda, cuda:1.")
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
    engine: str,
    device: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train EXPERIMENT, a built-in name (--list) or the path of a TOML file.

    Writes OUTPUT/<experiment>/<condition>.nc, each whole or not at all. Seeds that are there already are kept, so the
    same command with more seeds adds them.
    """
    from toysup.experiments import load_experiment, parse_change
    from toysup.storage import path_of, refuse_unwritable

    loaded = load_experiment(experiment, changes=dict(map(parse_change, changes)))
    chosen = loaded.select(conditions)
    _refuse_place(engine, device)
    wanted = range(first_seed, first_seed + seeds)
    missing = {
        condition.name: _missing_seeds(loaded, condition, wanted, output, engine, overwrite) for condition in chosen
    }
    refuse_unwritable(output)
    for condition in chosen:
        if missing[condition.name]:
            _train(loaded, condition, missing[condition.name], output, engine, device, overwrite, quiet)
        if not quiet:
            click.echo(_summary(path_of(output, loaded.name, condition.name), len(missing[condition.name])))


def _refuse_place(engine: str, device: str) -> None:
    from toysup.training import engine_named

    engine_named(engine)
    from toysup.torch_engine import torch_device

    torch_device(device)


def _missing_seeds(
    experiment: Experiment, condition: Condition, wanted: range, output: Path, engine: str, overwrite: bool
) -> list[int]:
    """The seeds still to train; refuses a file that holds runs of another specification."""
    from toysup.storage import open_trajectory, path_of, refuse_other

    path = path_of(output, experiment.name, condition.name)
    if overwrite or not path.exists():
        return list(wanted)
    with open_trajectory(path) as there:
        refuse_other(there, identity=condition.identity, engine=engine, where=path)
        return sorted(set(wanted) - set(there["seed"].values.tolist()))


def _train(
    experiment: Experiment,
    condition: Condition,
    seeds: list[int],
    output: Path,
    engine: str,
    device: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    import xarray as xr

    from toysup.storage import save_runs
    from toysup.training import train_condition

    with _progress(condition, len(seeds), quiet) as progress:
        dataset = train_condition(experiment, condition, seeds, engine=engine, device=device, progress=progress)
    save_runs(xr.DataTree.from_dict({f"/{experiment.name}/{condition.name}": dataset}), output, overwrite=overwrite)


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


def _summary(path: Path, n_trained: int) -> str:
    from toysup.storage import open_trajectory

    with open_trajectory(path) as dataset:
        loss = float(dataset["train_loss"].isel(step=-1).mean())
        seeds = dataset.sizes["seed"]
    return f"{path}: {seeds} seeds, {n_trained} trained now, mean training loss {loss:.3g}"
