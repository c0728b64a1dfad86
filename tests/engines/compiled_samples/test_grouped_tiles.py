"""Tiles of regimes with groups against the definition of a sample, to the bit."""

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

import toysup
from toysup.engines.compiled_samples.grouped_tiles import GroupedLaw, draw_grouped_tile, rows_of_words
from toysup.engines.fused.arguments import drawn, new_state, tables_of
from toysup.engines.fused.buffers import new_work, plan
from toysup.engines.instances import Instances, instances_of
from toysup.sampling.samples import sample

Small = Callable[..., toysup.Experiment]
IN_CONTEXT = {
    "regime__contexts": ["a", "b", "c"],
    "regime__subsets": {"a": "1-3", "b": "3-4", "c": [4, 5]},
    "regime__outside_probability": 0.0,
}
GROUPS: dict[str, dict[str, object]] = {
    "together": {"regime__together": ["1-2", "4-6"]},
    "correlated": {"regime__together": ["1-2", "4-6"], "regime__correlation": 0.3},
    "across blocks": {"regime__together": ["1, 6"], "regime__exclusive": ["2, 5"], "regime__correlation": 0.7},
    "exclusive": {"regime__exclusive": ["1, 3"], "regime__values": "signed"},
    "one-hot": {"regime__exclusive": ["1-6"], "regime__feature_probability": 1 / 6},
    "constant": {"regime__together": ["2-5"], "regime__values": -0.1},
    "by context": {**IN_CONTEXT, "regime__together": ["1-2"], "regime__exclusive": [[3, 6]]},
    "correlations": {"regime__together": ["1-2"], "regime__correlation": [0.0, 0.5, 1.0]},
}


@njit
def plan_of(tables, i, work):  # type: ignore[no-untyped-def]
    plan(tables, i, False, work)


@njit
def drawn_tile(tile, input_row, law, offset, seed, words, X):  # type: ignore[no-untyped-def]
    draw_grouped_tile(tile, input_row, law, offset, seed, words, X)


def tile_of(instances: Instances, i: int, c: int, samples: np.ndarray) -> np.ndarray:
    """(sample, feature) values of these samples of instance i in context c, as the fused engine draws them."""
    tables, zeros = tables_of(instances), np.zeros((len(instances), 2, instances.model.n_features), np.float32)
    state = new_state(zeros, zeros[:, 0])
    work = new_work(state, tables, drawn(len(samples), 0, np.float32))
    plan_of(tables, i, work)
    groups = tables.groups
    assert groups is not None
    law = GroupedLaw(
        tables.threshold[i, c], tables.scale[i, c], groups.of[i], groups.copies[i], groups.lower[i, c],
        groups.upper[i, c], groups.scale[i],
    )  # fmt: skip
    tile, offset, seed = samples.astype(np.uint64), tables.offset[i], tables.seed[i]
    drawn_tile(tile, work.input_row[c], law, offset, seed, work.group_words, work.X)
    return work.X[work.input_row[c], : len(samples)].T


@pytest.mark.parametrize("changes", GROUPS.values(), ids=GROUPS)
def test_tiles_are_the_defined_samples(small: Small, changes: dict[str, object]) -> None:
    (condition,) = small(**changes).conditions
    instances = instances_of(condition, [3, 2**40])
    indices = np.r_[0:800, 2**33 + 7]
    for i, (regime, seed) in enumerate(zip(instances.regimes, instances.seeds.tolist(), strict=True)):
        x, context = sample(regime, seed, indices)
        assert (x[:, :2] != 0).any()
        for c in range(len(regime.contexts)):
            own = context == c
            np.testing.assert_array_equal(tile_of(instances, i, c, indices[own]), x[own])


def test_a_feature_with_only_the_word_that_rounding_leaves_is_an_input(small: Small) -> None:
    """Its own threshold is 0, but its interval of the group's word begins and ends in different integers."""
    word = 2.0**-32
    changes = {"regime__activation_probability": [7.8 * word, 0.4 * word, 0.0, 0.1, 0.1, 0.1]}
    (condition,) = small(**changes, regime__exclusive=["1-3"]).conditions
    instances = instances_of(condition, [0])
    law = instances.law
    assert law.group is not None
    assert law.threshold[0, 0].tolist()[1:3] == [0, 0]
    assert (law.group.upper - law.group.lower)[0, 0].tolist()[1:3] == [1, 0]
    tables = tables_of(instances)
    state = new_state(np.zeros((1, 3, 6), np.float32), np.zeros((1, 6), np.float32))
    work = new_work(state, tables, drawn(8, 0, np.float32))
    plan_of(tables, 0, work)
    assert work.n_inputs.tolist() == [5]
    assert rows_of_words(6) == len(work.group_words) == 16
