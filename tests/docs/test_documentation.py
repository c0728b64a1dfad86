"""The documentation's Python and TOML run as written, and the README keeps its order."""

import csv
import re
import tomllib
from pathlib import Path

import pytest

import toysup

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "findings").glob("*.md")),
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_python_runs_as_written(page: Path) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


def test_the_custom_analysis_of_the_readme_says_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    first = blocks(ROOT / "README.md", "python")[0]
    assert len([line for line in first.splitlines() if line and not line.startswith("import")]) == 5
    exec(compile(first, "README.md", "exec"), {})
    share = int(re.findall(r"(\d+)% of features have their most negative partner", capsys.readouterr().out)[0])
    assert share >= 95


def test_the_experiment_of_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "README.md", "toml")
    (tmp_path / "my-experiment.toml").write_text(text)
    experiment = toysup.load_experiment(tmp_path / "my-experiment.toml")
    assert [condition.name for condition in experiment.conditions] == ["fixed", "conditional"]
    assert experiment.conditions[0].sweeps == {"feature_probability": (0.05, 0.1, 0.2)}


def test_the_readme_has_its_parts_in_order() -> None:
    text = (ROOT / "README.md").read_text()
    parts = [
        "![",
        "## Install",
        "pip install",
        "make demo",
        "make test",
        "## Two commands",
        "$ toysup-train conditional-importance\n",
        "$ toysup-analyze dimensionality runs\n",
        "## Your own analysis",
        "## Your own experiment",
        "## Where to go on",
        "## How to cite",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_index_names_every_page() -> None:
    text = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in text, page.name


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_key_of_an_experiment_is_documented() -> None:
    text = (ROOT / "docs" / "experiments.md").read_text()
    from toysup.experiments.experiment_file import TABLES

    for spec in TABLES.values():
        for key in spec.model_fields:
            assert f"`{key}" in text, key


def test_every_built_in_experiment_is_documented() -> None:
    text = (ROOT / "docs" / "built-in.md").read_text()
    for name in toysup.builtin_experiments():
        assert f"## {name}\n" in text, name


def test_extending_takes_a_few_lines() -> None:
    for block in blocks(ROOT / "docs" / "extending.md", "python"):
        assert len([line for line in block.splitlines() if line.strip()]) <= 15


def test_every_experiment_in_pieces_is_valid() -> None:
    """The tables of docs/experiments.md, each in an experiment that has the rest."""
    for block in blocks(ROOT / "docs" / "experiments.md", "toml"):
        tables = tomllib.loads(block)
        n = 3 if "activation_probability" in tables.get("regime", {}) else 20
        rest = {"model": {"n_features": n, "n_hidden": 10}, "regime": {"feature_probability": 0.1}}
        toysup.Condition(name="piece", training={"steps": 1, "batch_size": 1}, **rest | tables)


def test_every_statistic_is_documented() -> None:
    text = (ROOT / "docs" / "statistics.md").read_text()
    for name in toysup.analysis.__all__:
        assert f"`{name}(" in text or f"`toysup.analysis.{name}`" in text, name


def test_every_formula_is_documented() -> None:
    text = (ROOT / "docs" / "theory.md").read_text()
    for name in toysup.theory.__all__:
        assert f"`{name}(" in text or f"`{name}`" in text, name


def test_reference_values_have_a_status() -> None:
    for name, least in (("claims", 13), ("measured", 12)):
        with (ROOT / "data" / f"{name}.csv").open() as file:
            table = list(csv.DictReader(file))
        assert {row["status"] for row in table} <= {"pinned", "derived", "inferred", "measured", "recalled"}
        assert len(table) >= least
