"""`toysup-analyze`: statistics and figures of trained runs."""

import gc
import inspect
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from toysup.analysis.report import report_call
from toysup.analysis.report.calls import TOPICS
from toysup.command.errors import with_error_line
from toysup.command.imports import IMPORT
from toysup.command.streams import Group
from toysup.errors import ToysupError

if TYPE_CHECKING:
    from toysup.analysis.report.topic_report import TopicReport

DRAW_NOTHING = ("info", "claims")
# What is no failure of a command, and yet what a script has to notice: a verdict, and the exit code for it.
EXIT_CODES = {"claims": ("refuted", 3), "info": ("differs", ToysupError.exit_code)}

SELECTION = (
    click.Option(["--condition", "conditions"], multiple=True, metavar="NAME", help="Only this condition; repeats."),
    click.Option(
        ["--cell", "cells"],
        multiple=True,
        metavar="KEY=VALUE",
        help="Only these cells of sweeps, such as feature_probability=0.1; repeats.",
    ),
    click.Option(["--seed", "seeds"], multiple=True, type=int, metavar="N", help="Only this seed; repeats."),
    click.Option(["--step"], type=int, help="A recorded step.  [default: the last]"),
    click.Option(["--epoch"], type=float, help="A recorded epoch."),
    click.Option(["--import"], **IMPORT),
)
FORMAT = click.Option(
    ["--format"], type=click.Choice(["table", "csv", "json"]), default="table", help="How the rows are printed."
)
FIGURES = (
    click.Option(
        ["--output"],
        type=click.Path(path_type=Path),
        help="Folder for the figures.  [default: the folder figures in the first of RUNS]",
    ),
    click.Option(
        ["--figure-format"], type=click.Choice(["pdf", "png", "svg"]), default="pdf", help="Format of the figures."
    ),
    click.Option(["--no-figures"], is_flag=True, help="Draw no figures."),
)
# Of the command alone, as they are about how it prints or ends.
FURTHER = {
    "claims": click.Option(["--no-fail"], is_flag=True, help="Exit with 0 even where a claim is refuted."),
    "info": click.Option(
        ["--specification"], is_flag=True, help="Print each condition's whole specification, as JSON."
    ),
}


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="toysup")
def main() -> None:
    """Measure and draw what toysup-train wrote. RUNS are folders of runs or files.

    Rows go to stdout, figures to --output, notes to stderr.
    """


def _command(name: str, call: Callable[..., "TopicReport"]) -> click.Command:
    """The command that prints and draws what a call reports: the call's keywords are its options."""
    summary, text, helps = described(call)
    options = [
        _option(parameter, helps[parameter.name])
        for parameter in inspect.signature(call).parameters.values()
        if parameter.name not in ("runs", "conditions", "cells", "seeds", "step", "epoch")
    ]
    options += [FURTHER[name]] if name in FURTHER else []
    figures = () if name in DRAW_NOTHING else FIGURES

    def run(runs: tuple[Path, ...], **given: Any) -> None:
        _run(name, call, runs, **given)

    return click.Command(
        name,
        callback=with_error_line(run),
        params=[RUNS, *options, *SELECTION, FORMAT, *figures],
        help=f"{summary}\n\n{text}",
        short_help=summary,
        context_settings={"show_default": True},
    )


RUNS = click.Argument(["runs"], type=click.Path(path_type=Path), nargs=-1, required=True)


def described(call: Callable[..., object]) -> tuple[str, str, dict[str, str]]:
    """Of a docstring its first line, what follows before the parameters, and what each parameter is, on one line."""
    summary, _, rest = (inspect.getdoc(call) or "").partition("\n")
    text, _, rest = rest.partition("Parameters\n----------\n")
    parameters, *_ = rest.partition("\n\n")
    entries = re.findall(r"^(\S[^:\n]*) : .*\n((?:    .*\n?)+)", parameters, flags=re.MULTILINE)
    helps = {name: " ".join(lines.split()) for names, lines in entries for name in names.split(", ")}
    return summary, text.strip(), helps


def _option(parameter: inspect.Parameter, text: str) -> click.Option:
    name, kind = f"--{parameter.name.replace('_', '-')}", parameter.annotation
    if kind is bool:
        return click.Option([name], is_flag=True, help=text)
    choices = [option for part in (kind, *get_args(kind)) if get_origin(part) is Literal for option in get_args(part)]
    if choices:
        return click.Option([name], type=click.Choice(choices), default=parameter.default, help=text)
    if float in get_args(kind):
        return click.Option([name], type=float, help=text)
    return click.Option([name], metavar="CONDITION", help=text)


def _run(
    name: str,
    call: Callable[..., "TopicReport"],
    runs: Sequence[Path],
    *,
    format: str,
    output: Path | None = None,
    figure_format: str = "pdf",
    no_figures: bool = False,
    no_fail: bool = False,
    specification: bool = False,
    **options: Any,
) -> None:
    _search_less_garbage()
    with _warnings_as_notes():
        if specification:
            found = report_call.specifications(runs, conditions=options["conditions"])
            click.echo(json.dumps(found, indent=1))
            return
        report = call(runs, **options)
        folder = figures_folder(runs, output)
        if output is not None and not no_figures:
            # A folder that was asked for is refused before the work.
            _refuse_unwritable(folder)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    for text in report.printed(format, width=table_width()):
        click.echo(text, nl=False)
    if name not in DRAW_NOTHING and not no_figures:
        # The rows are printed by now, as runs may lie where only others can write.
        sys.stdout.flush()
        _refuse_unwritable(folder)
        with _warnings_as_notes():
            _tell(report.writing_figures(folder, [figure_format]))
    verdict, exit_code = EXIT_CODES.get(name, (None, 0))
    if verdict is not None and not no_fail and verdict in set(report.table.get("verdict", ())):
        raise SystemExit(exit_code)


def _report(runs: Sequence[Path], *, output: Path | None, figure_format: str, no_figures: bool, **options: Any) -> None:
    _search_less_garbage()
    folder, shown_format = figures_folder(runs, output), None if no_figures else figure_format
    with _warnings_as_notes():
        with _folder_to_name("--output"):
            paths = report_call.writing_report(runs, folder, figure_format=shown_format, **options)
        _tell(paths)


def _tell(paths: Iterator[Path]) -> None:
    for path in paths:
        click.echo(f"wrote {path}", err=True)


def _refuse_unwritable(folder: Path) -> None:
    from toysup.storage.atomic_files import refuse_unwritable

    with _folder_to_name("--output, or leave the figures out with --no-figures"):
        refuse_unwritable(folder)


@contextmanager
def _folder_to_name(options: str) -> Iterator[None]:
    """Say with which options a folder that cannot be written is replaced."""
    from toysup.storage.atomic_files import UnwritableError

    try:
        yield
    except UnwritableError as error:
        raise UnwritableError(f"{error}; name another folder with {options}") from None


def table_width() -> int | None:
    """The letters that a line of a table may have: those of the terminal; of a file, any number."""
    columns = os.environ.get("COLUMNS", "")
    if not sys.stdout.isatty() and not columns.isdecimal():
        return None
    return shutil.get_terminal_size().columns


def figures_folder(runs: Sequence[Path], output: Path | None) -> Path:
    """The folder of --output, or else the folder `figures` in the first folder of runs."""
    # A shell leaves ~ as it is in --output=~/figures.
    first = Path(os.path.expanduser(runs[0]))
    # Unlike Path.is_dir, it is false where the name cannot even be looked up.
    return Path(os.path.expanduser(output)) if output else (first if os.path.isdir(first) else first.parent) / "figures"


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print what opening runs warns of, such as conditions of which no seed is finished: an error may come of that."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(str(warning.message) for warning in caught):
                click.echo(f"note: {message}", err=True)


def _search_less_garbage() -> None:
    # Most of what a command makes are modules, which stay; to search those for garbage takes up to a tenth of it.
    gc.set_threshold(1_000_000)


def _add_commands(names: Sequence[str]) -> None:
    for name in names:
        main.add_command(_command(name, TOPICS[name]))
    summary, text, _ = described(report_call.write_report)
    params = [RUNS, *SELECTION, *FIGURES]
    main.add_command(
        click.Command(
            "report", callback=with_error_line(_report), params=params, help=f"{summary}\n\n{text}", short_help=summary
        )
    )


_add_commands(list(TOPICS))


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
