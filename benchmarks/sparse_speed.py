"""Sparse features: dense draws, which cost the same at any density, against draws at the cost of what is active."""

from collections.abc import Iterator
from functools import partial
from itertools import product

import torch

from benchmarks.measurements import Measurement
from benchmarks.timing import alternate
from benchmarks.training_speed import NOTEBOOK, Case, engine_contender, notebook
from toysup import Condition
from toysup.engines.fused import engine as fused_engine
from toysup.engines.instances import Control

DENSE, SPARSE = "dense draws", "sparse draws"
PROBABILITIES = (0.05, 0.01, 0.001)
# n, m and instances; then how many times as fast as dense draws at each probability, and as the notebook at .01.
SIZES = (
    (5, 2, 100, (1.2, 4, 8), None),
    (20, 10, 100, (1.3, 4, 10), 100),
    (80, 20, 10, (2, 6, 12), 80),
    (400, 30, 4, (2, 5, 8), 50),
)


def measure(*, threads: int, quick: bool = False) -> Iterator[Measurement]:
    """Time per model-step of both ways to draw, their ratio pair by pair, and that to the notebook's loop."""
    torch.set_num_threads(threads)
    budget, repeats = (0.001, 2) if quick else (0.3, 9)
    for (n, m, instances, targets, of_notebook), number in product(SIZES[:1] if quick else SIZES, range(3)):
        case = Case(n, m, 64 if quick else 1024, 2 if quick else instances, PROBABILITIES[number])
        train = partial(fused_engine.train, control=Control(threads=threads))
        contenders = [
            engine_contender(DENSE, train, case, budget, Condition.drawn_densely),
            engine_contender(SPARSE, train, case, budget),
        ]
        if case.feature_probability == 0.01:
            contenders.append(notebook(case, budget))
        taken = alternate(contenders, repeats=repeats)
        new = partial(Measurement, "sparse", case.setting)
        for name, values in taken.items():
            yield new(name, "µs", [1e6 * value for value in values])
        yield new("dense / sparse", "times", _ratios(taken, DENSE), at_least=targets[number])
        if NOTEBOOK in taken:
            yield new("notebook / sparse", "times", _ratios(taken, NOTEBOOK), at_least=of_notebook)


def _ratios(taken: dict[str, list[float]], slower: str) -> list[float]:
    return [one / other for one, other in zip(taken[slower], taken[SPARSE], strict=True)]
