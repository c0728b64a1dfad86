"""The pages of findings: what is measured, that a page says only what holds, and that each is in the index."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import toysup
from toysup import analysis

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "findings"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(ROOT / "docs")
    from findings_pages import measure, page, pages

    return SimpleNamespace(measure=measure, page=page, all=pages.PAGES)


def test_a_tied_model_measures_what_its_statistics_say(pages: SimpleNamespace, trained: xr.DataTree) -> None:
    models = trained["conditional-importance/fixed"].to_dataset().isel(step=-1)
    found = pages.measure.measured(models)
    energy = analysis.quadrant_interference(models.W)["energy"]
    within = sum(energy.sel(subset=name, other_subset=name) for name in ("comedy", "tragedy"))
    across = energy.sum(["subset", "other_subset"]) - within
    expected = {
        "represented": analysis.represented_count(models.W),
        "energy_within": within,
        "energy_across": across,
        "share_across": across / (within + across),
        "loss": analysis.expected_loss(models).sum(["context", "feature"]),
        "total_dimensionality": analysis.total_dimensionality(models.W),
    }
    for statistic, values in expected.items():
        np.testing.assert_allclose(found.sel(statistic=statistic), values, rtol=1e-4, err_msg=statistic)
    counts = [found.sel(statistic=f"represented_{name}") for name in ("comedy", "tragedy")]
    np.testing.assert_array_equal(sum(counts), found.sel(statistic="represented"))


@pytest.mark.parametrize("target", ["x", "z"])
def test_a_model_that_sees_its_context_is_measured_in_each_features_own(pages: SimpleNamespace, target: str) -> None:
    changes = {"training.dataset_size": 512, "training.epochs": 1, "record.epochs": [1], "regime.target": target}
    experiment = toysup.load_experiment("context-visible", changes=changes)
    models = (
        toysup.train(experiment, seeds=2, conditions=["flag-1"])["context-visible/flag-1"].to_dataset().isel(step=-1)
    )
    whole, own = analysis.linear_response(models), pages.measure.own_responses(models)
    for i, subset in ((0, "comedy"), (12, "tragedy")):
        row = whole["G"].sel(context=subset)
        row = row.isel(output=i + 20 * (subset == "tragedy")) if target == "z" else row.isel(feature=i)
        np.testing.assert_allclose(own["G"].isel(feature=i), row)
        np.testing.assert_allclose(own["H"].isel(feature=i), whole["H"].sel(context=subset).isel(feature=i))


def test_cosines_are_those_of_directions_across_subsets(pages: SimpleNamespace, trained: xr.DataTree) -> None:
    models = trained["conditional-importance/fixed"].to_dataset().isel(step=-1, seed=[0])
    # Features 1 and 11 are antipodal, and all others of the first subset orthogonal to the second.
    W = np.zeros((1, 10, 20), np.float32)
    W[0, 0, 0], W[0, 0, 10] = 1, -1
    W[0, 1, 1], W[0, 2, 11] = 1, 1
    found = pages.measure.measured(models.assign(W=(("seed", "hidden", "feature"), W)))
    assert float(found.sel(statistic="represented").item()) == 4
    assert float(found.sel(statistic="lowest_cosine").item()) == pytest.approx((-1 + 0 - 1 + 0) / 4)
    assert float(found.sel(statistic="share_across").item()) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(16.9333, "16.9"), (9.9996, "10.0"), (0.00415, "0.00415"), (3.2e-6, "0"), (-0.5641, "−0.564"), (106.2, "106"),
     (np.nan, "–"), (1.2e-5, "0.00001")],
)  # fmt: skip
def test_numbers_have_three_digits(pages: SimpleNamespace, value: float, text: str) -> None:
    assert pages.page.shown(value) == text


def test_a_page_is_written_only_if_what_it_says_holds(
    pages: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = toysup.load_experiment("contexts-3")
    values = xr.DataArray([[19.0, 20.0], [0.5, 0.7]], dims=("statistic", "seed"))
    values = values.assign_coords(statistic=["represented", "loss"])
    rows = {name: analysis.over_seeds(values) for name in ("fixed", "conditional", "anticorrelated")}
    (tmp_path / "contexts-3.md").write_text("{represented[fixed]} of {n} seeds\n\n{table}\n")
    monkeypatch.setattr(pages.page, "TEXTS", tmp_path)

    def write(holds: bool) -> str:
        finding = pages.page.Finding(rows, ["represented", "loss"], {"": Figure()}, {"it is so": holds})
        pages.page.write("contexts-3", "Three", experiment.conditions, finding, tmp_path / "out")
        return (tmp_path / "out" / "contexts-3.md").read_text()

    with pytest.raises(pages.page.Refuted, match="it is so"):
        write(False)
    assert not (tmp_path / "out").exists()
    text = write(True)
    assert text.startswith("# Three\n\n19.5 ")
    assert "of 2 seeds" in text
    assert "| conditional | 19.5 " in text
    assert (tmp_path / "out" / "contexts-3.png").exists()


def test_every_page_is_of_a_built_in_experiment_and_in_the_index(pages: SimpleNamespace) -> None:
    index = (FOLDER / "README.md").read_text()
    for name in pages.all:
        text = (FOLDER / f"{name}.md").read_text()
        assert text.startswith(f"# {toysup.load_experiment(name).title}\n")
        assert f"]({name}.md)" in index
        assert all(part in text for part in ("**Question.**", "**Answer.**", "**Set-up.**", "| --- |"))
        assert not re.search(r"[{}]", text)
    assert {path.stem for path in FOLDER.glob("*.md")} == {*pages.all, "README"}


def test_pictures_are_small() -> None:
    for picture in FOLDER.glob("*.png"):
        assert picture.stat().st_size < 150_000, picture.name
