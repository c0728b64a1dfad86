"""The loss of each condition's models under every condition with the same inputs, and where their own comes from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.loss.decomposition import no_parts
from toysup.analysis.loss.expected_loss import mean_over_batches, sampling_error
from toysup.analysis.loss.references import loss_references
from toysup.analysis.loss.sampled_losses import ACCURACY, MOST_SAMPLES
from toysup.analysis.report.html_page import Section, with_interval
from toysup.analysis.report.measures import loss_by_active_features, loss_parts
from toysup.analysis.report.panels import MAX_SERIES, Figures, in_a_name, over_sweep, series
from toysup.analysis.report.selection import Selected, by_cell, computed_once
from toysup.analysis.report.tidy_rows import each_seed, joined, rows_of
from toysup.analysis.report.topic_report import TopicReport
from toysup.analysis.report.topics import against as comparison
from toysup.analysis.report.topics.losses_under import SPLITS as _SPLITS_UNDER
from toysup.analysis.report.topics.losses_under import (
    Under,
    evaluate,
    interval,
    losses_under,
    others_of,
    same_inputs,
    total_under,
    without_errors,
)
from toysup.analysis.report.topics.losses_under import summary as summary_over_seeds
from toysup.analysis.statistics.labels import with_range
from toysup.errors import UsageError

_OWN_SPLITS = ("part", "active", "reference")
SPLITS = ("feature", "context", "part", "active", "reference")
MEANING = (
    "Importance-weighted squared error per sample. The sampling error is the standard error that common samples leave "
    "of a mean, which its interval includes; it is 0 where losses are exact."
)
# A sampling error is named in a note if it is more than this part of the half-width of the interval.
NOTICEABLE = 0.3


# What the page shows of a split of the losses: its entries side by side.
_SIDE_BY_SIDE = {
    "reference": "What simple predictors lose under the same regime.",
    "part": "Where a condition's own loss comes from: features that are not represented, the own entries of the "
    "others, interference, the bias. Means over seeds.",
    "active": "The part of the loss from samples with k active features. Means over seeds.",
}


def report(
    selected: Sequence[Selected], *, by: str | None = None, own: bool = False, against: str | None = None
) -> TopicReport:
    """The losses, their parts, or differences from the condition `against`."""
    if against is not None:
        return comparison.report(selected, against, own_loss_by_batch, partial(drawn, by=None, own=own))

    def notes() -> Iterator[str]:
        yield from _left_out(selected, by)
        yield from _notes(selected, own=own or by in _OWN_SPLITS)

    return TopicReport(selected, partial(rows, selected, by=by, own=own), notes, partial(drawn, by=by, own=own))


def _left_out(selected: Sequence[Selected], by: str | None) -> Iterator[str]:
    for item in selected if by == "part" else ():
        if reason := no_parts(item.dataset):
            yield f"{item.path} is left out, because its loss has no parts: {reason}"


def sections(selected: Sequence[Selected]) -> Iterator[Section]:
    """The losses, and their splits side by side, with all rows."""
    for item, others in others_of(selected):
        # In one pass over the models.
        evaluate(item, others, (None, *_SPLITS_UNDER))
    tables = {"losses": rows(selected)}
    tables |= {f"losses-by-{by}": rows(selected, by=by) for by in SPLITS if have(selected, by)}
    shown = [("The loss of models trained on one condition under another.", with_interval(tables["losses"]))]
    for by, caption in _SIDE_BY_SIDE.items():
        if (name := f"losses-by-{by}") in tables:
            shown.append((caption, means_side_by_side(tables[name], by)))
    yield Section("Losses", MEANING, shown, tables, drawn_all)


def means_side_by_side(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """A row per condition and cell, a column per entry of `by`."""
    own = [c for c in rows.columns[: list(rows.columns).index("step")] if rows[c].nunique(dropna=False) > 1]
    own = own or ["condition"]
    # By number, as pandas would give every combination of conditions and cells a row.
    rows = rows[rows["mode"].isna()] if "mode" in rows else rows
    rows = rows.assign(number=rows.groupby(own, sort=False, dropna=False).ngroup())
    table = rows.pivot_table(index="number", columns=by, values="mean", aggfunc="first", sort=False, dropna=False)
    heads = rows.drop_duplicates("number").set_index("number")[own]
    return heads.join(table).reset_index(drop=True).rename_axis(columns=None)


def pairs(selected: Sequence[Selected], *, own: bool = False) -> list[tuple[Selected, Selected]]:
    """All pairs (trained, evaluated) of an experiment with the same inputs, or each condition with itself alone."""
    return [(item, other) for item, others in others_of(selected, own=own) for other in others]


def total_loss(item: Selected, other: Selected) -> xr.DataArray:
    """The loss of each model of a condition, or of a cell of its sweep, under another or its own."""
    return mean_over_batches(loss_by_batch(item, other))


def loss_by_batch(item: Selected, other: Selected) -> xr.DataArray:
    """The same, for each batch of samples."""
    total: xr.DataArray = item.cell_of(total_under(item.whole, other.whole))
    return total


def own_loss_by_batch(item: Selected) -> dict[str, xr.DataArray]:
    """The loss of a condition's models under that condition, by batch of samples."""
    return {"loss": loss_by_batch(item, item)}


def _own_summary(item: Selected, by: str | None = None) -> xr.Dataset:
    """The summary of the loss of a condition, or of a cell of its sweep, under its own condition."""
    (own,) = losses_under(item.whole, [item.whole], by)
    found: xr.Dataset = item.cell_of(own.summary.isel(evaluated_on=0, drop=True))
    return found


@computed_once
def references(item: Selected) -> xr.Dataset:
    """What simple predictors lose under the regime of a condition."""
    return loss_references(item.at_step)


def rows(selected: Sequence[Selected], *, by: str | None = None, own: bool = False) -> pd.DataFrame:
    """The loss, or its parts by feature or context, of each condition's models under each comparable condition.

    With `own`, and for the splits `part`, `active` and `reference`, under their own condition only.
    """
    if by in _OWN_SPLITS:
        return joined([_own_rows(item, by) for item in _with(selected, by)])
    about = [by] if by else []
    frames = []
    for item, others in others_of(selected, own=own):
        for under in losses_under(item, others, None if by == "seed" else by):
            summary = under.summary
            if under.totals is not None and by == "seed":
                of_samples = sampling_error(under.totals)
                summary = each_seed(mean_over_batches(under.totals)).assign(sampling_error=of_samples)
            frames.append(rows_of(item, "loss", summary, about, outer=["evaluated_on"], trained_on=item.condition))
    return joined(frames)


def _own_rows(item: Selected, by: str) -> pd.DataFrame:
    if by == "part":
        summary = summary_over_seeds(loss_parts(item))
    elif by == "active":
        by_active = loss_by_active_features(item)
        summary = summary_over_seeds(by_active["loss"]).assign(probability=by_active["probability"].sum("context"))
    else:
        summary = _of_no_seeds(references(item))
    # A sweep that changes no regime changes none of its references either.
    summary = summary.expand_dims({a: item.dataset[a].values for a in item.sweeps if a not in summary.dims})
    return rows_of(item, "loss", summary, [by], trained_on=item.condition, evaluated_on=item.condition)


def have(selected: Sequence[Selected], by: str) -> bool:
    """Whether the loss of any of these conditions can be split so; only `part` can be undefined."""
    return by != "part" or any(no_parts(item.dataset) is None for item in selected)


def _with(selected: Sequence[Selected], by: str) -> list[Selected]:
    """The conditions whose loss has parts; UsageError with the reason where none has."""
    reasons = [no_parts(item.dataset) if by == "part" else None for item in selected]
    if all(reasons):
        raise UsageError(f"the loss of {selected[0].path} has no parts: {reasons[0]}")
    return [item for item, reason in zip(selected, reasons, strict=True) if reason is None]


def _notes(selected: Sequence[Selected], *, own: bool) -> Iterator[str]:
    """What samples leave uncertain, where it matters."""
    uncertain, noticeable = [], []
    for item, others in others_of(selected, own=own):
        for under in losses_under(item, others):
            for other, (share, error, part) in zip(under.conditions, _uncertainty(under), strict=True):
                name = item.condition if item is other else f"{item.condition} under {other.condition}"
                if share > 1.02 * ACCURACY and error > 0:
                    uncertain.append((share, name))
                if part > NOTICEABLE:
                    noticeable.append((part, name))
    if uncertain:
        share, name = max(uncertain)
        yield (
            f"{MOST_SAMPLES:,} samples leave a standard error above {ACCURACY:.1%} of a model's loss "
            f"{_where(uncertain)}: up to {share:.1%}, for {name}; column model_sampling_error"
        )
    if noticeable:
        part, name = max(noticeable)
        yield (
            f"the sampling error of the mean loss is up to {part:.0%} of the half-width of its interval, which "
            f"includes it, {_where(noticeable)}, most for {name}; column sampling_error"
        )


def _uncertainty(under: Under) -> list[list[float]]:
    """For each condition: the largest standard error of a model as a part of its loss, the largest one as it is, and
    the largest one of a mean as a part of the half-width of its interval.
    """
    if under.totals is None:
        return []
    half = (under.summary["ci_high"] - under.summary["ci_low"]) / 2
    numbers = (
        sampling_error(under.totals) / mean_over_batches(under.totals),
        under.summary["model_sampling_error"],
        under.summary["sampling_error"] / half,
    )
    most = [each.max([dim for dim in each.dims if dim != "evaluated_on"]).values for each in numbers]
    found: list[list[float]] = np.transpose(most).tolist()
    return found


def _where(found: Sequence[tuple[float, str]]) -> str:
    return "in one row" if len(found) == 1 else f"in {len(found)} rows"


def _of_no_seeds(losses: xr.Dataset) -> xr.Dataset:
    """References as a summary: no seed has anything to do with them."""
    none, count = xr.full_like(losses["loss"], np.nan), xr.zeros_like(losses["loss"], dtype=int)
    numbers = {"mean": losses["loss"], "ci_low": none, "ci_high": none, "n_seeds": count, "n_excluded": count}
    numbers |= {"sampling_error": none, "model_sampling_error": none}
    return xr.Dataset(numbers | {name: losses[name] for name in ("kind", "reason")})


def drawn_all(group: Sequence[Selected]) -> Figures:
    """The figures of the total, and of the splits that have a figure."""
    for by in (None, "part", "active"):
        yield from drawn(group, by=by)


def drawn(group: Sequence[Selected], *, by: str | None, own: bool = False) -> Figures:
    """What belongs to `by`: a split of the loss, its references, or the losses along training and of each condition."""
    from toysup.analysis import figures

    for suffix, items in series(group):
        if by in _OF_SPLITS:
            yield from _OF_SPLITS[by](items, suffix)
        else:
            if by != "reference":
                curves = {label: over_seeds(with_range(item.dataset["train_loss"], 0)) for label, item in items.items()}
                yield f"loss-curves{suffix}", figures.loss_curves(curves)
            losses = {label: total_loss(item, item) for label, item in items.items()}
            intervals = {label: without_errors(_own_summary(item)) for label, item in items.items()}
            simple = {label: references(item) for label, item in items.items()}
            yield f"loss-comparison{suffix}", figures.loss_comparison(losses, intervals, simple)
    if by in (None, "seed"):
        yield from over_sweep(group, "loss", own_loss_by_batch, interval)
        if not own:
            yield from _matrices(group)


def _drawn_parts(items: Mapping[str, Selected], suffix: str) -> Figures:
    from toysup.analysis import figures

    if split := {label: loss_parts(item) for label, item in items.items() if no_parts(item.dataset) is None}:
        parts = {label: mean_over_batches(values) for label, values in split.items()}
        yield f"loss-parts{suffix}", figures.loss_parts(parts, {name: interval(of) for name, of in split.items()})


def _drawn_active(items: Mapping[str, Selected], suffix: str) -> Figures:
    from toysup.analysis import figures

    active = {label: loss_by_active_features(item) for label, item in items.items()}
    intervals = {label: interval(values["loss"]) for label, values in active.items()}
    often = {label: values["probability"].sum("context") for label, values in active.items()}
    yield f"loss-by-active{suffix}", figures.loss_by_active(intervals, often)


def _drawn_entries(items: Mapping[str, Selected], suffix: str, *, by: str) -> Figures:
    """The own loss by feature or by context, as lines over its entries."""
    from toysup.analysis import figures

    of_items = {label: _own_summary(item, by) for label, item in items.items()}
    yield f"loss-by-{by}{suffix}", figures.loss_by_entry(of_items, by=by)


# How the figure of a split is drawn.
_OF_SPLITS: dict[str | None, Callable[[Mapping[str, Selected], str], Figures]] = {
    "part": _drawn_parts,
    "active": _drawn_active,
    "feature": partial(_drawn_entries, by="feature"),
    "context": partial(_drawn_entries, by="context"),
}


def _matrices(group: Sequence[Selected]) -> Figures:
    """Trained on × evaluated on, in each cell; of more conditions or cells the rows tell what it could not show."""
    from toysup.analysis import figures

    cells = list(by_cell(group))
    if not 1 < len(group) <= MAX_SERIES or len(cells) > MAX_SERIES:
        return
    for cell, members in cells:
        name = "-".join(filter(None, ["loss-matrix", in_a_name(cell)]))
        yield name, figures.loss_matrix(_matrix(members))


def _matrix(members: Sequence[Selected]) -> xr.Dataset:
    """Summaries of the loss over (trained_on, evaluated_on), NaN where the inputs differ."""
    names = [item.condition for item in members]
    cells = {
        (item.condition, other.condition): without_errors(item.cell_of(under.summary.isel(evaluated_on=place)))
        for item, others in ((item, _comparable(item, members)) for item in members)
        for under in losses_under(item.whole, [other.whole for other in others])
        for place, other in enumerate(under.conditions)
    }
    # A cell has room for one number, so of seeds in several modes it says only that.
    bare = {pair: cell.drop_dims("mode", errors="ignore") for pair, cell in cells.items()}
    bare = {pair: cell.drop_vars(list(cell.coords)) for pair, cell in bare.items()}
    empty = next(iter(bare.values())) * np.nan
    rows = [xr.concat([bare.get((name, other), empty) for other in names], dim="evaluated_on") for name in names]
    matrix = xr.concat(rows, dim="trained_on").assign_coords(trained_on=names, evaluated_on=names)
    return matrix.assign_attrs(next(iter(cells.values())).attrs)


def _comparable(item: Selected, members: Sequence[Selected]) -> list[Selected]:
    return [other for other in members if same_inputs(item.whole.dataset, other.whole.dataset)]
