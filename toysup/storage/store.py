"""The stored runs of a condition: one file, a folder of blocks, or both; and the blocks that are missing."""

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
from toysup.experiments.spec import shown
from toysup.storage.atomic_files import refuse_dangling, target_of
from toysup.storage.blocks import BLOCK, BLOCK_OF, Block, BlockPlan, Seeds, in_order, is_block_name
from toysup.storage.file_access import listed
from toysup.storage.netcdf import BY_TURNS, extended, open_trajectory, write
from toysup.storage.schema import condition_of, first_difference

Owners = npt.NDArray[np.int32]
# In `owners` the file of the condition has the number 0; blocks are counted from 1.
_FILE = 0
# Most seeds of one call, times the number of parts of the cells.
MAX_SEEDS = 2 * 10**7


def path_of(folder: str | Path, experiment: str, condition: str) -> Path:
    """Path of the runs of a condition if they are one file; blocks lie in a folder of the same stem beside it."""
    return Path(folder) / experiment / f"{condition}.nc"


def blocks_folder(file: Path) -> Path:
    """The folder of blocks beside the file of a condition."""
    return file.with_name(file.name.removesuffix(".nc"))


def block_files(folder: Path) -> list[Path]:
    """The files of the blocks in a folder, sorted by name."""
    return [folder / name for name in sorted(entry.name for entry in listed(folder)) if is_block_name(name)]


def lock_of(file: Path) -> Path:
    """The lock of the condition whose file this is; if the file is a link, it lies beside the file that is written."""
    file = target_of(file)
    return file.with_name(f".{file.name.removesuffix('.nc')}.lock")


def stored_specification(file: Path) -> tuple[Condition, str] | None:
    """The condition and the engine of the runs of the condition whose file this is; None if there are no runs."""
    for path in [file] if file.exists() else block_files(blocks_folder(file))[:1]:
        with open_trajectory(path) as there:
            return specification_of(there)
    return None


@contextmanager
def locked(file: Path, token: str) -> Iterator[None]:
    """Hold the lock of a condition, and write `token` to it, which identifies the trainer."""
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
        # The lock is removed while it is held. A trainer that opened it meanwhile notices that and makes a new one.
        path.unlink(missing_ok=True)
        lock.release()


@dataclass(frozen=True)
class StoredBlocks:
    """The stored runs of a condition: the seeds of its file (none if there is no file), and its blocks."""

    file: Path
    seeds: Seeds
    plan: BlockPlan | None
    blocks: tuple[Block, ...]

    @classmethod
    def at(cls, file: Path) -> "StoredBlocks":
        """The runs in `file` and in the folder beside it; an error if they are not all of one condition."""
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
        """One of the files, to read the condition from."""
        return self.path(_FILE if len(self.seeds) else 1)

    def owners(self, plan: BlockPlan, seeds: Seeds) -> Owners:
        """(part, seed) number of the file that holds each of the `seeds`, which ascend; −1 if no file does."""
        owners = np.full((plan.n_parts, len(seeds)), -1, np.int32)
        for number, block in enumerate(self.blocks, start=_FILE + 1):
            owners[block.part, slice(*np.searchsorted(seeds, (block.seeds[0], block.seeds[-1] + 1)))] = number
        owners[:, np.isin(seeds, self.seeds)] = _FILE
        return owners

    def complete(self, plan: BlockPlan) -> tuple[Seeds, Owners]:
        """The seeds that are stored in every cell, ascending, and the numbers (part, seed) of their files."""
        runs = [np.arange(block.seeds[0], block.seeds[-1] + 1) for block in self.blocks]
        known = in_order(np.concatenate([self.seeds, *runs]))
        owners = self.owners(plan, known)
        whole = (owners >= 0).all(axis=0)
        return known[whole], owners[:, whole]


def _blocks_in(folder: Path) -> tuple[BlockPlan | None, tuple[Block, ...]]:
    """The plan and the blocks of a folder. One file is opened for the plan; the blocks follow from the file names."""
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
    """A block to train, and the file that it is written to.

    `condition` has only the cells of the block. A job with a `stamp` writes one of several blocks. A job without one
    writes the file of the whole condition; it extends an old file, or replaces it if `replaces` is true.
    """

    condition: Condition
    seeds: Sequence[int]
    engine: str
    path: Path
    stamp: str | None
    replaces: bool = False

    @property
    def lock(self) -> Path:
        """The lock of the condition."""
        return lock_of(self.path if self.stamp is None else self.path.parent.with_name(f"{self.path.parent.name}.nc"))

    @property
    def n_instances(self) -> int:
        """Number of cells times number of seeds."""
        return math.prod(map(len, self.condition.sweeps.values())) * len(self.seeds)

    def keep(self, dataset: xr.Dataset) -> None:
        """Write the trained dataset to the file, whole or not at all."""
        if self.stamp is not None:
            dataset = dataset.assign_attrs({BLOCK_OF: self.stamp, BLOCK: self.path.name})
        else:
            # A dataset that was one of several blocks elsewhere is the whole file here.
            dataset = dataset.copy()
            dataset.attrs = {k: v for k, v in dataset.attrs.items() if k not in (BLOCK_OF, BLOCK)}
            if self.path.exists() and not self.replaces:
                with BY_TURNS, open_trajectory(self.path) as there:
                    steps = dataset["step"].values.tolist()
                    refuse_other(
                        there, identity=self.condition.identity, engine=self.engine, where=self.path, steps=steps
                    )
                    dataset = extended(there.load(), dataset)
        write(dataset, self.path)


class Store:
    """The place of a condition's runs in a folder.

    The runs are one file as long as they are one block; further blocks go to a folder beside that file. With
    `overwrite` the stored runs are trained anew: `begin` moves the old blocks to a hidden folder, and `finish` removes
    them once the new ones are complete. If that call was killed, a later call without `overwrite` keeps the hidden
    folder until all seeds in it are trained again. `steps` are those of the runs to store; all recorded ones by
    default. Raises UsageError, which names the first key that differs, if the folder holds runs of another
    specification or with other steps.
    """

    def __init__(
        self,
        folder: str | Path,
        experiment: str,
        condition: Condition,
        engine: str,
        *,
        overwrite: bool = False,
        steps: Sequence[int] | None = None,
    ) -> None:
        self.condition, self.engine = condition, engine
        self.steps = condition.recorded_steps if steps is None else tuple(steps)
        self.file = path_of(folder, experiment, condition.name)
        for path in (self.file, blocks_folder(self.file)):
            refuse_dangling(path)
        self.aside = self.file.with_name(f".{condition.name}.replaced")
        fresh = BlockPlan.of(condition, engine)
        self.overwrite = overwrite
        self.replaces = overwrite and not self._resumes(fresh)
        self.stored = (
            StoredBlocks(self.file, np.empty(0, np.int64), None, ()) if self.replaces else StoredBlocks.at(self.file)
        )
        if self.stored:
            with open_trajectory(self.stored.any_path()) as there:
                refuse_other(there, identity=condition.identity, engine=engine, where=self.where(), steps=self.steps)
        self.plan = self.stored.plan or fresh

    def where(self) -> Path:
        """The folder of blocks if there are blocks, else the file."""
        folder = blocks_folder(self.file)
        return folder if any(entry.name.endswith(".nc") for entry in listed(folder)) else self.file

    def folders(self) -> list[Path]:
        """The folders that must be writable."""
        blocks = blocks_folder(self.file)
        return [
            self.file.parent,
            *([target_of(self.file).parent] if self.file.is_symlink() else []),
            *([blocks] if blocks.exists() else []),
        ]

    def missing(self, seeds: Sequence[int]) -> list[Block]:
        """The blocks that hold the missing instances of these seeds."""
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
        """The job of a block: what to train, and the file to write."""
        if block.part is None:
            return Job(self.condition, block.seeds, self.engine, self.file, None, self.replaces)
        path = blocks_folder(self.file) / self.plan.name(block)
        condition = self.condition.at(self.plan.cells(block.part))
        return Job(condition, block.seeds, self.engine, path, self.plan.stamp)

    def begin(self, blocks: Sequence[Block]) -> None:
        """Prepare to train these blocks: remove half-written files, and hide the blocks that are replaced."""
        folder = blocks_folder(self.file)
        self._tidy(half_written_only=True)
        if self.replaces and (folder.exists() or any(block.part is not None for block in blocks)):
            for path in (self.file, folder):
                _refuse_link(path)
            for path in (self.file, folder):
                _move(path, self.aside / path.name)

    def undo(self) -> bool:
        """Put back the old blocks that `begin` has hidden, if no new one was written. Returns whether it did."""
        folder = blocks_folder(self.file)
        if not self.aside.exists() or self.file.exists() or block_files(folder):
            return False
        with suppress(OSError):
            folder.rmdir()
        for path in (self.file, folder):
            if (hidden := self.aside / path.name).exists():
                hidden.rename(path)
        with suppress(OSError):
            self.aside.rmdir()
        return True

    def finish(self) -> None:
        """Clean up after all blocks are trained: remove replaced blocks, and files that killed workers left."""
        self._tidy(half_written_only=False)
        if self.overwrite or self._is_there_again():
            shutil.rmtree(self.aside, ignore_errors=True)
        # The folder is empty if a killed trainer had finished none of its blocks.
        with suppress(OSError):
            blocks_folder(self.file).rmdir()

    def left_behind(self) -> bool:
        """Whether there are files that belong to a trainer at work or were left by a killed one."""
        return lock_of(self.file).exists() or self.aside.exists() or any(self._leftovers(half_written_only=False))

    def _tidy(self, *, half_written_only: bool) -> None:
        for path in self._leftovers(half_written_only=half_written_only):
            # In a folder that cannot be written, leftovers stay.
            with suppress(OSError):
                path.unlink()

    def _leftovers(self, *, half_written_only: bool) -> Iterator[Path]:
        """Temporary files and checkpoints of this condition, but not of others whose names begin with its name."""
        name = re.escape(self.condition.name)
        checkpoint = "" if half_written_only else r"|\.checkpoint\.npz"
        own = re.compile(rf"\.{name}(\.\w{{8}}\.part\.nc{checkpoint})|\.\.{name}\.checkpoint\.\w{{8}}\.part\.npz")
        block = re.compile(rf"\..*(\.part\.\w+{checkpoint})")
        places = [(self.file.parent, own), (blocks_folder(self.file), block)]
        if self.file.is_symlink():
            target = target_of(self.file)
            places.append((target.parent, re.compile(rf"\.{re.escape(target.stem)}\.\w{{8}}\.part\.nc")))
        for folder, pattern in places:
            yield from (path for path in folder.glob(".*") if pattern.fullmatch(path.name))

    def _is_one_file(self, seeds: Seeds) -> bool:
        if self.plan.n_parts > 1 or self.stored.blocks:
            return False
        both = np.concatenate([self.stored.seeds, seeds])
        return len(both) == 0 or bool(
            both.min() // self.plan.seeds_per_block == both.max() // self.plan.seeds_per_block
        )

    def _is_there_again(self) -> bool:
        """Whether all seeds in the hidden folder are trained anew."""
        try:
            replaced, now = StoredBlocks.at(self.aside / self.file.name), StoredBlocks.at(self.file)
        except ToysupError:
            return False
        seeds, _ = replaced.complete(replaced.plan or self.plan)
        return bool((now.owners(now.plan or self.plan, seeds) >= 0).all())

    def _resumes(self, plan: BlockPlan) -> bool:
        """Whether an earlier call with `overwrite` was interrupted while it trained the same blocks."""
        return (
            self.aside.exists()
            and (there := _blocks_in(blocks_folder(self.file))[0]) is not None
            and (there.stamp == plan.stamp)
        )


def _refuse_link(path: Path) -> None:
    """Raise ToysupError for a link: moving it would leave its target where it is, and break a relative link."""
    if path.is_symlink():
        raise ToysupError(f"{path}: a link, which --overwrite cannot set aside; remove it, or give another --output")


def _move(path: Path, target: Path) -> None:
    """Move `path` to `target`, or delete it if `target` exists, because the older copy is the last complete one."""
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
    """The condition that a file belongs to, with all cells even if the file is one block; and the engine."""
    stamp = dataset.attrs.get(BLOCK_OF)
    if stamp is None:
        return condition_of(dataset), dataset.attrs["engine"]
    plan = BlockPlan.stamped(stamp)
    return plan.condition, plan.engine


def refuse_other(
    there: xr.Dataset, *, identity: str, engine: str, where: Path, steps: Sequence[int] | None = None
) -> None:
    """Raise UsageError if stored runs have another specification or other steps than the runs that would join them."""
    # The stored specification is parsed first, so that keys added since then get their defaults.
    condition, own = specification_of(there)
    old = {**json.loads(condition.identity), "engine": own}
    if difference := first_difference(old, {**json.loads(identity), "engine": engine}):
        raise UsageError(
            f"{where}: holds runs of another specification ({difference}); use --overwrite or another --output"
        )
    stored = there["step"].values.tolist()
    if steps is not None and stored != list(steps):
        raise UsageError(
            f"{where}: holds runs with other steps ({shown(stored)} there, {shown(list(steps))} here), so no seeds "
            "can be added; use --overwrite or another --output"
        )


def difference_of(one: xr.Dataset, other: xr.Dataset) -> str | None:
    """The first difference of two datasets that are to be one: in specification, cells, engine or steps."""
    there, here = ({**json.loads(condition_of(own).identity), "engine": own.attrs["engine"]} for own in (one, other))
    if difference := first_difference(there, here):
        return difference
    steps = [dataset["step"].values.tolist() for dataset in (one, other)]
    return None if steps[0] == steps[1] else f"steps {shown(steps[0])} there, {shown(steps[1])} here"
