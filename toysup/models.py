"""Models: the architecture that an experiment trains, and the parameters it starts from."""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from toysup.draws import normal
from toysup.spec import MAX_NAME, NAME_PATTERN, Count, Spec


class ModelSpec(Spec):
    """The `[model]` table: the tied autoencoder y = φ(WᵀW x + b), with φ the activation of that name."""

    n_features: Count
    n_hidden: Count
    activation: str = Field("relu", pattern=NAME_PATTERN, max_length=MAX_NAME)


def initial_parameters(model: ModelSpec, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """What seed `seed` starts from: W (hidden, feature) Xavier-normal with std √(2/(n+m)), b (feature,) zero.

    Xavier's scale is this model's own; TMS's notebook applies it to a stack of models, where it depends on their
    number.
    """
    n, m = model.n_features, model.n_hidden
    weights = np.sqrt(2 / (n + m)) * normal(seed, "W", (m, n))
    return {"W": weights.astype(np.float32), "b": np.zeros(n, dtype=np.float32)}
