"""`python -m benchmarks`: measure, and write a table and a picture."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click

from benchmarks.measurements import Measurement

# Each part is imported only when it is measured: torch and numba take seconds.
PARTS = {
    "training": ("training_speed", "measure"),
    "sparse": ("sparse_speed", "measure"),
    "gpu": ("training_speed", "measure_on_gpu"),
    "split": ("step_split", "measure"),
    "scaling": ("scaling", "measure"),
    "memory": ("memory", "measure"),
    "at-scale": ("at_scale", "measure"),
    "analysis": ("analysis_speed", "measure"),
    "losses": ("loss_speed", "measure"),
    "commands": ("commands", "measure"),
    "experiment": ("commands", "measure_experiment"),
    "phases": ("phases", "measure"),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="Measure this part only; repeats.")
@click.option("--quick", is_flag=True, help="A miniature that says nothing about speed.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads for training.  [default: all cores]")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Folder to write to.")
@click.option("--page", type=click.Path(path_type=Path, exists=True), help="Put the table into this Markdown page too.")
def main(only: Sequence[str], quick: bool, threads: int | None, output: Path, page: Path | None) -> None:
    """Measure toysup, and write benchmarks.csv, benchmarks.md and benchmarks.png."""
    threads = threads or os.cpu_count() or 1
    output.mkdir(parents=True, exist_ok=True)
    found: list[Measurement] = []
    for part in only or [part for part in PARTS if part not in left_out(quick)]:
        click.echo(f"measuring {part}", err=True)
        found += measured(part, threads=threads, quick=quick)
        # What is finished is kept if a later part is interrupted.
        write(found, threads, output)
    draw(found, output / "benchmarks.png")
    if page is not None:
        publish(found, threads, page)
    click.echo((output / "benchmarks.md").read_text(encoding="utf-8"))


def left_out(quick: bool) -> set[str]:
    """What is measured only where it is asked for by name."""
    import torch

    absent = set() if torch.cuda.is_available() else {"gpu"}
    # The miniature trains no experiment: that takes minutes. A million models take half an hour.
    return {"experiment" if quick else "phases", *absent}


def measured(part: str, *, threads: int, quick: bool) -> Iterator[Measurement]:
    module, function = PARTS[part]
    measure: Callable[..., Iterator[Measurement]] = getattr(import_module(f"benchmarks.{module}"), function)
    for measurement in measure(threads=threads, quick=quick):
        yield replace(measurement, at_least=None, at_most=None) if quick else measurement


def write(found: Sequence[Measurement], threads: int, output: Path) -> None:
    from benchmarks import machine, tables

    this = machine.description(threads)
    tables.tidy(found, this).to_csv(output / "benchmarks.csv", index=False)
    (output / "benchmarks.md").write_text(tables.markdown(found, this), encoding="utf-8")


def draw(found: Sequence[Measurement], path: Path) -> None:
    from benchmarks import picture

    picture.save(found, path)


def publish(found: Sequence[Measurement], threads: int, page: Path) -> None:
    """Show the tables on a page of the documentation, and the picture beside it."""
    from benchmarks import machine, tables

    image = page.with_suffix(".png")
    draw(found, image)
    tables.publish(tables.markdown(found, machine.description(threads)), image if image.exists() else None, page)


if __name__ == "__main__":
    main()
