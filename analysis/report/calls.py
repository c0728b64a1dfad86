"""The commands of `toysup-analyze` as functions; each command is generated from the function of its name.

The keywords of a function become options of the command, and its docstring becomes the command's help. This module
imports nothing that takes time, because a help text must not wait for NumPy. A function imports the topic that does the
work when it is called.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from toysup.analysis.report.calls_about_runs import claims, info
from toysup.analysis.report.reported import Chosen, reported
from toysup.analysis.report.selected_runs import Runs
from toysup.errors import UsageError

if TYPE_CHECKING:
    from toysup.analysis.report.topic_report import TopicReport

__all__ = [
    "claims",
    "dimensionality",
    "dynamics",
    "gram",
    "info",
    "interference",
    "losses",
]

QuadrantStatistic: TypeAlias = Literal[
    "energy", "rms", "mean_abs", "max_abs", "interfering_fraction", "negative_fraction", "energy_share"
]


def gram(
    runs: Runs,
    *,
    by: Literal["entry", "seed"] = "entry",
    value: float | None = None,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> "TopicReport":
    """The Gram matrix WᵀW, entry by entry and in pictures.

    For models that are not y = φ(WᵀW x + b), the response of each output to each feature takes its place.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    by : str
        What a row is about: an entry, as its mean over seeds, or an entry of one seed. Features are not aligned across
        seeds: where seeds pair different features, the mean describes none of them.
    value : float
        Where responses of models with layers or a hidden activation are measured; not 0. The default is 1, or both 1
        and -1 if values have both signs.
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
        One row per entry (feature, other_feature), the mean over seeds with its interval, or one per seed; figures of
        the first three seeds, or the first eight of `seeds`, at the first step, a third of the way and the chosen step.

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition or recorded step, the value is not allowed.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> len(toysup.analysis.report.gram(runs, conditions=["fixed"]).table)
    400
    """
    return reported("gram", runs, Chosen(conditions, cells, seeds, step, epoch, value), by=by)


def dimensionality(
    runs: Runs,
    *,
    by: Literal["feature", "rank", "seed"] = "feature",
    against: str | None = None,
    value: float | None = None,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> "TopicReport":
    """Represented features, and each feature's dimensionality.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    by : str
        What a row is about: a feature; the k-th largest value of each seed; or a feature of one seed. Features with
        equal tables exchange roles from seed to seed: their ranks have a mean that describes them, single ones do not.
    against : str
        Report each condition's difference from this one, with intervals and tests. Single features are not compared.
    value : float
        Where responses of models with layers or a hidden activation are measured; not 0. The default is 1, or both 1
        and -1 if values have both signs.
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
        Rows of the counts `represented` and `total_dimensionality`, then of each feature's `feature_dimensionality` and
        `feature_norm`; figures of D of each feature, and of D along training, in which features with equal tables are
        sorted within each seed.

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition or recorded step, the value is not allowed, or `against` leaves none to compare.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> table = toysup.analysis.report.dimensionality(runs, conditions=["anticorrelated"]).table
    >>> float(table["mean"][table["statistic"] == "represented"].iloc[0])
    20.0
    """
    _refuse_parts(against, by if by != "feature" else None)
    chosen = Chosen(conditions, cells, seeds, step, epoch, value)
    return reported("dimensionality", runs, chosen, by=by, against=against)


def interference(
    runs: Runs,
    *,
    by: Literal["quadrant", "seed", "feature"] = "quadrant",
    statistic: QuadrantStatistic = "energy",
    against: str | None = None,
    value: float | None = None,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> "TopicReport":
    """Interference between subsets, or received by each feature.

    Each quadrant statistic is reported with its null: its distribution if the subset labels of exchangeable features
    are permuted.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    by : str
        What a row is about: a quadrant (over seeds), a quadrant of one seed, or a feature.
    statistic : str
        The statistic of each quadrant that the figure shows; the rows have all of them.
    against : str
        Report each condition's difference from this one, with intervals and tests.
    value : float
        Where responses of models with layers or a hidden activation are measured; not 0. The default is 1, or both 1
        and -1 if values have both signs.
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
        Rows about `subset` and `other_subset` (or `feature`), and a figure of the statistic in each quadrant (or of the
        interference with each feature).

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition or recorded step, the value is not allowed, `against` leaves no other condition,
        or it is given with another `by`.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> table = toysup.analysis.report.interference(runs, conditions=["anticorrelated"]).table
    >>> across = table[(table["subset"] == "comedy") & (table["other_subset"] == "tragedy")]
    >>> across[across["statistic"] == "energy"]["mean"].round(1).tolist()
    [10.1]
    """
    _refuse_parts(against, by if by != "quadrant" else None)
    chosen = Chosen(conditions, cells, seeds, step, epoch, value)
    return reported("interference", runs, chosen, by=by, statistic=statistic, against=against)


def losses(
    runs: Runs,
    *,
    by: Literal["feature", "context", "part", "active", "reference", "seed"] | None = None,
    own: bool = False,
    against: str | None = None,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> "TopicReport":
    """Losses of trained models, and where they come from.

    The models of each condition are evaluated under every condition that has the same inputs and target. The splits by
    part and by number of active features, and the references, are reported only for models under their own condition.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    by : str
        Split the loss by feature, by context, by part (features that are not represented, own entries, interference,
        bias) or by the number of active features; `reference` lists the losses of simple baselines; `seed` lists the
        total of each seed. The default is the total over seeds.
    own : bool
        Evaluate the models of each condition under their own condition alone.
    against : str
        Report each condition's difference from this one, with intervals and tests.
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
        Rows about `trained_on` and `evaluated_on`, with the columns `sampling_error` and `model_sampling_error`; the
        figures that belong to `by`: for the total the training loss, the losses beside the baselines, and the matrix of
        losses.

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition or recorded step, nothing to compare with, the loss has no such parts, or
        `against` is given with `by`.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> table = toysup.analysis.report.losses(runs, conditions=["fixed", "conditional"]).table
    >>> table[["trained_on", "evaluated_on"]].values.tolist()[:2]
    [['fixed', 'fixed'], ['fixed', 'conditional']]
    """
    _refuse_parts(against, by)
    return reported("losses", runs, Chosen(conditions, cells, seeds, step, epoch), by=by, own=own, against=against)


def dynamics(
    runs: Runs,
    *,
    by: Literal["step", "feature", "event", "seed"] = "step",
    value: float | None = None,
    conditions: Sequence[str] = (),
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
    step: int | None = None,
    epoch: float | None = None,
) -> "TopicReport":
    """How losses, features and directions change in training.

    Training is followed up to the chosen step.

    Parameters
    ----------
    runs : str, Path, sequence of these or DataTree
        A folder or file of runs, several of them, or a tree as `toysup.open_runs` and `toysup.train` give it.
    by : str
        What a row is about: a recorded step, a feature, an event of one seed, or a recorded step of one seed.
    value : float
        Where responses of models with layers or a hidden activation are measured; not 0. The default is 1, or both 1
        and -1 if values have both signs.
    conditions : sequence of str
        Names of the conditions to use; all if empty.
    cells : sequence of str
        Values of sweep axes to use, such as "feature_probability=0.1"; all if empty. Several values of one axis add up.
    seeds : sequence of int
        Seeds to use; all if empty.
    step, epoch : int, float
        A recorded step or epoch up to which training is followed; the last step if neither is given.

    Returns
    -------
    TopicReport
        By step: losses, plateaus, counts and jumps. By feature: when it enters and merges. By event: each feature that
        enters, leaves, merges, parts or jumps, and each plateau. Figures of the course and of the features.

    Raises
    ------
    ToysupError
        If there are no runs, or a file is damaged.
    UsageError
        If there is no such condition or recorded step, the value is not allowed, or no training was recorded up to it.

    Examples
    --------
    >>> import toysup
    >>> runs = toysup.open_example("conditional-importance")
    >>> table = toysup.analysis.report.dynamics(runs, by="feature", conditions=["fixed"]).table
    >>> sorted(set(table["statistic"]))
    ['entries', 'entry_step', 'exits', 'merge_step', 'represented']
    """
    return reported("dynamics", runs, Chosen(conditions, cells, seeds, step, epoch, value), by=by)


# In the order of the report's page; each is a command, too.
TOPICS: dict[str, Callable[..., "TopicReport"]] = {
    call.__name__: call for call in (claims, info, gram, dimensionality, interference, losses, dynamics)
}


def _refuse_parts(against: str | None, by: str | None) -> None:
    if against is not None and by is not None:
        raise UsageError(f"--against compares whole models and quadrants, not --by {by}; give one of them")
