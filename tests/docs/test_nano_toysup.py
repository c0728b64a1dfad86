"""docs/nano_toysup.py and toysup train the same models: to rounding on the same samples, else to sampling error."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import toysup
from toysup import analysis

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

CONDITIONS = ["fixed", "conditional", "anticorrelated"]
ENGINES = ["fused", "torch"]
BATCH_SIZE = 256
each_condition = pytest.mark.parametrize("condition", CONDITIONS)
each_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def nano() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nano_toysup", Path(__file__).parents[2] / "docs" / "nano_toysup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def post(condition: str) -> toysup.Condition:
    (found,) = toysup.load_experiment("conditional-importance").select([condition])
    return found


def example(condition: str) -> xr.Dataset:
    """30 seeds of the post's whole training, at every epoch."""
    tree = toysup.open_example("conditional-importance")
    return tree[f"conditional-importance/{condition}"].to_dataset().load()


def trained_on_a_stream(condition: str, engine: str, seeds: int, steps: int, **recipe: object) -> xr.Dataset:
    """Every step recorded. In a stream batch s holds the samples s · 256 ... (s + 1) · 256 - 1."""
    changes = {"training.steps": steps, "training.dataset_size": None, "record.steps": list(range(steps))}
    changes |= {f"training.{key}": value for key, value in recipe.items()}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    tree = toysup.train(experiment, seeds=seeds, conditions=[condition], engine=engine)
    return tree[f"conditional-importance/{condition}"].to_dataset()


def stream(dataset: xr.Dataset, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """toysup's own batches of every seed: x (seed, row, feature) and context (seed, row)."""
    regime = toysup.regime_of(dataset)
    for step in range(steps):
        indices = np.arange(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        samples = [toysup.sample(regime, seed, indices) for seed in dataset.seed.values.tolist()]
        yield np.stack([x for x, _ in samples]), np.stack([context for _, context in samples])


def loss_of(model: "Module", x: np.ndarray, importance: np.ndarray) -> "Tensor":
    """L = mean over rows of Σ_i I_i (x'_i - x_i)² of one model."""
    import torch

    rows = torch.tensor(x)
    return (torch.tensor(importance) * (model(rows) - rows) ** 2).sum(1).mean()


# The same settings.


@each_condition
def test_the_three_tables_are_equal(nano: ModuleType, condition: str) -> None:
    regime = post(condition).regime.resolve(nano.N_FEATURES)
    context_probability, activation_probability, importance = nano.REGIMES[condition]
    np.testing.assert_array_equal(context_probability, regime.context_probability)
    np.testing.assert_array_equal(activation_probability, regime.activation_probability)
    np.testing.assert_array_equal(importance, regime.importance)
    assert list(nano.REGIMES) == CONDITIONS


@each_condition
def test_the_model_and_the_recipe_are_equal(nano: ModuleType, condition: str) -> None:
    model, recipe = post(condition).model, post(condition).training
    assert (model.n_features, model.n_hidden, model.activation) == (nano.N_FEATURES, nano.N_HIDDEN, "relu")
    assert (recipe.dataset_size, recipe.batch_size, recipe.epochs) == (nano.SAMPLES, nano.BATCH_SIZE, nano.EPOCHS)
    assert (recipe.optimizer, recipe.weight_decay, recipe.schedule) == ("adam", 0, "constant")
    adam = (recipe.learning_rate, recipe.beta1, recipe.beta2, recipe.epsilon)
    assert adam == (nano.LEARNING_RATE, nano.BETA1, nano.BETA2, nano.EPSILON)


# The same samples: equal to rounding.


@each_condition
def test_a_double_precision_trajectory_is_that_of_the_torch_module(nano: ModuleType, condition: str) -> None:
    """Loss, gradients and Adam: toysup's model, differentiated by autograd and stepped by torch.optim."""
    import torch

    dataset = trained_on_a_stream(condition, "torch", 1, 1)
    importance = nano.REGIMES[condition][2]
    batches = [(x.astype(np.float64), context) for x, context in stream(dataset, 200)]
    W, b, losses = nano.train(importance, dataset.W.sel(step=0).values.astype(np.float64), batches)
    model = toysup.to_module(dataset.sel(seed=0, step=0)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for (x, context), found in zip(batches, losses, strict=True):
        loss = loss_of(model, x[0], importance[context[0]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        np.testing.assert_allclose(found, loss.item(), rtol=1e-9)
    np.testing.assert_allclose(W[0], model.W.detach(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(b[0], model.b.detach(), rtol=0, atol=1e-10)


@each_condition
def test_double_precision_gradients_are_autograds(nano: ModuleType, condition: str) -> None:
    """Adam does not notice a factor of the gradient, so gradients are compared by themselves."""
    dataset = example(condition).isel(seed=[0, 1, 2], step=1)
    ((x, context),) = stream(dataset, 1)
    x, importance = x.astype(np.float64), nano.REGIMES[condition][2][context]
    W, b = dataset.W.values.astype(np.float64), dataset.b.values.astype(np.float64)
    assert np.abs(b).min() > 0
    loss, dW, db = nano.loss_and_gradients(W, b, x, importance)
    for i in range(3):
        model = toysup.to_module(dataset.isel(seed=i)).double()
        expected = loss_of(model, x[i], importance[i])
        expected.backward()
        np.testing.assert_allclose(loss[i], expected.item(), rtol=1e-12)
        np.testing.assert_allclose(dW[i], model.W.grad, rtol=0, atol=1e-14)
        np.testing.assert_allclose(db[i], model.b.grad, rtol=0, atol=1e-14)


@each_engine
@each_condition
def test_gradients_are_those_of_the_engines(nano: ModuleType, condition: str, engine: str) -> None:
    """One step of plain gradient descent at learning rate 1 moves W and b by minus the gradient."""
    dataset = trained_on_a_stream(condition, engine, 3, 1, optimizer="sgd", learning_rate=1.0)
    ((x, context),) = stream(dataset, 1)
    start = dataset.sel(step=0)
    loss, dW, db = nano.loss_and_gradients(start.W.values, start.b.values, x, nano.REGIMES[condition][2][context])
    # |W| is at most about 1, so its difference is known to 1e-7; gradients are near 0.01.
    np.testing.assert_allclose(loss, dataset.train_loss.sel(step=1), rtol=1e-6)
    np.testing.assert_allclose(dW, (start.W - dataset.W.sel(step=1)).values, rtol=0, atol=2e-7)
    np.testing.assert_allclose(db, (start.b - dataset.b.sel(step=1)).values, rtol=0, atol=2e-7)


@each_engine
@each_condition
def test_trajectories_are_those_of_the_engines(nano: ModuleType, condition: str, engine: str) -> None:
    """Both in float32. Measured: 200 steps of 0.001 end within 4e-7 of one another."""
    steps = 200
    dataset = trained_on_a_stream(condition, engine, 2, steps)
    importance, start, batches = nano.REGIMES[condition][2], dataset.W.sel(step=0).values, [*stream(dataset, steps)]
    for taken in (1, 10, steps):
        W, b, losses = nano.train(importance, start, batches[:taken])
        assert W.dtype == b.dtype == losses.dtype == np.float32
        np.testing.assert_allclose(W, dataset.W.sel(step=taken), rtol=0, atol=4e-6)
        np.testing.assert_allclose(b, dataset.b.sel(step=taken), rtol=0, atol=4e-6)
    np.testing.assert_allclose(
        losses, dataset.train_loss.isel(step=slice(1, None)).transpose("step", "seed"), rtol=1e-5
    )
    assert np.abs(W - start).max() > 0.1


@pytest.mark.slow
@each_condition
def test_whole_trainings_are_those_of_the_example_data(nano: ModuleType, condition: str) -> None:
    """Twelve epochs of a finite dataset in toysup's order. Measured: 4692 steps end within 1.3e-5 of one another."""
    from toysup.sampling.random_words import order

    seeds = np.arange(3)
    dataset = example(condition).sel(seed=seeds)
    regime = toysup.regime_of(dataset)
    samples = [toysup.sample(regime, seed, np.arange(nano.SAMPLES)) for seed in seeds.tolist()]
    x, context = (np.stack(part) for part in zip(*samples, strict=True))

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch in range(nano.EPOCHS):
            orders = np.stack([order(seed, epoch, nano.SAMPLES) for seed in seeds.tolist()])
            for start in range(0, nano.SAMPLES, BATCH_SIZE):
                rows = orders[:, start : start + BATCH_SIZE]
                yield x[seeds[:, None], rows], context[seeds[:, None], rows]

    W, b, _ = nano.train(nano.REGIMES[condition][2], dataset.W.isel(step=0).values, batches())
    # Rounding grows while features compete, most in seeds that settle late.
    np.testing.assert_allclose(W, dataset.W.isel(step=-1), rtol=0, atol=1e-3)
    np.testing.assert_allclose(b, dataset.b.isel(step=-1), rtol=0, atol=1e-3)


@each_condition
def test_measurements_are_equal(nano: ModuleType, condition: str) -> None:
    """Of the 30 example seeds at every epoch, in double precision."""
    W = example(condition).W.astype(np.float64).stack(model=("seed", "step")).transpose("model", "hidden", "feature")
    represented, energy = nano.measure(W.values)
    np.testing.assert_array_equal(represented, analysis.represented_count(W))
    expected = analysis.quadrant_interference(W).energy
    np.testing.assert_allclose(energy, expected.transpose("model", "subset", "other_subset"), rtol=1e-12, atol=1e-14)
    quadrants = [f"{subset}-{other}" for subset in expected.subset.values for other in expected.other_subset.values]
    assert list(nano.STATISTICS[1:5]) == quadrants


@pytest.mark.parametrize("n", [2, 3, 5, 20, 200])
def test_intervals_are_students(nano: ModuleType, n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(nano.half_width(values), (high - low) / 2, rtol=1e-5)
    assert np.isnan(nano.half_width(np.full(n, 0.1)))


# Other samples: equal to sampling error.


@each_condition
def test_samples_have_toysups_law(nano: ModuleType, condition: str) -> None:
    size = 100_000
    law = nano.REGIMES[condition][:2]
    drawn = nano.sample(*law, np.random.default_rng(0), size)
    expected = toysup.sample(post(condition).regime.resolve(nano.N_FEATURES), 0, np.arange(size))
    assert drawn[0].dtype == expected[0].dtype == np.float32

    def moments(x: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Of each sample: its context, and in either context whether each feature is active, x, x² and x_i x_{i+1}."""
        parts = [x > 0, x, x**2, x * np.roll(x, 1, axis=1)]
        return np.hstack([context[:, None], *(part * (context[:, None] == c) for part in parts for c in (0, 1))])

    (ours, theirs) = (moments(*samples) for samples in (drawn, expected))
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / size)
    # 161 moments: by chance alone, one in about 100 laws would exceed four standard errors.
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 4 * error).all()


def test_initial_weights_have_toysups_law(nano: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def keep(importance: np.ndarray, W: np.ndarray, batches: object) -> tuple[np.ndarray, None, np.ndarray]:
        started.append(W)
        return W, None, np.zeros((1, len(W)))

    monkeypatch.setattr(nano, "SAMPLES", 1)
    monkeypatch.setattr(nano, "train", keep)
    for condition in CONDITIONS:
        nano.run(*nano.REGIMES[condition], 200, 1)
    expected = trained_on_a_stream("fixed", "torch", 200, 1).W.sel(step=0).values
    assert started[0].shape == expected.shape
    assert started[0].dtype == expected.dtype
    assert stats.ks_2samp(started[0].ravel(), expected.ravel()).pvalue > 0.01
    assert all(np.array_equal(started[0], W) for W in started)


def test_an_epoch_takes_every_sample_once(nano: ModuleType) -> None:
    size, recipe = 1000, post("fixed").training.model_copy(update={"dataset_size": 1000, "epochs": 2})
    context = np.stack([np.arange(size), np.arange(size) + size])
    x = np.repeat(context[:, :, None], nano.N_FEATURES, axis=2)
    rngs = [np.random.default_rng(seed) for seed in range(2)]
    found = list(nano.batches(x, context, rngs, 2))
    assert [batch.shape[1] for batch, _ in found] == [recipe.rows(step) for step in range(recipe.n_steps)]
    assert all((rows == labels[:, :, None]).all() for rows, labels in found)
    epochs = [np.concatenate([labels for _, labels in found[k : k + 4]], axis=1) for k in (0, 4)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), context)
    assert (epochs[0] != epochs[1]).any(axis=1).all()
    assert (epochs[0][0] != epochs[0][1] - size).any()


def test_a_seed_does_not_depend_on_the_others(nano: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano, "SAMPLES", 2000)
    few, more = (nano.run(*nano.REGIMES["conditional"], seeds, 1) for seeds in (2, 4))
    np.testing.assert_allclose(few, more[:, :2], rtol=1e-5)


def printed(text: str) -> dict[str, tuple[list[float], list[float]]]:
    """The means and the half-widths of each condition in a table that the script printed."""
    table = {}
    for condition in CONDITIONS:
        (line,) = re.findall(rf"^ *{condition} +(\d.*)$", text, flags=re.MULTILINE)
        pairs = [(float(mean), float(half)) for mean, half in re.findall(r"([\d.]+) ± +([\d.]+|nan)", line)]
        means, halves = zip(*pairs, strict=True)
        table[condition] = (list(means), list(halves))
    return table


def test_the_script_prints_its_statistics(
    nano: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nano, "SAMPLES", 2000)
    monkeypatch.setattr("sys.argv", ["nano_toysup.py", "--seeds", "3", "--epochs", "2"])
    nano.main()
    text = capsys.readouterr().out
    header = text.splitlines()[0]
    assert [header[start : start + 16].strip() for start in range(14, len(header), 16)] == list(nano.STATISTICS)
    for condition, (means, halves) in printed(text).items():
        statistics = nano.run(*nano.REGIMES[condition], 3, 2)
        np.testing.assert_allclose(means, statistics.mean(axis=1), atol=0.006)
        np.testing.assert_allclose(halves, [nano.half_width(seeds) for seeds in statistics], atol=0.006)


@pytest.mark.slow
def test_the_table_in_the_docstring_is_what_the_script_prints(nano: ModuleType) -> None:
    """Other processors round otherwise, and a seed may then settle elsewhere; a mean stays within its interval."""
    for condition, (means, halves) in printed(nano.__doc__ or "").items():
        found = nano.run(*nano.REGIMES[condition], 5, nano.EPOCHS).mean(axis=1)
        assert (np.abs(found - means) <= np.fmax(halves, 0.006)).all(), condition


@pytest.mark.slow
@each_condition
def test_means_over_seeds_agree_with_toysups(nano: ModuleType, condition: str) -> None:
    """After four epochs, where the loss still falls, within four standard errors of the difference of 20 seeds each."""
    epochs, seeds = 4, 20
    changes = {"training.epochs": epochs}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    dataset = toysup.train(experiment, seeds=seeds, conditions=[condition])[f"conditional-importance/{condition}"]
    last = dataset.to_dataset().isel(step=-1)
    energy = analysis.quadrant_interference(last.W).energy.transpose("subset", "other_subset", "seed")
    expected = np.stack(
        [analysis.represented_count(last.W), *energy.values.reshape(4, seeds), 1000 * last.train_loss.values]
    )
    found = nano.run(*nano.REGIMES[condition], seeds, epochs)
    error = np.sqrt((found.var(axis=1, ddof=1) + expected.var(axis=1, ddof=1)) / seeds)
    difference = found.mean(axis=1) - expected.mean(axis=1)
    assert (np.abs(difference) <= 4 * error).all(), dict(zip(nano.STATISTICS, difference / error, strict=True))
