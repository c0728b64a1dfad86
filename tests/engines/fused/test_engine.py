"""The fused engine against plain NumPy and torch: gradients, trajectories, samples, and what must not change a bit."""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

import toysup
from toysup import analysis
from toysup.engines.fused import arguments, engine
from toysup.engines.fused.activations import FUNCTIONS
from toysup.engines.fused.arguments import Batches, State, Tables, drawn, given, new_state, room_for
from toysup.engines.fused.kernel import advance
from toysup.engines.fused.update import OPTIMIZERS, Optimizer
from toysup.engines.instances import Control, Instances, instances_of
from toysup.experiments.activations import BUILT_IN, activation
from toysup.experiments.experiment import Condition
from toysup.experiments.regime import Regime
from toysup.sampling.random_words import order
from toysup.sampling.samples import context_thresholds, sample, thresholds, value_scale
from toysup.training.train import snapshots_of

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}


def law_of(n: int, *, n_contexts: int = 2, p: float = 0.3) -> Regime:
    """Contexts in each of which some features are inactive and others do not matter; with one, a plain regime."""
    c, f = np.arange(n_contexts)[:, None], np.arange(n)
    active, matters = np.full((n_contexts, n), p), np.ones((n_contexts, n))
    if n_contexts > 1:
        active[(f + c) % (n_contexts + 2) == 1] = 0.0
        matters = np.where((f // 2 + c) % (n_contexts + 1) == 1, 0.0, 0.9**f)
    names = tuple(f"c{i}" for i in range(n_contexts))
    return Regime(names, ("all",) * n, np.full(n_contexts, 1 / n_contexts), active, matters)


def tables_of(law: Regime, seeds: list[int], dtype: type = np.float32) -> Tables:
    threshold = thresholds(np.stack([law.activation_probability] * len(seeds)))
    return Tables(
        np.array(seeds, np.uint64),
        context_thresholds(np.stack([law.context_probability] * len(seeds))).astype(np.uint32),
        threshold.astype(np.uint32),
        value_scale(threshold),
        np.zeros(len(seeds), np.float32),
        np.stack([law.importance] * len(seeds)).astype(dtype),
    )


def start(count: int, n: int, m: int, dtype: type = np.float32) -> State:
    rng = np.random.default_rng(1)
    W = rng.normal(size=(count, m, n)) * np.sqrt(2 / (n + m))
    return new_state(W.astype(dtype), 0.1 * rng.normal(size=(count, n)).astype(dtype))


def rule_of(kind: str, count: int, steps: int = 200) -> Optimizer:
    """Hyperparameters that differ between instances, and a schedule."""
    i = np.arange(count)
    return Optimizer(
        kind=OPTIMIZERS[kind],
        factor=np.linspace(1, 0.5, steps),
        learning_rate=(0.05 if kind == "sgd" else 1e-3) * (1 + 0.1 * i),
        weight_decay=0.01 * i,
        momentum=0.9 - 0.1 * i,
        beta1=0.9 - 0.05 * i,
        beta2=0.999 - 0.01 * i,
        epsilon=1e-8,
    )


def only(part: State | Tables | Optimizer, i: int) -> State | Tables | Optimizer:
    """The arguments of one instance."""
    shared = ("kind", "factor", "epsilon", "groups", "sparse")
    return type(part)(
        *(x if name in shared else x[i : i + 1].copy() for name, x in zip(part._fields, part, strict=True))
    )


def some_batches(law: Regime, count: int, steps: int, rows: int, dtype: type) -> Batches:
    """Random batches that respect which features a context leaves out."""
    rng = np.random.default_rng(2)
    context = rng.integers(len(law.contexts), size=(count, steps, rows))
    x = rng.random((count, steps, rows, len(law.subset)))
    x *= (rng.random(x.shape) < 0.3) & (law.activation_probability[context] > 0)
    return given(x.astype(dtype), context)


def slow_gradient(W, b, x, importance, name):
    """Summed loss, dW, db of the batch's mean loss, for one model in plain NumPy; torch differentiates φ alone."""
    import torch

    h = x @ W.T
    a = torch.tensor(h @ W + b, requires_grad=True)
    y = activation(name)(a)
    slope = torch.autograd.grad(y.sum(), a)[0].numpy()
    y = y.detach().numpy()
    g = 2 * importance * (y - x) * slope / len(x)
    return (importance * (y - x) ** 2).sum(), h.T @ g + W @ (g.T @ x), g.sum(0)


def require_gradient(law: Regime, tables: Tables, batches: Batches, before: State, phi: str) -> None:
    """One step of plain gradient descent at rate 1 shows the gradient of two models, which is to be NumPy's."""
    state = new_state(before.W, before.b)
    zero, one, tolerance = np.zeros(2), np.ones(2), TOLERANCE[state.W.dtype.type]
    rule = Optimizer(OPTIMIZERS["sgd"], np.ones(1), one, zero, zero, zero, zero, 1e-8)
    losses, diverged = advance(state, tables, rule, batches, 0, 1, activation=phi)
    for i in range(2):
        importance = law.importance[batches.context[i, 0]]
        weights = before.W[i].astype(float), before.b[i].astype(float)
        loss, dW, db = slow_gradient(*weights, batches.x[i, 0].astype(float), importance, phi)
        np.testing.assert_allclose(before.W[i] - state.W[i], dW, rtol=0, atol=tolerance * np.abs(before.W[i]).max())
        np.testing.assert_allclose(before.b[i] - state.b[i], db, rtol=0, atol=tolerance)
        assert losses[i] == pytest.approx(loss, rel=tolerance)
    assert (diverged == -1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "rows"), [(1, 1, 3), (5, 2, 50), (20, 10, 700), (37, 3, 130)])
@pytest.mark.parametrize("phi", BUILT_IN)
def test_gradient_equals_numpys(n: int, m: int, rows: int, dtype: type, phi: str) -> None:
    law = law_of(n)
    require_gradient(
        law, tables_of(law, [0, 1], dtype), some_batches(law, 2, 1, rows, dtype), start(2, n, m, dtype), phi
    )


def torch_trajectory(state: State, rule: Optimizer, kind: str, law: Regime, batches: Batches, phi: str, i: int):
    """Instance i trained by torch's own optimiser, with autograd."""
    import torch

    W, b = (torch.tensor(part[i], requires_grad=True) for part in (state.W, state.b))
    rate, decay = float(rule.learning_rate[i]), float(rule.weight_decay[i])
    betas = (float(rule.beta1[i]), float(rule.beta2[i]))
    stepper = {
        "sgd": lambda: torch.optim.SGD([W, b], rate, momentum=float(rule.momentum[i]), weight_decay=decay),
        "adam": lambda: torch.optim.Adam([W, b], rate, betas=betas, weight_decay=decay),
        "adamw": lambda: torch.optim.AdamW([W, b], rate, betas=betas, weight_decay=decay),
    }[kind]()
    total = 0.0
    for step in range(batches.x.shape[1]):
        stepper.param_groups[0]["lr"] = rate * rule.factor[step]
        x = torch.tensor(batches.x[i, step])
        importance = torch.tensor(law.importance[batches.context[i, step]], dtype=x.dtype)
        y = activation(phi)(x @ W.T @ W + b)
        loss = (importance * (y - x) ** 2).sum(1).mean()
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        total += loss.item() * len(x)
    return W.detach().numpy(), b.detach().numpy(), total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("kind", "n", "m", "phi"),
    [
        *((kind, n, m, "relu") for kind in ("sgd", "adam", "adamw") for n, m in ((20, 10), (40, 4))),
        *(("adam", 20, 10, name) for name in BUILT_IN if name != "relu"),
    ],
)
def test_a_hundred_steps_are_torchs(kind: str, n: int, m: int, phi: str, dtype: type) -> None:
    law, state, rule = law_of(n), start(2, n, m, dtype), rule_of(kind, 2)
    batches = some_batches(law, 2, 100, 64, dtype)
    losses, _ = advance(state, tables_of(law, [0, 1], dtype), rule, batches, 0, 100, activation=phi)
    for i in range(2):
        W, b, total = torch_trajectory(start(2, n, m, dtype), rule, kind, law, batches, phi, i)
        atol = TOLERANCE[dtype] * np.abs(W).max()
        np.testing.assert_allclose(state.W[i], W, rtol=0, atol=atol)
        np.testing.assert_allclose(state.b[i], b, rtol=0, atol=atol)
        assert losses[i] == pytest.approx(total, rel=TOLERANCE[dtype])


def test_it_has_every_built_in_activation() -> None:
    assert set(FUNCTIONS) == set(BUILT_IN)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("phi", BUILT_IN)
def test_activations_over_all_magnitudes(phi: str, dtype: type) -> None:
    """One sample, one feature that is never active and W = 0: after a step of descent b moves by −2 φ(b) φ'(b)."""
    import torch

    size = 10.0 ** np.arange(-6, 3)
    b = np.concatenate([-size, [0.0], size, np.linspace(-25, 25, 2001)]).astype(dtype)
    count = len(b)
    state = new_state(np.zeros((count, 1, 1), dtype), b[:, None])
    tables = tables_of(law_of(1, n_contexts=1), list(range(count)), dtype)
    zero, one = np.zeros(count), np.ones(count)
    rule = Optimizer(OPTIMIZERS["sgd"], np.ones(1), one, zero, zero, zero, zero, 1e-8)
    nothing = given(np.zeros((count, 1, 1, 1), dtype), np.zeros((count, 1, 1), int))
    losses, _ = advance(state, tables, rule, nothing, 0, 1, activation=phi)
    a = torch.tensor(b.astype(float), requires_grad=True)
    y = activation(phi)(a)
    slope = torch.autograd.grad(y.sum(), a)[0].numpy()
    y = y.detach().numpy()
    scale, tolerance = np.maximum(1, np.abs(b)), {np.float32: 1e-6, np.float64: 1e-14}[dtype]
    np.testing.assert_allclose(losses / scale**2, (y / scale) ** 2, rtol=0, atol=tolerance)
    moved = b.astype(float) - state.b[:, 0]
    np.testing.assert_allclose(moved / scale, 2 * y * slope / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("phi", BUILT_IN)
def test_what_is_not_a_number_stays_so(phi: str) -> None:
    state, tables, rule = start(2, 3, 2), tables_of(law_of(3, n_contexts=1), [0, 1]), rule_of("adam", 2)
    state.b[1, 0] = np.nan
    losses, diverged = advance(state, tables, rule, drawn(4, 0, np.float32), 0, 2, activation=phi)
    assert np.isfinite(losses[0])
    assert np.isnan(losses[1])
    assert diverged.tolist() == [-1, 0]


@pytest.mark.parametrize("dataset_size", [0, 150])
@pytest.mark.parametrize(("n_contexts", "first_seed"), [(1, 0), (2, 5), (3, 2**40)])
def test_what_is_drawn_is_the_defined_sample(dataset_size: int, n_contexts: int, first_seed: int) -> None:
    """Training on drawn samples is training on the same samples, drawn by their definition and given."""
    steps, rows, seeds = 9, 40, [first_seed, first_seed + 1]
    law, rule = law_of(6, n_contexts=n_contexts), rule_of("adamw", 2)
    tables, state = tables_of(law, seeds, np.float64), start(2, 6, 3, np.float64)
    losses, _ = advance(state, tables, rule, drawn(rows, dataset_size, np.float64), 0, steps)
    for i, seed in enumerate(seeds):
        alone, expected = only(start(2, 6, 3, np.float64), i), 0.0
        for step in range(steps):
            x, context = sample(law, seed, slow_rows(seed, step, rows, dataset_size))
            assert len(x) == (30 if dataset_size and step % 4 == 3 else 40)
            one = given(x[None, None].astype(np.float64), context[None, None])
            expected += advance(alone, only(tables, i), only(rule, i), one, step, step + 1)[0][0]
        np.testing.assert_allclose(state.W[i], alone.W[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(state.b[i], alone.b[0], rtol=0, atol=1e-12)
        assert losses[i] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("values", ["uniform", "signed", "binary", 0.25])
def test_values_are_those_of_their_law(values: str | float) -> None:
    """Training on what the engine draws is training on the defined samples."""
    changes = {"training.steps": 3, "training.batch_size": 40, "training.dataset_size": None}
    changes |= {"record.steps": [1], "regime.values": values, "model.activation": "tanh"}
    condition = toysup.load_experiment("conditional-importance", changes=changes).conditions[2]
    instances, regime = instances_of(condition, [0, 1]), condition.regimes()[0]
    tables, rule = arguments.tables_of(instances, np.float64), rule_of("adamw", 2)
    x, context = (
        np.stack(part) for part in zip(*(sample(regime, seed, np.arange(120)) for seed in (0, 1)), strict=True)
    )
    low, high = regime.value_range
    active = x != 0
    assert low <= x[active].min() <= x[active].max() <= high
    assert x[active].mean() == pytest.approx((low + high) / 2, abs=0.05)
    ours, theirs = start(2, 20, 10, np.float64), start(2, 20, 10, np.float64)
    advance(ours, tables, rule, drawn(40, 0, np.float64), 0, 3)
    advance(theirs, tables, rule, given(x.reshape(2, 3, 40, 20).astype(float), context.reshape(2, 3, 40)), 0, 3)
    np.testing.assert_allclose(ours.W, theirs.W, rtol=0, atol=1e-12)


GROUPS = {
    "together": {"regime__together": ["1-3", "11-12"]},
    "correlated": {"regime__together": ["1-3", "11-12"], "regime__correlation": [0.2, 0.7]},
    "exclusive": {"regime__exclusive": ["1-5", "7, 13"], "regime__values": "signed", "model__activation": "tanh"},
}


@pytest.mark.parametrize("changes", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("condition", [1, 2])
def test_groups_are_trained_on_the_defined_samples(condition: int, changes: dict) -> None:
    """Drawn, they are as the same samples given; and the torch engine agrees."""
    from toysup.engines.torch_engine import engine as torch_engine

    instances = some_instances(condition, seeds=[0, 2**40], **changes)
    *_, ours = engine.train(instances)
    tables, rule = arguments.tables_of(instances), engine.optimizer_of(instances)
    state = new_state(instances.parameters["W"], instances.parameters["b"])
    alone = [only(state, i) for i in range(len(instances))]
    for step in range(60):
        for i, (regime, seed) in enumerate(zip(instances.regimes, instances.seeds.tolist(), strict=True)):
            x, context = sample(regime, seed, slow_rows(seed, step, 256, 1000))
            one = given(x[None, None], context[None, None])
            own = only(tables._replace(groups=None), i)
            phi = instances.model.activation
            advance(alone[i], own, only(rule, i), one, step, step + 1, activation=phi)
    for i, state in enumerate(alone):
        np.testing.assert_allclose(ours.parameters["W"][i], state.W[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(ours.parameters["b"][i], state.b[0], rtol=0, atol=1e-5)
    for one, theirs in zip(engine.train(instances), torch_engine.train(instances), strict=True):
        scale = np.abs(theirs.parameters["W"]).max()
        np.testing.assert_allclose(one.parameters["W"], theirs.parameters["W"], rtol=0, atol=2e-5 * scale)
        np.testing.assert_allclose(one.train_loss, theirs.train_loss, rtol=1e-5)


def test_given_batches_are_the_same_whatever_the_groups() -> None:
    """Gradients of a batch do not depend on where it came from."""
    instances = some_instances(2, **GROUPS["together"])
    tables, law = arguments.tables_of(instances), instances.regime
    batches, rule = some_batches(law, 3, 5, 40, np.float32), rule_of("adamw", 3)
    one, other = start(3, 20, 10), start(3, 20, 10)
    advance(one, tables, rule, batches, 0, 5)
    advance(other, tables._replace(groups=None), rule, batches, 0, 5)
    np.testing.assert_allclose(one.W, other.W, rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", GROUPS.values(), ids=GROUPS)
def test_threads_company_and_groups_do_not_change_a_bit(changes: dict) -> None:
    instances = some_instances(2, seeds=[0, 5, 2**40], **changes)
    *_, whole = engine.train(instances, Control(threads=1))
    *_, again = engine.train(instances, Control(threads=2))
    for name, values in whole.parameters.items():
        np.testing.assert_array_equal(values, again.parameters[name])
    for i in range(len(instances)):
        *_, alone = engine.train(instances.part(slice(i, i + 1)), Control(threads=2))
        for name, values in whole.parameters.items():
            np.testing.assert_array_equal(values[i], alone.parameters[name][0])
        assert whole.train_loss[i] == alone.train_loss[0]


def slow_rows(seed: int, step: int, rows: int, dataset_size: int) -> np.ndarray:
    """The indices of the samples of one step."""
    if dataset_size == 0:
        return np.arange(step * rows, (step + 1) * rows)
    epoch, batch = divmod(step, -(-dataset_size // rows))
    return order(seed, epoch, dataset_size)[batch * rows : (batch + 1) * rows]


def test_an_order_that_spans_several_chunks_of_words() -> None:
    law, rule, size = law_of(3, n_contexts=1), rule_of("sgd", 1, steps=20_000), 2100
    tables, state, other = tables_of(law, [0], np.float64), start(1, 3, 2, np.float64), start(1, 3, 2, np.float64)
    for step in (size, size + 1029, 2 * size - 1):
        advance(state, tables, rule, drawn(1, size, np.float64), step, step + 1)
        x, context = sample(law, 0, slow_rows(0, step, 1, size))
        advance(other, tables, rule, given(x[None, None].astype(np.float64), context[None, None]), step, step + 1)
    np.testing.assert_allclose(state.W, other.W, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dataset_size", [0, 1000])
def test_threads_company_and_calls_do_not_change_a_bit(dataset_size: int) -> None:
    law, rule, batches = law_of(20), rule_of("adamw", 5), drawn(300, dataset_size, np.float32)
    tables = tables_of(law, [0, 1, 2, 3, 4])

    def run(threads: int = 1, cuts: tuple[int, ...] = (0, 30)) -> State:
        state = start(5, 20, 10)
        for first, last in pairwise(cuts):
            advance(state, tables, rule, batches, first, last, threads=threads)
        return state

    whole = run()
    for again in (run(threads=2), run(threads=3), run(cuts=(0, 1, 7, 30))):
        assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    for i in range(5):
        alone = only(start(5, 20, 10), i)
        advance(alone, only(tables, i), only(rule, i), batches, 0, 30)
        assert all(np.array_equal(a[i], b[0]) for a, b in zip(whole, alone, strict=True))


@pytest.mark.parametrize("dataset_size", [0, 1000])
def test_states_kept_on_the_way_are_those_of_calls_that_end_there(dataset_size: int) -> None:
    law, rule, batches = law_of(20), rule_of("adamw", 3), drawn(300, dataset_size, np.float32)
    tables, steps = tables_of(law, [0, 1, 2]), (1, 3, 4, 11)
    kept, state = room_for(start(3, 20, 10), steps), start(3, 20, 10)
    losses, _ = advance(state, tables, rule, batches, 0, 13, kept=kept)
    np.testing.assert_array_less(kept.loss.sum(1), losses)
    other = start(3, 20, 10)
    for k, (first, last) in enumerate(pairwise((0, *steps))):
        loss, _ = advance(other, tables, rule, batches, first, last)
        np.testing.assert_array_equal(kept.W[:, k], other.W)
        np.testing.assert_array_equal(kept.b[:, k], other.b)
        np.testing.assert_array_equal(kept.loss[:, k], loss)


def test_snapshots_do_not_depend_on_how_many_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor on how many steps or states a call takes, or how many instances."""
    sparse = {s.step: s for s in engine.train(some_instances(record__steps=[30]))}
    for bytes_kept, work in ((2**28, 6e10), (1, 6e10), (3000, 1)):
        monkeypatch.setattr(engine, "_KEPT_BYTES", bytes_kept)
        monkeypatch.setattr(engine, "_WORK_PER_CALL", work)
        dense = {s.step: s for s in engine.train(some_instances(record__steps=list(range(60))))}
        assert list(dense) == list(range(61))
        for step, snapshot in sparse.items():
            for name in ("W", "b"):
                np.testing.assert_array_equal(snapshot.parameters[name], dense[step].parameters[name])
        # Batches of 256 of 1000 samples: every fourth has 232.
        rows = np.array([232 if step % 4 == 3 else 256 for step in range(30)])
        summed = sum(rows[step] * dense[step + 1].train_loss for step in range(30))
        np.testing.assert_allclose(sparse[30].train_loss, summed / rows.sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("recorded", "dataset_size", "room", "expected"),
    [
        ([2, 4, 6, 8], 1000, 100, [[2, 4, 6], [8, 12]]),
        ([2, 4, 6, 8], 1000, 2, [[2, 4], [6, 8], [12]]),
        ([2], 1000, 100, [[2], [8], [12]]),
        ([2, 4, 6, 8], None, 100, [[2, 4, 6], [8, 12]]),
    ],
)
def test_calls_go_on_from_snapshot_to_snapshot(
    recorded: list[int], dataset_size: int | None, room: int, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call takes 6 steps here and keeps so many states at most."""
    monkeypatch.setattr(engine, "_stride", lambda instances: 6)
    monkeypatch.setattr(engine, "_KEPT_BYTES", room * 3 * 220 * 4)
    changes = {"record__steps": recorded, "training__steps": 12, "training__dataset_size": dataset_size or 1000}
    instances = some_instances(**changes)
    if dataset_size is None:
        stream = instances.training.model_copy(update={"dataset_size": None})
        instances = dataclasses.replace(instances, training=stream)
    assert list(engine._legs(instances)) == expected


def test_shapes_that_the_kernel_would_overrun_are_refused() -> None:
    tables, rule, batches = tables_of(law_of(20), [0, 1]), rule_of("adam", 2), drawn(8, 0, np.float32)
    with pytest.raises(ValueError, match="threshold must be"):
        advance(start(2, 19, 10), tables, rule, batches, 0, 1)
    with pytest.raises(ValueError, match="learning_rate must be"):
        advance(start(2, 20, 10), tables, rule_of("adam", 3), batches, 0, 1)
    with pytest.raises(ValueError, match="factor has 200 steps"):
        advance(start(2, 20, 10), tables, rule, batches, 0, 201)
    with pytest.raises(ValueError, match=r"kept\.W must be"):
        advance(start(2, 20, 10), tables, rule, batches, 0, 1, kept=room_for(start(2, 20, 9), [1]))
    with pytest.raises(ValueError, match="b must be"):
        advance(start(2, 20, 10)._replace(b=np.zeros((2, 20))), tables, rule, batches, 0, 1)


def some_instances(condition: int = 1, seeds: Sequence[int] | None = None, **changes: object) -> Instances:
    settings = {"training.steps": 60, "training.dataset_size": 1000, "record.steps": [5, 30]}
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    experiment = toysup.load_experiment("conditional-importance", changes=settings)
    return instances_of(experiment.conditions[condition], seeds or [0, 1, 2])


@pytest.mark.parametrize("condition", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training__optimizer": "sgd", "training__momentum": 0.9, "training__learning_rate": 0.02},
        {"training__optimizer": "adamw", "training__weight_decay": 0.1, "training__schedule": "cosine"},
        {"model__activation": "identity", "training__learning_rate": [1e-3, 1e-2]},
        {"model__activation": "gelu"},
    ],
)
def test_engines_agree_snapshot_by_snapshot(condition: int, changes: dict) -> None:
    """They see the same samples to the bit, so that only rounding is between them."""
    from toysup.engines.torch_engine import engine as torch_engine

    instances = some_instances(condition, **changes)
    for ours, theirs in zip(engine.train(instances), torch_engine.train(instances), strict=True):
        assert ours.step == theirs.step
        scale = np.abs(theirs.parameters["W"]).max()
        for name in ("W", "b"):
            np.testing.assert_allclose(ours.parameters[name], theirs.parameters[name], rtol=0, atol=2e-5 * scale)
        np.testing.assert_allclose(ours.train_loss, theirs.train_loss, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("condition", range(4))
def test_statistics_over_50_seeds_are_those_of_the_reference_engine(condition: int) -> None:
    """Of seeds that the engines do not share: equal ones would agree by construction."""
    experiment = toysup.load_experiment("conditional-importance", changes={"training.epochs": 4})
    chosen = experiment.conditions[condition]
    found = []
    for name, seeds in (("fused", range(50)), ("torch", range(50, 100))):
        (dataset,) = (
            leaf.to_dataset()
            for leaf in toysup.train(experiment, seeds=seeds, conditions=[chosen.name], engine=name).leaves
        )
        last = dataset.isel(step=-1)
        energy = analysis.quadrant_interference(last.W).energy
        found.append(
            [last.train_loss, analysis.represented_count(last.W), analysis.total_dimensionality(last.W)]
            + [energy.isel(subset=a, other_subset=b) for a in (0, 1) for b in (0, 1)]
        )
    for ours, theirs in zip(*found, strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > 0.001


def test_divergence_is_recorded_and_stops_no_other() -> None:
    from toysup.engines.torch_engine import engine as torch_engine

    for train in (engine.train, torch_engine.train):
        instances = some_instances(
            0, training__optimizer="sgd", training__learning_rate=[0.01, 1e7], record__steps=[1, 2, 3, 4, 5, 6, 30]
        )
        *snapshots, last = train(instances)
        assert all((snapshot.diverged_at <= snapshot.step).all() for snapshot in snapshots)
        assert (last.diverged_at[:3] == -1).all()
        assert ((last.diverged_at[3:] > 1) & (last.diverged_at[3:] < 60)).all()
        assert np.isfinite(last.parameters["W"][:3]).all()
        assert not np.isfinite(last.parameters["W"][3:]).all()
        assert np.isfinite(last.train_loss[:3]).all()


def test_progress_is_told_with_the_loss() -> None:
    told: list[tuple[int, float]] = []
    list(engine.train(some_instances(), Control(progress=lambda step, loss: told.append((step, loss)))))
    assert [step for step, _ in told] == sorted({step for step, _ in told})
    assert told[-1][0] == 60
    assert all(0 < loss < 1 for _, loss in told)


def test_progress_within_a_call_is_told_with_the_last_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_WORK_PER_CALL", 1.0)
    told: list[tuple[int, float]] = []
    many = some_instances(seeds=range(40), training__steps=3, training__batch_size=1000, record__steps=[1, 2])
    list(engine.train(many, Control(progress=lambda step, loss: told.append((step, loss)))))
    # Two groups of 16 and the rest, and a snapshot after each step.
    assert [step for step, _ in told] == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert np.isnan([loss for _, loss in told[:2]]).all()
    assert np.isfinite([loss for _, loss in told[2:]]).all()


def test_a_large_dataset_is_shuffled_once_an_epoch() -> None:
    def stride(dataset_size: int) -> int:
        return engine._stride(
            some_instances(seeds=range(2000), training__dataset_size=dataset_size, training__batch_size=256)
        )

    assert stride(256 * 100) == 100
    assert stride(256 * 10_000) == 10_000


def test_more_features_than_a_tile_has_values() -> None:
    changes = {"model.n_features": 70_000, "model.n_hidden": 1, "training.batch_size": 1, "training.steps": 1}
    experiment = toysup.load_experiment("tms-intro", changes=changes | {"record.steps": [1]})
    *_, last = engine.train(instances_of(experiment.conditions[0], [0]))
    assert np.isfinite(last.parameters["W"]).all()


def test_seeds_of_the_post_do_not_depend_on_how_they_were_trained() -> None:
    experiment = toysup.load_experiment("conditional-importance", changes={"training.epochs": 1})
    condition = experiment.conditions[1]
    *_, among = snapshots_of(condition, [3, 7, 8], "fused")
    *_, alone = snapshots_of(condition, [7], "fused")
    np.testing.assert_array_equal(among.parameters["W"][1], alone.parameters["W"][0])
    np.testing.assert_array_equal(among.train_loss[1], alone.train_loss[0])


def test_what_diverges_leaves_the_next_one_alone() -> None:
    """A thread's instances share its buffers, of which a narrower context fills less."""
    condition = Condition(
        name="c",
        model={"n_features": 6, "n_hidden": 3},
        regime={
            "contexts": ["a", "b"], "subsets": {"a": "1-3", "b": "4-6"},
            "feature_probability": 0.3, "outside_probability": [1.0, 0.0],
        },
        training={"steps": 50, "batch_size": 16, "learning_rate": [1e-3, 1e3], "optimizer": "sgd"},
    )  # fmt: skip
    *_, last = engine.train(instances_of(condition, range(7)), Control(threads=1))
    # (cell of outside_probability, cell of learning_rate, seed)
    diverged = last.diverged_at.reshape(2, 2, 7) >= 0
    assert not diverged[:, 0].any()
    assert diverged[:, 1].all()
