"""From what a call of a report is given to the conditions that it is about; imports nothing before it is called."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import xarray as xr

    from toysup.analysis.report.selection import Selected

Runs: TypeAlias = "str | Path | Sequence[str | Path] | xr.DataTree"


def selected_from(
    runs: Runs,
    conditions: Sequence[str] = (),
    step: int | None = None,
    epoch: float | None = None,
    *,
    against: str | None = None,
    value: float | None = None,
    cells: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list["Selected"]:
    """The conditions of these names, and the one that they are held against, at the chosen cells, seeds and step.

    `value` is where responses are measured; None as `linear_response` chooses.
    """
    import xarray as xr

    from toysup.analysis.report.selection import refuse_unknown, select
    from toysup.storage.runs import checked_runs, open_runs

    tree = checked_runs(runs) if isinstance(runs, xr.DataTree) else open_runs(runs)
    if against is not None:
        refuse_unknown(tree, [against])
        conditions = (*conditions, against) if conditions else ()
    return select(tree, conditions=conditions, cells=cells, seeds=seeds, step=step, epoch=epoch, value=value)
