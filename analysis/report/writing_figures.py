"""Figures written to files, beside the work that makes the next ones."""

import multiprocessing
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toysup.analysis.report.panels import Drawn
from toysup.analysis.report.selection import Selected, by_experiment
from toysup.storage.atomic_files import replacing
from toysup.training.interrupts import held_back

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# No date: the same figure is the same file.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_NO_GLYPH = re.compile(r"Glyph (\d+) .*missing from")


def write_figures(selected: Sequence[Selected], drawn: Drawn, folder: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Write the figures of each experiment to <folder>/<experiment>/<name>.<format>, and give their paths."""
    for figure, paths in _with_paths(selected, drawn, folder, formats):
        warn_of(_write(figure, paths))
        yield from paths


def submit_figures(
    pool: Executor, selected: Sequence[Selected], drawn: Drawn, folder: Path, formats: Sequence[str]
) -> list[tuple[list[Path], Future[list[str]]]]:
    """The same in another process: the paths of each figure, and when they are there what to `warn_of`."""
    done = []
    for figure, paths in _with_paths(selected, drawn, folder, formats):
        # The pool starts its processes when something is submitted.
        with held_back():
            done.append((paths, pool.submit(_write, figure, paths)))
    return done


@contextmanager
def drawing_pool() -> Iterator[Executor]:
    """A process that writes figures while this one goes on. It starts anew, since a fork would copy locked threads."""
    workers = max(1, min(2, (os.cpu_count() or 1) - 1))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def warn_of(messages: Sequence[str]) -> None:
    """Warn of what writing a figure found, perhaps in another process, whose own warnings nobody would see."""
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=2)


def _write(figure: "Figure", paths: Sequence[Path]) -> list[str]:
    """Write a figure to each path, in the format of its ending. Gives warnings that a reader understands."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path in paths:
            # In memory first: where a disk is full, matplotlib fails in ways of its own.
            image, format = BytesIO(), path.suffix[1:]
            figure.savefig(image, format=format, metadata=_METADATA.get(format))
            with replacing(path) as temporary:
                # Not its buffer, which an error would hold, and of which Python 3.13 would then complain at its end.
                temporary.write_bytes(image.getvalue())
            # Laid out once, which takes a third of the time, it looks the same in all formats.
            figure.set_layout_engine("none")
    return _readable([str(warning.message) for warning in caught])


def _readable(messages: Sequence[str]) -> list[str]:
    """The messages once each, but of all glyphs that a font lacks a single one."""
    lacking = [chr(int(found[1])) for found in map(_NO_GLYPH.match, messages) if found]
    others = [message for message in messages if not _NO_GLYPH.match(message)]
    if lacking:
        letters = "".join(dict.fromkeys(lacking))
        others.append(f"the font of the figures, DejaVu Sans, lacks {letters}: boxes are drawn instead")
    return list(dict.fromkeys(others))


def _with_paths(
    selected: Sequence[Selected], drawn: Drawn, folder: Path, formats: Sequence[str]
) -> "Iterator[tuple[Figure, list[Path]]]":
    for experiment, name, figure in named_figures(selected, drawn):
        yield figure, [folder / experiment / f"{name}.{format}" for format in dict.fromkeys(formats)]


def named_figures(selected: Sequence[Selected], drawn: Drawn) -> "Iterator[tuple[str, str, Figure]]":
    """The figures of each experiment, with its name and their own, of which no two are the same."""
    for experiment, group in by_experiment(selected).items():
        taken: dict[str, int] = {}
        for name, figure in drawn(group):
            plain = file_name(name)
            taken[plain] = taken.get(plain, 0) + 1
            yield experiment, plain if taken[plain] == 1 else f"{plain}-{taken[plain]}", figure


def file_name(name: str) -> str:
    r"""The name of a figure as a file that LaTeX's \includegraphics finds: letters, digits and hyphens.

    The point of a number becomes `p`, since LaTeX would take what follows for the format.
    """
    return re.sub(r"[\W_]+", "-", re.sub(r"(?<=\d)\.(?=\d)", "p", name)).strip("-")
