"""What a command prints and draws, as a call: its table, notes and figures, each worked out when it is asked for."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

import toysup
from toysup.analysis import report
from toysup.analysis.report.tidy_rows import joined, typed


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("info", {}),
        ("gram", {"conditions": ["fixed"]}),
        ("dimensionality", {}),
        ("dimensionality", {"against": "fixed"}),
        ("interference", {"by": "seed", "conditions": ["split-40"]}),
        ("dynamics", {"by": "event", "conditions": ["fixed"]}),
    ],
)
def test_a_call_has_the_rows_that_its_command_prints(name: str, options: dict, runs: Path, run_analyze) -> None:
    words = [word for key, value in options.items() for word in _words(key, value)]
    words += [] if name == "info" else ["--no-figures"]
    printed = list(csv.DictReader(io.StringIO(run_analyze(name, runs, *words, "--format", "csv").stdout)))
    table = getattr(report, name)(runs, **options).table
    assert list(table) == list(printed[0])
    assert len(table) == len(printed)
    for column in set(table) & {"mean", "n_seeds", "condition"}:
        for value, text in zip(table[column], (row[column] for row in printed), strict=True):
            assert str(value) == text or (pd.isna(value) and text == "") or float(value) == float(text)


def _words(key: str, value: object) -> list[str]:
    return [word for one in value for word in ("--condition", one)] if key == "conditions" else [f"--{key}", str(value)]


def test_a_call_takes_a_tree_a_path_and_its_text(trained: xr.DataTree, runs: Path) -> None:
    tables = [report.dimensionality(own, conditions=["fixed"]).table for own in (trained, runs, str(runs))]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_columns_of_numbers_are_numbers(trained: xr.DataTree) -> None:
    table = report.dimensionality(trained).table
    assert table["mean"].dtype == np.float64
    assert table["n_seeds"].sum() == 3 * len(table)
    # Rows about whole models have no feature.
    assert table["feature"].isna().sum() == 8
    assert table["feature"].max() == 40
    mixed = typed(joined([pd.DataFrame({"step": [1], "statistic": ["a"], "mean": [1]})]))
    assert mixed["mean"].tolist() == [1]


def test_nothing_is_computed_before_it_is_asked_for(trained: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr("toysup.analysis.report.topics.losses_under.expected_losses", refuse)
    losses = report.losses(trained)
    with pytest.raises(AssertionError, match="computed"):
        _ = losses.table


def test_figures_have_their_names_and_are_written(trained: xr.DataTree, tmp_path: Path) -> None:
    found = report.dimensionality(trained, conditions=["fixed"])
    assert list(found.figures) == ["dimensionality", "dimensionality-over-training"]
    assert all(isinstance(figure, Figure) for figure in found.figures.values())
    written = found.write_figures(tmp_path, "png", "svg")
    assert [path.relative_to(tmp_path).as_posix() for path in written][:2] == [
        "conditional-importance/dimensionality.png",
        "conditional-importance/dimensionality.svg",
    ]
    assert report.info(trained).figures == {}


def test_the_report_is_written_from_python(trained: xr.DataTree, tmp_path: Path) -> None:
    *_, page = report.write_report(trained, tmp_path, conditions=["fixed"], figure_format="png")
    assert page == tmp_path / "index.html"
    assert "Dimensionality" in page.read_text()
    assert (tmp_path / "dimensionality.csv").exists()


def test_what_is_wrong_is_refused_at_once(trained: xr.DataTree) -> None:
    for call, options in (
        (report.gram, {"conditions": ["fixd"]}),
        (report.gram, {"step": 3}),
        (report.interference, {"by": "feature", "against": "fixed"}),
        (report.losses, {"against": "fixd"}),
    ):
        with pytest.raises(toysup.UsageError):
            call(trained, **options)


def test_specifications_are_of_each_condition(trained: xr.DataTree) -> None:
    found = report.specifications(trained, conditions=["fixed"])
    assert list(found) == ["conditional-importance/fixed"]
    assert found["conditional-importance/fixed"]["training"]["steps"] == 40
