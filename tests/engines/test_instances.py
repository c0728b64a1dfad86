"""What engines are given: the instances of a condition and the parameters that they start from."""

from collections.abc import Callable

import pytest

import toysup
from toysup.engines.instances import instances_of

Small = Callable[..., toysup.Experiment]


def test_weights_start_xavier_normal_and_the_rest_at_zero(small: Small) -> None:
    changes = {"regime__contexts": ["a", "b", "c"], "regime__context_input": "one-hot", "model__tied": False}
    changes |= {"model__n_features": 40, "model__n_hidden": 30}
    changes |= {"model__encoder_layers": [50], "model__decoder_layers": [60]}
    parameters = instances_of(small(**changes).conditions[0], [0, 1, 2, 3]).parameters
    expected = {"encoder_1_W": (50, 40), "W": (30, 50), "decoder_1_W": (60, 30), "W_out": (40, 60)}
    for name, (rows, columns) in expected.items():
        assert parameters[name].shape == (4, rows, columns)
        assert parameters[name].std() == pytest.approx((2 / (rows + columns)) ** 0.5, rel=0.04)
        assert abs(parameters[name].mean()) < 4 * parameters[name].std() / parameters[name].size ** 0.5
    zero = {"encoder_1_W_context": (50, 3), "encoder_1_b": (50,), "decoder_1_b": (60,), "b": (40,)}
    assert set(parameters) == {*expected, *zero}
    for name, shape in zero.items():
        assert parameters[name].shape == (4, *shape)
        assert not parameters[name].any()
