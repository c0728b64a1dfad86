"""The claims of the sources as verdicts on trained runs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.claims.numbers import STATISTICS, Trajectory
from toysup.analysis.claims.table import read_claims
from toysup.analysis.claims.verdicts import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Claim,
    NotRecordedError,
    Verdict,
    names,
    shown_regions,
    verdict_on,
)
from toysup.analysis.report.html_page import Section, with_interval
from toysup.analysis.report.selection import Selected, by_experiment, label_of
from toysup.analysis.report.tidy_rows import NUMBERS, joined, shown
from toysup.analysis.report.topic_report import TopicReport
from toysup.analysis.report.topics import losses
from toysup.errors import UsageError
from toysup.experiments.experiment_file import load_experiment
from toysup.experiments.regime import Regime
from toysup.storage.schema import condition_of, regime_of
from toysup.theory import dropping_cost

# (experiment, trained on, evaluated on) → the loss of each model.
Known = Mapping[tuple[str, str, str], xr.DataArray]

# What the claims are about: conditions of this experiment.
EXPERIMENT = "conditional-importance"
# A statistic that holds for any weights asks nothing of the models.
_OF_ANY_WEIGHTS = ("loss_ratio",)
MEANING = (
    "A claim is supported if the 95% interval of each of its K numbers lies in the supporting region. It is "
    "refuted if the interval of one number, at confidence 1 − 0.05/K, lies in the refuting region. The table "
    "shows the number that is closest to failing."
)
_NONE = xr.Dataset(dict.fromkeys(("mean", "ci_low", "ci_high"), np.nan) | {"n_seeds": 0, "n_excluded": 0})


def report(selected: Sequence[Selected]) -> TopicReport:
    """The verdicts."""
    return TopicReport(selected, partial(rows, selected), text=text)


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    """The verdicts; no section if no claim names a condition of these runs."""
    if about(selected):
        # The page shows these losses too.
        known = {
            (item.experiment, item.condition, other.condition): losses.loss_by_batch(item, other)
            for item, other in losses.pairs(selected)
        }
        verdicts = rows(selected, known=known)
        shown = [("", _for_a_reader(verdicts))]
        yield Section("What the claims come to", MEANING, shown, {"claims": verdicts})


def rows(selected: Sequence[Selected], *, known: Known | None = None) -> pd.DataFrame:
    """The verdict on each claim, for each experiment with a condition that a claim names.

    A claim is evaluated at the step that was chosen, or at the epoch that the claim is about if none was. Losses that
    are `known` at the selected step need not be computed again.
    """
    table = read_claims()
    groups = by_experiment(about(selected))
    if not groups:
        raise UsageError(
            f"claims are about the conditions {', '.join(names(table))}, and these runs have none of them; "
            f"train them with toysup-train {EXPERIMENT}"
        )
    frames = []
    for name, group in groups.items():
        evidence = Evidence(group, known=known)
        frames += [_row(name, claim, *evidence.verdict(claim)) for claim in table]
    return joined(frames)


def about(selected: Sequence[Selected]) -> list[Selected]:
    """The conditions of each experiment with a condition that a claim names."""
    known = names(read_claims())
    experiments = {item.experiment for item in selected if item.condition in known}
    return [item for item in selected if item.experiment in experiments]


def _row(experiment: str, claim: Claim, verdict: Verdict, step: int | None) -> pd.DataFrame:
    numbers = {name: verdict.summary[name].item() for name in NUMBERS}
    return pd.DataFrame(
        [
            {
                "experiment": experiment,
                "condition": " ".join(claim.conditions),
                "step": step,
                "claim": claim.id,
                "part": verdict.part,
                "statistic": claim.statistic,
                **numbers,
                "verdict": verdict.verdict,
                "note": verdict.note,
                "supports": shown_regions(claim.supports),
                "refutes": shown_regions(claim.refutes),
                "says": claim.claim,
                "source": claim.source,
                "status": claim.status,
            }
        ]
    )


def _for_a_reader(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdicts with the columns that a reader needs."""
    numbers = with_interval(rows.assign(part=rows["part"].fillna("")))
    kept = ["experiment", "verdict", "claim", "says", "part", "mean [interval]", "n_seeds", "supports", "note"]
    return numbers[[column for column in kept if column in numbers]]


def text(verdicts: pd.DataFrame) -> str:
    """The verdicts as a person reads them: two or three lines each."""
    several = verdicts["experiment"].nunique() > 1
    lines = [""]
    for row in verdicts.to_dict("records"):
        interval = f" [{shown(row['ci_low'])}, {shown(row['ci_high'])}]" if np.isfinite(row["ci_low"]) else ""
        known = [f"{row['part']}: {shown(row['mean'])}{interval}", f"n = {row['n_seeds']}"] if row["n_seeds"] else []
        lines.append(f"{row['verdict']:9}  {row['experiment'] + ': ' if several else ''}{row['claim']}")
        lines.append(f"           {row['says']}")
        lines.append(f"           {', '.join([*known, 'supported by ' + row['supports']])}")
        lines += [f"           {row['note']}"] if row["note"] else []
    counts = verdicts["verdict"].value_counts()
    total = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in (SUPPORTED, REFUTED, UNDECIDED))
    return "\n".join([*lines, "", total, ""])


class _Cell(NamedTuple):
    """The cell that a claim is tested on, and a note that says which one of the sweep it is, or what is missing."""

    selected: Selected | None
    note: str


class Evidence:
    """The trajectories of one experiment, and what is missing in them for the test of a claim."""

    def __init__(self, group: Sequence[Selected], *, known: Known | None = None) -> None:
        self.experiment = group[0].experiment
        self.items = {item.condition: item for item in group}
        self.expected = {condition.name: condition for condition in load_experiment(EXPERIMENT).conditions}
        self.known = known or {}
        self._trajectories: dict[tuple[str, int], Trajectory] = {}
        self._cells: dict[str, _Cell] = {}

    def verdict(self, claim: Claim) -> tuple[Verdict, int | None]:
        """The verdict, and the step of the first condition that it is about."""
        runs: dict[str, Trajectory] = {}
        for name in claim.conditions:
            obstacle = self._take(runs, name, claim)
            if obstacle:
                return Verdict(UNDECIDED, name, _NONE, obstacle), None
        step = int(next(iter(runs.values())).last["step"])
        try:
            found = verdict_on(claim, STATISTICS[claim.statistic](runs))
        except NotRecordedError as error:
            found = Verdict(UNDECIDED, "", _NONE, str(error))
        notes = [found.note, *(self._cells[name].note for name in claim.conditions)]
        return found._replace(note="; ".join(filter(None, notes))), step

    def _take(self, runs: dict[str, Trajectory], name: str, claim: Claim) -> str:
        """Put the trajectory of a condition into `runs`, or say what stands in the way."""
        if name not in self.items:
            return f"needs the condition {name}; toysup-train {EXPERIMENT} --condition {name}"
        if name not in self._cells:
            self._cells[name] = self._of_the_claim(name)
        found, note = self._cells[name]
        if found is None:
            return note
        index = self._index(found, claim)
        if index is None:
            return f"needs epoch {claim.epoch:g} of {name}, which was not recorded"
        if (name, index) not in self._trajectories:
            self._trajectories[name, index] = Trajectory(found.dataset.isel(step=slice(index + 1)))
            if index == found.index:
                self._use_known_losses(index)
        runs[name] = self._trajectories[name, index]
        return "" if claim.statistic in _OF_ANY_WEIGHTS else _has_learned(name, runs[name])

    def _use_known_losses(self, index: int) -> None:
        taken = {name: run for (name, at), run in self._trajectories.items() if at == index}
        for (experiment, trained, evaluated), loss in self.known.items():
            if (
                experiment == self.experiment
                and trained in taken
                and evaluated in taken
                and set(loss.dims) == {"seed", "batch"}
            ):
                taken[trained].losses.setdefault(taken[evaluated], loss)

    def _of_the_claim(self, name: str) -> _Cell:
        """The cell of a condition that has the model and the regime of the claim.

        Of several it is the one that is trained as the claim's, or else the first.
        """
        expected = self.expected[name]
        difference, matching = "", []
        for cell in self.items[name].cells():
            difference = _first_difference(regime_of(cell.dataset), expected.first_regime)
            if condition_of(cell.dataset).model != expected.model:
                difference = "the model"
            if not difference:
                matching.append(cell)
        if not matching:
            return _Cell(None, f"{name} is another condition than the claim's: {difference} differs")
        recipe = dict(expected.training)
        usual = [cell for cell in matching if all(recipe.get(axis, at) == at for axis, at in cell.cell.items())]
        chosen = (usual or matching)[0]
        one_of = f"{label_of(chosen, 2)} is one of {len(matching)} cells with the regime of the claim"
        return _Cell(chosen, one_of if len(matching) > 1 else "")

    def _index(self, item: Selected, claim: Claim) -> int | None:
        if claim.epoch is None or item.step_was_chosen:
            return item.index
        found = np.flatnonzero(np.isclose(item.dataset["epoch"].values, claim.epoch))
        return int(found[0]) if found.size else None


def _has_learned(name: str, run: Trajectory) -> str:
    """What models that gain nothing by superposition show says nothing about trained ones.

    Weights as they are drawn already beat constant outputs, so the reference is the best m features kept exactly.
    """
    m = run.last.sizes["hidden"]
    without = np.sort(dropping_cost(regime_of(run.last)))[:-m].sum()
    loss = run.loss()
    beaten = float(loss.where(abs(loss) < np.inf).mean()) < without
    return "" if beaten else f"{name} has not learned: its best {m} features alone have less loss"


def _first_difference(one: Regime, other: Regime) -> str:
    """The first table, or addition, in which two regimes differ; "" if they are equal."""
    for field in one.__dataclass_fields__:
        here, there = getattr(one, field), getattr(other, field)
        if isinstance(here, np.ndarray):
            if here.shape != there.shape or not np.allclose(here, there, rtol=1e-9, atol=0):
                return field
        elif here != there:
            return field
    return ""
