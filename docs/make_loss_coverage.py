"""Measure how often intervals of mean losses cover the true mean, and write the table of docs/inference.md.

``python docs/make_loss_coverage.py`` draws models that pair different features at random, whose loss is known pair by
pair, and evaluates them as toysup does; it takes a few minutes.
"""

import re
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import xarray as xr

import toysup
from toysup import analysis, theory
from toysup.analysis.inference.sampling_noise import widened

Array = npt.NDArray[np.float64]

PAGE = Path(__file__).parent / "inference.md"
PROBABILITIES = (0.01, 0.05, 0.15)
SIZES = (5, 10, 20)
FEATURES, IMPORTANCE = 10, 0.8 ** np.arange(10)


def paired_models(count: int, seed: int = 0) -> tuple[Array, Array, list[Array]]:
    """W (model, hidden, feature), b (model, feature) and the pairs of each model; of random lengths and biases."""
    rng = np.random.default_rng(seed)
    W, b = np.zeros((count, FEATURES // 2, FEATURES)), np.zeros((count, FEATURES))
    pairs = []
    for k in range(count):
        order = rng.permutation(FEATURES).reshape(-1, 2)
        length = rng.uniform(0.9, 1.1, len(order))
        for direction, pair in enumerate(order):
            W[k, direction, pair] = [length[direction], -length[direction]]
        b[k] = -0.05 * rng.random(FEATURES)
        pairs.append(order)
    return W, b, pairs


def true_losses(W: Array, b: Array, pairs: list[Array], p: float) -> Array:
    """The loss of each model as the sum over its pairs, which do not interfere with each other: (model,)."""
    losses = np.zeros(len(W))
    for k, order in enumerate(pairs):
        for pair in order:
            parts = theory.loss_parts(W[k][:, pair], b[k][pair], theory.one_context(p, IMPORTANCE[pair]))
            losses[k] += (parts.none + parts.one + parts.two).sum()
    return losses


def evaluated(W: Array, b: Array, p: float, *, sampled: bool) -> xr.DataArray:
    """The loss of each model by batch of samples: (seed, batch)."""
    changes = {
        "model.n_features": FEATURES,
        "model.n_hidden": FEATURES // 2 * (2 if sampled else 1),
        "model.tied": not sampled,
        "model.hidden_activation": "relu" if sampled else "identity",
        "regime.feature_probability": p,
        "regime.importance": IMPORTANCE.tolist(),
        "training.steps": 1,
        "record.steps": [0],
    }
    experiment = toysup.load_experiment("tms-intro", changes=changes)
    dataset = toysup.train(experiment, seeds=len(W))["tms-intro/tms-intro"].to_dataset().isel(step=-1)
    own = {"W": W, "b": b}
    if sampled:
        # These have the same outputs, but are evaluated on samples, as the hidden state is not linear:
        # h = (ReLU(W x), ReLU(−W x)), and Wᵀ (ReLU(W x) − ReLU(−W x)) = WᵀW x.
        turned = W.swapaxes(1, 2)
        own = {"W": np.concatenate([W, -W], axis=1), "W_out": np.concatenate([turned, -turned], axis=2), "b": b}
    dataset = dataset.assign({name: (dataset[name].dims, values.astype(np.float32)) for name, values in own.items()})
    return analysis.expected_loss(dataset, by_batch=True).sum(["context", "feature"])


def coverage(losses: xr.DataArray, truth: float, n: int, repeats: int, rng: np.random.Generator) -> float:
    """How often the interval from n of the models, with the sampling error of their mean, covers the true mean."""
    drawn = rng.integers(losses.sizes["seed"], size=(repeats, n))
    some = xr.DataArray(losses.transpose("seed", "batch").values[drawn], dims=("repeat", "seed", "batch"))
    summary = widened(analysis.over_seeds(some.mean("batch")), analysis.sampling_error(some.mean("seed")))
    return float(((summary.ci_low <= truth) & (truth <= summary.ci_high)).mean())


def table(models: int, repeats: int) -> list[str]:
    """The lines of the table."""
    rng = np.random.default_rng(2026)
    heads = " | ".join(f"n = {n}" for n in SIZES)
    lines = [
        f"| p | evaluation | spread over seeds | error of one model | {heads} |",
        "|---|---|---|---|" + "---|" * len(SIZES),
    ]
    W, b, pairs = paired_models(models)
    for p in PROBABILITIES:
        exact = true_losses(W, b, pairs, p)
        for name, sampled in (("exact", False), ("sampled", True)):
            losses = evaluated(W, b, p, sampled=sampled)
            error = float(np.sqrt(np.mean((losses.mean("batch").values / exact - 1) ** 2)))
            cells = " | ".join(f"{coverage(losses, exact.mean(), n, repeats, rng):.3f}" for n in SIZES)
            lines.append(f"| {p:g} | {name} | {exact.std() / exact.mean():.1%} | {error:.2%} | {cells} |")
            click.echo(lines[-1])
    return lines


@click.command(context_settings={"show_default": True})
@click.option("--models", default=400, help="Models of each kind.")
@click.option("--repeats", default=2000, help="Samples of seeds for each number of seeds.")
def main(models: int, repeats: int) -> None:
    """Write the table of losses of docs/inference.md."""
    lines = "\n".join(table(models, repeats))
    text = re.sub(
        r"(<!-- loss coverage -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{lines}\n{found[2]}",
        PAGE.read_text(),
        flags=re.DOTALL,
    )
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
