"""The types of arrays that statistics compute with, each under one name."""

from typing import Any

import numpy as np
import numpy.typing as npt

from toysup.experiments.regime import FloatArray as FloatArray  # float64: for everything but weights

ModelArray = npt.NDArray[np.floating]
"""Weights, and statistics that keep the dtype of the weights."""

AnyArray = npt.NDArray[Any]

Mask = npt.NDArray[np.bool_]
