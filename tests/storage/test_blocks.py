"""Plans cut conditions into blocks, and blocks are one dataset again."""

import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

import toysup
from toysup.engines.fused.arguments import tables_of
from toysup.engines.instances import instances_of
from toysup.storage.blocks import Block, BlockPlan, _cells_per_block, in_order
from toysup.storage.store import Store
from toysup.training.train_runs import train_runs

Small = Callable[..., toysup.Experiment]
(CONDITION,) = toysup.load_experiment("tms-intro").conditions
AXES = {"feature_probability": [0.5, 0.05, 0.1], "learning_rate": [1e-3, 2e-3]}


@pytest.fixture
def grid(small: Small, monkeypatch: pytest.MonkeyPatch) -> toysup.Experiment:
    """Three by two cells, of which two fit a block, with one seed."""
    experiment = small(
        **{"regime__feature_probability": AXES["feature_probability"]}, training__learning_rate=AXES["learning_rate"]
    )
    fit(experiment, 2, monkeypatch)
    return experiment


def fit(experiment: toysup.Experiment, instances: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks of so many instances."""
    from toysup.storage.blocks import _bytes

    monkeypatch.setattr("toysup.storage.blocks._BLOCK_BYTES", instances * _bytes(experiment.conditions[0]))


@pytest.fixture
def streak(small: Small, monkeypatch: pytest.MonkeyPatch) -> toysup.Experiment:
    """One cell, of which four seeds fit a block."""
    fit(small(), 4, monkeypatch)
    return small()


def names(folder: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] or path.name for path in folder.iterdir())


@given(st.lists(st.integers(1, 12), max_size=3), st.integers(1, 40))
def test_boxes_are_as_even_as_they_can_be(lengths: list[int], most: int) -> None:
    sizes = _cells_per_block(lengths, most)
    assert math.prod(sizes) <= most
    assert all(1 <= size <= length for size, length in zip(sizes, lengths, strict=True))
    for size, length in zip(sizes, lengths, strict=True):
        # One piece fewer would not do with pieces a cell smaller.
        assert size == 1 or math.ceil(length / (size - 1)) > math.ceil(length / size)


def plan_of(lengths: list[int], most: int, seeds_per_block: int) -> BlockPlan:
    axes = ("feature_probability", "importance_decay", "outside_importance")
    swept = {axis: tuple(0.1 + i / 100 for i in range(length)) for axis, length in zip(axes, lengths, strict=False)}
    regime = CONDITION.regime.model_copy(update={"feature_probability": 0.1} | swept)
    condition = CONDITION.model_copy(update={"regime": regime})
    return BlockPlan.cut(condition, "fused", _cells_per_block(lengths, most), seeds_per_block)


@given(st.data(), st.lists(st.integers(1, 5), max_size=3), st.integers(1, 9), st.integers(1, 6))
def test_blocks_hold_what_is_missing_and_nothing_else(
    data: st.DataObject, lengths: list[int], most: int, seeds_per_block: int
) -> None:
    plan = plan_of(lengths, most, seeds_per_block)
    seeds = np.array(sorted(data.draw(st.sets(st.integers(0, 40), min_size=1))))
    count = plan.n_parts * len(seeds)
    drawn = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    missing = np.array(drawn).reshape(plan.n_parts, len(seeds))
    blocks = list(plan.blocks(seeds, missing))
    held = [(block.part, seed) for block in blocks for seed in block.seeds]
    assert sorted(held) == [(part, int(seeds[at])) for part, at in np.argwhere(missing)]
    for block in blocks:
        assert len({seed // seeds_per_block for seed in block.seeds}) == 1
        assert plan.block_named(plan.name(block)) == block
        assert plan.n_cells(block.part or 0) == math.prod(map(len, plan.cells(block.part or 0).values()))
    numbers = np.arange(math.prod(lengths)).reshape(lengths)
    cells = [cell for part in range(plan.n_parts) for cell in np.ravel(numbers[plan.box(part)]).tolist()]
    assert sorted(cells) == numbers.ravel().tolist()


@given(st.lists(st.integers(0, 20)), st.integers(0, 9), st.integers(1, 4))
def test_seeds_come_in_order_and_once(seeds: list[int], first: int, stride: int) -> None:
    assert in_order(seeds).tolist() == sorted(set(seeds))
    assert in_order(range(first, 20, stride)).tolist() == list(range(first, 20, stride))


def test_equal_work_has_equal_names_and_different_work_has_not() -> None:
    conditions = toysup.load_experiment("conditional-importance").conditions
    block = Block(0, range(20))
    found = {BlockPlan.of(condition, engine).name(block) for condition in conditions for engine in ("fused", "torch")}
    assert len(found) == 8
    again = toysup.load_experiment("conditional-importance").conditions
    assert found == {
        BlockPlan.of(condition, engine).name(block) for condition in again for engine in ("fused", "torch")
    }
    plan = BlockPlan.of(conditions[0], "fused")
    assert plan.block_named(BlockPlan.of(conditions[1], "fused").name(block)) is None
    assert BlockPlan.stamped(plan.stamp).name(block) == plan.name(block)


def test_a_block_is_bounded_in_memory_and_work() -> None:
    for name in toysup.builtin_experiments():
        for condition in toysup.load_experiment(name).conditions:
            plan = BlockPlan.of(condition, "fused")
            n, m = condition.model.n_features, condition.model.n_hidden
            count = math.prod(plan.cells_per_block) * plan.seeds_per_block
            assert count * len(condition.recorded_steps) * (n * m + n) * 4 <= 2**26
            training = condition.training
            assert count * training.n_steps * training.batch_size * (6 * n * m + 40 * n) <= 1e12


def test_one_block_is_a_file_and_more_are_a_folder_beside_it(streak: toysup.Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    for seeds, expected in [
        (range(1, 3), ["small.nc"]),
        (range(4), ["small.nc"]),
        (range(6), ["small", "small.nc"]),
        (range(10), ["small", "small.nc"]),
    ]:
        toysup.save_runs(toysup.train(streak, seeds=seeds), tmp_path)
        assert sorted(path.name for path in folder.iterdir()) == expected
    assert names(folder / "small") == ["cells0-seeds4to5", "cells0-seeds6to7", "cells0-seeds8to9"]
    opened = toysup.open_runs(tmp_path)["small/small"].to_dataset()
    xr.testing.assert_identical(
        opened.drop_attrs(deep=False), toysup.train(streak, seeds=10)["small/small"].to_dataset().drop_attrs(deep=False)
    )


def test_cells_are_cut_too(grid: toysup.Experiment, tmp_path: Path) -> None:
    trained = toysup.train(grid, seeds=2)
    toysup.save_runs(trained, tmp_path)
    parts = [f"cells{part}-seeds{seed}to{seed}" for part in range(3) for seed in range(2)]
    assert names(tmp_path / "small/small") == sorted(parts)
    xr.testing.assert_identical(
        toysup.open_runs(tmp_path)["small/small"].to_dataset().drop_attrs(deep=False),
        trained["small/small"].to_dataset().drop_attrs(deep=False),
    )
    # A block on its own is a trajectory of its cells.
    some = next((tmp_path / "small/small").glob("cells1-seeds1*"))
    (own,) = toysup.open_runs(some).leaves
    xr.testing.assert_equal(own["W"], trained["small/small"]["W"].isel(feature_probability=[1], seed=[1]))


@pytest.fixture(scope="module")
def pieces(small: Small, tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, xr.Dataset]:
    """Seven seeds of six cells, spread over a file and blocks; and the same as it was trained."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        experiment = small(
            regime__feature_probability=AXES["feature_probability"], training__learning_rate=AXES["learning_rate"]
        )
        folder = tmp_path_factory.mktemp("pieces")
        fit(experiment, 6, monkeypatch)
        trained = toysup.train(experiment, seeds=[0, 1, 2, 5, 6, 7, 11])
        toysup.save_runs(trained.sel(seed=[5]), folder)
        fit(experiment, 4, monkeypatch)
        toysup.save_runs(trained, folder)
    return toysup.open_runs(folder)["small/small"].to_dataset(), trained["small/small"].to_dataset()


def indexer(size: int) -> st.SearchStrategy[Any]:
    places = st.integers(0, size - 1)
    bounds = st.one_of(st.none(), st.integers(-size, size))
    return st.one_of(
        places,
        st.lists(places, min_size=1, max_size=5).map(np.array),
        st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, 3])),
        st.builds(slice, st.none(), st.none(), st.sampled_from([-1, -2])),
    )


@settings(max_examples=40)
@given(data=st.data())
def test_any_selection_is_that_of_the_whole(data: st.DataObject, pieces: tuple[xr.Dataset, xr.Dataset]) -> None:
    opened, whole = pieces
    name = data.draw(st.sampled_from(["W", "b", "train_loss", "diverged_at"]))
    dims = data.draw(st.sets(st.sampled_from(whole[name].dims)))
    key = {dim: data.draw(indexer(whole.sizes[dim])) for dim in dims}
    xr.testing.assert_identical(opened[name].isel(key).load(), whole[name].isel(key))


def test_a_selection_of_nothing_is_empty(pieces: tuple[xr.Dataset, xr.Dataset]) -> None:
    opened, whole = pieces
    key = {"feature_probability": [0, 0], "hidden": slice(3, None)}
    xr.testing.assert_identical(opened["W"].isel(key).load(), whole["W"].isel(key))


def test_blocks_are_read_in_dask_chunks(pieces: tuple[xr.Dataset, xr.Dataset]) -> None:
    opened, whole = pieces
    chunked = opened.chunk(opened["W"].encoding["preferred_chunks"])
    assert chunked["W"].chunksizes["feature_probability"] == (2, 1)
    assert chunked["W"].chunksizes["learning_rate"] == (2,)
    xr.testing.assert_allclose(chunked.mean("seed").compute(), whole.mean("seed"))


def test_seeds_of_some_cells_alone_are_left_out(grid: toysup.Experiment, tmp_path: Path) -> None:
    trained = toysup.train(grid, seeds=2)
    toysup.save_runs(trained, tmp_path)
    for path in (tmp_path / "small/small").glob("cells2-seeds1to1*"):
        path.unlink()
    opened = toysup.open_runs(tmp_path)["small/small"].to_dataset()
    assert opened["seed"].values.tolist() == [0]
    xr.testing.assert_equal(opened["W"], trained["small/small"]["W"].sel(seed=[0]))
    for path in (tmp_path / "small/small").glob("cells2*"):
        path.unlink()
    with (
        pytest.warns(UserWarning, match="no seed is trained in every cell yet; left out"),
        pytest.raises(toysup.ToysupError, match="no seed is trained"),
    ):
        toysup.open_runs(tmp_path)


def test_an_unfinished_condition_that_is_asked_for_is_noted_before_it_is_refused(
    grid: toysup.Experiment, small: Small, run_analyze: Callable[..., Result], tmp_path: Path
) -> None:
    toysup.save_runs(toysup.train(small(name="finished"), seeds=1), tmp_path)
    toysup.save_runs(toysup.train(grid, seeds=1), tmp_path)
    for path in (tmp_path / "small/small").glob("cells2*"):
        path.unlink()
    result = run_analyze("info", tmp_path, "--condition", "small")
    assert result.exit_code == 2
    note, error = result.stderr.splitlines()
    assert note.startswith("note: ")
    assert "no seed is trained in every cell yet" in note
    assert error.startswith("Error: no condition 'small'")


def test_missing_blocks_are_trained_again_and_no_others(grid: toysup.Experiment, tmp_path: Path) -> None:
    toysup.save_runs(toysup.train(grid, seeds=2), tmp_path)
    (condition,) = grid.conditions
    assert Store(tmp_path, "small", condition, "fused").missing(range(2)) == []
    (gone,) = (tmp_path / "small/small").glob("cells1-seeds0to0*")
    gone.unlink()
    assert Store(tmp_path, "small", condition, "fused").missing(range(3)) == [
        Block(1, range(0, 1)), *(Block(part, range(2, 3)) for part in range(3))
    ]  # fmt: skip


def another(path: Path) -> None:
    """Its neighbour's content."""
    path.write_bytes(next(path.parent.glob("cells2-*")).read_bytes())


def flip(path: Path) -> None:
    """One bit of the weights."""
    with xr.open_dataset(path) as dataset:
        weights = dataset["W"].isel(feature_probability=0, learning_rate=0, seed=0, step=-1).values.tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(weights) + 1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, r"cells1-\S+: no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), r"cells1-\S+: is damaged or cannot be read"),
        (flip, r"cells1-\S+: is damaged or cannot be read"),
        (lambda path: path.write_bytes(b""), r"cells1-\S+: is damaged or cannot be read"),
        (another, r"cells1-\S+: its content does not match its name"),
    ],
    ids=["gone", "truncated", "flipped", "empty", "another"],
)  # fmt: skip
def test_a_damaged_block_is_named_when_it_is_read(
    grid: toysup.Experiment, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    toysup.save_runs(toysup.train(grid, seeds=1), tmp_path)
    opened = toysup.open_runs(tmp_path)["small/small"].to_dataset()
    (block,) = (tmp_path / "small/small").glob("cells1-*")
    damage(block)
    opened["W"].isel(feature_probability=[0, 2]).load()
    with pytest.raises(toysup.ToysupError, match=words):
        opened["W"].load()


def test_a_block_of_another_specification_is_refused(streak: toysup.Experiment, small: Small, tmp_path: Path) -> None:
    toysup.save_runs(toysup.train(streak, seeds=6), tmp_path)
    other = small(training__learning_rate=0.5)
    with pytest.raises(
        toysup.UsageError, match=r"small: holds runs .* \(training\.learning_rate: 0\.001 there, 0\.5 here\)"
    ):
        toysup.save_runs(toysup.train(other, seeds=6), tmp_path)
    toysup.save_runs(toysup.train(other, seeds=6), tmp_path / "other")
    for path in (tmp_path / "other/small/small").iterdir():
        path.rename(tmp_path / "small/small" / path.name)
    with pytest.raises(toysup.ToysupError, match="a block of another specification than"):
        toysup.open_runs(tmp_path)


def test_overwriting_keeps_what_is_there_until_all_is_trained(
    streak: toysup.Experiment, small: Small, tmp_path: Path
) -> None:
    toysup.save_runs(toysup.train(streak, seeds=6), tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "small/small").iterdir()}
    (condition,) = small(training__learning_rate=0.5).conditions

    def store() -> Store:
        return Store(tmp_path, "small", condition, "fused", overwrite=True)

    first = store()
    blocks = first.missing(range(8))
    assert [list(block.seeds) for block in blocks] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    first.begin(blocks)
    job = first.job(blocks[0])
    trained = toysup.train(small(training__learning_rate=0.5), seeds=4)["small/small"].to_dataset()
    job.keep(trained)
    # Killed here, the same command goes on.
    aside = {path.name: path.read_bytes() for path in (tmp_path / "small/.small.replaced/small").iterdir()}
    assert aside == before
    # A smaller one without it keeps what is not trained again.
    smaller = Store(tmp_path, "small", condition, "fused")
    assert smaller.missing(range(4)) == []
    smaller.finish()
    assert {path.name for path in first.aside.rglob("*.nc")} == set(before)
    second = store()
    assert second.missing(range(8)) == blocks[1:]
    second.begin(blocks[1:])
    assert names(tmp_path / "small/small") == ["cells0-seeds0to3"]
    second.finish()
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["small"]
    # From then on it starts anew.
    assert store().missing(range(8)) == blocks


@pytest.mark.parametrize("n_contexts", [1, 100])
def test_a_block_is_bounded_with_its_tables(small: Small, n_contexts: int) -> None:
    contexts = [f"c{number}" for number in range(n_contexts)] if n_contexts > 1 else ["all"]
    (condition,) = small(regime__contexts=contexts).conditions
    instances_of(condition, range(2))
    tracemalloc.start()
    instances = instances_of(condition, range(100))
    held = (instances, tables_of(instances))
    each = tracemalloc.get_traced_memory()[0] / len(held[0])
    tracemalloc.stop()
    assert each * BlockPlan.of(condition, "fused").seeds_per_block < 1.5 * 2**26


def test_what_was_set_aside_goes_once_all_of_it_is_trained_again(
    streak: toysup.Experiment, small: Small, tmp_path: Path
) -> None:
    toysup.save_runs(toysup.train(streak, seeds=6), tmp_path)
    changed = small(training__learning_rate=0.5)
    killed = Store(tmp_path, "small", changed.conditions[0], "fused", overwrite=True)
    killed.begin(blocks := killed.missing(range(6)))
    for seeds, kept in ((blocks[0].seeds, True), (blocks[1].seeds, False)):
        trained = toysup.train(changed, seeds=list(seeds))["small/small"].to_dataset()
        killed.job(Block(0, seeds)).keep(trained)
        Store(tmp_path, "small", changed.conditions[0], "fused").finish()
        assert killed.aside.exists() == kept


def test_a_block_that_is_saved_elsewhere_is_a_whole_of_its_own(grid: toysup.Experiment, tmp_path: Path) -> None:
    train_runs(grid, tmp_path / "all", seeds=2)
    (block, *_) = sorted((tmp_path / "all").rglob("cells1-*.nc"))
    own = next(iter(toysup.open_runs(block).leaves)).to_dataset().load()
    toysup.save_runs(toysup.open_runs(block), tmp_path / "one")
    saved = next(iter(toysup.open_runs(tmp_path / "one").leaves)).to_dataset()
    xr.testing.assert_equal(saved, own)
    with pytest.raises(toysup.UsageError, match="holds runs of another specification"):
        train_runs(grid, tmp_path / "one", seeds=2)


def test_a_folder_of_blocks_is_read_from_within(
    grid: toysup.Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_runs(grid, tmp_path, seeds=2)
    monkeypatch.chdir(tmp_path / "small" / "small")
    (here,) = toysup.open_runs(".").leaves
    (there,) = toysup.open_runs(tmp_path).leaves
    xr.testing.assert_equal(here.to_dataset(), there.to_dataset())
