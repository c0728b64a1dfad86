"""Tidy rows: one number each, with its interval over seeds, as a table, CSV or JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.report.selection import Selected
from toysup.analysis.report.text_table import Column, text_table

NUMBERS = ["mean", "ci_low", "ci_high", "n_seeds", "n_excluded"]
# The columns of a row about the seeds in one mode, and the variables of a summary that they come from.
_OF_A_MODE = {
    "mean": "mode_mean",
    "ci_low": "mode_low",
    "ci_high": "mode_high",
    "n_seeds": "mode_n_seeds",
    "share": "mode_share",
    "share_low": "mode_share_low",
    "share_high": "mode_share_high",
}
_SHARE = ["share", "share_low", "share_high"]


def rows_of(
    selected: Selected,
    statistic: str,
    summary: xr.Dataset,
    about: Sequence[str] = (),
    *,
    outer: Sequence[str] = (),
    **labels: str,
) -> pd.DataFrame:
    """The rows of one statistic: a summary over seeds with the dims `outer`, those of the sweep, and `about`.

    What the summary has beside the numbers of all rows follows them in columns of its own. A row is at the chosen step
    unless rows are about steps. Where seeds lie in several modes, the row without a mean is followed by one for each
    `mode`, about the seeds in it.
    """
    dims = [*outer, *selected.sweeps, *about]
    further = [str(name) for name in summary.data_vars if name not in NUMBERS and "mode" not in summary[name].dims]
    bare = summary[[*NUMBERS, *further]]
    frame, numbers, about_modes = _frame(bare, dims), [*NUMBERS, *further], []
    if "mode" in summary.dims:
        frame = _with_rows_of_modes(frame, summary, dims)
        numbers, about_modes = [*numbers, *_SHARE], ["mode"]
    frame = frame.assign(experiment=selected.experiment, condition=selected.condition, statistic=statistic, **labels)
    if "step" not in about:
        frame["step"] = int(selected.dataset["step"].values[selected.index])
    of = [*labels, *outer, *(name for name in about if name != "step"), *about_modes]
    return frame[["experiment", "condition", *selected.sweeps, "step", *of, "statistic", *numbers]]


def _frame(summary: xr.Dataset, dims: Sequence[str]) -> pd.DataFrame:
    bare = summary.drop_vars([name for name in summary.coords if name not in dims])
    return bare.to_dataframe(dim_order=list(dims)).reset_index() if dims else pd.DataFrame([_scalars(bare)])


def _with_rows_of_modes(frame: pd.DataFrame, summary: xr.Dataset, dims: Sequence[str]) -> pd.DataFrame:
    """Each row, followed by those about its modes."""
    modes = _frame(xr.Dataset({column: summary[name] for column, name in _OF_A_MODE.items()}), [*dims, "mode"])
    # Both frames are in the order of the entries.
    modes.index = modes.index // summary.sizes["mode"]
    modes = modes[modes["n_seeds"] > 0].assign(n_excluded=0)
    # A missing mode sorts first.
    whole = pd.concat([frame.assign(mode=0), modes]).rename_axis("entry").reset_index()
    ordered = whole.sort_values(["entry", "mode"], kind="stable", ignore_index=True).drop(columns="entry")
    return ordered.assign(mode=ordered["mode"].astype(object).where(ordered["mode"] > 0, None))


def modes_note(rows: pd.DataFrame) -> str:
    """A line on the statistics whose seeds lie in several modes; "" if there are none."""
    if "mode" not in rows:
        return ""
    in_modes = rows[rows["mode"].notna()]
    per_condition = in_modes.groupby("condition", sort=False)["statistic"].unique()
    where = "; ".join(f"{', '.join(names)} of {condition}" for condition, names in per_condition.items())
    return (
        f"seeds lie in several modes, so a mean over all of them would describe none ({where}); "
        "rows with a mode give the share of the seeds in it and their mean"
    )


def summarised(
    item: Selected,
    statistics: Mapping[str, xr.DataArray],
    about: Sequence[str] = (),
    *,
    by_seed: bool = False,
    modes: bool = True,
) -> pd.DataFrame:
    """The rows of statistics that are about the same; by context and by sign too, where responses depend on them.

    Over seeds, or one of each seed. Without `modes`, every entry has one row, with its mean.
    """
    summary_of, seed = (each_seed, ["seed"]) if by_seed else (partial(over_seeds, modes=modes), [])
    summaries = {name: summary_of(values) for name, values in statistics.items()}
    return joined(
        [rows_of(item, name, summary, [*seed, *about_contexts(summary), *about]) for name, summary in summaries.items()]
    )


def each_seed(values: xr.DataArray) -> xr.Dataset:
    """Each seed as a summary of itself alone: `mean` is its value, which has no interval."""
    plain = values.astype(np.float64)
    finite, nothing = np.isfinite(plain), xr.full_like(plain, np.nan)
    return xr.Dataset(
        {
            "mean": plain.where(finite),
            "ci_low": nothing,
            "ci_high": nothing,
            "n_seeds": finite.astype(int),
            "n_excluded": (~finite).astype(int),
        }
    )


def stacked(summaries: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Summaries of several statistics as one, along `statistic`; a mode that a statistic lacks has no seeds."""
    whole = xr.concat(list(summaries.values()), dim="statistic", coords="minimal", compat="override", join="outer")
    if "mode" in whole.dims:
        whole["mode_n_seeds"] = whole["mode_n_seeds"].fillna(0).astype(int)
    return whole.assign_coords(statistic=list(summaries))


def about_contexts(values: xr.Dataset | xr.DataArray) -> list[str]:
    """The dims of a response that depends on the sign of the value, or on the context that the model sees."""
    return [dim for dim in ("value", "context") if dim in values.dims]


def of_statistics(rows: pd.DataFrame, *statistics: str) -> pd.DataFrame:
    return rows[rows["statistic"].isin(statistics)]


def _scalars(summary: xr.Dataset) -> dict[str, Any]:
    return {str(name): values.item() for name, values in summary.data_vars.items()}


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows under one header; a column that some rows lack is empty there."""
    whose, about, more = [], [], []
    for frame in frames:
        own = list(frame.columns)
        whose += own[: own.index("step")]
        about += own[own.index("step") : own.index("statistic")]
        more += own[own.index("statistic") :]
    # Conditions and sweep values, then what a row is about, then its numbers, whichever frame brought them.
    columns = list(dict.fromkeys([*whose, *about, "statistic", *NUMBERS, *more]))
    whole = pd.concat([frame.astype(object) for frame in frames], ignore_index=True)
    return whole.reindex(columns=columns)


def typed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows with columns of numbers, where `joined` has columns of objects: to compute with, not to print.

    Whole numbers of which some are missing, such as the feature of a row about a whole model, are of pandas' Int64.
    """
    dtypes = {"floating": "float64", "mixed-integer-float": "float64", "integer": "Int64", "boolean": "boolean"}
    kinds = {name: pd.api.types.infer_dtype(column, skipna=True) for name, column in rows.items()}
    numbers = {name: dtypes[kind] for name, kind in kinds.items() if kind in dtypes and rows[name].dtype == object}
    return rows.astype(numbers)


Rows = pd.DataFrame | Iterable[pd.DataFrame]


def rendered(rows: Rows, format: str, *, width: int | None = None) -> Iterator[str]:
    """The rows as "table", "csv" (empty where NaN) or "json" (a list of objects, null where NaN), in pieces.

    Rows may come in several frames with the same columns. A table has to see all of them to know how wide it is. It
    fits `width` letters if a width is given; otherwise each row is one line.
    """
    frames = iter([rows] if isinstance(rows, pd.DataFrame) else rows)
    if format == "csv":
        yield from (frame.to_csv(index=False, header=number == 0) for number, frame in enumerate(frames))
    elif format == "json":
        yield from _json(frames)
    else:
        yield _table(pd.concat(frames, ignore_index=True), width)


def _json(frames: Iterator[pd.DataFrame]) -> Iterator[str]:
    """One list of all records, as `json.dumps` writes it."""
    between = "["
    for frame in frames:
        records = [{key: _plain(v) for key, v in zip(frame, row, strict=True)} for row in frame.itertuples(index=False)]
        if records:
            yield between + json.dumps(records, indent=1)[1:-2]
            between = ","
    yield "\n]\n" if between == "," else "[]\n"


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _table(frame: pd.DataFrame, width: int | None) -> str:
    columns = [
        Column(str(name), [shown(value) for value in frame[name]], numbers=_are_numbers(frame[name])) for name in frame
    ]
    names = [column.name for column in columns]
    keys = names.index("statistic") + 1 if "statistic" in names else names.index("condition") + 1
    return text_table(columns, keys=keys, width=width)


def _are_numbers(values: pd.Series) -> bool:
    """Whether all values that are there are numbers; verdicts and truths are not."""
    known = [value for value in values if pd.notna(value)]
    return all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in known)


def shown(value: object) -> str:
    """A cell as a person reads it: four significant digits, a dash where there is nothing."""
    value = _plain(value)
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
