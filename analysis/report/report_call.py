"""The whole report, and whole specifications, as calls; imports nothing before they are called."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from toysup.analysis.report.calls import TOPICS
from toysup.analysis.report.selected_runs import Runs, selected_from


def write_report(
    runs: Runs,
    folder: str | Path,
    *,
    figure_format: Literal["pdf", "png", "svg"] | None = "pdf",
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> list[Path]:
    """Write all tables and figures to one folder, with a page that shows them.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    folder : str or Path
        Where the report goes; the page is `index.html` in it.
    figure_format : str or None
        Format of the figures, beside the PNG that the page shows; no figures are drawn if it is None.
    conditions : sequence of str
        Names of the conditions to use; all if empty.
    cells : sequence of str
        Values of sweep axes to use, such as "feature_probability=0.1"; all if empty. Several values of one axis add up.
    seeds : sequence of int
        Seeds to use; all if empty.
    step, epoch : int, float
        A recorded step or epoch; the last step if neither is given.

    Returns
    -------
    list of Path
        The files that were written, the page last.

    Raises
    ------
    ToysupError
        If there are no runs, a file is damaged, or the folder cannot be written.
    UsageError
        If there is no such condition or recorded step.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> *_, page = toysup.analysis.report.write_report(runs, "figures")  # doctest: +SKIP
    """
    return list(
        writing_report(
            runs,
            folder,
            figure_format=figure_format,
            conditions=conditions,
            cells=cells,
            seeds=seeds,
            step=step,
            epoch=epoch,
        )
    )


def writing_report(
    runs: Runs,
    folder: str | Path,
    *,
    figure_format: str | None = "pdf",
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> Iterator[Path]:
    """`write_report`, giving each path as soon as its file is there; what cannot be done is refused at once."""
    from toysup.analysis.report.report import written_report
    from toysup.storage.atomic_files import refuse_unwritable
    from toysup.storage.file_access import user_path

    selected = selected_from(runs, conditions, step, epoch, cells=cells, seeds=seeds)
    folder = user_path(folder)
    refuse_unwritable(folder)
    return written_report(selected, folder, figure_format, list(TOPICS))


def specifications(runs: Runs, *, conditions: Sequence[str] = ()) -> dict[str, object]:
    """The whole specification of each condition: its regime, model, training and recorded steps.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    conditions : sequence of str
        Names of the conditions to use; all if empty.

    Returns
    -------
    dict
        By `<experiment>/<condition>`, each as a dictionary that JSON can hold.

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition.

    Examples
    --------
    >>> import toysup
    >>> found = toysup.analysis.report.specifications(toysup.open_example("conditional-importance"))
    >>> found["conditional-importance/fixed"]["model"]["n_hidden"]
    10
    """
    from toysup.analysis.report.topics.info import specifications_of

    return specifications_of(selected_from(runs, conditions))
