"""Which engine trains a condition, and the function that it trains with."""

from collections.abc import Callable, Iterator

from toysup.engines.fused import why_not
from toysup.engines.instances import Snapshot
from toysup.errors import UsageError, nearest
from toysup.experiments.experiment import Condition
from toysup.experiments.model import require_known

# The first that can train a condition on a device is chosen, if none is named.
ENGINES = ("fused", "torch")


def choose_engine(condition: Condition, name: str | None, device: str) -> str:
    """The engine of that name, or the first that can train `condition` on `device`.

    Raises UsageError where the engine, the device or the activation is not there, or the engine cannot.
    """
    if name is not None and name not in ENGINES:
        raise UsageError(f"no engine {name!r}; {nearest(name, ENGINES)}")
    require_known(condition.model)
    obstacle = why_not(condition) if device == "cpu" else f"it runs on the cpu, not on {device!r}"
    if name is None:
        name = "torch" if obstacle else "fused"
    if name == "fused" and obstacle:
        raise UsageError(f"the fused engine cannot train {condition.name}: {obstacle}; --engine torch can")
    if name == "torch":
        from toysup.engines.torch_engine.engine import torch_device

        torch_device(device)
    return name


def train_function(engine: str) -> Callable[..., Iterator[Snapshot]]:
    """Engines are imported only when they are used, because torch and numba take seconds."""
    if engine == "torch":
        from toysup.engines.torch_engine import engine as torch_engine

        return torch_engine.train
    from toysup.engines.fused import engine as fused_engine

    return fused_engine.train
