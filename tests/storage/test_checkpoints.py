"""A training that is gone on with from any state on offer ends as one that was never interrupted, to the bit."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import toysup
from toysup.engines.choice import train_function
from toysup.engines.fused import engine as fused_engine
from toysup.engines.instances import Control, EngineState, Snapshot, instances_of
from toysup.storage.checkpoints import Checkpoint
from toysup.storage.schema import room_for
from toysup.storage.store import Job
from toysup.training.one_block import train_job

Small = Callable[..., toysup.Experiment]
ENGINES = ("fused", "torch")
LONG: dict[str, Any] = {"training__steps": 240, "record__steps": [7, 60, 100, 200]}
FINITE: dict[str, Any] = LONG | {"training__dataset_size": 100}


@pytest.fixture(autouse=True)
def short_legs(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are on offer often: the shuffle of a finite dataset is not spared, nor is waiting for all threads."""
    monkeypatch.setattr(fused_engine, "_WORK_PER_CALL", 1.0)
    monkeypatch.setattr(fused_engine, "_STEPS_PER_ORDER", 30)
    if find_spec("torch"):
        monkeypatch.setattr("toysup.engines.torch_engine.engine.STEPS_PER_PAUSE", 25)


def same(one: Snapshot, other: Snapshot) -> bool:
    parameters = [
        np.array_equal(one.parameters[name], other.parameters[name], equal_nan=True) for name in one.parameters
    ]
    losses = np.array_equal(one.train_loss, other.train_loss, equal_nan=True)
    return one.step == other.step and all(parameters) and losses and np.array_equal(one.diverged_at, other.diverged_at)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "changes",
    [
        LONG,
        FINITE,
        LONG | {"training__optimizer": "sgd", "training__momentum": 0.9, "training__schedule": "cosine"},
        FINITE | {"training__learning_rate": [1e-3, 1e4], "training__optimizer": "sgd"},
    ],
    ids=["stream", "dataset", "momentum", "diverging"],
)
def test_every_state_on_offer_can_be_gone_on_with(small: Small, engine: str, changes: dict[str, Any]) -> None:
    (condition,) = small(**changes).conditions
    instances = instances_of(condition, range(3))
    offered: list[EngineState] = []
    train = train_function(engine)
    whole = list(
        train(instances, Control(offer=lambda state: offered.append({k: v.copy() for k, v in state().items()})))
    )
    assert len({int(state["step"]) for state in offered}) >= 5
    if "training__learning_rate" in changes:
        assert (whole[-1].diverged_at > 0).any()
    for state in offered[:: -(-len(offered) // 6)]:
        rest = list(train(instances, Control(resume=state)))
        expected = [snapshot for snapshot in whole if snapshot.step > int(state["step"])]
        assert len(rest) == len(expected)
        assert all(map(same, rest, expected))


class KilledError(Exception):
    """Stands for a SIGKILL."""


def killed_after(offers: int, offer: Callable[..., None]) -> Callable[..., None]:
    left = iter(range(offers))

    def killed(self: Checkpoint, state: Callable[[], EngineState]) -> None:
        offer(self, state)
        if next(left, None) is None:
            raise KilledError

    return killed


@pytest.fixture
def job(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[toysup.Experiment, Job]:
    monkeypatch.setattr("toysup.storage.checkpoints.SECONDS_BETWEEN", 0.0)
    experiment = small(**FINITE)
    return experiment, Job(experiment.conditions[0], range(3), "fused", tmp_path / "small.nc", None)


def interrupt(experiment: toysup.Experiment, job: Job, offers: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "offer", killed_after(offers, Checkpoint.offer))
        with pytest.raises(KilledError):
            train_job(experiment, job)
    (path,) = job.path.parent.iterdir()
    assert path.name == ".small.checkpoint.npz"
    return path


@pytest.mark.parametrize("offers", [0, 2, 4])
def test_a_killed_block_goes_on_from_its_checkpoint(
    job: tuple[toysup.Experiment, Job], monkeypatch: pytest.MonkeyPatch, offers: int
) -> None:
    whole = toysup.train(job[0], seeds=3)["small/small"].to_dataset()
    interrupt(*job, offers, monkeypatch)
    steps: list[int] = []
    monkeypatch.setattr(fused_engine, "advance", counted(fused_engine.advance, steps))
    xr.testing.assert_equal(train_job(*job), whole)
    # Seven batches are an epoch, after each of which a state is on offer.
    assert min(steps) == 7 * (offers + 1)


def counted(advance: Callable[..., Any], starts: list[int]) -> Callable[..., Any]:
    def count(*args: Any, **kwargs: Any) -> Any:
        starts.append(args[4])
        return advance(*args, **kwargs)

    return count


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"total", b"toast"),
        lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
        lambda content: b"\x80\x04\x95not a pickle that anybody loads",
    ],
    ids=["empty", "half", "renamed", "flipped", "pickle"],
)
def test_a_spoilt_checkpoint_counts_as_none(
    job: tuple[toysup.Experiment, Job], monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes]
) -> None:
    whole = toysup.train(job[0], seeds=3)["small/small"].to_dataset()
    path = interrupt(*job, 2, monkeypatch)
    path.write_bytes(spoil(path.read_bytes()))
    xr.testing.assert_equal(train_job(*job), whole)


def test_a_checkpoint_of_other_work_counts_as_none(
    job: tuple[toysup.Experiment, Job], small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(*job, 2, monkeypatch)
    (other,) = small(**FINITE, training__learning_rate=0.01).conditions
    mine = job[1]
    for changed in (
        Job(other, mine.seeds, mine.engine, mine.path, None),
        Job(mine.condition, range(1, 4), mine.engine, mine.path, None),
        Job(mine.condition, mine.seeds, "torch", mine.path, None),
    ):
        assert Checkpoint(changed, room_for(changed.condition, 3)).load() is None
    assert Checkpoint(mine, room_for(mine.condition, 3)).load() is not None


def test_checkpoints_are_written_now_and_then(job: tuple[toysup.Experiment, Job]) -> None:
    checkpoint = Checkpoint(job[1], {}, every=3600.0)
    checkpoint.offer(lambda: pytest.fail("nobody needs the state yet"))
    assert not checkpoint.path.exists()
