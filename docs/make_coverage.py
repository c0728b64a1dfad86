"""Measure what the intervals and tests over seeds hold, and write the tables of docs/inference.md.

``python docs/make_coverage.py`` trains 1,000 models of each condition, with all steps of the built-in experiments, and
draws the seeds of every repetition from them; it takes about ten minutes on two cores. Trained models stay in
build/coverage.
"""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

import toysup
from toysup import analysis
from toysup.analysis.statistics.labels import range_of, with_range

Array = npt.NDArray[np.float64]
Draw = Callable[[tuple[int, ...]], Array]

PAGE = Path(__file__).parent / "inference.md"
RUNS = PAGE.parents[1] / "build" / "coverage"
# (experiment, condition) and the one value of the sweep, if there is one: trained in full, and recorded at its end.
TRAINED: dict[tuple[str, str], dict[str, object]] = {
    ("conditional-importance", "fixed"): {"record.every_epochs": 12},
    ("conditional-importance", "anticorrelated"): {"record.every_epochs": 12},
    ("tms-intro", "tms-intro"): {"regime.feature_probability": 0.2, "record.log_spaced": 2},
}
SIZES = (3, 5, 10, 20, 50)
ALPHAS = (0.01, 0.05, 0.1)


def laws(rng: np.random.Generator) -> dict[str, tuple[Draw, float]]:
    """Laws that are no model's: how to draw from each, and its mean."""
    shares = [0.2, 0.6, 0.15, 0.05]
    return {
        "normal": (lambda shape: rng.normal(size=shape), 0.0),
        "uniform": (lambda shape: rng.random(shape), 0.5),
        "exponential": (lambda shape: rng.exponential(size=shape), 1.0),
        "lognormal, σ = 1": (lambda shape: rng.lognormal(size=shape), float(np.exp(0.5))),
        "0 or 1, p = 0.5": (lambda shape: rng.binomial(1, 0.5, shape) * 1.0, 0.5),
        "0 or 1, p = 0.1": (lambda shape: rng.binomial(1, 0.1, shape) * 1.0, 0.1),
        "16, 17, 18 or 19": (lambda shape: rng.choice(np.arange(16.0, 20), shape, p=shares), 17.05),
        "0.01, in 1 of 30 seeds 2": (lambda shape: np.where(rng.random(shape) < 1 / 30, 2.0, 0.01), 0.01 + 1.99 / 30),
    }


def of_models(
    seeds: int, conditions: Collection[tuple[str, str]] = tuple(TRAINED), folder: Path = RUNS
) -> dict[str, xr.DataArray]:
    """The built-in statistics of trained models of each condition: one number per seed."""
    found = {}
    for name, condition in conditions:
        experiment = toysup.load_experiment(name, changes=TRAINED[name, condition])
        toysup.train_runs(experiment, folder, seeds=seeds, conditions=(condition,))
        last = toysup.open_runs(folder)[name][condition].to_dataset().isel(step=-1).load()
        found |= {f"{condition}: {statistic}": values for statistic, values in _statistics(last).items()}
    return found


def _statistics(last: xr.Dataset) -> dict[str, xr.DataArray]:
    quadrants, shared = analysis.quadrant_interference(last.W), analysis.shared_directions(last.W)
    first, *others = last.W.subset.values.tolist() if "subset" in last.W.coords else ["all"]
    places = {"within": first, "across": next((other for other in others if other != first), first)}
    values = {
        "represented": analysis.represented_count(last.W),
        "total dimensionality": analysis.total_dimensionality(last.W),
        "pairs that share a direction": analysis.shared_direction_count(shared),
    }
    for where, other in places.items():
        if where == "within" or other != first:
            at = {"subset": first, "other_subset": other}
            values |= {f"{name} {where}": quadrants[name].sel(at) for name in quadrants}
    for feature in (1, last.sizes["feature"] // 4 + 1, last.sizes["feature"] // 2):
        values |= {
            f"D of feature {feature}": analysis.feature_dimensionality(last.W).sel(feature=feature),
            f"norm of feature {feature}": analysis.feature_norms(last.W).sel(feature=feature),
            f"interference of feature {feature}": analysis.feature_interference(last.W).sel(feature=feature),
        }
    loss = analysis.expected_loss(last, n_samples=4096).sum(["context", "feature"])
    return values | {"loss": with_range(loss, 0), "training loss": with_range(last["train_loss"], 0)}


class Held(NamedTuple):
    """What 95% intervals hold on many samples of n seeds.

    `coverage` is the share of the samples with an interval that cover the mean; `median` and `long` are the median and
    the 90th percentile of lengths, in those of Student's intervals; `student` is the coverage of Student's intervals on
    the same samples, and `student_outside` the share of them that leaves the range of the statistic. `agree` is the
    share of all samples whose seeds all agree, `modes` that of those reported as several modes.
    """

    coverage: float
    median: float
    long: float
    student: float
    student_outside: float
    agree: float
    modes: float


def coverage(draw: Draw, mean: float, n: int, repeats: int, within: tuple[float, float] = (-np.inf, np.inf)) -> Held:
    """How often the 95% interval from n seeds covers the mean, and how long it is."""
    values = draw((repeats, n))
    summary = analysis.over_seeds(with_range(xr.DataArray(values, dims=("repeat", "seed")), *within))
    low, high = summary["ci_low"].values, summary["ci_high"].values
    known, agree = np.isfinite(low), np.ptp(values, axis=1) == 0
    assert (low[known] >= within[0]).all(), "an interval left its range"
    assert (high[known] <= within[1]).all(), "an interval left its range"
    half = stats.t.ppf(0.975, n - 1) * stats.sem(values, axis=1)
    below, above = values.mean(axis=1) - half, values.mean(axis=1) + half
    # Without an interval there is nothing to compare.
    some = known if known.any() else np.ones_like(known)
    lengths, students = (high - low)[some], 2 * half[some]
    return Held(
        float(np.mean((low <= mean) & (mean <= high), where=known)) if known.any() else np.nan,
        float(np.median(lengths) / np.median(students)),
        float(np.quantile(lengths, 0.9) / np.quantile(students, 0.9)),
        float(np.mean(((below <= mean) & (mean <= above))[some])),
        float(np.mean(((below < within[0]) | (above > within[1]))[some])),
        float(agree.mean()),
        float((~known & ~agree).mean()),
    )


def null_p_values(draw: Draw, n: int, repeats: int, *, paired: bool) -> Array:
    """p-values of differences between two conditions of one law, which share a part of each seed if paired."""
    a, b = (draw((repeats, n)) for _ in range(2))
    common = draw((repeats, n)) if paired else 0.0
    coords = {"seed": np.arange(n)}
    sides = (xr.DataArray(side + common, dims=("repeat", "seed"), coords=coords) for side in (a, b))
    return analysis.difference_over_seeds(*sides, paired=paired)["p_value"].values


def wrongly_equivalent(draw: Draw, n: int, repeats: int, *, paired: bool) -> float:
    """How often two conditions that differ by just the margin are called equivalent."""
    margin = float(draw((1000,)).std())
    coords = {"seed": np.arange(n)}
    a, b = (xr.DataArray(draw((repeats, n)), dims=("repeat", "seed"), coords=coords) for _ in range(2))
    return float(analysis.equivalence_over_seeds(a + margin, b, margin, paired=paired)["equivalent"].mean())


def resampled(values: xr.DataArray, rng: np.random.Generator) -> tuple[Draw, float]:
    """How to draw seeds of a trained population, and its mean; seeds for which the statistic is undefined left out."""
    finite = values.values[np.isfinite(values.values)].astype(np.float64)
    return (lambda shape: rng.choice(finite, shape)), float(finite.mean())


def nearly_agree(values: xr.DataArray) -> bool:
    """Whether nearly all seeds agree and few lie far away: 90% of them span less than a standard deviation."""
    low, high = np.nanquantile(values, [0.05, 0.95])
    return bool(high - low < np.nanstd(values))


def _laws_table(populations: dict[str, tuple[Draw, float]], repeats: int) -> list[str]:
    lines = [f"| law of the seeds | {' | '.join(f'n = {n}' for n in SIZES)} |", "|---|" + "---|" * len(SIZES)]
    for name, (draw, mean) in populations.items():
        held = [coverage(draw, mean, n, repeats) for n in SIZES]
        lines.append(f"| {name} | " + " | ".join(f"{one.coverage:.3f} ({one.median:.2f})" for one in held) + " |")
    return lines


def _models_table(models: dict[str, xr.DataArray], rng: np.random.Generator, repeats: int) -> list[str]:
    """A row for each statistic: coverage (and Student's), lengths in those of Student's, how often modes are found."""
    sizes = " | ".join(f"n = {n}" for n in SIZES)
    lines = [f"| statistic | {sizes} | Student's leaves the range, n = 5 |", "|---|" + "---|" * (len(SIZES) + 1)]
    for name, values in models.items():
        draw, mean = resampled(values, rng)
        held = [coverage(draw, mean, n, repeats, range_of(values)) for n in SIZES]
        whole = analysis.over_seeds(values)
        mark = " (modes)" if "mode" in whole.dims else " (†)" if nearly_agree(values) else ""
        cells = [_held_cell(one, in_modes=bool(mark)) for one in held]
        lines.append(f"| {name}{mark} | {' | '.join(cells)} | {held[SIZES.index(5)].student_outside:.2f} |")
    return lines


def _held_cell(held: Held, *, in_modes: bool) -> str:
    found = f"; {held.modes:.2f}" if in_modes or held.modes >= 0.05 else ""
    if np.isnan(held.coverage):
        return f"–{found}"
    return f"{held.coverage:.2f} ({held.student:.2f}); {held.median:.2f}, {held.long:.2f}{found}"


def _tests_table(populations: dict[str, tuple[Draw, float]], repeats: int) -> list[str]:
    heads = " | ".join(f"P(p ≤ {alpha:g})" for alpha in ALPHAS)
    lines = [
        f"| law of the seeds, n = 20 | test | {heads} | KS | equivalent at the margin |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (draw, _) in populations.items():
        for paired in (True, False):
            p = null_p_values(draw, 20, repeats, paired=paired)
            p = p[np.isfinite(p)]
            shares = " | ".join(f"{(p <= alpha).mean():.3f}" for alpha in ALPHAS)
            uniform = f"{stats.kstest(p, 'uniform').pvalue:.2f}" if len(np.unique(draw((100,)))) == 100 else "–"
            wrong = wrongly_equivalent(draw, 20, repeats, paired=paired)
            lines.append(f"| {name} | {'paired' if paired else 'unpaired'} | {shares} | {uniform} | {wrong:.3f} |")
    return lines


def _replaced(text: str, name: str, lines: list[str]) -> str:
    """The page with these lines between the marks of a table."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: found[1] + "\n".join(lines) + "\n" + found[2], text, flags=re.DOTALL)


@click.command(context_settings={"show_default": True})
@click.option("--seeds", default=1000, help="Trained models per condition.")
@click.option("--repeats", default=4000, help="Samples per law and number of seeds.")
def main(seeds: int, repeats: int) -> None:
    """Write the tables of docs/inference.md."""
    rng = np.random.default_rng(2026)
    # A statistic on which all seeds agree, up to rounding, has nothing to cover.
    models = {
        name: values
        for name, values in of_models(seeds).items()
        if np.nanstd(values) > 1e-6 * np.nanmax(np.abs(values))
    }
    populations = laws(rng) | {name: resampled(values, rng) for name, values in models.items()}
    tested = ["normal", "exponential", "16, 17, 18 or 19", "fixed: represented", "fixed: energy across", "fixed: loss"]
    text = _replaced(PAGE.read_text(), "coverage", _laws_table(laws(rng), repeats))
    text = _replaced(text, "models", _models_table(models, rng, repeats))
    text = _replaced(text, "tests", _tests_table({name: populations[name] for name in tested}, repeats))
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
