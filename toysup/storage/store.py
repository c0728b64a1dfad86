"""What there is of a condition under a folder: one file, a folder of blocks, or both; and what is missing of it."""

import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from filelock import FileLock, Timeout

from toysup.errors import ToysupError, UsageError
from toysup.experiments.experiment import Condition
from toysup.storage.blocks import BLOCK, BLOCK_OF, Block, BlockPlan, Seeds, in_order, is_block_name
from toysup.storage.netcdf import BY_TURNS, extended, open_trajectory, write
from toysup.storage.schema import condition_of, first_difference

Owners = npt.NDArray[np.int32]
# Number of the file among what holds seeds; blocks are counted from 1.
_FILE = 0
# Seeds, times the parts that the cells are cut into, that one call may ask for.
MAX_SEEDS = 2 * 10**7


def path_of(folder: str | Path, experiment: str, condition: str) -> Path:
    """Where the runs of a condition lie under `folder`, if they are one file; blocks lie in a folder of that stem."""
    return Path(folder) / experiment / f"{condition}.nc"


def blocks_folder(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".nc"))


def block_files(folder: Path) -> list[Path]:
    """The blocks in a folder, by their names."""
    return sorted((path for path in folder.glob("*.nc") if is_block_name(path.name)), key=lambda path: path.name)


def lock_of(file: Path) -> Path:
    return file.with_name(f".{file.name.removesuffix('.nc')}.lock")


@contextmanager
def locked(file: Path, token: str) -> Iterator[None]:
    """Hold the lock of a condition, and show whose it is by the token in it."""
    path = lock_of(file)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ToysupError(f"{file}: another trainer is at work on it; wait for it, or give another --output") from None
    except (OSError, NotImplementedError) as error:
        raise ToysupError(f"{path}: cannot be locked: {error}") from None
    try:
        path.write_text(token)
        yield
    finally:
        # Removed while it is held: who opened it meanwhile sees that it is gone, and makes a new one.
        path.unlink(missing_ok=True)
        lock.release()


@dataclass(frozen=True)
class StoredBlocks:
    """What there is of a condition: the seeds of its file (none, if there is no file), and blocks with their plan."""

    file: Path
    seeds: Seeds
    plan: BlockPlan | None
    blocks: tuple[Block, ...]

    @classmethod
    def at(cls, file: Path) -> "StoredBlocks":
        """What there is at `file` and in the folder beside it; an error where that is not all of one condition."""
        plan, blocks = _blocks_in(blocks_folder(file))
        if not file.exists():
            return cls(file, np.empty(0, np.int64), plan, blocks)
        with open_trajectory(file) as there:
            if plan is not None:
                refuse_other(there, identity=plan.condition.identity, engine=plan.engine, where=file)
            return cls(file, there["seed"].values.astype(np.int64), plan, blocks)

    def __bool__(self) -> bool:
        return bool(len(self.seeds) or self.blocks)

    def path(self, number: int) -> Path:
        """The file with that number among `owners`."""
        if number == _FILE:
            return self.file
        assert self.plan is not None
        return blocks_folder(self.file) / self.plan.name(self.blocks[number - 1])

    def any_path(self) -> Path:
        """A file that says what condition all are of."""
        return self.path(_FILE if len(self.seeds) else 1)

    def owners(self, plan: BlockPlan, seeds: Seeds) -> Owners:
        """(part, seed) the number of the file that has each of the `seeds`, which ascend; −1 where none has."""
        owners = np.full((plan.n_parts, len(seeds)), -1, np.int32)
        for number, block in enumerate(self.blocks, start=_FILE + 1):
            owners[block.part, slice(*np.searchsorted(seeds, (block.seeds[0], block.seeds[-1] + 1)))] = number
        owners[:, np.isin(seeds, self.seeds)] = _FILE
        return owners

    def complete(self, plan: BlockPlan) -> tuple[Seeds, Owners]:
        """The seeds that there are of every cell, in order, and the files that have them."""
        runs = [np.arange(block.seeds[0], block.seeds[-1] + 1) for block in self.blocks]
        known = in_order(np.concatenate([self.seeds, *runs]))
        owners = self.owners(plan, known)
        whole = (owners >= 0).all(axis=0)
        return known[whole], owners[:, whole]


def _blocks_in(folder: Path) -> tuple[BlockPlan | None, tuple[Block, ...]]:
    """The blocks in a folder by their names alone; one file is opened, to know what they are blocks of."""
    names = [path.name for path in block_files(folder)]
    if not names:
        return None, ()
    with open_trajectory(folder / names[0]) as first:
        if BLOCK_OF not in first.attrs:
            raise ToysupError(f"{folder / names[0]}: damaged: the attribute {BLOCK_OF} is missing")
        plan = BlockPlan.stamped(first.attrs[BLOCK_OF])
    blocks = {name: plan.block_named(name) for name in names}
    if foreign := [name for name, block in blocks.items() if block is None]:
        raise ToysupError(f"{folder / foreign[0]}: a block of another specification than {names[0]}; remove one")
    return plan, tuple(block for block in blocks.values() if block is not None)


@dataclass(frozen=True)
class Job:
    """A block to train and the file that it goes to.

    `condition` has the block's cells alone. A file with a `stamp` is one of several blocks; without, it is the whole
    condition, and what is at `path` is extended unless the job `replaces` it.
    """

    condition: Condition
    seeds: Sequence[int]
    engine: str
    path: Path
    stamp: str | None
    replaces: bool = False

    @property
    def lock(self) -> Path:
        """The file by which the condition's trainer keeps others away."""
        return lock_of(self.path if self.stamp is None else self.path.parent.with_name(f"{self.path.parent.name}.nc"))

    @property
    def n_instances(self) -> int:
        """Its cells times its seeds."""
        return math.prod(map(len, self.condition.sweeps.values())) * len(self.seeds)

    def keep(self, dataset: xr.Dataset) -> None:
        """Write what was trained to its file, whole or not at all."""
        if self.stamp is not None:
            dataset = dataset.assign_attrs({BLOCK_OF: self.stamp, BLOCK: self.path.name})
        else:
            # What was a block elsewhere is a whole here.
            dataset = dataset.copy()
            dataset.attrs = {k: v for k, v in dataset.attrs.items() if k not in (BLOCK_OF, BLOCK)}
            if self.path.exists() and not self.replaces:
                with BY_TURNS, open_trajectory(self.path) as there:
                    refuse_other(there, identity=self.condition.identity, engine=self.engine, where=self.path)
                    dataset = extended(there.load(), dataset)
        write(dataset, self.path)


class Store:
    """Where the runs of a condition go under a folder, and what is there already.

    They are one file as long as that is one block, and a folder of blocks beside it from then on. With `overwrite`
    what is there counts for nothing: `begin` sets it aside, and `finish` removes it, once all is trained anew. Where
    such a call was killed, one without `overwrite` keeps what was set aside until all of it is trained again. Raises
    UsageError, naming the first key that differs, where runs of another specification are there.
    """

    def __init__(
        self, folder: str | Path, experiment: str, condition: Condition, engine: str, *, overwrite: bool = False
    ) -> None:
        self.condition, self.engine = condition, engine
        self.file = path_of(folder, experiment, condition.name)
        self.aside = self.file.with_name(f".{condition.name}.replaced")
        fresh = BlockPlan.of(condition, engine)
        self.overwrite = overwrite
        self.replaces = overwrite and not self._resumes(fresh)
        self.stored = (
            StoredBlocks(self.file, np.empty(0, np.int64), None, ()) if self.replaces else StoredBlocks.at(self.file)
        )
        if self.stored:
            with open_trajectory(self.stored.any_path()) as there:
                refuse_other(there, identity=condition.identity, engine=engine, where=self.where())
        self.plan = self.stored.plan or fresh

    def where(self) -> Path:
        """What holds the runs: the folder of blocks, or the file."""
        return folder if any((folder := blocks_folder(self.file)).glob("*.nc")) else self.file

    def missing(self, seeds: Sequence[int]) -> list[Block]:
        """The blocks that hold what is missing of these seeds."""
        most = max(1, MAX_SEEDS // self.plan.n_parts)
        if len(seeds) > most:
            raise UsageError(f"{self.condition.name}: ask for at most {most} seeds at once, not {len(seeds)}")
        wanted = in_order(seeds)
        missing = self.stored.owners(self.plan, wanted) < 0
        if self._is_one_file(wanted):
            own = wanted[missing[0]].tolist()
            return [Block(None, own)] if own else []
        return list(self.plan.blocks(wanted, missing))

    def job(self, block: Block) -> Job:
        """What trains a block and keeps it."""
        if block.part is None:
            return Job(self.condition, block.seeds, self.engine, self.file, None, self.replaces)
        path = blocks_folder(self.file) / self.plan.name(block)
        condition = self.condition.at(self.plan.cells(block.part))
        return Job(condition, block.seeds, self.engine, path, self.plan.stamp)

    def begin(self, blocks: Sequence[Block]) -> None:
        """Before these are trained: remove what a killed trainer left half-written, and set aside what they replace."""
        folder = blocks_folder(self.file)
        self._tidy(half_written_only=True)
        if self.replaces and (folder.exists() or any(block.part is not None for block in blocks)):
            for path in (self.file, folder):
                _move(path, self.aside / path.name)

    def finish(self) -> None:
        """After all was trained: remove what it replaces, and what killed workers left."""
        self._tidy(half_written_only=False)
        if self.overwrite or self._is_there_again():
            shutil.rmtree(self.aside, ignore_errors=True)
        # Where a killed trainer had blocks in mind and none was finished.
        with suppress(OSError):
            blocks_folder(self.file).rmdir()

    def left_behind(self) -> bool:
        """Whether something lies here that a trainer at work has, or a killed one left."""
        return lock_of(self.file).exists() or self.aside.exists() or any(self._leftovers(half_written_only=False))

    def _tidy(self, *, half_written_only: bool) -> None:
        for path in self._leftovers(half_written_only=half_written_only):
            # A folder that nobody may write to has what it has.
            with suppress(OSError):
                path.unlink()

    def _leftovers(self, *, half_written_only: bool) -> Iterator[Path]:
        """Temporary files, and checkpoints; of this condition alone, as others have names that begin alike."""
        name = re.escape(self.condition.name)
        checkpoint = "" if half_written_only else r"|\.checkpoint\.npz"
        own = re.compile(rf"\.{name}(\.\w{{8}}\.part\.nc{checkpoint})|\.\.{name}\.checkpoint\.\w{{8}}\.part\.npz")
        block = re.compile(rf"\..*(\.part\.\w+{checkpoint})")
        for folder, pattern in ((self.file.parent, own), (blocks_folder(self.file), block)):
            yield from (path for path in folder.glob(".*") if pattern.fullmatch(path.name))

    def _is_one_file(self, seeds: Seeds) -> bool:
        if self.plan.n_parts > 1 or self.stored.blocks:
            return False
        both = np.concatenate([self.stored.seeds, seeds])
        return len(both) == 0 or bool(
            both.min() // self.plan.seeds_per_block == both.max() // self.plan.seeds_per_block
        )

    def _is_there_again(self) -> bool:
        """Whether all seeds that were set aside are trained anew."""
        try:
            replaced, now = StoredBlocks.at(self.aside / self.file.name), StoredBlocks.at(self.file)
        except ToysupError:
            return False
        seeds, _ = replaced.complete(replaced.plan or self.plan)
        return bool((now.owners(now.plan or self.plan, seeds) >= 0).all())

    def _resumes(self, plan: BlockPlan) -> bool:
        """Whether an earlier call with `overwrite` was on the way to the same."""
        return (
            self.aside.exists()
            and (there := _blocks_in(blocks_folder(self.file))[0]) is not None
            and (there.stamp == plan.stamp)
        )


def _move(path: Path, target: Path) -> None:
    """Set `path` aside, or remove it where something was set aside there before: that is the last that was whole."""
    if not path.exists():
        return
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        path.rename(target)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def specification_of(dataset: xr.Dataset) -> tuple[Condition, str]:
    """The condition that a file was trained for, with all cells where the file is one of several blocks; the engine."""
    stamp = dataset.attrs.get(BLOCK_OF)
    if stamp is None:
        return condition_of(dataset), dataset.attrs["engine"]
    plan = BlockPlan.stamped(stamp)
    return plan.condition, plan.engine


def refuse_other(there: xr.Dataset, *, identity: str, engine: str, where: Path) -> None:
    """UsageError if the runs on disk were trained to another specification than those that would join them."""
    # What is there is read as a specification first, so that a default it did not know is no difference.
    condition, own = specification_of(there)
    old = {**json.loads(condition.identity), "engine": own}
    if difference := first_difference(old, {**json.loads(identity), "engine": engine}):
        raise UsageError(
            f"{where}: holds runs of another specification ({difference}); use --overwrite or another --output"
        )
