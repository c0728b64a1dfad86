"""Files of every schema open for ever: tests/storage/schemas has a few of each, as they were written at the time."""

from pathlib import Path

import pytest
import xarray as xr

import toysup
from toysup.storage import schema as layout
from toysup.storage import validation

SCHEMAS = Path(__file__).parent / "schemas"


@pytest.mark.parametrize("folder", sorted(SCHEMAS.iterdir()), ids=lambda folder: folder.name)
def test_files_of_every_schema_open(folder: Path) -> None:
    runs = toysup.open_runs(folder)
    assert [leaf.path for leaf in runs.leaves] == ["/old/blocks", "/old/plain"]
    for leaf in runs.leaves:
        dataset = leaf.to_dataset().load()
        assert dataset.attrs["toysup_schema"] == layout.SCHEMA_VERSION
        assert dataset["seed"].values.tolist() == [0, 1, 2]
        toysup.regime_of(dataset.isel(feature_probability=0) if "feature_probability" in dataset.dims else dataset)
    # What is there is what is trained today: newer keys of a specification have kept the old behaviour.
    plain = runs["old/plain"].to_dataset().load()
    (condition,) = [layout.condition_of(plain)]
    from toysup.training.train import trained_arrays

    for name, values in trained_arrays(condition, [0, 1, 2], "fused").items():
        assert abs(values - plain[name].values).max(initial=0, where=values == values) < 1e-5


def test_every_schema_has_files() -> None:
    assert sorted(folder.name for folder in SCHEMAS.iterdir()) == [
        str(version) for version in range(layout.FIRST_SCHEMA, layout.SCHEMA_VERSION + 1)
    ]
    assert set(validation.MIGRATIONS) == set(range(layout.FIRST_SCHEMA, layout.SCHEMA_VERSION))


def test_older_schemas_are_brought_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two schemas had followed: one renamed the bias, one gave it a note."""

    def renamed(dataset: xr.Dataset) -> xr.Dataset:
        return dataset.assign(bias=dataset["b"])

    def noted(dataset: xr.Dataset) -> xr.Dataset:
        return dataset.assign(b=dataset["bias"].assign_attrs(note="of schema 3")).drop_vars("bias")

    monkeypatch.setattr(validation, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(validation, "MIGRATIONS", {1: renamed, 2: noted})
    dataset = toysup.open_runs(SCHEMAS / "1" / "old" / "plain.nc").leaves[0].to_dataset()
    assert dataset["b"].attrs["note"] == "of schema 3"
    assert dataset.attrs["toysup_schema"] == 3


@pytest.mark.parametrize("schema", [2, 0, -1, "1", 1.5])
def test_a_schema_of_the_future_is_refused(schema: object) -> None:
    dataset = toysup.open_runs(SCHEMAS / "1" / "old" / "plain.nc").leaves[0].to_dataset()
    with pytest.raises(toysup.ToysupError, match=r"schema version .*, but this toysup reads version 1"):
        validation.check(dataset.assign_attrs(toysup_schema=schema), where="x.nc")
