"""Does a model's step cost the same whether it is trained alone or among ten thousand?"""

from collections.abc import Iterator
from functools import partial

from benchmarks.measurements import Measurement, Setting
from benchmarks.timing import Contender, alternate, seconds, turns_within
from benchmarks.training_speed import Case, condition, training
from toysup.engines.fused import engine
from toysup.engines.instances import Control, Instances, instances_of

COUNTS = (1, 10, 100, 1000, 10_000)
REFERENCE = 100
# The largest number may cost this many times what the reference costs.
WITHIN = 1.1
# Batch sizes with the size of the dataset: none is an infinite stream, and one is reshuffled every epoch.
SETTINGS: tuple[tuple[int, int | None], ...] = ((1024, None), (256, None), (256, 25_600))


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Time per model-step of the fused engine for each number of instances, and its ratio to that of the reference."""
    counts = (1, REFERENCE) if quick else COUNTS
    budget, repeats = (0.001, 2) if quick else (1.0, 5)
    for batch_size, dataset_size in SETTINGS[:1] if quick else SETTINGS:
        new = partial(_contender, batch_size, dataset_size, threads, budget)
        samples = "stream" if dataset_size is None else f"dataset of {dataset_size:,}"
        taken = alternate([new(count) for count in counts], repeats=repeats)
        for count in counts:
            setting: Setting = {"batch_size": batch_size, "samples": samples, "instances": count}
            values, reference = taken[str(count)], taken[str(REFERENCE)]
            ratios = [own / other for own, other in zip(values, reference, strict=True)]
            yield Measurement("scaling", setting, "fused engine", "µs", [1e6 * value for value in values])
            limit = WITHIN if count == max(COUNTS) else None
            yield Measurement("scaling", setting, f"relative to {REFERENCE} instances", "times", ratios, at_most=limit)


def _contender(batch_size: int, dataset_size: int | None, threads: int, budget: float, count: int) -> Contender:
    """A turn is a training from the start, of whole epochs, with a snapshot each time the `budget` is spent."""
    case, train = Case(20, 10, batch_size, count, 0.15), partial(engine.train, control=Control(threads=threads))
    trial = training(train, _instances(case, dataset_size, steps=20))
    trial()
    steps, snapshots = _whole_epochs(turns_within(budget, seconds(trial) / 20), (dataset_size or 0) // batch_size)
    instances = _instances(case, dataset_size, steps, snapshots)
    return Contender(str(count), training(train, instances), steps * snapshots * count)


def _whole_epochs(steps: int, epoch: int) -> tuple[int, int]:
    """At most so many steps to a snapshot, and snapshots to a training: of whole epochs, each of which is shuffled."""
    if steps >= epoch:
        return steps - (steps % epoch if epoch else 0), 1
    steps = next(fewer for fewer in range(steps, 0, -1) if epoch % fewer == 0)
    return steps, epoch // steps


def _instances(case: Case, dataset_size: int | None, steps: int, snapshots: int = 1) -> Instances:
    plain = condition(case, steps, snapshots)
    recipe = plain.training.model_copy(update={"dataset_size": dataset_size})
    return instances_of(plain.model_copy(update={"training": recipe}), range(case.instances))
