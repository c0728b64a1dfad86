"""Figures: what is drawn, that it can be read, and that nothing else changes."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

from toysup import analysis
from toysup.analysis import figures
from toysup.errors import UsageError

LONG = "outside-probability-0.25-importance-0.5"
NAMES = ("fixed", "conditional", "anticorrelated", "split-40", LONG, "binary values, a long name", "x")


MEASURED = ("represented", "total_dimensionality", "energy_within", "context_selectivity", "loss")


def gram_of(
    subsets: list[str], *, seeds: int = 2, steps: tuple[int, ...] = (0, 390, 1560), epochs: bool = True
) -> xr.DataArray:
    n, rng = len(subsets), np.random.default_rng(0)
    return xr.DataArray(
        rng.normal(size=(seeds, len(steps), n, n)),
        dims=("seed", "step", "feature", "other_feature"),
        coords={
            "seed": np.arange(3, 3 + seeds),
            "step": list(steps),
            "epoch": ("step", [step / 390 if epochs else np.nan for step in steps]),
            "feature": np.arange(1, n + 1),
            "other_feature": np.arange(1, n + 1),
            "subset": ("feature", subsets),
            "other_subset": ("other_feature", subsets),
        },
    )


def halves(n: int) -> list[str]:
    return ["comedy"] * (n // 2) + ["tragedy"] * (n // 2)


def summary(values: xr.DataArray, *, interval: bool = True) -> xr.Dataset:
    mean = values.mean("seed")
    half = 0.1 * abs(mean) if interval else mean * np.nan
    count = xr.full_like(mean, values.sizes["seed"], dtype=int)
    return xr.Dataset(
        {"mean": mean, "ci_low": mean - half, "ci_high": mean + half, "n_seeds": count, "n_excluded": 0 * count},
        attrs={"confidence_level": 0.95},
    )


def summaries(values: Mapping[str, xr.DataArray], *, interval: bool = True) -> dict[str, xr.Dataset]:
    return {name: summary(array, interval=interval) for name, array in values.items()}


def dimensionality(n_conditions: int = 2, *, seeds: int = 4, n: int = 6) -> dict[str, xr.DataArray]:
    rng = np.random.default_rng(1)
    coords = {
        "feature": np.arange(1, n + 1),
        "subset": ("feature", halves(n)),
        "step": [0, 10, 100],
        "epoch": ("step", [0.0, 1.0, 2.0]),
    }
    shape = (seeds, 3, n)
    return {
        name: xr.DataArray(rng.random(shape), dims=("seed", "step", "feature"), coords=coords)
        for name in NAMES[:n_conditions]
    }


def last(values: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    return {name: array.isel(step=-1) for name, array in values.items()}


def quadrants(
    n_conditions: int = 2, *, seeds: int = 4, subsets: tuple[str, ...] = ("comedy", "tragedy")
) -> dict[str, xr.DataArray]:
    rng = np.random.default_rng(2)
    k = len(subsets)
    coords = {"subset": list(subsets), "other_subset": list(subsets)}
    return {
        name: xr.DataArray(10 * rng.random((seeds, k, k)), dims=("seed", "subset", "other_subset"), coords=coords)
        for name in NAMES[:n_conditions]
    }


def losses(n_conditions: int = 2, *, seeds: int = 4, decades: float = 4) -> dict[str, xr.DataArray]:
    rng = np.random.default_rng(3)
    scales = np.geomspace(1e-2, 10 ** (-2 - decades), n_conditions)
    return {
        name: xr.DataArray(scale * (1 + 0.1 * rng.random(seeds)), dims="seed")
        for name, scale in zip(NAMES, scales, strict=False)
    }


REFERENCES = ("zero", "constant", "best_features", "linear", "antipodal")


def references(n_conditions: int = 2) -> dict[str, xr.Dataset]:
    """The first has no antipodal pairs, the second loses nothing with them."""
    labels = {"reference": list(REFERENCES)}
    found = {}
    for at, name in enumerate(NAMES[:n_conditions]):
        loss = [0.2, 0.18, 0.03, 0.03, np.nan if at == 0 else 0.0 if at == 1 else 0.01]
        kind = ["exact", "exact", "exact", "bound", "exact" if at else "undefined"]
        found[name] = xr.Dataset({"loss": ("reference", loss), "kind": ("reference", kind)}, labels)
    return found


def parts(n_conditions: int = 2, *, seeds: int = 4) -> dict[str, xr.DataArray]:
    rng = np.random.default_rng(6)
    middle = np.array([0.004, 0.0003, 0.009, -0.002])[:, None]
    labels = {"part": ["unrepresented", "own", "interference", "bias"]}
    return {
        name: xr.DataArray(middle * (1 + 0.1 * rng.random((4, seeds))), dims=("part", "seed"), coords=labels)
        for name in NAMES[:n_conditions]
    }


def by_active(n_conditions: int = 2, *, seeds: int = 4) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]:
    labels = {"active": ["0", "1", "2", "3", "4", "5+"]}
    often = xr.DataArray([0.04, 0.13, 0.23, 0.24, 0.18, 0.18], dims="active", coords=labels)
    own = losses(n_conditions, seeds=seeds)
    return {name: often * loss for name, loss in own.items()}, dict.fromkeys(own, often)


def curves(n_conditions: int = 2, *, epochs: bool = True) -> dict[str, xr.DataArray]:
    steps = [0, 1, 10, 100, 1000]
    epoch = ("step", [0.0, 1, 2, 3, 4] if epochs else [np.nan] * 5)
    decay = xr.DataArray([np.nan, 1, 0.5, 0.3, 0.2], dims="step", coords={"step": steps, "epoch": epoch})
    return {name: decay * loss for name, loss in losses(n_conditions).items()}


def matrix(names: Iterable[str] = NAMES[:3]) -> xr.Dataset:
    labels = list(names)
    rng = np.random.default_rng(4)
    values = xr.DataArray(
        10 ** rng.uniform(-6, -2, (5, len(labels), len(labels))),
        dims=("seed", "trained_on", "evaluated_on"),
        coords={"trained_on": labels, "evaluated_on": labels},
    )
    return summary(values)


def measures(
    n_conditions: int = 2, *, seeds: int = 4, statistics: tuple[str, ...] = MEASURED
) -> dict[str, xr.DataArray]:
    """Losses that lie decades apart beside counts and fractions."""
    rng = np.random.default_rng(5)
    scales = np.geomspace(1e-2, 1e-5, n_conditions)
    each = {"loss": lambda scale: scale * (1 + rng.random(seeds)), "represented": lambda _: rng.integers(15, 20, seeds)}
    return {
        name: xr.DataArray(
            [each.get(statistic, lambda _: rng.random(seeds))(scale) for statistic in statistics],
            dims=("statistic", "seed"),
            coords={"statistic": list(statistics)},
        ).astype(float)
        for name, scale in zip(NAMES, scales, strict=False)
    }


P = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


def over(values: Mapping[str, xr.DataArray], axis: str, at: tuple[float, ...] = P) -> dict[str, xr.DataArray]:
    """The same along a sweep, each value times 1, 2, … ."""
    factor = xr.DataArray(np.arange(1.0, len(at) + 1), dims=axis, coords={axis: list(at)})
    return {name: array * factor for name, array in values.items()}


def map_of(statistics: tuple[str, ...], *, columns: int = 8, rows: int = 4) -> xr.Dataset:
    one = over(measures(1, statistics=statistics), "outside_probability", tuple(np.linspace(0, 1, columns)))
    two = over(one, "outside_importance", tuple(np.linspace(0, 1, rows)))
    return summary(two["fixed"])


def marks(ax: Axes, gid: str) -> list[PathCollection | LineCollection]:
    kinds = (PathCollection, LineCollection)
    return [mark for mark in ax.collections if mark.get_gid() == gid and isinstance(mark, kinds)]


def texts(figure: Figure) -> list[tuple[str, BboxBase]]:
    """Every text that is seen, with its place on the page; ticks only where they are drawn."""
    found: list[tuple[str, BboxBase]] = []

    def visit(artist: Artist) -> None:
        if not artist.get_visible():
            return
        if isinstance(artist, Axis):
            for tick in artist._update_ticks():  # type: ignore[attr-defined]
                visit(tick.label1)
            children: list[Artist] = [artist.label, artist.offsetText]
        else:
            children = artist.get_children()
        if isinstance(artist, Text) and artist.get_text().strip():
            found.append((artist.get_text(), artist.get_window_extent()))
        for child in children:
            visit(child)

    figure.draw_without_rendering()
    visit(figure)
    return found


def words(figure: Figure) -> str:
    """All that is written in a figure, lines joined."""
    return " ".join(text.replace("\n", " ") for text, _ in texts(figure))


def settings() -> dict[str, object]:
    """matplotlib's settings; its backend is chosen when first asked for, by whoever asks."""
    return {name: value for name, value in mpl.rcParams.items() if name != "backend"}


def assert_readable(figure: Figure) -> str:
    """Every text is inside the page and clear of every other; returns all that is written."""
    seen = texts(figure)
    for text, box in seen:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < figure.bbox.width + 1 and box.y1 < figure.bbox.height + 1
        assert inside, f"{text!r} is clipped"
    for (one, a), (two, b) in combinations(seen, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide < 0.5 or high < 0.5, f"{one!r} lies on {two!r}"
    return " ".join(text.replace("\n", " ") for text, _ in seen)


def all_kinds(n_conditions: int, *, seeds: int) -> dict[str, Callable[[], Figure]]:
    per_step = dimensionality(n_conditions, seeds=seeds)
    at_end, energy, own = last(per_step), quadrants(n_conditions, seeds=seeds), losses(n_conditions, seeds=seeds)
    measured, split = measures(n_conditions, seeds=seeds), parts(n_conditions, seeds=seeds)
    active, often = by_active(n_conditions, seeds=seeds)
    swept, some = over(measured, "feature_probability"), seeds > 1
    return {
        "gram": lambda: figures.gram_grid(gram_of(halves(6), seeds=min(seeds, 4)), title=LONG),
        "features": lambda: figures.feature_dimensionality(at_end, summaries(at_end, interval=some)),
        "training": lambda: figures.dimensionality_over_training(summaries(per_step, interval=some)),
        "quadrants": lambda: figures.quadrant_interference(
            energy, summaries(energy, interval=some), statistic="energy"
        ),
        "curves": lambda: figures.loss_curves(summaries(curves(n_conditions), interval=some)),
        "comparison": lambda: figures.loss_comparison(own, summaries(own, interval=some)),
        "references": lambda: figures.loss_comparison(own, summaries(own, interval=some), references(n_conditions)),
        "parts": lambda: figures.loss_parts(split, summaries(split, interval=some)),
        "active": lambda: figures.loss_by_active(summaries(active, interval=some), often),
        "matrix": lambda: figures.loss_matrix(matrix(NAMES[:n_conditions])),
        "statistics": lambda: figures.by_condition(measured, summaries(measured, interval=some)),
        "sweep": lambda: figures.along_sweep(summaries(swept, interval=some)),
        "map": lambda: figures.sweep_map(map_of(MEASURED if some else ("loss",))),
    }


KINDS = tuple(all_kinds(1, seeds=1))


@pytest.mark.parametrize(("n_conditions", "seeds"), [(1, 1), (7, 100)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_overlaps_or_is_clipped(kind: str, n_conditions: int, seeds: int) -> None:
    with figures.style():
        figure = all_kinds(n_conditions, seeds=seeds)[kind]()
        assert figure.get_figwidth() <= figures.DOUBLE_COLUMN
        assert "n = " in assert_readable(figure)


def test_the_style_ends_with_its_context() -> None:
    before = settings()
    with figures.style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["font.size"] == 7
        colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    assert settings() == before
    own = losses(7)
    drawn = figures.loss_comparison(own, summaries(own)).axes[0]
    faces = [mpl.colors.to_hex(mark.get_facecolor()[0]) for mark in marks(drawn, "means")]
    assert faces == [mpl.colors.to_hex(colour) for colour in colours]


def test_a_condition_looks_the_same_in_every_figure() -> None:
    own, energy, at_end = losses(3), quadrants(3), last(dimensionality(3))
    comparison = marks(figures.loss_comparison(own, summaries(own)).axes[0], "means")
    quadrant = marks(figures.quadrant_interference(energy, summaries(energy), statistic="rms").axes[0], "means")
    panels = figures.feature_dimensionality(at_end, summaries(at_end)).axes
    lines = figures.loss_curves(summaries(curves(3))).axes[0].lines
    for at in range(3):
        colours = [mark.get_facecolor()[0] for mark in (comparison[at], quadrant[at], marks(panels[at], "means")[0])]
        np.testing.assert_array_equal(colours[0], colours[1])
        np.testing.assert_array_equal(colours[0], colours[2])
        np.testing.assert_array_equal(colours[0], mpl.colors.to_rgba(lines[at].get_color()))


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_settings_stay_as_they_were(kind: str) -> None:
    values, energy, own, table, gram = last(dimensionality()), quadrants(), losses(), matrix(), gram_of(halves(4))
    measured = measures()
    given = {
        "gram": [gram],
        "features": [values, summaries(values)],
        "training": [summaries(dimensionality())],
        "quadrants": [energy, summaries(energy)],
        "curves": [summaries(curves())],
        "comparison": [own, summaries(own)],
        "references": [own, summaries(own), references()],
        "parts": [parts(), summaries(parts())],
        "active": [summaries(by_active()[0]), by_active()[1]],
        "matrix": [table],
        "statistics": [measured, summaries(measured)],
        "sweep": [summaries(over(measured, "outside_probability"))],
        "map": [map_of(("loss", "represented"))],
    }[kind]
    copies = [
        {name: one.copy(deep=True) for name, one in item.items()} if isinstance(item, dict) else item.copy(deep=True)
        for item in given
    ]
    draw = {
        "gram": figures.gram_grid,
        "features": figures.feature_dimensionality,
        "training": figures.dimensionality_over_training,
        "quadrants": lambda *data: figures.quadrant_interference(*data, statistic="energy"),
        "curves": figures.loss_curves,
        "comparison": figures.loss_comparison,
        "references": figures.loss_comparison,
        "parts": figures.loss_parts,
        "active": figures.loss_by_active,
        "matrix": figures.loss_matrix,
        "statistics": figures.by_condition,
        "sweep": figures.along_sweep,
        "map": figures.sweep_map,
    }[kind]
    before = settings()
    draw(*given)
    assert settings() == before
    for item, copy in zip(given, copies, strict=True):
        pairs = zip(item.values(), copy.values(), strict=True) if isinstance(item, dict) else [(item, copy)]
        assert all(one.identical(other) for one, other in pairs)


def pictures(figure: Figure) -> list[list[AxesImage]]:
    return [list(ax.images) for ax in figure.axes if ax.images]


def test_gram_grid_has_one_symmetric_scale_and_a_panel_per_seed_and_step() -> None:
    gram = gram_of(halves(6), seeds=2)
    figure = figures.gram_grid(gram)
    images = [image for (image,) in pictures(figure)]
    assert len(images) == 2 * 3
    largest = float(abs(gram).max())
    assert {image.get_clim() for image in images} == {(-largest, largest)}
    np.testing.assert_allclose(np.asarray(images[4].get_array()), gram.isel(seed=1, step=1))
    low, middle, high = (images[0].to_rgba(np.array([value]))[0, :3] for value in (-largest, 0.0, largest))
    np.testing.assert_allclose(middle, 1, atol=0.01)
    assert low[2] > low[0]
    assert high[0] > high[2]
    written = words(figure)
    assert all(word in written for word in ("initialisation", "epoch 1", "epoch 4", "seed 3", "seed 4", "n = 2"))
    assert "dimensionless" in written


def test_gram_grid_draws_the_boundaries_of_subsets() -> None:
    figure = figures.gram_grid(gram_of(["a"] * 2 + ["b"] * 3 + ["c"] * 4))
    lines = [line for line in figure.axes[0].lines if line.get_gid() == "boundary"]
    across = [line.get_ydata()[0] for line in lines if list(line.get_xdata()) == [0, 1]]
    down = [line.get_xdata()[0] for line in lines if list(line.get_ydata()) == [0, 1]]
    assert across == down == [1.5, 4.5]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


def test_gram_grid_puts_scattered_subsets_side_by_side_and_takes_any_order_of_dims() -> None:
    gram = gram_of(["a", "b", "a", "b"])
    drawn = pictures(figures.gram_grid(gram.transpose("other_feature", "step", "feature", "seed")))[0][0].get_array()
    order = [0, 2, 1, 3]
    np.testing.assert_allclose(np.asarray(drawn), gram.values[0, 0][np.ix_(order, order)])


@pytest.mark.parametrize("n", [1, 5, 40, 100])
def test_gram_grid_without_subsets_labels_the_first_and_last_feature(n: int) -> None:
    gram = gram_of(["all"] * n, seeds=1, steps=(0, 300), epochs=False).isel(step=1, seed=0)
    with figures.style():
        figure = figures.gram_grid(gram)
        assert_readable(figure)
    assert "step 300" in words(figure)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == [str(k) for k in sorted({1, n})]
    assert not [line for line in figure.axes[0].lines if line.get_gid() == "boundary"]


def test_gram_grid_takes_a_limit_and_a_matrix_of_zeros() -> None:
    gram = gram_of(halves(4))
    assert pictures(figures.gram_grid(gram, limit=0.5))[0][0].get_clim() == (-0.5, 0.5)
    assert pictures(figures.gram_grid(0 * gram))[0][0].get_clim() == (-1, 1)
    assert pictures(figures.gram_grid(gram.where(gram.seed > 3)))[0][0].get_clim()[1] > 0


def test_feature_dimensionality_draws_every_seed_and_every_mean() -> None:
    values = last(dimensionality(3, seeds=4, n=6))
    figure = figures.feature_dimensionality(values, summaries(values))
    assert len(figure.axes) == 3
    for ax, array in zip(figure.axes, values.values(), strict=True):
        dots = [np.asarray(mark.get_offsets()) for mark in marks(ax, "seeds")]
        assert [len(of_feature) for of_feature in dots] == [4] * 6
        np.testing.assert_allclose(np.concatenate([of_feature[:, 1] for of_feature in dots]), array.values.T.ravel())
        (mean,) = marks(ax, "means")
        # Six features, and a step aside after the third, where the next subset begins.
        np.testing.assert_allclose(np.asarray(mean.get_offsets()), np.c_[[0, 1, 2, 4, 5, 6], array.mean("seed").values])
        assert [line.get_xdata()[0] for line in ax.lines if line.get_gid() == "boundary"] == [3]
        assert ax.get_ylim()[0] < 0 < 1 < ax.get_ylim()[1]


def test_bars_reach_from_the_low_to_the_high_end_of_the_interval() -> None:
    own = losses(2)
    data = summaries(own)
    bars = marks(figures.loss_comparison(own, data).axes[0], "intervals")
    for at, (bar, one) in enumerate(zip(bars, data.values(), strict=True)):
        (path,) = bar.get_paths()
        np.testing.assert_allclose(path.vertices, [[one["ci_low"], at], [one["ci_high"], at]])


def test_without_an_interval_there_is_a_mean_and_no_bar() -> None:
    own = losses(2, seeds=1)
    figure = figures.loss_comparison(own, summaries(own, interval=False))
    ax = figure.axes[0]
    assert all(not bar.get_paths() for bar in marks(ax, "intervals"))
    assert len(marks(ax, "means")) == 2
    assert "interval" not in words(figure)


def test_dimensionality_over_training_has_a_row_per_condition_and_a_column_per_subset() -> None:
    data = summaries(dimensionality(2, n=6))
    panels = [ax for ax in figures.dimensionality_over_training(data).axes if ax.lines]
    assert len(panels) == 2 * 2
    assert [len(ax.lines) for ax in panels] == [3] * 4
    # The first feature of the second condition's second subset is drawn last, on top.
    line = panels[3].lines[-1]
    np.testing.assert_allclose(line.get_ydata(), data["conditional"]["mean"].isel(feature=3))
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 2])
    assert panels[3].get_xlabel() == "epoch"


def test_quadrants_lie_as_in_the_gram_matrix() -> None:
    energy = quadrants(4, seeds=20)
    figure = figures.quadrant_interference(energy, summaries(energy), statistic="energy")
    cells = [(one, two) for one in ("comedy", "tragedy") for two in ("comedy", "tragedy")]
    for ax, (subset, other) in zip(figure.axes, cells, strict=True):
        assert ax.get_title() == f"i in {subset}, j in {other}"
        dots = [np.asarray(mark.get_offsets())[:, 0] for mark in marks(ax, "seeds")]
        for drawn, array in zip(dots, energy.values(), strict=True):
            np.testing.assert_allclose(drawn, array.sel(subset=subset, other_subset=other))
        assert len(marks(ax, "means")) == 4
        assert ax.get_xlim()[0] <= 0
    written = words(figure)
    assert "energy" in written
    assert "n = 20 per condition" in written
    # Mathematics set in other fonts takes longer to embed than all the rest to draw.
    assert "$" not in written
    assert "95% confidence interval" in written


def test_the_null_lies_behind_the_dots() -> None:
    energy = quadrants(3)
    some = [("null_mean", 4.0), ("null_low", 3.0), ("null_high", 6.0)]
    nulls = {name: xr.Dataset({part: 0 * array[0] + value for part, value in some}) for name, array in energy.items()}
    third = list(energy)[2]
    nulls[third] = nulls[third] * np.nan
    figure = figures.quadrant_interference(energy, summaries(energy), nulls, statistic="energy")
    for ax in figure.axes:
        bands, ticks = ([part for part in ax.collections if part.get_gid() == gid] for gid in ("null", "null mean"))
        assert len(bands) == len(ticks) == 2  # none for the third
        for at, (band, tick) in enumerate(zip(bands, ticks, strict=True)):
            corners = band.get_paths()[0].vertices
            assert (corners[:, 0].min(), corners[:, 0].max()) == (3, 6)
            assert corners[:, 1].mean() == pytest.approx(at, abs=0.1)
            np.testing.assert_allclose(tick.get_segments()[0][:, 0], 4)
            assert band.get_zorder() < tick.get_zorder() < marks(ax, "seeds")[0].get_zorder()
    written = words(figure).replace("\n", " ")
    assert "exchangeable features" in written
    assert "Conditions without grey have no exact null" in written
    assert "exchangeable" not in words(figures.quadrant_interference(energy, summaries(energy), statistic="energy"))


def test_quadrants_of_other_subsets_are_left_empty() -> None:
    energy = quadrants(1) | {"uniform": quadrants(1, subsets=("all",))["fixed"]}
    figure = figures.quadrant_interference(energy, summaries(energy), statistic="energy_share")
    assert len(figure.axes) == 9
    assert [len(marks(ax, "seeds")) for ax in figure.axes] == [1, 1, 0, 1, 1, 0, 0, 0, 1]


def test_loss_curves_are_logarithmic_and_skip_the_initial_step() -> None:
    ax = figures.loss_curves(summaries(curves())).axes[0]
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "epoch"
    line = ax.lines[0]
    assert np.isnan(line.get_ydata()[0])
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 2, 3, 4])


def test_the_interval_of_a_loss_that_reaches_below_zero_is_drawn_down_to_the_axis() -> None:
    data = summaries(curves(1))["fixed"]
    low = data["ci_low"].copy()
    low[2] = -0.1
    with figures.style():
        figure = figures.loss_curves({"fixed": data.assign(ci_low=low)})
        assert_readable(figure)
    ax = figure.axes[0]
    assert 0 < ax.get_ylim()[0] > 0.2 * float(data["ci_low"].min())
    (band,) = ax.collections
    lowest = min(float(path.vertices[:, 1].min()) for path in band.get_paths())
    assert lowest == -0.1
    assert len(band.get_paths()) == 1


def test_log_spaced_training_has_a_log_axis_unless_a_linear_one_is_asked_for() -> None:
    D = dimensionality(1)["fixed"].isel(step=[0, 1, 1, 2]).drop_vars("epoch").assign_coords(step=[0, 1, 10, 100])
    along = summaries({"fixed": D, "conditional": D})
    loss = summaries(curves(1, epochs=False))
    with figures.style():
        for draw, data in ((figures.dimensionality_over_training, along), (figures.loss_curves, loss)):
            figure = draw(data)
            assert_readable(figure)
            assert {ax.get_xscale() for ax in figure.axes if ax.lines} == {"symlog"}
            assert draw(data, time_scale="linear").axes[0].get_xscale() == "linear"


def test_training_by_steps_in_one_condition_makes_steps_the_axis_of_all() -> None:
    mixed = {"fixed": curves(1)["fixed"], "stream": curves(1, epochs=False)["fixed"]}
    ax = figures.loss_curves(summaries(mixed)).axes[0]
    assert ax.get_xlabel() == "training step"
    assert ax.get_xscale() == "symlog"
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0, 1, 10, 100, 1000])


@pytest.mark.parametrize(("decades", "scale"), [(4, "log"), (1.2, "log"), (0.3, "linear")])
def test_loss_comparison_chooses_a_scale_on_which_losses_can_be_compared(decades: float, scale: str) -> None:
    own = losses(2, decades=decades)
    with figures.style():
        figure = figures.loss_comparison(own, summaries(own))
        assert_readable(figure)
    ax = figure.axes[0]
    assert ax.get_xscale() == scale
    low, high = ax.get_xlim()
    assert sum(low <= tick <= high for tick in ax.get_xticks()) >= 2


def test_references_are_marked_on_the_line_of_their_condition() -> None:
    own = losses(3)
    figure = figures.loss_comparison(own, summaries(own), references(3))
    (ax,) = figure.axes
    drawn = [tuple(mark.get_offsets()[0]) for mark in marks(ax, "references")]
    expected = [(loss, at) for at, data in enumerate(references(3).values()) for loss in data.loss.values]
    assert drawn == [(loss, at) for loss, at in expected if np.isfinite(loss)]
    assert ax.get_xscale() == "symlog"
    low, high = ax.get_xlim()
    assert low < 0
    assert high > 0.2
    (legend,) = figure.legends
    names = ["zero", "best constant", "best m features", "best linear map", "antipodal pairs"]
    assert [text.get_text() for text in legend.get_texts()] == names
    assert "Numerical upper bound: best linear map." in words(figure)
    # What is nowhere drawn is not in the legend.
    one = figures.loss_comparison(losses(1), summaries(losses(1)), references(1))
    assert [text.get_text() for text in one.legends[0].get_texts()] == names[:4]


def test_parts_of_a_loss_share_their_axis() -> None:
    split = parts(2)
    axes = figures.loss_parts(split, summaries(split)).axes
    assert [ax.get_title() for ax in axes] == [
        "not represented",
        "own entries",
        "interference",
        "bias",
    ]
    assert len({ax.get_xlim() for ax in axes}) == 1
    assert axes[0].get_xlim()[0] < 0
    for ax, part in zip(axes, split["fixed"].part.values, strict=True):
        drawn = [mark.get_offsets()[0][0] for mark in marks(ax, "means")]
        assert drawn == pytest.approx([float(array.sel(part=part).mean()) for array in split.values()])


def test_the_loss_by_active_features_is_beside_their_probability() -> None:
    values, often = by_active(2)
    figure = figures.loss_by_active(summaries(values), often)
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("probability", "loss per sample")
    assert [label.get_text() for label in right.get_xticklabels()] == ["0", "1", "2", "3", "4", "5+"]
    np.testing.assert_allclose(left.lines[0].get_ydata(), often["fixed"])
    drawn = marks(right, "means")[1].get_offsets()[:, 1]
    np.testing.assert_allclose(drawn, values["conditional"].mean("seed"))


def test_a_loss_of_zero_has_a_place() -> None:
    own = losses(2) | {"perfect": losses(1)["fixed"] * 0}
    with figures.style():
        figure = figures.loss_comparison(own, summaries(own))
        assert_readable(figure)
    ax = figure.axes[0]
    assert ax.get_xscale() == "symlog"
    assert ax.get_xlim()[0] <= 0
    assert 0 in ax.get_xticks()
    nothing = {"perfect": own["perfect"]}
    assert figures.loss_comparison(nothing, summaries(nothing)).axes[0].get_xscale() == "linear"


def test_an_interval_below_zero_does_not_stretch_the_axis_of_a_loss() -> None:
    def wide(values: Mapping[str, xr.DataArray]) -> dict[str, xr.Dataset]:
        return {name: data.assign(ci_low=-data["mean"]) for name, data in summaries(values).items()}

    active, often = by_active(2)
    one = measures(2, statistics=("loss",))
    swept = over(one, "outside_importance")
    drawn = [
        figures.loss_by_active(wide(active), often).axes[1].yaxis,
        figures.along_sweep(wide(swept)).axes[0].yaxis,
        figures.by_condition(one, wide(one)).axes[0].xaxis,
        figures.loss_comparison(losses(3), wide(losses(3)), references(3)).axes[0].xaxis,
    ]
    for axis in drawn:
        assert axis.get_scale() == "symlog"
        low, high = axis.get_view_interval()
        assert -axis.get_transform().linthresh < low < 0 < high
        # 0 is the lowest tick, and above it there is another.
        ticks = axis.get_majorticklocs()
        assert ticks.min() == 0
        assert (ticks <= high).sum() >= 2


def test_each_statistic_has_a_panel_with_the_numbers_of_every_condition() -> None:
    values = measures(3, statistics=("represented", "loss"))
    values["conditional"] = values["conditional"].where(values["conditional"].statistic != "loss")
    figure = figures.by_condition(values, summaries(values))
    represented, loss = figure.axes
    assert (represented.get_xlabel(), loss.get_xlabel()) == ("represented features", "loss per sample")
    assert (represented.get_xscale(), loss.get_xscale()) == ("linear", "log")
    for ax, statistic in ((represented, "represented"), (loss, "loss")):
        for dots, array in zip(marks(ax, "seeds"), values.values(), strict=True):
            drawn = np.ma.filled(np.asarray(dots.get_offsets())[:, 0].astype(float), np.nan)
            np.testing.assert_allclose(drawn, array.sel(statistic=statistic))
        (mean,) = np.asarray(marks(ax, "means")[2].get_offsets())
        np.testing.assert_allclose(mean, [values["anticorrelated"].sel(statistic=statistic).mean(), 2])
    np.testing.assert_array_equal(
        marks(represented, "means")[2].get_facecolor(), marks(loss, "means")[2].get_facecolor()
    )
    assert [tick.get_text() for tick in represented.get_yticklabels()] == ["fixed", "conditional", "anticorrelated"]


def test_lines_follow_the_sweep_in_rising_order_on_an_axis_spaced_like_its_values() -> None:
    values = over(measures(2, statistics=("represented", "loss")), "feature_probability")
    data = summaries({name: array.isel(feature_probability=[3, 0, 5, 1, 4, 2]) for name, array in values.items()})
    represented, loss = figures.along_sweep(data).axes
    assert represented.get_xscale() == loss.get_xscale() == loss.get_yscale() == "log"
    assert represented.get_yscale() == "linear"
    assert represented.get_xlabel() == "feature probability $p$"
    for line, array in zip(represented.lines, values.values(), strict=True):
        np.testing.assert_allclose(line.get_xdata(), P)
        np.testing.assert_allclose(line.get_ydata(), array.sel(statistic="represented").mean("seed"))
    (shaded, _) = represented.collections
    mean = values["fixed"].sel(statistic="represented", feature_probability=0.5).mean("seed")
    np.testing.assert_allclose(shaded.get_paths()[0].vertices[:, 1].max(), 1.1 * mean)
    evenly = over(measures(1), "outside_probability", (0.0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0))
    assert figures.along_sweep(summaries(evenly)).axes[0].get_xscale() == "linear"


def test_one_statistic_needs_no_dim_of_its_own() -> None:
    values = {name: array.sel(statistic="loss") for name, array in over(measures(2), "outside_importance").items()}
    (ax,) = figures.along_sweep(summaries(values)).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("outside importance μ", "loss per sample")


def test_a_map_has_a_numbered_cell_for_each_pair_of_values() -> None:
    data = map_of(("represented", "loss"), columns=3, rows=2)
    data["mean"][0, 2, 1] = np.nan
    figure = figures.sweep_map(data)
    ax, image = figure.axes[0], figure.axes[0].images[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("outside probability λ", "outside importance μ")
    drawn = data["mean"].sel(statistic="represented").transpose("outside_importance", "outside_probability")
    np.testing.assert_allclose(np.ma.filled(np.asarray(image.get_array()), np.nan), drawn)
    assert np.ma.getmask(image.get_array()).sum() == 1
    numbers = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    assert len(numbers) == 5
    assert numbers[2, 0] == f"{float(drawn[0, 2]):.1f}"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.5", "1"]
    lightness = [float(np.mean(image.to_rgba(np.array([value]))[0, :3])) for value in image.get_clim()]
    assert lightness[0] < lightness[1]
    crowded = figures.sweep_map(map_of(("represented",), columns=30, rows=30)).axes[0]
    assert not crowded.texts


def test_a_loss_that_is_0_up_to_rounding_does_not_stretch_the_scale() -> None:
    data = map_of(("loss",), columns=3, rows=2)
    data["mean"][0, 0, 0], data["mean"][0, 1, 1] = 7e-15, 3.1e-4
    (ax, _) = figures.sweep_map(data).axes
    assert ax.images[0].get_clim()[0] == 3.1e-4
    numbers = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    assert numbers[0, 0] == "0"
    assert numbers[1, 1] == "3.10e-4"
    own = losses(2) | {"perfect": losses(1)["fixed"] * 1e-12}
    assert figures.loss_comparison(own, summaries(own)).axes[0].get_xscale() == "symlog"
    many = measures(7)
    many["fixed"] = many["fixed"] * [[1], [1], [1], [1], [1e-12]]
    many["conditional"] = many["conditional"] * [[1], [1], [1], [1], [1e-5]]
    with figures.style():
        figure = figures.by_condition(many, summaries(many))
        assert_readable(figure)
    (loss,) = (ax for ax in figure.axes if ax.get_xlabel() == "loss per sample")
    assert 0 in loss.get_xticks()


def test_loss_matrix_writes_values_and_marks_what_cannot_be_compared() -> None:
    table = matrix(("a", "b"))
    for name, value in {"mean": 0.0142, "ci_low": 0.0139, "ci_high": 1.5e-2}.items():
        table[name][:] = value
    table["mean"][1, 0] = 0
    for name in ("mean", "ci_low", "ci_high"):
        table[name][0, 1] = table[name][1, 1] = np.nan
    table["n_seeds"][0, 1] = 0
    ax = figures.loss_matrix(table).axes[0]
    cells = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    assert cells[0.5, 0.5] == "0.0142\n[0.0139, 0.0150]"
    assert cells[1.5, 0.5] == "–"
    assert cells[1.5, 1.5] == "modes", "seeds without a mean"
    assert cells[0.5, 1.5].startswith("0\n")
    assert len(ax.patches) == 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("evaluated on", "trained on")


def test_a_step_that_no_seed_has_a_loss_at_is_not_counted_as_excluded() -> None:
    data = summaries(curves(1))
    data["fixed"]["n_seeds"][0], data["fixed"]["n_excluded"][0] = 0, 4
    written = words(figures.loss_curves(data))
    assert "fixed (n = 4)" in written
    assert "excluded" not in written


def test_many_conditions_are_still_readable() -> None:
    names = [f"feature_probability = 0.{k:02}" for k in range(12)]
    per_step = {name: dimensionality(1)["fixed"] for name in names}
    with figures.style():
        assert_readable(figures.loss_matrix(matrix(names)))
        assert_readable(figures.dimensionality_over_training(summaries(per_step)))


@pytest.mark.parametrize("n_conditions", [1, 6, 12])
def test_a_legend_takes_no_room_from_the_panels(n_conditions: int) -> None:
    names = [f"feature_probability = {p:g}, learning_rate = {rate:g}" for p in P for rate in (0.001, 0.01)]

    def named(values: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
        return {name: next(iter(values.values())) for name in names[:n_conditions]}

    swept = over(named(measures(1)), "outside_probability")
    active, often = map(named, by_active(1))
    with figures.style():
        drawn = [
            figures.loss_curves(summaries(named(curves(1)))),
            figures.loss_by_active(summaries(active), often),
            figures.along_sweep(summaries(swept)),
        ]
        for figure in drawn:
            assert_readable(figure)
            (legend,) = figure.legends
            assert all(ax.get_window_extent().height > 72 for ax in figure.axes)
            box = legend.get_window_extent()
            panels = [ax.get_window_extent() for ax in figure.axes]
            assert all(panel.y1 < box.y0 or panel.x1 < box.x0 for panel in panels)
            # Many names stand beside the panels of a single column; twelve long ones take two lines above two panels.
            assert box.height < 1.6 * max(panel.height for panel in panels)


def test_names_on_several_lines_lie_clear_of_their_neighbours() -> None:
    names = [f"a-long-name-that-goes-on-for-long, feature_probability = {p:g}" for p in P[:3]] + list("abcdefgh")
    own = dict.fromkeys(names, losses(1)["fixed"])
    with figures.style():
        assert_readable(figures.loss_comparison(own, summaries(own)))


def test_counts_that_differ_and_excluded_seeds_are_said() -> None:
    own = losses(2)
    data = summaries(own)
    data["fixed"]["n_seeds"][...] = 3
    data["fixed"]["n_excluded"][...] = 1
    written = words(figures.loss_comparison(own, data))
    assert "n = 3, 1 excluded" in written.replace("(n", "n")
    assert "n = 4" in written


def test_wrong_input_is_named_in_one_line() -> None:
    gram, own, at_end = gram_of(halves(4)), losses(), last(dimensionality())
    lines = summaries(over(measures(2, statistics=("represented", "loss")), "feature_probability"))
    cases: list[tuple[str, Callable[[], Figure]]] = [
        ("lacks the dimension 'other_feature'", lambda: figures.gram_grid(gram.isel(other_feature=0, drop=True))),
        ("dimension 'p', which is not drawn", lambda: figures.gram_grid(gram.expand_dims(p=[0.1, 0.2]))),
        ("empty along 'seed'", lambda: figures.gram_grid(gram.isel(seed=slice(0)))),
        ("9 seeds are too many", lambda: figures.gram_grid(gram_of(halves(2), seeds=9))),
        ("limit is -1", lambda: figures.gram_grid(gram, limit=-1)),
        ("no conditions", lambda: figures.loss_curves({})),
        ("'conditional' is in one only", lambda: figures.loss_comparison(own, summaries(losses(1)))),
        ("summary of 'fixed' lacks the variable 'ci_low'", lambda: figures.loss_curves(
            {"fixed": summary(curves()["fixed"]).drop_vars("ci_low")})),
        ("values of 'fixed' lacks the dimension 'seed'", lambda: figures.feature_dimensionality(
            {"fixed": at_end["fixed"].mean("seed")}, summaries({"fixed": at_end["fixed"]}))),
        ("'conditional' lacks the statistic 'loss'", lambda: figures.along_sweep(
            {"fixed": lines["fixed"], "conditional": lines["conditional"].isel(statistic=slice(1))})),
        ("1 sweep axis is drawn", lambda: figures.along_sweep({"fixed": map_of(("loss",))})),
        ("2 sweep axes are drawn", lambda: figures.sweep_map(lines["fixed"])),
        ("lacks the dimension 'statistic'", lambda: figures.by_condition(own, summaries(own))),
        ("no conditions", lambda: figures.along_sweep({})),
        ("time_scale is 'log2'", lambda: figures.loss_curves(
            summaries(curves()), time_scale="log2")),  # type: ignore[arg-type]
    ]  # fmt: skip
    for message, draw in cases:
        with pytest.raises(UsageError, match=message) as raised:
            draw()
        assert "\n" not in str(raised.value)


def test_every_figure_is_documented_and_listed() -> None:
    for name in figures.__all__:
        assert getattr(figures, name).__doc__


def test_gram_grid_of_conditions_names_them() -> None:
    values = np.random.default_rng(0).normal(size=(2, 1, 4, 4))
    G = xr.DataArray(values, dims=("condition", "step", "feature", "other_feature"))
    figure = figures.gram_grid(G.assign_coords(condition=["fixed", "conditional"], step=[0], seed=7))
    written = assert_readable(figure)
    assert "fixed" in written
    assert "conditional" in written
    assert "n = 1, seed 7" in written


def test_snapshots_within_a_decade_have_marks() -> None:
    steps = [0, 100, 200, 400, 800]
    loss = xr.DataArray([np.nan, 4, 3, 2, 1.0], dims="step", coords={"step": steps}).expand_dims(seed=2)
    with figures.style():
        figure = figures.loss_curves(summaries({"fixed": loss}), time_scale="log")
        assert_readable(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "100", "800"]


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(10, 1, "10"), (1234, 3, "1230"), (0.5, 1, "0.5"), (12, 3, "12.0")]
)
def test_numbers_are_written_without_powers_where_they_are_short(value: float, digits: int, text: str) -> None:
    from toysup.analysis.figures._text import number

    assert number(value, digits) == text


def test_no_public_name_of_figures_is_a_module() -> None:
    public = [name for name in vars(figures) if not name.startswith("_")]
    assert [name for name in public if isinstance(getattr(figures, name), types.ModuleType)] == []


def test_values_that_differ_by_rounding_look_alike() -> None:
    rounding = 1 + 2e-8 * np.random.default_rng(0).normal(size=(2, 3, 4))
    table = xr.DataArray(rounding, {"statistic": "represented"}, ["seed", "p", "decay"])
    for factor in (1, 1e6, -1e-6):
        summary = analysis.over_seeds(factor * table)
        picture = figures.sweep_map(summary).axes[0].images[0]
        assert np.ptp(picture.norm(np.asarray(summary["mean"]))) < 1e-4
        line = figures.along_sweep({"fixed": summary.isel(decay=0)}).axes[0]
        seeds = factor * table.isel(p=0, decay=0)
        dots = figures.by_condition(seeds, analysis.over_seeds(seeds)).axes[0]
        for low, high in (line.get_ylim(), dots.get_xlim()):
            assert high - low > 0.05 * abs(factor)


def test_a_condition_alone_and_several_take_one_form() -> None:
    swept = xr.DataArray(np.arange(24.0).reshape(2, 3, 4), {"statistic": "represented"}, ["seed", "p", "decay"])
    over = analysis.over_seeds(swept)
    assert len(figures.sweep_map({"a": over, "b": over}).axes) == 4
    assert [ax.get_title() for ax in figures.sweep_map({"a": over, "b": over}).axes[:2]] == ["a", "b"]
    assert len(figures.sweep_map(over).axes) == len(figures.sweep_map({"a": over}).axes) == 2
    assert len(figures.along_sweep(over.isel(p=0)).axes) == 1
    seeds = swept.isel(p=0, decay=0)
    assert len(figures.by_condition(seeds, analysis.over_seeds(seeds)).axes) == 1
    for wrong in (
        lambda: figures.sweep_map([over]),  # type: ignore[arg-type]
        lambda: figures.along_sweep({"a": swept.isel(p=0)}),  # type: ignore[dict-item]
        lambda: figures.by_condition({"a": over}, {"a": over}),  # type: ignore[dict-item]
        lambda: figures.dimensionality_over_training(over),
    ):
        with pytest.raises(UsageError, match=r"must be a (dict|Dataset|DataArray)|for each condition is needed"):
            wrong()


def test_one_matrix_is_drawn_into_axes_of_ones_own() -> None:
    mine = Figure()
    left, right = mine.subplots(1, 2)
    G = xr.DataArray(np.eye(4), dims=("feature", "other_feature"))
    assert figures.gram_grid(G, ax=left, title="mine") is mine
    assert figures.gram_grid(G.expand_dims(["seed", "step"]), ax=right, limit=0.5) is mine
    assert (len(mine.axes), left.get_title()) == (2, "mine")
    assert left.images[0].get_clim() == (-1, 1)
    assert right.images[0].get_clim() == (-0.5, 0.5)
    with pytest.raises(UsageError, match="ax takes one matrix, but gram has 3 along 'seed'"):
        figures.gram_grid(G.expand_dims(seed=3), ax=left)


def test_chance_is_dashed_beside_the_pairs_that_share_a_direction() -> None:
    names = ["sharing_pairs", "sharing_pairs_chance"]
    table = xr.DataArray(
        np.ones((2, 3, 4)) * np.array([5.0, 2.9])[:, None, None],
        {"statistic": names, "step": [0, 1, 2, 3]},
        ["statistic", "seed", "step"],
    )
    figure = figures.course_of_training({"a": table}, {"a": analysis.over_seeds(table)})
    (ax,) = figure.axes
    (dashed,) = (line for line in ax.lines if line.get_gid() == "chance")
    assert dashed.get_ydata().tolist() == [2.9] * 4
    assert "Dashed: pairs that as many random directions would share." in " ".join(
        text.get_text().replace("\n", " ") for text in figure.findobj(Text)
    )


@pytest.mark.parametrize("kind", ["training", "features", "quadrants"])
def test_twelve_conditions_fit_on_a_page(kind: str) -> None:
    with figures.style():
        figure = all_kinds(12, seeds=2)[kind]()
    assert figure.get_figheight() <= 9.0
    assert figure.get_figwidth() <= figures.DOUBLE_COLUMN


def test_a_word_breaks_only_where_it_is_too_long() -> None:
    from toysup.analysis.figures._text import wrapped

    assert wrapped("fixed, feature_probability = 0.1", width=26) == "fixed,\nfeature_probability = 0.1"
    assert wrapped("weight-decay of-all", width=13) == "weight-decay\nof-all"
    assert wrapped("a-very-long-identifier", width=13) == "a-very-\nlong-\nidentifier"
