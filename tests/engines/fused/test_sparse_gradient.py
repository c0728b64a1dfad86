"""Training from lists of active features, against NumPy, torch and the tiles; and what must not change a bit."""

from itertools import pairwise

import numpy as np
import pytest

from tests.engines.fused.test_engine import (
    TOLERANCE,
    law_of,
    only,
    require_gradient,
    rule_of,
    slow_rows,
    start,
    tables_of,
    torch_trajectory,
)
from toysup.engines.compiled_samples.active_lists import MOST_ROWS
from toysup.engines.compiled_samples.survival_tables import SparseTables
from toysup.engines.fused import arguments, engine
from toysup.engines.fused.arguments import Batches, Tables, drawn, given, room_for
from toysup.engines.fused.formulation import LISTS, LISTS_IN_TILES, TILES, form_of, forms_of
from toysup.engines.fused.kernel import advance
from toysup.engines.instances import Control, instances_of
from toysup.experiments.activations import BUILT_IN
from toysup.experiments.experiment import Condition
from toysup.experiments.regime import Regime
from toysup.sampling.samples import sample
from toysup.sampling.sparse_samples import most_active, survival


def sparse_tables_of(law: Regime, seeds: list[int], dtype: type = np.float32, *, most: int | None = None) -> Tables:
    count = len(seeds)
    return tables_of(law, seeds, dtype)._replace(
        sparse=SparseTables(
            np.stack([survival(law.activation_probability)] * count),
            np.full(count, 2.0**-32, np.float32),
            np.zeros(count, np.float32),
            np.full(count, most or most_active(law.activation_probability)),
        )
    )


def sparse_batches(law: Regime, count: int, steps: int, rows: int, dtype: type, p: float) -> Batches:
    rng = np.random.default_rng(2)
    context = rng.integers(len(law.contexts), size=(count, steps, rows))
    x = rng.uniform(-1, 1, size=(count, steps, rows, len(law.subset)))
    return given((x * (rng.random(x.shape) < p)).astype(dtype), context)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "m", "rows", "p", "phi"),
    [
        (1, 1, 3, 0.5, "relu"),
        (5, 2, 50, 0.3, "relu"),
        # Fewer active features than there are: rows for those alone.
        (100, 7, 20, 0.02, "relu"),
        (37, 3, 130, 0.01, "tanh"),
        # More samples than lists take at once.
        (8, 3, 2 * MOST_ROWS + 5, 0.01, "relu"),
        *((20, 10, 300, 0.05, name) for name in BUILT_IN),
    ],
)
def test_gradient_equals_numpys(n: int, m: int, rows: int, p: float, phi: str, dtype: type) -> None:
    law = law_of(n)
    tables, batches = sparse_tables_of(law, [0, 1], dtype, most=n), sparse_batches(law, 2, 1, rows, dtype, p)
    require_gradient(law, tables, batches, start(2, n, m, dtype), phi)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "n", "m"), [("sgd", 20, 10), ("adam", 40, 4), ("adamw", 20, 10)])
def test_a_hundred_steps_are_torchs(kind: str, n: int, m: int, dtype: type) -> None:
    law, state, rule = law_of(n), start(2, n, m, dtype), rule_of(kind, 2)
    batches = sparse_batches(law, 2, 100, 64, dtype, 0.05)
    losses, _ = advance(state, sparse_tables_of(law, [0, 1], dtype, most=n), rule, batches, 0, 100)
    for i in range(2):
        W, b, total = torch_trajectory(start(2, n, m, dtype), rule, kind, law, batches, "relu", i)
        np.testing.assert_allclose(state.W[i], W, rtol=0, atol=TOLERANCE[dtype] * np.abs(W).max())
        np.testing.assert_allclose(state.b[i], b, rtol=0, atol=TOLERANCE[dtype] * np.abs(W).max())
        assert losses[i] == pytest.approx(total, rel=TOLERANCE[dtype])


@pytest.mark.parametrize("form", [LISTS, LISTS_IN_TILES])
@pytest.mark.parametrize("dataset_size", [0, 150])
@pytest.mark.parametrize(("n_contexts", "first_seed"), [(1, 0), (2, 5), (3, 2**40)])
def test_what_is_drawn_is_the_defined_sample(n_contexts: int, first_seed: int, dataset_size: int, form: int) -> None:
    """Training on drawn samples is training on the same samples, drawn by their definition and given to the tiles."""
    steps, rows, seeds = 9, 41, [first_seed, first_seed + 1]
    law, rule = law_of(30, n_contexts=n_contexts, p=0.06), rule_of("adamw", 2)
    assert law.is_sparse
    tables, state = sparse_tables_of(law, seeds, np.float64), start(2, 30, 3, np.float64)
    losses, _ = advance(
        state, tables, rule, drawn(rows, dataset_size, np.float64), 0, steps, forms=np.array([form, form])
    )
    for i, seed in enumerate(seeds):
        alone, expected = only(start(2, 30, 3, np.float64), i), 0.0
        for step in range(steps):
            x, context = sample(law, seed, slow_rows(seed, step, rows, dataset_size))
            one = given(x[None, None].astype(np.float64), context[None, None])
            own = only(tables._replace(sparse=None), i)
            expected += advance(alone, own, only(rule, i), one, step, step + 1)[0][0]
        np.testing.assert_allclose(state.W[i], alone.W[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(state.b[i], alone.b[0], rtol=0, atol=1e-12)
        assert losses[i] == pytest.approx(expected, rel=1e-12)


def test_a_stream_goes_on_beyond_the_lists() -> None:
    """A batch of more samples than lists take at once."""
    rows, law = 2 * MOST_ROWS + 11, law_of(10, n_contexts=2, p=0.05)
    tables, rule = sparse_tables_of(law, [4], np.float64), rule_of("adam", 1)
    ours, theirs = start(1, 10, 3, np.float64), start(1, 10, 3, np.float64)
    advance(ours, tables, rule, drawn(rows, 0, np.float64), 3, 5)
    x, context = sample(law, 4, range(3 * rows, 5 * rows))
    batches = given(x.reshape(1, 2, rows, 10).astype(float), context.reshape(1, 2, rows))
    advance(theirs, tables._replace(sparse=None), rule, batches, 3, 5)
    np.testing.assert_allclose(ours.W, theirs.W, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dataset_size", [0, 1000])
def test_threads_company_calls_and_forms_of_others_do_not_change_a_bit(dataset_size: int) -> None:
    law, rule, batches = law_of(20, p=0.06), rule_of("adamw", 5), drawn(300, dataset_size, np.float32)
    tables, forms = sparse_tables_of(law, [0, 1, 2, 3, 4]), np.array([LISTS, TILES, LISTS, LISTS_IN_TILES, LISTS])

    def run(threads: int = 1, cuts: tuple[int, ...] = (0, 30)):
        state = start(5, 20, 10)
        for first, last in pairwise(cuts):
            advance(state, tables, rule, batches, first, last, forms=forms, threads=threads)
        return state

    whole = run()
    for again in (run(threads=2), run(cuts=(0, 1, 7, 30))):
        assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    for i in range(5):
        alone, own = only(start(5, 20, 10), i), only(tables, i)
        own = own._replace(sparse=SparseTables(*(part[i : i + 1] for part in tables.sparse)))
        advance(alone, own, only(rule, i), batches, 0, 30, forms=forms[i : i + 1])
        assert all(np.array_equal(a[i], b[0]) for a, b in zip(whole, alone, strict=True))


def test_states_kept_on_the_way_are_those_of_calls_that_end_there() -> None:
    law, rule, batches, steps = law_of(20, p=0.06), rule_of("adamw", 3), drawn(300, 0, np.float32), (1, 3, 11)
    tables = sparse_tables_of(law, [0, 1, 2])
    kept, state, other = room_for(start(3, 20, 10), steps), start(3, 20, 10), start(3, 20, 10)
    advance(state, tables, rule, batches, 0, 13, kept=kept)
    for k, (first, last) in enumerate(pairwise((0, *steps))):
        loss, _ = advance(other, tables, rule, batches, first, last)
        np.testing.assert_array_equal(kept.W[:, k], other.W)
        np.testing.assert_array_equal(kept.loss[:, k], loss)


def condition_of(p: object, **training: object) -> Condition:
    return Condition(
        name="c",
        model={"n_features": 20, "n_hidden": 5},
        regime={
            "contexts": ["a", "b"], "subsets": {"a": "1-10", "b": "11-20"}, "importance_decay": 0.9,
            "feature_probability": p, "outside_probability": 0.5, "outside_importance": 0.2,
        },
        training={"steps": 60, "batch_size": 256, **training},
        record={"steps": [5, 30]},
    )  # fmt: skip


def test_engines_agree_on_a_sweep_from_sparse_to_dense() -> None:
    from toysup.engines.torch_engine import engine as torch_engine

    instances = instances_of(condition_of([0.02, 0.2]), [0, 2**40])
    assert forms_of(instances).tolist() == [LISTS, LISTS, TILES, TILES]
    for ours, theirs in zip(engine.train(instances), torch_engine.train(instances), strict=True):
        scale = np.abs(theirs.parameters["W"]).max()
        for name in ("W", "b"):
            np.testing.assert_allclose(ours.parameters[name], theirs.parameters[name], rtol=0, atol=2e-5 * scale)
        np.testing.assert_allclose(ours.train_loss, theirs.train_loss, rtol=1e-5)


def test_training_resumes_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_stride", lambda instances: 7)
    instances, offered = instances_of(condition_of(0.02, dataset_size=1000), [0, 1, 2]), []

    def keep(state):
        offered.append({name: np.array(value) for name, value in state().items()})

    *_, whole = engine.train(instances, Control(offer=keep))
    assert offered
    for state in offered:
        *_, again = engine.train(instances, Control(resume=state))
        for name, values in whole.parameters.items():
            np.testing.assert_array_equal(values, again.parameters[name])


def test_what_diverges_leaves_the_next_one_alone() -> None:
    sweep = condition_of([0.02, 0.01], learning_rate=[1e-3, 1e30], optimizer="sgd")
    *_, last = engine.train(instances_of(sweep, range(5)), Control(threads=1))
    diverged = last.diverged_at.reshape(2, 2, 5) >= 0
    assert not diverged[:, 0].any()
    assert diverged[:, 1].all()
    tame = condition_of([0.02, 0.01], learning_rate=1e-3, optimizer="sgd")
    *_, alone = engine.train(instances_of(tame, range(5)), Control(threads=1))
    beside = last.parameters["W"].reshape(2, 2, 5, 5, 20)[:, 0]
    np.testing.assert_array_equal(beside, alone.parameters["W"].reshape(2, 5, 5, 20))


def test_forms_follow_from_sizes_and_activity() -> None:
    """With few samples and many features, K would cost more than it saves."""
    law = law_of(400, n_contexts=1, p=0.01)
    assert form_of(law, 400, 30, 1024) == LISTS
    assert form_of(law, 400, 30, 16) == LISTS_IN_TILES
    # K of so many features would not fit into memory.
    assert form_of(law_of(5000, n_contexts=1, p=0.001), 5000, 3000, 2**20) == LISTS_IN_TILES
    dense = instances_of(condition_of(0.02, draws="dense"), [0])
    assert forms_of(dense).tolist() == [TILES]
    assert arguments.tables_of(dense).sparse is None


def test_dense_draws_are_those_from_before() -> None:
    """The key `draws` gives the samples of the only definition there was."""
    instances = instances_of(condition_of(0.02, draws="dense", steps=3), [3])
    tables, rule = arguments.tables_of(instances), engine.optimizer_of(instances)
    *_, last = engine.train(instances)
    state = arguments.new_state(instances.parameters["W"], instances.parameters["b"])
    x, context = sample(instances.regime, 3, range(3 * 256), draws="dense")
    advance(state, tables, rule, given(x.reshape(1, 3, 256, 20), context.reshape(1, 3, 256)), 0, 3)
    np.testing.assert_allclose(last.parameters["W"], state.W, rtol=0, atol=1e-6)
