"""Training from Python: an experiment in, a tree of trajectories out."""

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
    """Train the conditions of an experiment (or of its name or path) in memory.

    `seeds` is a number of seeds, counted from 0, or a sequence of them; `conditions` names those to train (all, if
    empty). `engine` is "fused" (compiled, on the CPU) or "torch"; if none is named, each condition is trained by the
    fused engine where that can, on the device "cpu".
    Returns a tree with one node /<experiment>/<condition>, as `open_runs` does. A seed's initial weights and samples
    do not depend on which other seeds it is trained with.
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment)
    wanted = whole_numbers(seeds)
    chosen = [(condition, choose_engine(condition, engine, device)) for condition in experiment.select(conditions)]
    return xr.DataTree.from_dict(
        {
            f"/{experiment.name}/{condition.name}": build(
                experiment, condition, wanted, snapshots_of(condition, wanted, own, device=device), engine=own
            )
            for condition, own in chosen
        }
    )


def trained_arrays(condition: Condition, seeds: Sequence[int], engine: str) -> dict[str, np.ndarray]:
    """What a run of `condition` fills, trained anew."""
    return filled(condition, len(seeds), snapshots_of(condition, seeds, engine))


def whole_numbers(seeds: int | Sequence[int]) -> Sequence[int]:
    """The seeds that a number of them, or a sequence, means."""
    try:
        if isinstance(seeds, Iterable) and not isinstance(seeds, range):
            return [index(seed) for seed in seeds]
        numbers = seeds if isinstance(seeds, range) else range(index(seeds))
        # Beyond the machine's integers a range has no length.
        len(numbers)
        return numbers
    except OverflowError:
        raise UsageError(f"{seeds} seeds are too many") from None
    except TypeError:
        raise UsageError(f"seeds is a number of seeds or a sequence of whole numbers, not {seeds!r}") from None


def refuse_seeds(seeds: Sequence[int]) -> None:
    """UsageError unless they are different whole numbers from 0 to MAX_SEED, at least one."""
    # Of a range the ends say all.
    some = [seeds[0], seeds[-1]] if isinstance(seeds, range) and seeds else seeds
    twice = not isinstance(seeds, range) and len(set(seeds)) != len(seeds)
    if not some or min(some) < 0 or max(some) >= MAX_SEED or twice:
        raise UsageError(f"seeds must be different whole numbers from 0 to {MAX_SEED - 1}, at least one")


def snapshots_of(
    condition: Condition,
    seeds: Sequence[int],
    engine: str,
    control: Control = UNATTENDED,
    *,
    device: str = "cpu",
) -> Iterator[Snapshot]:
    """Train the instances of `condition` for `seeds`, and give their snapshots as they come."""
    refuse_seeds(seeds)
    try:
        yield from train_function(engine)(instances_of(condition, seeds), control, device=device)
    except RuntimeError as error:
        # torch says so when memory runs out.
        raise ToysupError(f"training {condition.name} failed: {str(error).splitlines()[0]}") from None
