"""Training in memory: an experiment in, a tree of trajectories out."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from operator import index
from pathlib import Path

import numpy as np
import xarray as xr

from toysup.engines.choice import choose_engine, train_function
from toysup.engines.instances import UNATTENDED, Control, Snapshot, instances_of
from toysup.errors import ToysupError, UsageError
from toysup.experiments.experiment import Condition, Experiment
from toysup.experiments.experiment_file import load_experiment
from toysup.storage.schema import build, filled

DEFAULT_SEEDS = 20
MAX_SEED = 2**62


def train(
    experiment: Experiment | str | Path,
    *,
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    conditions: Sequence[str] = (),
    engine: str | None = None,
    device: str = "cpu",
) -> xr.DataTree:
    """Train the conditions of an experiment in memory.

    The initial weights and the samples of a seed do not depend on the other seeds that are trained with it. They are
    equal in conditions of equal shape and equal probabilities, so conditions can be compared seed by seed.

    Parameters
    ----------
    experiment : Experiment, str or Path
        The experiment, or the name or path that `load_experiment` reads it from.
    seeds : int or sequence of int, default 20
        Number of seeds, counted from 0, or the seeds themselves: distinct integers from 0 to 2⁶² − 1.
    conditions : sequence of str, default ()
        Names of the conditions to train; all if empty.
    engine : {"fused", "torch"}, optional
        The engine that trains: "fused" is compiled and runs on the CPU, "torch" runs anywhere. By default each
        condition is trained by the fused engine if that engine can train it, else by torch.
    device : str, default "cpu"
        Device that trains: "cpu", or with the torch engine also "cuda", "cuda:1" and so on.

    Returns
    -------
    DataTree
        One node /<experiment>/<condition> for each condition, as `open_runs` gives. Parameters have the dims (sweep
        axes, seed, step, own dims); `docs/dataset.md` describes the variables.

    Raises
    ------
    UsageError
        If there is no such experiment, condition, engine or device, the engine cannot train a condition, or the seeds
        are wrong.
    ToysupError
        If training fails, for example because memory runs out.

    Examples
    --------
    >>> import toysup
    >>> short = toysup.load_experiment("tms-intro", changes={"training.steps": 20, "record.steps": [10]})
    >>> runs = toysup.train(short, seeds=2)
    >>> dict(runs["tms-intro/tms-intro"].W.sizes)
    {'feature_probability': 10, 'seed': 2, 'step': 3, 'hidden': 2, 'feature': 5}
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment)
    wanted = whole_numbers(seeds)
    for note in left_out_recordings(experiment.select(conditions)):
        warnings.warn(note, stacklevel=2)
    chosen = [(condition, choose_engine(condition, engine, device)) for condition in experiment.select(conditions)]
    return xr.DataTree.from_dict(
        {
            f"/{experiment.name}/{condition.name}": build(
                experiment,
                condition,
                wanted,
                snapshots_of(condition, wanted, chosen_engine, device=device),
                engine=chosen_engine,
            )
            for condition, chosen_engine in chosen
        }
    )


def left_out_recordings(conditions: Iterable[Condition]) -> list[str]:
    """What `[record]` asks for after the end of training, as one note for all conditions that it is the same for."""
    notes: dict[str, list[str]] = {}
    for condition in conditions:
        if text := condition.record.left_out(condition.training):
            notes.setdefault(text, []).append(condition.name)
    return [f"{', '.join(names)}: {text}" for text, names in notes.items()]


def trained_arrays(condition: Condition, seeds: Sequence[int], engine: str) -> dict[str, np.ndarray]:
    """The arrays of a trajectory of `condition`, by name, trained in memory."""
    return filled(condition, len(seeds), snapshots_of(condition, seeds, engine))


def whole_numbers(seeds: int | Sequence[int]) -> Sequence[int]:
    """The seeds as integers, from a number of seeds or a sequence of seeds."""
    try:
        if isinstance(seeds, Iterable) and not isinstance(seeds, range):
            return [index(seed) for seed in seeds]
        numbers = seeds if isinstance(seeds, range) else range(index(seeds))
        # `len` raises OverflowError for a range that is too long.
        len(numbers)
        return numbers
    except OverflowError:
        raise UsageError(f"{seeds} seeds are too many") from None
    except TypeError:
        raise UsageError(f"seeds must be a number of seeds or a sequence of integers, not {seeds!r}") from None


def refuse_seeds(seeds: Sequence[int]) -> None:
    """Raise UsageError unless the seeds are distinct integers from 0 to MAX_SEED − 1, at least one."""
    # The ends of a range are enough, and a range may be too long to list.
    some = [seeds[0], seeds[-1]] if isinstance(seeds, range) and seeds else seeds
    twice = not isinstance(seeds, range) and len(set(seeds)) != len(seeds)
    if not some or min(some) < 0 or max(some) >= MAX_SEED or twice:
        raise UsageError(f"seeds must be distinct integers from 0 to {MAX_SEED - 1}, at least one")


def snapshots_of(
    condition: Condition,
    seeds: Sequence[int],
    engine: str,
    control: Control = UNATTENDED,
    *,
    device: str = "cpu",
) -> Iterator[Snapshot]:
    """Train the instances of `condition` for `seeds`, and yield each snapshot as soon as it is reached."""
    refuse_seeds(seeds)
    try:
        yield from train_function(engine)(instances_of(condition, seeds), control, device=device)
    except RuntimeError as error:
        # torch raises RuntimeError when memory runs out.
        raise ToysupError(f"training {condition.name} failed: {str(error).splitlines()[0]}") from None
