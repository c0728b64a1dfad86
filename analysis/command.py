"""`toysup-analyze`: statistics and figures of trained runs."""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toysup.command.errors import with_error_line
from toysup.errors import ToysupError

if TYPE_CHECKING:
    from toysup.analysis.report.panels import Figures
    from toysup.analysis.report.selection import Selected
    from toysup.analysis.report.tidy_rows import Rows
    from toysup.analysis.report.topics.against import Statistics

FORMATS = click.Choice(["table", "csv", "json"])
# As in toysup.analysis.interference, which a help text must not wait for; a test holds them together.
QUADRANT_STATISTICS = click.Choice(
    ["energy", "rms", "mean_abs", "max_abs", "interfering_fraction", "negative_fraction", "energy_share"]
)
LOSS_SPLITS = click.Choice(["feature", "context", "part", "active", "reference"])
FIGURE_FORMATS = click.Choice(["pdf", "png", "svg"])
AGAINST = click.option(
    "--against", metavar="CONDITION", help="Print each condition's difference from this one, with intervals and tests."
)


@dataclass(frozen=True)
class Request:
    """What all commands are asked for."""

    runs: Path
    format: str
    output: Path
    figure_format: str
    conditions: tuple[str, ...]
    step: int | None
    epoch: float | None

    def selected(self, *, draws: bool = True, against: str | None = None) -> list[Selected]:
        """The conditions asked for, and the one they are held against; refuses first what would fail after the work."""
        from toysup.analysis.report.selection import refuse_unknown, select
        from toysup.storage.netcdf import refuse_unwritable
        from toysup.storage.runs import open_runs

        with warnings.catch_warnings(record=True) as unfinished:
            warnings.simplefilter("always", UserWarning)
            tree = open_runs(self.runs)
        for warning in unfinished:
            click.echo(f"note: {warning.message}", err=True)
        conditions = self.conditions
        if against is not None:
            refuse_unknown(tree, [against])
            conditions = (*conditions, against) if conditions else ()
        selected = select(tree, conditions=conditions, step=self.step, epoch=self.epoch)
        if draws:
            refuse_unwritable(self.output)
        return selected

    def print(self, rows: Rows) -> None:
        from toysup.analysis.report.tidy_rows import rendered

        for text in rendered(rows, self.format):
            click.echo(text, nl=False)

    def print_differences(self, selected: list[Selected], against: str, statistics: Statistics) -> None:
        from toysup.analysis.report.topics.against import differences

        rows, notes = differences(selected, against, statistics)
        for note in notes:
            click.echo(f"note: {note}", err=True)
        self.print(rows)

    def draw(self, selected: list[Selected], figures_of: Callable[[list[Selected]], Figures]) -> None:
        """Write the figures of each experiment to its folder in the output."""
        from toysup.analysis.report.writing_figures import draw

        for path in draw(selected, figures_of, self.output, [self.figure_format]):
            click.echo(f"wrote {path}", err=True)


def _analysis(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options that all share, as one Request."""

    @click.argument("runs", type=click.Path(path_type=Path))
    @click.option("--format", type=FORMATS, default="table", help="How the rows are printed.")
    @click.option("--output", type=click.Path(path_type=Path), help="Folder for figures.  [default: RUNS/figures]")
    @click.option("--figure-format", type=FIGURE_FORMATS, default="pdf", help="Format of the figures.")
    @click.option("--condition", "conditions", multiple=True, metavar="NAME", help="Only this condition; repeats.")
    @click.option("--step", type=int, help="A recorded step.  [default: the last]")
    @click.option("--epoch", type=float, help="A recorded epoch.")
    @functools.wraps(command)
    def run(
        runs: Path,
        format: str,
        output: Path | None,
        figure_format: str,
        conditions: tuple[str, ...],
        step: int | None,
        epoch: float | None,
        **own: Any,
    ) -> None:
        # Most of what a command makes are modules, which stay; to search those for garbage takes up to a tenth of it.
        gc.set_threshold(1_000_000)
        # Unlike Path.is_dir, it is false where the name cannot even be looked up.
        folder = runs if os.path.isdir(runs) else runs.parent
        request = Request(runs, format, output or folder / "figures", figure_format, conditions, step, epoch)
        with_error_line(command)(request, **own)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="toysup")
def main() -> None:
    """Measure and draw what toysup-train wrote. RUNS is a folder of runs or one file.

    Rows go to stdout, figures to --output, notes to stderr.
    """


@main.command()
@click.option("--specification", is_flag=True, help="Print each condition's whole specification, as JSON.")
@click.option("--verify", is_flag=True, help="Train some seeds of each again and compare; exit 1 where they differ.")
@_analysis
def info(request: Request, specification: bool, verify: bool) -> None:
    """What was trained, and with what: conditions, sizes, seeds, snapshots, versions."""
    from toysup.analysis.report.topics.info import rows, specifications, verified

    selected = request.selected(draws=False)
    if specification:
        click.echo(json.dumps(specifications(selected), indent=1))
    elif verify:
        import numpy as np

        found = verified(selected, np.random.default_rng())
        request.print(found)
        if (found["verdict"] == "differs").any():
            raise SystemExit(ToysupError.exit_code)
    else:
        request.print(rows(selected))


@main.command()
@_analysis
def gram(request: Request) -> None:
    """The Gram matrix WᵀW, entry by entry, and its pictures through training."""
    from toysup.analysis.report.topics.gram import drawn, rows

    selected = request.selected()
    request.print(rows(selected))
    request.draw(selected, drawn)


def _refuse_parts(against: str | None, by: str | None) -> None:
    if against is not None and by is not None:
        raise click.UsageError(f"--against compares whole models and quadrants, not --by {by}; give one of them")


@main.command()
@AGAINST
@_analysis
def dimensionality(request: Request, against: str | None) -> None:
    """Represented features, total dimensionality, and D and norm of each feature."""
    from toysup.analysis.report.topics.dimensionality import counts, drawn, rows

    selected = request.selected(against=against)
    if against is None:
        request.print(rows(selected))
    else:
        request.print_differences(selected, against, counts)
    request.draw(selected, drawn)


@main.command()
@click.option(
    "--by", type=click.Choice(["quadrant", "seed", "feature"]), default="quadrant", help="What a row is about."
)
@click.option("--statistic", type=QUADRANT_STATISTICS, default="energy", help="What is drawn of each quadrant.")
@AGAINST
@_analysis
def interference(request: Request, by: str, statistic: str, against: str | None) -> None:
    """Interference between subsets, or what each feature meets."""
    from toysup.analysis.report.topics.interference import drawn, notes, quadrants, rows, seed_rows

    _refuse_parts(against, by if by != "quadrant" else None)
    selected = request.selected(against=against)
    if against is not None:
        request.print_differences(selected, against, quadrants)
    else:
        request.print(seed_rows(selected) if by == "seed" else rows(selected, by=by))
        for note in notes(selected) if by != "feature" else ():
            click.echo(f"note: {note}", err=True)
    request.draw(selected, functools.partial(drawn, statistics=[statistic]))


@main.command()
@click.option("--by", type=LOSS_SPLITS, help="Split the loss, or see what others lose.  [default: its total]")
@AGAINST
@_analysis
def losses(request: Request, by: str | None, against: str | None) -> None:
    """The loss of each condition's models under every condition with the same inputs.

    By part, by the number of active features, or of the references: under their own condition only.
    """
    from toysup.analysis.report.topics.losses import cross_losses, drawn, own_loss, rows

    _refuse_parts(against, by)
    selected = request.selected(against=against)
    parts = cross_losses(selected)
    if against is None:
        request.print(rows(selected, parts, by=by))
    else:
        request.print_differences(selected, against, functools.partial(own_loss, parts=parts))
    request.draw(selected, lambda group: drawn(group, parts))


@main.command()
@click.option("--no-fail", is_flag=True, help="Exit with 0 even where a claim is refuted.")
@_analysis
def claims(request: Request, no_fail: bool) -> None:
    """The claims of the sources: supported, refuted or undecided. Exits with 3 where one is refuted."""
    from toysup.analysis.claims.verdicts import REFUTED
    from toysup.analysis.report.topics.claims import rows, text

    verdicts = rows(request.selected(draws=False), own_epoch=request.step is None and request.epoch is None)
    if request.format == "table":
        click.echo(text(verdicts), nl=False)
    else:
        request.print(verdicts)
    if REFUTED in set(verdicts["verdict"]) and not no_fail:
        raise SystemExit(3)


@main.command()
@click.option("--by", type=click.Choice(["step", "feature", "event"]), default="step", help="What a row is about.")
@_analysis
def dynamics(request: Request, by: str) -> None:
    """Training up to the chosen step: losses, features that enter and merge, plateaus and jumps."""
    from toysup.analysis.report.topics.dynamics import courses, drawn, left_out, rows

    selected = request.selected()
    followed = courses(selected)
    for line in left_out(followed):
        click.echo(f"note: {line}", err=True)
    request.print(rows(followed, by=by))
    request.draw(selected, lambda group: drawn(group, followed))


@main.command()
@_analysis
def report(request: Request) -> None:
    """All tables and figures in one folder, with a page that shows them."""
    from toysup.analysis.report.report import write_report

    own_epoch = request.step is None and request.epoch is None
    for path in write_report(request.selected(), request.output, request.figure_format, own_epoch=own_epoch):
        click.echo(f"wrote {path}", err=True)


def start() -> None:
    """What is installed as `toysup-analyze`: `main` without dask, which no command needs.

    xarray imports dask wherever it is there, about a tenth of the time of a command on small runs.
    """
    sys.modules.setdefault("dask", None)  # type: ignore[arg-type] # by which Python says that there is none
    try:
        main()
    finally:
        # An interpreter that ends searches all its modules for garbage, for up to a fifth of a command's time.
        gc.freeze()
