"""Training: the notebook's loop, the torch engine and the fused engine, turn about on the same settings."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import torch

from benchmarks.machine import peak_rate
from benchmarks.measurements import Measurement, Setting
from benchmarks.notebook_loop import NotebookLoop
from benchmarks.timing import Contender, alternate, seconds, turns_within
from toysup import Condition
from toysup.engines.fused import engine as fused_engine
from toysup.engines.instances import Control, Instances, Snapshot, instances_of
from toysup.engines.torch_engine import engine as torch_engine

NOTEBOOK, TORCH, FUSED = "notebook", "torch engine", "fused engine"
Train = Callable[[Instances], Iterator[Snapshot]]


class Case(NamedTuple):
    """One setting; `at_least` is how many times as fast as the notebook's loop the fused engine is to be."""

    n_features: int
    n_hidden: int
    batch_size: int
    instances: int
    feature_probability: float
    at_least: float | None = None

    @property
    def setting(self) -> Setting:
        own = self._asdict()
        del own["at_least"]
        return own

    @property
    def multiply_adds(self) -> int:
        """What the fused engine's formulation takes for a model's step: 2n² or 5nm a sample, whichever is less."""
        n, m = self.n_features, self.n_hidden
        return self.batch_size * min(2 * n * n, 5 * n * m)


def _targets_at_20_to_10(batch_size: int, instances: int) -> float | None:
    if batch_size == 256:
        return 15
    return None if instances == 10 else 20


CASES = (
    *(
        Case(20, 10, batch_size, instances, p, _targets_at_20_to_10(batch_size, instances))
        for batch_size, instances, p in product((1024, 256), (100, 10, 1), (0.05, 0.15, 0.5))
    ),
    Case(5, 2, 1024, 100, 0.15, 20),
    Case(5, 2, 1024, 10, 0.15, 20),
    Case(80, 20, 1024, 10, 0.05, 10),
    Case(80, 20, 1024, 10, 0.15, 10),
    Case(400, 30, 1024, 4, 0.05, 8),
    Case(400, 30, 1024, 4, 0.15, 8),
)
GPU_CASES = (
    *(Case(20, 10, batch_size, instances, 0.15) for batch_size, instances in product((1024, 256), (1000, 100))),
    Case(5, 2, 1024, 100, 0.15),
    Case(80, 20, 1024, 10, 0.15),
    Case(400, 30, 1024, 4, 0.15),
)
QUICK_CASES = (Case(5, 2, 64, 2, 0.15),)


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Time per model-step, its ratios pair by pair, and the share of the machine's multiply-adds, for every case."""
    torch.set_num_threads(threads)
    peak = peak_rate(size=256) if quick else peak_rate()
    yield Measurement("machine", {}, "peak rate", "10⁹ multiply-adds/s", [peak / 1e9])
    budget, repeats = (0.001, 2) if quick else (0.3, 9)
    for case in QUICK_CASES if quick else CASES:
        taken = alternate(contenders(case, threads, budget), repeats=repeats)
        yield from _measurements(case, taken, peak * min(1, case.instances / threads))


def _measurements(case: Case, taken: dict[str, list[float]], peak: float) -> Iterator[Measurement]:
    yield from _times("training", case, taken)
    share = [100 * case.multiply_adds / value / peak for value in taken[FUSED]]
    yield Measurement("training", case.setting, "share of peak rate", "%", share)


def _times(part: str, case: Case, taken: dict[str, list[float]]) -> Iterator[Measurement]:
    """Of each contender, and how many times as long the notebook's loop takes."""
    new = partial(Measurement, part, case.setting)
    for name, values in taken.items():
        yield new(name, "µs", [1e6 * value for value in values])
    for name in [name for name in taken if name != NOTEBOOK]:
        ratios = [notebook / own for notebook, own in zip(taken[NOTEBOOK], taken[name], strict=True)]
        target = case.at_least if name == FUSED else None
        yield new(f"notebook / {name.removesuffix(' engine')}", "times", ratios, at_least=target)


def measure_on_gpu(*, threads: int, quick: bool = False, device: str = "cuda") -> Iterator[Measurement]:
    """Time per model-step of the notebook's loop and of the torch engine on the same GPU, and its ratio."""
    del threads
    torch_engine.torch_device(device)
    budget, repeats = (0.001, 2) if quick else (0.3, 9)
    for case in QUICK_CASES if quick else GPU_CASES:
        train = partial(torch_engine.train, device=device)
        engine = engine_contender(TORCH, train, case, budget)
        yield from _times("gpu", case, alternate([notebook(case, budget, device), engine], repeats=repeats))


def contenders(case: Case, threads: int, budget: float) -> list[Contender]:
    """The three, each with as many steps to a turn as fill the `budget` in seconds."""
    control = Control(threads=threads)
    return [
        notebook(case, budget),
        engine_contender(TORCH, partial(torch_engine.train, control=control), case, budget),
        engine_contender(FUSED, partial(fused_engine.train, control=control), case, budget),
    ]


def notebook(case: Case, budget: float, device: str = "cpu") -> Contender:
    sizes = {name: value for name, value in case._asdict().items() if name != "at_least"}
    loop = NotebookLoop(**sizes, device=device)
    loop.steps(1)
    steps = turns_within(budget, seconds(partial(loop.steps, 1)))
    return Contender(NOTEBOOK, partial(loop.steps, steps), steps * case.instances)


def engine_contender(
    name: str, train: Train, case: Case, budget: float, changed: Callable[[Condition], Condition] = lambda same: same
) -> Contender:
    """An engine behind its own interface: a turn is a training of the `changed` condition from the start.

    From one snapshot to the next nothing could be timed, since the fused engine goes on to several at once.
    """
    # A trial of few steps would be mostly what a call costs to begin.
    trial = training(train, instances_of(changed(condition(case, steps=10)), range(case.instances)))
    trial()
    steps = turns_within(budget, seconds(trial) / 10)
    instances = instances_of(changed(condition(case, steps)), range(case.instances))
    return Contender(name, training(train, instances), steps * case.instances)


def training(train: Train, instances: Instances) -> Callable[[], object]:
    """Train them from the start."""
    return lambda: [snapshot.step for snapshot in train(instances)]


def condition(case: Case, steps: int, snapshots: int = 1) -> Condition:
    """What the notebook's loop trains, as a condition, with so many `steps` before each of its snapshots."""
    return Condition.model_validate(
        {
            "name": "case",
            "model": {"n_features": case.n_features, "n_hidden": case.n_hidden},
            "regime": {
                "importance_decay": 0.9,
                "importance_start": 0,
                "feature_probability": case.feature_probability,
            },
            "training": {
                "steps": steps * snapshots,
                "batch_size": case.batch_size,
                "optimizer": "adamw",
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
            },
            "record": {"steps": tuple(range(0, steps * snapshots + 1, steps))},
        }
    )
