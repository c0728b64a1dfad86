"""A step that is recorded and replayed is the step itself: what CUDA graphs do, done with the operations of the CPU."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import toysup
from toysup.engines.instances import Instances, instances_of
from toysup.engines.torch_engine import engine as torch_engine
from toysup.engines.torch_engine.cuda_graphs import CALLS_BEFORE_RECORDING, repeated
from toysup.engines.torch_engine.engine import Step, train
from toysup.engines.torch_engine.sampler import Sampler

Small = Callable[..., toysup.Experiment]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SGD = {"training__optimizer": "sgd", "training__momentum": 0.9}
DEEP = {"model__tied": False, "model__encoder_layers": [5], "model__decoder_layers": [4, 7]}
VISIBLE = {"regime__contexts": ["a", "b"], "regime__context_input": "flag", "regime__outside_probability": 0.3}
RULE = {"regime__contexts": ["a", "b"], "regime__context_rule": "sum(x) > median", "regime__outside_importance": 0.0}
CASES: dict[str, dict[str, object]] = {
    "a stream": {"training__dataset_size": None},
    "adam": {},
    "a dataset of less than a batch": {"training__dataset_size": 10},
    "cosine and decay": {"training__schedule": "cosine", "training__weight_decay": 0.1},
    "adamw and linear": {
        "training__optimizer": "adamw",
        "training__schedule": "linear",
        "training__weight_decay": [0.0, 0.1],
    },
    "momentum and rates": {**SGD, "training__learning_rate": [0.01, 0.1]},
    # From steps 5 to 11 on, and not at all.
    "diverging": {**SGD, "training__learning_rate": [0.01, 1.0], "model__activation": "identity"},
    "betas": {"training__beta1": [0.0, 0.9], "training__beta2": [0.9, 0.999]},
    "deep": DEEP,
    "a visible context": {**DEEP, **VISIBLE},
    "a rule": RULE,
    "groups": {"regime__together": ["1-2"], "regime__exclusive": [[3, 6]]},
    "z": {"regime__contexts": ["a", "b"], "regime__target": "z", "model__tied": False},
}
every_case = pytest.mark.parametrize("changes", CASES.values(), ids=CASES)


def some_instances(small: Small, changes: dict[str, object]) -> Instances:
    """70 samples in batches of 16, 60 steps: the last batch of five is of 6, and the order changes eleven times."""
    usual = {"training__steps": 60, "training__dataset_size": 70, "record__steps": [1, 3, 4, 5, 17]}
    own = {key: value for key, value in (usual | changes).items() if value is not None}
    return instances_of(small(**own).conditions[0], [0, 1, 2**40])


class Recording(TorchDispatchMode):
    """A graph of the CPU: operations with the tensors, so the addresses, that they read and wrote.

    As on CUDA, recording leaves no trace: what was written is put back. A replay repeats the operations alone, and
    writes where they wrote when they were recorded.
    """

    def __enter__(self) -> "Recording":
        self.operations, self.undo = [], []
        return super().__enter__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.undo.append((value, value.clone()))
        result = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, result))
        return result

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for value, before in reversed(self.undo):
            value.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for function, args, kwargs, recorded in self.operations:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(recorded), tree_leaves(again), strict=True):
                # What an operation changed in place, or only looks at, is where it was.
                if isinstance(old, Tensor) and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, graph: type[Recording] = Recording) -> None:
    """What `cuda_graphs` takes of torch.cuda, on the CPU."""

    def stream(device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(device=device, wait_stream=lambda other: None)

    monkeypatch.setattr(torch.cuda, "Stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream, capture_error_mode: graph)


@every_case
def test_replayed_steps_are_the_steps_to_the_bit(
    small: Small, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    instances, replays = some_instances(small, changes), []
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    expected = list(train(instances))

    class Counted(Recording):
        def replay(self) -> None:
            replays.append(1)
            super().replay()

    pretend_cuda(monkeypatch, Counted)
    monkeypatch.setattr(torch_engine, "repeated", lambda step, device: repeated(step, CUDA))
    # As on other devices, torch draws the samples.
    monkeypatch.setattr(Sampler, "drawn_by_compiled_code", Sampler.drawn_by_torch)
    for ours, theirs in zip(train(instances), expected, strict=True):
        assert ours.step == theirs.step
        np.testing.assert_array_equal(ours.train_loss, theirs.train_loss)
        np.testing.assert_array_equal(ours.diverged_at, theirs.diverged_at)
        for name, value in theirs.parameters.items():
            np.testing.assert_array_equal(ours.parameters[name], value)
    short = 60 // 5 if instances.training.dataset_size == 70 else 0
    assert len(replays) == 60 - short - CALLS_BEFORE_RECORDING


@every_case
def test_a_step_asks_nothing_of_the_host(small: Small, changes: dict[str, object]) -> None:
    """On torch's device without numbers, which has none to give: all that the step computes with is there too."""
    instances = some_instances(small, changes)
    step = Step(instances, torch.device("meta"))
    step.sampler.prepare(0)
    with Recording() as graph:
        step(instances.training.rows(0))
    places = {
        value.device.type
        for _, args, kwargs, result in graph.operations
        for value in tree_leaves((args, kwargs, result))
        if isinstance(value, Tensor)
    }
    names = {function.name().removeprefix("aten::").partition(".")[0] for function, *_ in graph.operations}
    assert places == {"meta"}
    assert {"bmm", "arange", "index"} <= names
    assert not names & {"_local_scalar_dense", "item", "nonzero", "masked_select", "lift_fresh", "scalar_tensor"}


def test_a_step_writes_where_it_wrote(small: Small) -> None:
    step = Step(some_instances(small, {}), CPU)
    step.sampler.prepare(0)

    def addresses() -> list[int]:
        states = (vars(step), vars(step.sampler), vars(step.optimizer))
        return [value.data_ptr() for value in tree_leaves(states) if isinstance(value, Tensor)]

    before = addresses()
    step(16)
    step(6)
    step.sampler.prepare(5)
    assert addresses() == before
    assert step.number.tolist() == [2]


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Recording):
        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    pretend_cuda(monkeypatch, Refusing)
    count = torch.zeros(1)
    step = repeated(lambda: count.add_(1), CUDA)
    for _ in range(CALLS_BEFORE_RECORDING):
        step()
    with pytest.warns(RuntimeWarning, match=r"steps are not recorded.*: operation not permitted .* capturing$"):
        step()
    step()
    assert count.item() == CALLS_BEFORE_RECORDING + 2


def test_off_cuda_nothing_is_recorded() -> None:
    def step() -> None:
        raise AssertionError

    assert repeated(step, CPU) is step
