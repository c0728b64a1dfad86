"""Batches of the compiled generator against the definition in `toysup.sampling`."""

import numpy as np
import pytest

from toysup.engines.compiled_samples import batches
from toysup.sampling.random_words import order


@pytest.mark.parametrize("size", [1, 2, 5, 1029, 2100])
def test_orders_are_the_defined_ones(size: int) -> None:
    np.testing.assert_array_equal(batches.order(2**40 + 1, 3, size), order(2**40 + 1, 3, size))
