"""Timing by turns: whatever else the machine does then falls on all contenders alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """Something to be timed: one call of `turn` does `work` units of work."""

    name: str
    turn: Callable[[], object]
    work: float = 1.0


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def alternate(contenders: Sequence[Contender], *, repeats: int) -> dict[str, list[float]]:
    """Seconds per unit of work of each contender, turn about, after one turn each that does not count."""
    for contender in contenders:
        contender.turn()
    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(repeats):
        for contender in contenders:
            taken[contender.name].append(seconds(contender.turn) / contender.work)
    return taken


def turns_within(budget: float, cost: float, *, least: int = 2) -> int:
    """How many calls of this `cost` in seconds fill the `budget`, and at least `least`."""
    return max(least, int(budget / max(cost, 1e-9)))
