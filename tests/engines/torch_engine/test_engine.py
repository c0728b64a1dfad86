"""The reference engine: its gradients against autograd, its optimisers against torch.optim, its samples to the bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toysup
from toysup.engines.compiled_samples.batches import draw_batch
from toysup.engines.instances import Control, Instances, instances_of
from toysup.engines.torch_engine import engine as torch_engine
from toysup.engines.torch_engine.engine import loss_and_gradients
from toysup.engines.torch_engine.optimizers import Optimizer
from toysup.engines.torch_engine.sampler import Sampler
from toysup.experiments.activations import BUILT_IN, activation
from toysup.experiments.model import ModelSpec
from toysup.sampling.samples import sample


def autograd_gradients(
    W: torch.Tensor, b: torch.Tensor, x: torch.Tensor, importance: torch.Tensor, phi: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One model written as plainly as can be: mean over samples of Σ_i I_i (y_i − x_i)²."""
    W, b = W.clone().requires_grad_(), b.clone().requires_grad_()
    total = torch.zeros((), dtype=W.dtype)
    for row, weight in zip(x, importance, strict=True):
        y = activation(phi)(W.T @ (W @ row) + b)
        total = total + (weight * (y - row) ** 2).sum()
    loss = total / len(x)
    loss.backward()
    return loss.detach(), W.grad, b.grad


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.sampled_from([*BUILT_IN]), st.integers(0, 9999))
@settings(max_examples=80, deadline=None)
def test_gradients_equal_autograd(n: int, m: int, rows: int, phi: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    W, b, x, importance = draw(3, m, n), draw(3, n), draw(3, rows, n), draw(3, rows, n).abs()
    model = ModelSpec(n_features=n, n_hidden=m, activation=phi)
    loss, gradients = loss_and_gradients(model, {"W": W, "b": b}, x, x[:, :, :0], x, importance)
    for i in range(3):
        expected = autograd_gradients(W[i], b[i], x[i], importance[i], phi)
        torch.testing.assert_close((loss[i], gradients["W"][i], gradients["b"][i]), expected)


def some_instances(seeds: list[int] = [0, 1], **changes: object) -> Instances:  # noqa: B006
    settings = {"training.steps": 12, "training.dataset_size": 50, "training.batch_size": 16, "record.steps": [5]}
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    experiment = toysup.load_experiment("conditional-importance", changes=settings)
    return instances_of(experiment.conditions[1], seeds)


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({}, lambda p: torch.optim.Adam(p, lr=1e-3)),
        ({"training__weight_decay": 0.1}, lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=0.1)),
        (
            {"training__optimizer": "adamw", "training__weight_decay": 0.1, "training__learning_rate": 0.02},
            lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
        ),
        (
            {"training__optimizer": "sgd", "training__momentum": 0.9, "training__weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, weight_decay=0.01),
        ),
    ],
)
def test_optimisers_step_as_torch_does(changes: dict, reference) -> None:
    instances = some_instances(**changes)
    ours = {name: torch.tensor(value) for name, value in instances.parameters.items()}
    theirs = {name: value.clone().requires_grad_() for name, value in ours.items()}
    optimizer, expected = Optimizer(instances, ours), reference(theirs.values())
    for step in range(12):
        for value in theirs.values():
            value.grad = torch.sin(value.detach() * (step + 3))
        optimizer.step(torch.tensor([step]), {name: torch.sin(value * (step + 3)) for name, value in ours.items()})
        expected.step()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name].detach(), rtol=2e-6, atol=2e-7)


def batch(sampler: Sampler, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    sampler.prepare(step)
    return sampler.batch(torch.tensor([step]), sampler.training.rows(step))


def test_batches_are_the_defined_samples_to_the_bit() -> None:
    instances = some_instances(seeds=[3, 11])
    sampler = Sampler(instances, torch.device("cpu"))
    (_, condition, *_) = toysup.load_experiment("conditional-importance").conditions
    regime = condition.regime.resolve(20)
    for step in (0, 1, 3, 5):  # 50 samples in batches of 16: the fourth batch of an epoch has 2
        x, context = batch(sampler, step)
        for i, seed in enumerate([3, 11]):
            order = toysup_order(seed, step // 4)[step % 4 * 16 :][:16]
            expected, contexts = sample(regime, seed, order)
            np.testing.assert_array_equal(x[i].numpy(), expected)
            np.testing.assert_array_equal(context[i].numpy(), contexts)
    assert x.shape[1] == 16
    assert batch(sampler, 3)[0].shape[1] == 2


def toysup_order(seed: int, epoch: int) -> np.ndarray:
    from toysup.sampling.random_words import order

    return order(seed, epoch, 50)


def test_other_devices_draw_the_same_samples() -> None:
    """What runs on CUDA, run on the CPU."""
    for condition in (0, 1):
        experiment = toysup.load_experiment("conditional-importance")
        sampler = Sampler(instances_of(experiment.conditions[condition], [3, 2**40]), torch.device("cpu"))
        samples = torch.tensor([[0, 5, 2**33], [7, 1, 2]])
        drawn = draw_batch(sampler.law, samples.numpy())
        for compiled, plain in zip(drawn, sampler.drawn_by_torch(samples), strict=True):
            np.testing.assert_array_equal(compiled, plain.numpy())


def test_a_stream_runs_on() -> None:
    experiment = toysup.load_experiment("tms-intro", changes={"training.batch_size": 8, "training.steps": 5})
    instances = instances_of(experiment.conditions[0], [4])
    x, _ = batch(Sampler(instances, torch.device("cpu")), 2)
    regimes = [experiment.conditions[0].at(cell).regime.resolve(5) for cell in experiment.conditions[0].cells()]
    for cell, regime in enumerate(regimes):
        np.testing.assert_array_equal(x[cell].numpy(), sample(regime, 4, np.arange(16, 24))[0])


def test_a_seed_does_not_depend_on_its_company() -> None:
    alone, among = some_instances(seeds=[7]), some_instances(seeds=[1, 7, 30])
    for name in alone.parameters:
        np.testing.assert_array_equal(alone.parameters[name][0], among.parameters[name][1])
    for step in range(12):
        x, context = batch(Sampler(alone, torch.device("cpu")), step)
        others = batch(Sampler(among, torch.device("cpu")), step)
        assert torch.equal(x[0], others[0][1])
        assert torch.equal(context[0], others[1][1])
    *_, last = torch_engine.train(alone)
    *_, other = torch_engine.train(among)
    np.testing.assert_allclose(last.parameters["W"][0], other.parameters["W"][1], rtol=1e-5, atol=1e-6)


def test_conditions_are_paired_by_seed() -> None:
    experiment = toysup.load_experiment("conditional-importance")
    fixed, conditional, anticorrelated, _ = (instances_of(condition, [5]) for condition in experiment.conditions)
    for other in (conditional, anticorrelated):
        np.testing.assert_array_equal(fixed.parameters["W"], other.parameters["W"])
    x, context = batch(Sampler(fixed, torch.device("cpu")), 0)
    assert torch.equal(x, batch(Sampler(conditional, torch.device("cpu")), 0)[0])
    z, same = batch(Sampler(anticorrelated, torch.device("cpu")), 0)
    assert torch.equal(context, same)
    assert torch.equal(z, torch.where(z > 0, x, 0))


def test_train_loss_is_the_mean_per_sample_since_the_previous_snapshot() -> None:
    instances = some_instances(seeds=[2])
    losses, rows = [], []
    snapshots = list(torch_engine.train(instances))
    parameters = {name: torch.tensor(value) for name, value in instances.parameters.items()}
    optimizer, sampler = Optimizer(instances, parameters), Sampler(instances, torch.device("cpu"))
    for step in range(12):
        x, context = batch(sampler, step)
        importance = torch.tensor(instances.importance, dtype=torch.float32)[[[0]], context]
        loss, gradients = loss_and_gradients(instances.model, parameters, x, x[:, :, :0], x, importance)
        optimizer.step(torch.tensor([step]), gradients)
        losses.append(loss.item())
        rows.append(x.shape[1])
    assert [snapshot.step for snapshot in snapshots] == [0, 5, 12]
    assert np.isnan(snapshots[0].train_loss).all()
    np.testing.assert_allclose(snapshots[1].train_loss, np.average(losses[:5], weights=rows[:5]))
    np.testing.assert_allclose(snapshots[2].train_loss, np.average(losses[5:], weights=rows[5:]))


def test_initial_weights_are_xavier_normal_per_model() -> None:
    instances = some_instances(seeds=list(range(200)))
    W = instances.parameters["W"]
    np.testing.assert_allclose(W.std(), np.sqrt(2 / 30), rtol=0.02)
    assert not instances.parameters["b"].any()
    assert W.dtype == np.float32


def test_the_sweep_gives_each_instance_its_own_recipe() -> None:
    instances = some_instances(seeds=[0, 1], training__learning_rate=[0.001, 0.1])
    assert instances.hyperparameters["learning_rate"].tolist() == [0.001, 0.001, 0.1, 0.1]
    *_, last = torch_engine.train(instances)
    *_, slow = torch_engine.train(some_instances(seeds=[0, 1]))
    np.testing.assert_allclose(last.parameters["W"][:2], slow.parameters["W"], rtol=1e-4, atol=1e-6)
    assert np.abs(last.parameters["W"][2:] - slow.parameters["W"]).max() > 0.1


def test_progress_is_told_with_the_loss() -> None:
    told: list[tuple[int, float]] = []
    list(torch_engine.train(some_instances(training__steps=120), Control(progress=lambda *report: told.append(report))))
    assert [step for step, _ in told] == [50, 100]
    assert all(0 < loss < 1 for _, loss in told)


def test_epsilon_is_the_recipes() -> None:
    *_, usual = torch_engine.train(some_instances())
    *_, damped = torch_engine.train(some_instances(training__epsilon=10.0))
    start = some_instances().parameters["W"]
    assert np.abs(damped.parameters["W"] - start).max() < np.abs(usual.parameters["W"] - start).max() / 100


def test_unknown_places_are_refused() -> None:
    with pytest.raises(toysup.UsageError, match="'cuda:99' is not there; available: cpu"):
        next(torch_engine.train(some_instances(), device="cuda:99"))
    with pytest.raises(toysup.UsageError, match="no engine 'jax'"):
        toysup.train("conditional-importance", engine="jax")
    with pytest.raises(toysup.UsageError, match="distinct integers"):
        toysup.train("conditional-importance", seeds=[1, 1])
    with pytest.raises(toysup.UsageError, match="sequence of integers"):
        toysup.train("conditional-importance", seeds=[0.5])
