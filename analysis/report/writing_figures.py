"""Figures written to files, beside the work that makes the next ones."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from toysup.analysis.figures import style
from toysup.analysis.report.panels import Figures
from toysup.analysis.report.selection import Selected, by_experiment
from toysup.storage.netcdf import replacing
from toysup.training.interrupts import held_back

Drawn = Callable[[list[Selected]], Figures]


def draw(selected: Sequence[Selected], figures_of: Drawn, folder: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Write the figures of each experiment to <folder>/<experiment>/<name>.<format>, and give their paths."""
    for figure, paths in _named(selected, figures_of, folder, formats):
        write(figure, paths)
        yield from paths


def submit(
    pool: Executor, selected: Sequence[Selected], figures_of: Drawn, folder: Path, formats: Sequence[str]
) -> list[tuple[list[Path], Future[None]]]:
    """The same in another process: the paths of each figure, and what is done when they are there."""
    done = []
    for figure, paths in _named(selected, figures_of, folder, formats):
        # The pool starts its processes when something is submitted.
        with held_back():
            done.append((paths, pool.submit(write, figure, paths)))
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


def write(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to each path, in the format of its ending."""
    with style():
        for path in paths:
            # In memory first: where a disk is full, matplotlib fails in ways of its own.
            drawn = BytesIO()
            figure.savefig(drawn, format=path.suffix[1:])
            with replacing(path) as temporary:
                temporary.write_bytes(drawn.getbuffer())
            # Laid out once, which takes a third of the time, it looks the same in all formats.
            figure.set_layout_engine("none")


def _named(
    selected: Sequence[Selected], figures_of: Drawn, folder: Path, formats: Sequence[str]
) -> Iterator[tuple[Figure, list[Path]]]:
    for experiment, group in by_experiment(selected).items():
        with style():
            for name, figure in figures_of(group):
                yield figure, [folder / experiment / f"{name}.{format}" for format in dict.fromkeys(formats)]
