"""Figures written to files, beside the work that makes the next ones."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from toysup.analysis.figures import style
from toysup.analysis.report.panels import Drawn
from toysup.analysis.report.selection import Selected, by_experiment
from toysup.storage.atomic_files import replacing
from toysup.training.interrupts import held_back


def write_figures(selected: Sequence[Selected], drawn: Drawn, folder: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Write the figures of each experiment to <folder>/<experiment>/<name>.<format>, and give their paths."""
    for figure, paths in _with_paths(selected, drawn, folder, formats):
        _write(figure, paths)
        yield from paths


def submit_figures(
    pool: Executor, selected: Sequence[Selected], drawn: Drawn, folder: Path, formats: Sequence[str]
) -> list[tuple[list[Path], Future[None]]]:
    """The same in another process: the paths of each figure, and what is done when they are there."""
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


def _write(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to each path, in the format of its ending."""
    with style():
        for path in paths:
            # In memory first: where a disk is full, matplotlib fails in ways of its own.
            image = BytesIO()
            figure.savefig(image, format=path.suffix[1:])
            with replacing(path) as temporary:
                temporary.write_bytes(image.getbuffer())
            # Laid out once, which takes a third of the time, it looks the same in all formats.
            figure.set_layout_engine("none")


def _with_paths(
    selected: Sequence[Selected], drawn: Drawn, folder: Path, formats: Sequence[str]
) -> Iterator[tuple[Figure, list[Path]]]:
    for experiment, name, figure in named_figures(selected, drawn):
        yield figure, [folder / experiment / f"{name}.{format}" for format in dict.fromkeys(formats)]


def named_figures(selected: Sequence[Selected], drawn: Drawn) -> Iterator[tuple[str, str, Figure]]:
    """The figures of each experiment, with its name and their own."""
    for experiment, group in by_experiment(selected).items():
        with style():
            for name, figure in drawn(group):
                yield experiment, name, figure
