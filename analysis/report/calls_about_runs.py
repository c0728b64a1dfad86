"""The commands `claims` and `info` as functions; `calls.py` has the others, and lists all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toysup.analysis.report.reported import Chosen, reported
from toysup.analysis.report.selected_runs import Runs

if TYPE_CHECKING:
    from toysup.analysis.report.topic_report import TopicReport


def claims(
    runs: Runs,
    *,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> "TopicReport":
    """Verdicts on the claims of the sources.

    A claim is supported if the 95% interval of each of its K numbers lies in the supporting region. It is refuted if
    the interval of one number, at confidence 1 − 0.05/K, lies in the refuting region. Otherwise it is undecided.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    conditions : sequence of str
        Names of the conditions to use; all if empty.
    cells : sequence of str
        Values of sweep axes to use, such as "feature_probability=0.1"; all if empty. Several values of one axis add up.
    seeds : sequence of int
        Seeds to use; all if empty.
    step, epoch : int, float
        A recorded step or epoch at which to evaluate all claims; each claim's own epoch if neither is given.

    Returns
    -------
    TopicReport
        One row per claim: `verdict`, the number that decides it with its interval, and what would decide it.

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition or recorded step, or the runs have no condition that claims are about.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> toysup.analysis.report.claims(runs).table["verdict"].value_counts().to_dict()
    {'supported': 13}
    """
    return reported("claims", runs, Chosen(conditions, cells, seeds, step, epoch))


def info(
    runs: Runs,
    *,
    verify: bool = False,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> "TopicReport":
    """What was trained, and with which settings and versions.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    verify : bool
        Train some seeds of each condition again, and compare their weights with the recorded ones.
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
    TopicReport
        One row per condition: its sizes, sweep, seeds, snapshots, engine, files and versions; with `verify` the seeds
        that were trained again and a `verdict`, "identical", "rounding" or "differs".

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition or recorded step.

    Examples
    --------
    >>> import toysup
    >>> table = toysup.analysis.report.info(toysup.open_example("conditional-importance")).table
    >>> table[["condition", "features", "hidden", "seeds"]].values.tolist()[0]
    ['fixed', 20, 10, 30]
    """
    return reported("info", runs, Chosen(conditions, cells, seeds, step, epoch), verify=verify)
