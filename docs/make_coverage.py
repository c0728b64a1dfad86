"""Measure what the intervals and tests over seeds hold, and write the tables of docs/inference.md.

``python docs/make_coverage.py`` trains 1,000 models of two conditions of a shorter run and draws the seeds of every
repetition from them; it takes a few minutes on two cores.
"""

import re
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

import toysup
from toysup import analysis

Array = npt.NDArray[np.float64]
Draw = Callable[[tuple[int, ...]], Array]

PAGE = Path(__file__).parent / "inference.md"
# A fifth of the steps of the built-in experiment, at three times its rate.
SHORTER = {"training.dataset_size": 20_000, "training.learning_rate": 3e-3, "record.every_epochs": 12}
CONDITIONS = ("fixed", "anticorrelated")
SIZES = (5, 10, 20, 50)
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


def of_models(seeds: int, conditions: tuple[str, ...] = CONDITIONS, **changes: object) -> dict[str, Array]:
    """The statistics of so many trained models of each condition: one number per seed."""
    experiment = toysup.load_experiment("conditional-importance", changes=SHORTER | changes)
    tree = toysup.train(experiment, seeds=seeds, conditions=conditions)["conditional-importance"]
    found = {}
    for condition in conditions:
        last = tree[condition].to_dataset().isel(step=-1).load()
        found |= {f"{condition}: {name}": values for name, values in _statistics(last).items()}
    return found


def _statistics(last: xr.Dataset) -> dict[str, Array]:
    energy = analysis.quadrant_interference(last.W).energy
    values = {
        "represented": analysis.represented_count(last.W),
        "total dimensionality": analysis.total_dimensionality(last.W),
        "energy within comedy": energy.sel(subset="comedy", other_subset="comedy"),
        "energy across": energy.sel(subset="comedy", other_subset="tragedy"),
        "loss": analysis.expected_loss(last, n_samples=2000).sum(["context", "feature"]),
    }
    return {name: array.values.astype(np.float64) for name, array in values.items()}


def coverage(draw: Draw, mean: float, n: int, repeats: int) -> tuple[float, float]:
    """How often the 95% interval from n seeds covers the mean, and how often there is none, as all seeds agree.

    Samples without an interval do not count as covered or not.
    """
    summary = analysis.over_seeds(xr.DataArray(draw((repeats, n)), dims=("repeat", "seed")))
    known = np.isfinite(summary.ci_low)
    covered = (summary.ci_low <= mean) & (mean <= summary.ci_high)
    return float(covered.where(known).mean()), float(1 - known.mean())


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


def resampled(values: Array, rng: np.random.Generator) -> tuple[Draw, float]:
    return (lambda shape: rng.choice(values, shape)), float(values.mean())


def _coverage_table(populations: dict[str, tuple[Draw, float]], repeats: int) -> list[str]:
    lines = [
        "| law of the seeds | " + " | ".join(f"n = {n}" for n in SIZES) + " | no interval, n = 20 |",
        "|---|" + "---|" * (len(SIZES) + 1),
    ]
    for name, (draw, mean) in populations.items():
        cells = {n: coverage(draw, mean, n, repeats) for n in SIZES}
        shares = " | ".join(f"{share:.3f}" for share, _ in cells.values())
        lines.append(f"| {name} | {shares} | {cells[20][1]:.3f} |")
    return lines


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
    models = {name: values for name, values in of_models(seeds).items() if np.ptp(values) > 0}
    populations = laws(rng) | {name: resampled(values, rng) for name, values in models.items()}
    tested = ["normal", "exponential", "16, 17, 18 or 19", "fixed: represented", "fixed: energy across", "fixed: loss"]
    text = _replaced(PAGE.read_text(), "coverage", _coverage_table(populations, repeats))
    text = _replaced(text, "tests", _tests_table({name: populations[name] for name in tested}, repeats))
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
