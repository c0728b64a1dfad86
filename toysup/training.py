"""Training from Python: an experiment in, a tree of trajectories out."""

from collections.abc import Callable, Iterator, Sequence

import xarray as xr

from toysup.errors import UsageError, nearest
from toysup.experiments import Condition, Experiment, load_experiment
from toysup.instances import Progress, Snapshot, instances_of
from toysup.trajectories import build

DEFAULT_SEEDS = 20
MAX_SEED = 2**62
ENGINES = ("torch",)


def train(
    experiment: Experiment | str,
    *,
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    conditions: Sequence[str] = (),
    engine: str = "torch",
    device: str = "cpu",
) -> xr.DataTree:
    """Train the conditions of an experiment (or of its name or path) in memory.

    `seeds` is a number of seeds, counted from 0, or a sequence of them; `conditions` names those to train (all, if
    empty). Returns a tree with one node /<experiment>/<condition>, as `open_runs` does. A seed's initial weights and
    samples do not depend on which other seeds it is trained with.
    """
    if isinstance(experiment, str):
        experiment = load_experiment(experiment)
    wanted = range(seeds) if isinstance(seeds, int) else seeds
    return xr.DataTree.from_dict(
        {
            f"/{experiment.name}/{condition.name}": train_condition(
                experiment, condition, wanted, engine=engine, device=device
            )
            for condition in experiment.select(conditions)
        }
    )


def train_condition(
    experiment: Experiment,
    condition: Condition,
    seeds: Sequence[int],
    *,
    engine: str = "torch",
    device: str = "cpu",
    progress: Progress | None = None,
) -> xr.Dataset:
    """The trajectories of one condition of `experiment` for `seeds`."""
    if not seeds or min(seeds) < 0 or max(seeds) >= MAX_SEED or len(set(seeds)) != len(seeds):
        raise UsageError("seeds must be different whole numbers of 0 or more, at least one")
    run = engine_named(engine)
    snapshots = run(instances_of(condition, seeds), device=device, progress=progress)
    return build(experiment, condition, seeds, snapshots, engine=engine)


def engine_named(name: str) -> Callable[..., Iterator[Snapshot]]:
    """The training function of an engine; it is imported only now, because torch takes seconds."""
    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}; {nearest(name, ENGINES)}")
    from toysup import torch_engine

    return torch_engine.train
