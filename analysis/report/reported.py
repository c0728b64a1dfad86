"""From a call to the report of its topic; imports nothing that takes time before it is called."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from toysup.analysis.report.selected_runs import Runs, selected_from

if TYPE_CHECKING:
    from toysup.analysis.report.topic_report import TopicReport


class Chosen(NamedTuple):
    """What a call works on: conditions, cells, seeds, a step, and the value at which responses are measured."""

    conditions: Sequence[str]
    cells: Sequence[str]
    seeds: Sequence[int]
    step: int | None
    epoch: float | None
    value: float | None = None


def reported(name: str, runs: Runs, chosen: Chosen, **options: object) -> "TopicReport":
    against = options.get("against")
    selected = selected_from(runs, **chosen._asdict(), against=against if isinstance(against, str) else None)
    report: TopicReport = import_module(f"toysup.analysis.report.topics.{name}").report(selected, **options)
    return report
