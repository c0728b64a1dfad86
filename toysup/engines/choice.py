"""The choice of the engine that trains a condition."""

from collections.abc import Callable, Iterator

from toysup.engines.fused import why_not
from toysup.engines.instances import Snapshot
from toysup.errors import UsageError, nearest, require_torch
from toysup.experiments.experiment import Condition
from toysup.experiments.model import require_known

# By default the first engine that can train a condition on a device is chosen.
ENGINES = ("fused", "torch")


def choose_engine(condition: Condition, name: str | None, device: str) -> str:
    """The engine `name`, or, if that is None, the first engine that can train `condition` on `device`.

    Raises UsageError if there is no such engine, device or activation, if the engine cannot train the condition, or if
    the engine is torch and torch is not installed.
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
        reason = f" (the fused engine cannot: {obstacle})" if obstacle else ""
        require_torch(f"training {condition.name} with the torch engine{reason}")
        from toysup.engines.torch_engine.engine import torch_device

        torch_device(device)
    return name


def why_engine(condition: Condition, name: str, device: str, *, asked: bool) -> str:
    """The reason why `choose_engine` or the stored runs gave that engine; empty if it is simply the first one."""
    if asked:
        return "as asked"
    if name == ENGINES[0]:
        return ""
    if device != "cpu":
        return f"on {device}"
    obstacle = why_not(condition)
    return f"because {ENGINES[0]} cannot: {obstacle}" if obstacle else "as the runs in the folder were"


def train_function(engine: str) -> Callable[..., Iterator[Snapshot]]:
    """The function `train` of an engine, which is imported only here, because torch and numba take seconds."""
    if engine == "torch":
        # A worker of a cluster may lack torch although the client has it.
        require_torch("the torch engine")
        from toysup.engines.torch_engine import engine as torch_engine

        return torch_engine.train
    from toysup.engines.fused import engine as fused_engine

    return fused_engine.train
