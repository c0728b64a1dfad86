"""Dynamics: what enters, merges, stands still and jumps, against trajectories that were made to do so."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import toysup
from toysup import analysis
from toysup.analysis import figures
from toysup.analysis.figures.style import looks
from toysup.analysis.report.selection import select
from toysup.analysis.report.tidy_rows import rendered
from toysup.analysis.report.topics import dynamics as topic
from toysup.errors import UsageError

Command = Callable[..., Result]
Rows = Callable[..., list[dict[str, str]]]
Small = Callable[..., toysup.Experiment]
STEPS = [0, 10, 20, 30, 40]
NUMBERS = ["mean", "ci_low", "ci_high", "n_seeds", "n_excluded"]


def weights(columns: object, steps: object = STEPS) -> xr.DataArray:
    """W of one seed from (step, feature, hidden)."""
    array = np.asarray(columns, dtype=float).swapaxes(-1, -2)
    return xr.DataArray(array[None], dims=("seed", "step", "hidden", "feature"), coords={"step": list(steps)})


def with_norms(squares: object) -> xr.DataArray:
    """Orthogonal features with these ‖W_i‖², (step, feature)."""
    table = np.asarray(squares, dtype=float)
    return weights(np.sqrt(table)[..., None] * np.eye(table.shape[1]))


def at_angles(degrees: object) -> xr.DataArray:
    """Unit features in two dimensions, (step, feature)."""
    angles = np.deg2rad(np.asarray(degrees, dtype=float))
    return weights(np.stack([np.cos(angles), np.sin(angles)], axis=-1))


def training(series: object) -> xr.DataArray:
    """Series of one seed or more, (seed, step)."""
    table = np.atleast_2d(np.asarray(series, dtype=float))
    return xr.DataArray(table, dims=("seed", "step"), coords={"step": 10 * np.arange(table.shape[1])})


def test_entries_of_features_that_stay_come_leave_and_return() -> None:
    squares = np.array(
        [
            [0.7, 0.7, 0.7, 0.7, 0.7],  # there from initialisation on
            [0.1, 0.1, 0.6, 0.9, 1.0],  # enters at 20
            [0.7, 0.2, 0.2, 0.8, 0.8],  # leaves at 10, returns at 30
            [0.7, 0.7, 0.2, 0.1, 0.0],  # leaves at 20
            [0.1, 0.6, 0.1, 0.6, 0.1],  # comes and goes twice
            [0.1, 0.1, 0.1, 0.1, 0.5],  # enters at the last step, on the threshold
        ]
    ).T
    # A feature of ‖W_i‖² = 0.5 has a norm of √0.5, whose square is not 0.5 to the bit.
    found = analysis.feature_onset(with_norms(squares), threshold=0.5 - 1e-12).isel(seed=0)
    np.testing.assert_array_equal(found.entry_step, [0, 20, 30, np.nan, np.nan, 40])
    np.testing.assert_array_equal(found.entries, [0, 1, 1, 0, 2, 1])
    np.testing.assert_array_equal(found.exits, [0, 0, 1, 1, 2, 0])


def test_pairs_merge_with_the_sign_that_they_keep() -> None:
    degrees = [
        [0, 90, 60, 0],
        [0, 170, 5, 5],  # 1 and 2 merge, 1 and 3 too, 1 and 4 are parallel throughout
        [0, 175, 60, 0],
        [0, 180, 10, 175],  # 3 is back; 4 has turned round
        [0, 180, 5, 180],
    ]
    W = at_angles(degrees)
    merged = analysis.merge_step(analysis.shared_directions(W)).isel(seed=0)
    assert (merged.values[0, 1:] == [10, 30, 30]).all()
    assert (np.isnan(np.diag(merged)) & np.isnan(merged.values.T[range(4), range(4)])).all()
    np.testing.assert_array_equal(merged, merged.T)
    # Six pairs of four features: 1–4; all; 1–2, 1–4, 2–4; all; all.
    assert analysis.shared_direction_count(analysis.shared_directions(W)).values.tolist() == [[1, 6, 3, 6, 6]]


@settings(max_examples=30)
@given(arrays(bool, (6, 3)), st.integers(-5, 1000), st.permutations(range(3)))
def test_entries_follow_the_labels_of_steps_and_features(table: np.ndarray, shift: int, order: list[int]) -> None:
    steps = np.arange(6) * 7
    W = with_norms(np.zeros((5, 3))).isel(step=[0] * 6).assign_coords(step=steps).copy(deep=True)
    W[:] = (np.eye(3) * table[:, None, :])[None]
    found = analysis.feature_onset(W)
    shifted = analysis.feature_onset(W.assign_coords(step=steps + shift))
    np.testing.assert_array_equal(shifted.entry_step, found.entry_step + shift)
    xr.testing.assert_equal(analysis.feature_onset(W.isel(feature=order)), found.isel(feature=order))
    # What is represented at the end entered once more than it left, unless it was there from the start.
    at_start, at_end = table[0], table[-1]
    np.testing.assert_array_equal((found.entries - found.exits)[0], at_end.astype(int) - at_start.astype(int))
    np.testing.assert_array_equal(found.entry_step[0].notnull(), at_end)


def staircase(n: int, *, stairs: int = 4, height: float = 0.25) -> np.ndarray:
    return np.arange(n) * stairs // n * height


@pytest.mark.parametrize("n", [13, 20, 200])
def test_jumps_are_found_where_a_staircase_has_them(n: int) -> None:
    expected = np.diff(staircase(n), prepend=0)
    np.testing.assert_allclose(analysis.level_jumps(training(staircase(n)))[0], expected, atol=1e-9)
    rng = np.random.default_rng(0)
    found = analysis.level_jumps(training(staircase(n) + 0.01 * rng.normal(size=(100, n))))
    exact = ((found != 0) == (expected != 0)).all("step")
    assert exact.mean() >= 0.95
    assert found.where(found != 0).std() < 0.03


@pytest.mark.parametrize("n", [13, 20, 200])
def test_no_jumps_in_what_is_constant_smooth_or_noise(n: int) -> None:
    t, rng = np.linspace(0, 1, n), np.random.default_rng(1)
    assert not analysis.level_jumps(training(np.full(n, 0.5))).any()
    assert not analysis.level_jumps(training(t)).any()
    decays = np.stack([np.exp(-t / tau) for tau in np.geomspace(0.01, 3, 40)])
    assert not analysis.level_jumps(training(decays)).any()
    assert not analysis.level_jumps(training(1 - decays)).any()
    assert (analysis.level_jumps(training(decays + 0.01 * rng.normal(size=decays.shape))) != 0).mean() < 0.001
    decays = np.repeat(decays, 10, axis=0)
    noisy = analysis.level_jumps(training(decays + 0.03 * rng.normal(size=decays.shape))) != 0
    assert noisy.any("step").mean() < 0.01
    # A level of three snapshots of noise is sometimes another: one in forty of the shortest series.
    for sigma, most in ((0.05, 0.0), (0.2, 0.05)):
        noise = analysis.level_jumps(training(sigma * rng.normal(size=(200, n))))
        assert (noise != 0).any("step").mean() <= most


def test_a_jump_may_take_a_while_and_has_its_size() -> None:
    t = np.linspace(0, 1, 201)
    found = analysis.level_jumps(training(0.5 / (1 + np.exp(-(t - 0.5) / 0.02))))[0]
    (at,) = np.flatnonzero(found)
    assert 100 < at < 120
    assert found[at] == pytest.approx(0.5, abs=0.02)
    assert analysis.level_jumps(training(0.5 / (1 + np.exp(-(t - 0.5) / 0.02))), size=0.6).sum() == 0
    # Half of the training is no sudden change, nor is what happens before a first level has lasted.
    assert not analysis.level_jumps(training(0.5 / (1 + np.exp(-(t - 0.5) / 0.1)))).any()
    assert not analysis.level_jumps(training(np.where(t < 0.02, 0.0, 0.5))).any()


@pytest.mark.parametrize("n", [13, 20, 200])
def test_plateaus_are_where_the_loss_stands_still(n: int) -> None:
    t = np.linspace(0, 1, n)
    # Falls by a decade in the first half, then stands still.
    logs = np.where(t < 0.5, -2 * t, -1.0)
    loss = 10 ** (logs + 0.004 * np.random.default_rng(0).normal(size=(20, n)))
    loss[:, 0] = np.nan
    found = analysis.plateaus(training(loss))
    assert set(np.unique(found)) == {0.0, 1.0}
    assert found[:, t < 0.4].mean() < 0.02
    assert found[:, t > 0.6].mean() > 0.98
    # In shares of the total fall: what falls steadily falls by a tenth of it per tenth of the training.
    for decades in (0.08, 2):
        falling = training(10 ** (-decades * t))
        assert not analysis.plateaus(falling, fall=0.09).any()
        assert analysis.plateaus(falling, fall=0.11).all()


def test_plateaus_of_constant_and_vanished_losses() -> None:
    for constant in (0.3, 0.0):
        assert analysis.plateaus(training(np.full(13, constant)))[0].values.tolist() == [1.0] * 13
    # Below 1e-12 of the largest a loss is rounding, and stands still whatever it does.
    vanished = np.concatenate([np.geomspace(1, 1e-10, 10), 1e-15 * np.arange(1, 11)])
    assert analysis.plateaus(training(vanished))[0, -8:].all()
    # A plateau in between, seen by its start and end.
    between = np.concatenate([np.linspace(0, -1, 30), np.full(40, -1), np.linspace(-1, -2, 30)])
    found = np.flatnonzero(analysis.plateaus(training(10**between))[0])
    assert abs(found[0] - 30) <= 3
    assert abs(found[-1] - 70) <= 3
    assert (np.diff(found) == 1).all()


@pytest.mark.parametrize("noise", [0.0, 0.003])
@pytest.mark.parametrize("height", [1.0, 0.05])
def test_a_sudden_fall_parts_plateaus(height: float, noise: float) -> None:
    logs = -staircase(45, stairs=3, height=height) + noise * np.random.default_rng(2).normal(size=(20, 45))
    expected = np.ones(45)
    expected[[15, 30]] = 0
    assert (analysis.plateaus(training(10**logs)) == expected).all()


def test_noise_parts_no_plateau() -> None:
    # The noise of a dozen losses is estimated from as many differences, so that some of it looks like a change.
    for n, least in ((13, 0.93), (45, 0.97), (200, 0.99)):
        noise = 0.005 * np.random.default_rng(3).normal(size=(400, n))
        found = [analysis.plateaus(training(10 ** (scale * noise))) for scale in (1, 10)]
        assert all(plateau.all("step").mean() > least for plateau in found)
        # A loss that ranges over less than a hundredth stands still whatever it does.
        assert analysis.plateaus(training(1 + 1e-3 * np.linspace(0, 1, n))).all()


@pytest.mark.parametrize("n", [13, 100, 200])
def test_a_loss_that_falls_by_a_sixth_throughout_is_on_no_plateau(n: int) -> None:
    t, rng = np.linspace(0, 1, n), np.random.default_rng(4)
    steady = np.log10(5 / 6) * t + 0.001 * rng.normal(size=(100, n))
    assert analysis.plateaus(training(10**steady)).mean() < 0.01


@pytest.mark.parametrize(("decades", "noise"), [(0.08, 0.0003), (1, 0.005), (3, 0.01)])
@pytest.mark.parametrize("n", [45, 100, 200])
def test_a_plateau_of_a_tenth_is_found_whatever_the_loss_falls_by(n: int, decades: float, noise: float) -> None:
    t, rng = np.linspace(0, 1, n), np.random.default_rng(5)
    stands = np.interp(t, [0, 0.4, 0.5, 1], [0, 0.4, 0.4, 0.9]) / 0.9
    found = analysis.plateaus(training(10 ** (-decades * stands + noise * rng.normal(size=(100, n)))))
    assert found[:, (t > 0.42) & (t < 0.48)].mean() > 0.95
    assert found[:, (t < 0.33) | (t > 0.57)].mean() < 0.01


def test_what_is_not_finite_is_left_out() -> None:
    steps = staircase(13)
    broken = training([steps, np.where(np.arange(13) == 9, np.inf, steps)])
    found = analysis.level_jumps(broken)
    assert found.isnull().all("step").values.tolist() == [False, True]
    assert (found[0] != 0).sum() == 3
    loss = training(np.full((2, 13), 0.1))
    loss[1, 5] = np.nan
    assert analysis.plateaus(loss).isnull().all("step").values.tolist() == [False, True]
    W = xr.concat([with_norms(np.ones((5, 2)))] * 2, "seed").copy(deep=True)
    W[1, 2, 0, 0] = np.nan
    for array in analysis.feature_onset(W).values():
        assert array.isnull().all("feature").values.tolist() == [False, True]
    sharing = analysis.shared_directions(W)
    assert sharing.isnull().any(["feature", "other_feature"]).values.tolist() == [
        [False] * 5,
        [False] * 2 + [True] + [False] * 2,
    ]
    assert analysis.merge_step(sharing)[1].isnull().all()


def test_what_cannot_be_cut_in_two_does_not_tell_of_change_points() -> None:
    for n in (1, 2, 5):
        assert analysis.level_jumps(training(staircase(n, stairs=2, height=1))).isnull().all()
        assert analysis.plateaus(training([np.nan, *[0.1] * n])).isnull().all()
    assert analysis.plateaus(training([np.nan])).isnull().all()
    assert analysis.level_jumps(training(staircase(6, stairs=2, height=1))).values.tolist() == [[0, 0, 0, 1, 0, 0]]
    assert analysis.plateaus(training([np.nan, *[0.1] * 6])).values.tolist() == [[0, *[1] * 6]]


def test_steps_are_needed() -> None:
    for function in (analysis.feature_onset, analysis.level_jumps, analysis.plateaus, analysis.merge_step):
        with pytest.raises(UsageError, match="step"):
            function(xr.DataArray(np.ones((2, 2)), dims=("hidden", "feature")))
    with pytest.raises(UsageError, match="needs the coordinate step"):
        analysis.level_jumps(xr.DataArray(np.ones(5), dims="step"))


def test_any_dims_lead(swept: xr.DataTree) -> None:
    dataset = swept["tms-intro/tms-intro"].to_dataset()
    W, loss = dataset["W"], dataset["train_loss"]
    one = {"feature_probability": 1, "seed": 2}
    xr.testing.assert_equal(analysis.feature_onset(W).isel(one), analysis.feature_onset(W.isel(one)))
    for values in (analysis.feature_dimensionality(W), loss):
        assert analysis.level_jumps(values).dims == values.dims
    assert analysis.plateaus(loss).dims == loss.dims
    assert analysis.shared_direction_count(analysis.shared_directions(W)).dims == loss.dims


def table_of(tree: xr.DataTree, by: str) -> list[dict[str, str]]:
    """The rows that the command prints, without its figures."""
    frame = topic.rows(select(tree), by=by)
    return list(csv.DictReader(io.StringIO("".join(rendered(frame, "csv")))))


def test_rows_by_step(run_analyze: Command, rows_of: Rows, runs: Path, trained: xr.DataTree) -> None:
    table = table_of(trained, "step")
    assert list(table[0]) == ["experiment", "condition", "step", "statistic", *NUMBERS, "epoch"]
    # Of four snapshots nobody can tell plateaus and jumps.
    assert len(table) == 4 * 5 * 4  # conditions × statistics × steps
    (row,) = [r for r in table if (r["condition"], r["statistic"], r["step"]) == ("fixed", "represented", "20")]
    W = trained["conditional-importance/fixed"].W.sel(step=20)
    assert float(row["mean"]) == pytest.approx(float(analysis.represented_count(W).mean()))
    assert float(row["epoch"]) == 5
    assert {r["n_seeds"] for r in table if (r["statistic"], r["step"]) == ("train_loss", "0")} == {"0"}
    arguments = ["dynamics", runs, "--condition", "fixed", "--epoch", 5]
    result = run_analyze(*arguments)
    assert result.stderr.splitlines()[0] == "note: fixed: 3 snapshots are too few for plateau and jumps"
    # What comes later is not looked at.
    assert {row["step"] for row in rows_of(*arguments)} == {"0", "10", "20"}
    names = {path.name for path in (runs / "figures" / "conditional-importance").iterdir()}
    assert names == {"dynamics-over-training.pdf", "dynamics-features.pdf"}


def test_rows_by_feature_count_seeds(trained: xr.DataTree) -> None:
    table = [row for row in table_of(trained, "feature") if row["condition"] == "fixed"]
    W = trained["conditional-importance/fixed"].W
    at_end = analysis.represented(W).isel(step=-1)
    found = analysis.feature_onset(W)
    for row in table:
        feature = int(row["feature"]) - 1
        assert row["n_excluded"] == "0"
        if row["statistic"] == "entry_step":
            assert int(row["n_seeds"]) == at_end.sum("seed")[feature]
            assert row["mean"] == "" or float(row["mean"]) == pytest.approx(
                float(found.entry_step.mean("seed")[feature])
            )
        if row["statistic"] == "represented":
            assert float(row["mean"]) == pytest.approx(float(at_end.mean("seed")[feature]))
    statistics = {row["statistic"] for row in table}
    assert statistics == {"represented", "entry_step", "entries", "exits", "merge_step"}


FALLS = np.r_[np.nan, np.geomspace(1, 0.1, 6), [0.1] * 6]


def scripted(folder: Path, loss: np.ndarray = FALLS) -> Path:
    """Runs of `fixed` whose training is known: 13 snapshots, seed 2 not finite."""
    changes = {"training.steps": 120, "training.dataset_size": 1000, "record.steps": list(range(0, 121, 10))}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    tree = toysup.train(experiment, seeds=3, conditions=["fixed"])
    dataset = tree["conditional-importance/fixed"].to_dataset().load()
    square = np.zeros((13, 10, 20))
    # Features 1 … 10 are orthogonal throughout; 11 joins 1 as its antipode at step 50, and leaves at 100.
    square[:, range(10), range(10)] = 1
    square[5:10, 0, 10] = -1
    dataset["W"].transpose("seed", "step", "hidden", "feature").values[:] = square
    dataset["train_loss"].transpose("seed", "step").values[:] = loss
    dataset["W"].loc[{"seed": 2, "step": 70}] = np.nan
    toysup.save_runs(xr.DataTree.from_dict({"/conditional-importance/fixed": dataset}), folder)
    return folder


def test_events_are_those_that_happened(run_analyze: Command, rows_of: Rows, tmp_path: Path) -> None:
    folder = scripted(tmp_path / "runs")
    result = run_analyze("dynamics", folder, "--by", "event")
    assert result.stderr.splitlines()[0] == (
        "note: fixed: 1 of 3 trainings are not finite; they have no events, and are in no mean but those of steps "
        "before that"
    )
    table = rows_of("dynamics", folder, "--by", "event")
    columns = (
        "experiment condition step seed event feature other_feature statistic mean ci_low ci_high n_seeds n_excluded"
    )
    assert list(table[0]) == columns.split()
    keys = ("step", "seed", "event", "feature", "other_feature", "statistic")
    events = {tuple(row[key] for key in keys): float(row["mean"]) for row in table}
    of_one = {
        ("50", "enter", "11", "", "squared_norm"): 1,
        ("50", "merge", "1", "11", "sharing"): -1,
        ("50", "jump", "1", "", "feature_dimensionality"): -0.5,
        ("50", "jump", "11", "", "feature_dimensionality"): 0.5,
        ("100", "leave", "11", "", "squared_norm"): 0,
        ("100", "part", "1", "11", "sharing"): -1,
        ("100", "jump", "1", "", "feature_dimensionality"): 0.5,
        ("100", "jump", "11", "", "feature_dimensionality"): -0.5,
        ("70", "plateau", "", "", "steps"): 50,
    }
    expected = {(step, seed, *rest): size for seed in "01" for (step, *rest), size in of_one.items()}
    plateaus = {key: size for key, size in events.items() if key[2] == "plateau"}
    # The loss of the last seed is finite, unlike its weights.
    assert [key[1] for key in plateaus] == ["0", "1"]
    assert all(abs(int(key[0]) - 70) <= 20 and size == 120 - int(key[0]) for key, size in plateaus.items())
    del expected["70", "0", "plateau", "", "", "steps"], expected["70", "1", "plateau", "", "", "steps"]
    assert {key: size for key, size in events.items() if key not in plateaus} == pytest.approx(expected, abs=1e-6)


def test_two_plateaus_are_two_events(rows_of: Rows, tmp_path: Path) -> None:
    folder = scripted(tmp_path / "runs", np.r_[np.nan, [1] * 6, [0.1] * 6])
    table = rows_of("dynamics", folder, "--by", "event")
    found = [(r["seed"], r["step"], float(r["mean"])) for r in table if r["event"] == "plateau"]
    assert found == [("0", "10", 50), ("0", "80", 40), ("1", "10", 50), ("1", "80", 40)]
    table = rows_of("dynamics", folder)
    shares = {int(r["step"]): float(r["mean"]) for r in table if r["statistic"] == "plateau"}
    assert shares == {step: float(step not in (0, 70)) for step in range(0, 121, 10)}


def test_one_seed_and_one_snapshot(run_analyze: Command, trained: xr.DataTree, tmp_path: Path) -> None:
    one = trained["conditional-importance/fixed"].to_dataset().isel(seed=[0])
    tree = xr.DataTree.from_dict({"/conditional-importance/fixed": one})
    for by in ("step", "feature", "event"):
        assert {row["ci_low"] for row in table_of(tree, by)} == {""}
    toysup.save_runs(tree, tmp_path)
    assert run_analyze("dynamics", tmp_path).exit_code == 0
    result = run_analyze("dynamics", tmp_path, "--step", 0)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: conditional-importance/fixed: there is no training to follow, since one step was ")


def test_a_condition_of_one_snapshot_is_left_out_with_a_note(trained: xr.DataTree) -> None:
    fixed, other = (trained[f"conditional-importance/{name}"].to_dataset() for name in ("fixed", "conditional"))
    tree = xr.DataTree.from_dict({"/a/fixed": fixed, "/a/conditional": other.isel(step=[-1])})
    report = toysup.analysis.report.dynamics(tree)
    assert set(report.table["condition"]) == {"fixed"}
    assert report.notes[0] == "conditional-importance/conditional is left out: it has one recorded step"


def test_a_step_that_is_the_only_one_recorded_is_no_training(trained: xr.DataTree) -> None:
    one = trained["conditional-importance/fixed"].to_dataset().isel(step=[1])
    tree = xr.DataTree.from_dict({"/a/fixed": one})
    with pytest.raises(toysup.UsageError, match=r"^conditional-importance/fixed: there is no training to follow"):
        toysup.analysis.report.dynamics(tree, step=10)


def test_a_seed_that_is_not_finite_is_counted() -> None:
    changes = {"training.steps": 40, "training.dataset_size": 1000, "record.steps": [10, 15, 20, 30]}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    trained = toysup.train(experiment, seeds=3, conditions=["fixed"])
    dataset = trained["conditional-importance/fixed"].to_dataset().load()
    dataset["W"].loc[{"seed": 1, "step": 20}] = np.nan
    tree = xr.DataTree.from_dict({"/conditional-importance/fixed": dataset})
    assert {row["n_excluded"] for row in table_of(tree, "feature")} == {"1"}
    counts = {(row["statistic"], row["step"]): row["n_excluded"] for row in table_of(tree, "step")}
    assert [counts["represented", step] for step in ("0", "10", "20", "40")] == ["0", "0", "1", "0"]
    assert [counts["jumps", step] for step in ("0", "40")] == ["1", "1"]
    # Of six snapshots there are five losses.
    assert "plateau" not in {statistic for statistic, _ in counts}
    drawn = dict(topic.drawn(select(tree)))
    assert drawn["dynamics-features"].axes[0].get_title() == "fixed (n = 2, 1 excluded)"


def test_sweeps_and_contexts_have_rows_and_figures(run_analyze: Command, swept: xr.DataTree, tmp_path: Path) -> None:
    for by, about in (("step", "statistic"), ("feature", "feature"), ("event", "seed")):
        table = table_of(swept, by)
        assert list(table[0])[:5] == ["experiment", "condition", "feature_probability", "step", about]
        assert {row["feature_probability"] for row in table} == {"0.5", "0.05"}
    changes = {"training.steps": 20, "record.steps": [10]}
    seen = toysup.train(toysup.load_experiment("context-visible", changes=changes), seeds=2, conditions=["flag-1"])
    for by in ("step", "feature", "event"):
        assert {row["context"] for row in table_of(seen, by)} >= {"comedy", "tragedy"}
    toysup.save_runs(seen, tmp_path)
    assert run_analyze("dynamics", tmp_path).exit_code == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"regime__importance": [0] * 6},
        {"regime__context_probability": {"a": 1, "b": 0}, "regime__importance": [[0] * 6, [1] * 6]},
    ],
)
def test_a_control_in_which_nothing_weighs_is_drawn(
    run_analyze: Command, small: Small, tmp_path: Path, changes: dict[str, object]
) -> None:
    toysup.save_runs(toysup.train(small(**changes), seeds=2), tmp_path)
    result = run_analyze("report", tmp_path, "--figure-format", "png")
    assert result.exit_code == 0, result.output


def course(steps: object, *, seeds: int = 3) -> tuple[xr.DataArray, xr.Dataset]:
    """Values and summary of three statistics, with a plateau over the last half of the training."""
    step = np.asarray(steps)
    names = ["train_loss", "represented", "plateau"]
    decay = np.geomspace(1, 0.01, len(step))
    late = step >= step[len(step) // 2]
    table = np.stack([np.broadcast_to(each, (seeds, len(step))) for each in (decay, 10 * decay, late)])
    coords = {"statistic": names, "step": step}
    values = xr.DataArray(table.astype(float), dims=("statistic", "seed", "step"), coords=coords)
    return values, analysis.over_seeds(values)


def test_the_course_of_training_is_drawn_with_its_plateaus() -> None:
    values, summary = course(range(0, 130, 10))
    with figures.style():
        figure = figures.course_of_training({"a": values, "b": values}, {"a": summary, "b": summary}, first=2)
    assert len(figure.axes) == 4
    top = figure.axes[0]
    assert top.get_yscale() == "log"
    (span,) = [patch for patch in top.patches if patch.get_gid() == "plateau"]
    assert (span.get_x(), span.get_width()) == (60, 60)
    (mean,) = [line for line in top.lines if line.get_gid() != "seeds"]
    np.testing.assert_allclose(mean.get_ydata(), summary["mean"].sel(statistic="train_loss"))
    # The third and fourth of the colours that all figures share.
    assert mean.get_color() == looks(4)[2].colour
    assert sum(line.get_gid() == "seeds" for line in top.lines) == 3
    with pytest.raises(UsageError, match="different conditions"):
        figures.course_of_training({"a": values}, {"b": summary})


def test_log_spaced_training_has_a_log_axis_that_shows_both_ends() -> None:
    steps = [0, *np.unique(np.geomspace(1, 10_000, 20).astype(int))]
    values, summary = course(steps)
    with figures.style():
        figure = figures.course_of_training({"a": values}, {"a": summary})
    ax = figure.axes[-1]
    low, high = ax.get_xlim()
    assert ax.get_xscale() == "symlog"
    assert low < 0
    assert high > 10_000
    assert ax.get_xticks()[0] == 0
    assert (
        figures.course_of_training({"a": values}, {"a": summary}, time_scale="linear").axes[0].get_xscale() == "linear"
    )


def test_feature_events_are_drawn_where_they_happen() -> None:
    table = np.array([[0.0, 20, np.nan], [0, 40, np.nan], [10, np.nan, np.nan], [np.nan] * 3])
    entered = xr.DataArray(table, dims=("seed", "feature"), coords={"feature": [2, 1, 3]})
    data = xr.Dataset({"entry_step": entered, "merge_step": entered}).assign_coords(
        step=[0, 10, 20, 30, 40], epoch=("step", [0.0, 1, 2, 3, 4])
    )
    share = entered.isel(seed=slice(3)).notnull().mean("seed")
    # A fourth seed, which diverged, has no part in the shares.
    medians = data.median("seed").assign(represented=share, merged=share, n_seeds=3, n_excluded=1)
    with figures.style():
        figure = figures.feature_events({"a": data}, {"a": medians})
    above = figure.axes[0]
    assert above.get_title() == "a (n = 3, 1 excluded)"
    dots, markers = above.collections
    x, y = np.ma.filled(dots.get_offsets(), np.nan).T
    # In epochs, as all conditions have them, each on the line of its feature.
    np.testing.assert_allclose(np.sort(x[np.isfinite(x)]), [0, 0, 1, 2, 4])
    assert (np.abs(y - np.tile([0, 1, 2], 4)) < 0.4)[np.isfinite(x)].all()
    np.testing.assert_allclose(np.ma.filled(markers.get_offsets(), np.nan)[:2], [[0, 0], [3, 1]])
    assert [label.get_text() for label in above.get_yticklabels()] == ["2", "1", "3"]
    assert [text.get_text() for text in above.texts] == ["100", "67", "0", "%"]
    assert above.get_xlim()[1] > 4
