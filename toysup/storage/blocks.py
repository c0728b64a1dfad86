"""Blocks: the pieces that the instances of a condition are trained in and kept as.

A block is a box of the sweep's cells times a run of seeds. How large the boxes are and at which seeds blocks begin
follows from the condition alone, so every machine plans alike, and a later call for more seeds meets the blocks of an
earlier one again.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.experiments.experiment import Condition
from toysup.experiments.model import parameters_of

# What the instances of a block take at most, all snapshots of their parameters together.
_BLOCK_BYTES = 2**26
# Multiply-adds of a block: one to five minutes of one core, which is what a dead worker loses at most.
_BLOCK_WORK = 1e12
# What drawing and judging a value costs, in multiply-adds. Not the engine's number, which may be tuned: where blocks
# begin is part of what is on disk.
_WORK_PER_VALUE = 40
_FLOAT_BYTES = 4
# What a feature takes in the tables of an instance, for each context.
_TABLE_BYTES = 28
# The attributes by which a file says what it is a block of, and which.
BLOCK_OF, BLOCK = "block_of", "block"
Seeds = npt.NDArray[np.int64]
_NAME = re.compile(r"cells(?P<part>\d+)-seeds(?P<first>\d+)to(?P<last>\d+)-(?P<key>[0-9a-f]{20})\.nc")


class Block(NamedTuple):
    """The box of cells with the number `part` (None: all cells, in a file of their own), at these seeds."""

    part: int | None
    seeds: Sequence[int]


@dataclass(frozen=True)
class BlockPlan:
    """How the instances of a condition are cut into blocks, and what their files are called.

    `cells_per_block` has an entry for each sweep axis; blocks begin at multiples of `seeds_per_block`. `stamp` says all
    of it: every block has it as an attribute, and names follow from it to the letter, so that a later version, whose
    specifications have more keys or whose blocks have other sizes, goes on with the blocks of an earlier one.
    """

    condition: Condition
    engine: str
    cells_per_block: tuple[int, ...]
    seeds_per_block: int
    stamp: str

    @classmethod
    def of(cls, condition: Condition, engine: str) -> "BlockPlan":
        """The plan that bounds a block's memory and work."""
        most = int(max(1, min(_BLOCK_BYTES // _bytes(condition), _BLOCK_WORK // _work(condition))))
        cells = _cells_per_block([len(values) for values in condition.sweeps.values()], most)
        return cls.cut(condition, engine, cells, max(1, most // math.prod(cells)))

    @classmethod
    def cut(
        cls, condition: Condition, engine: str, cells_per_block: Sequence[int], seeds_per_block: int
    ) -> "BlockPlan":
        """A plan with blocks of this size."""
        stamp = {"condition": json.loads(condition.identity), "engine": engine}
        stamp |= {"cells_per_block": list(cells_per_block), "seeds_per_block": seeds_per_block}
        return cls(condition, engine, tuple(cells_per_block), seeds_per_block, json.dumps(stamp))

    @classmethod
    def stamped(cls, stamp: str) -> "BlockPlan":
        """The plan whose stamp this is; ValueError where it is none."""
        try:
            parts = json.loads(stamp)
            cells, seeds, engine = parts["cells_per_block"], parts["seeds_per_block"], parts["engine"]
            condition = Condition(name="condition", **parts["condition"])
            counts = (*cells, seeds)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("not the plan of a condition") from error
        fits = isinstance(engine, str) and len(counts) == len(condition.sweeps) + 1 and all(map(_is_count, counts))
        if not fits:
            raise ValueError("not the plan of a condition")
        return cls(condition, engine, tuple(cells), seeds, stamp)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """How many boxes there are along each sweep axis."""
        lengths = [len(values) for values in self.condition.sweeps.values()]
        return tuple(-(-length // size) for length, size in zip(lengths, self.cells_per_block, strict=True))

    @property
    def n_parts(self) -> int:
        return math.prod(self.shape)

    def n_cells(self, part: int) -> int:
        """How many cells the part has."""
        lengths = [len(values) for values in self.condition.sweeps.values()]
        return math.prod(len(range(length)[own]) for length, own in zip(lengths, self.box(part), strict=True))

    def box(self, part: int) -> tuple[slice, ...]:
        """Where the cells of the part lie along each sweep axis."""
        at = np.unravel_index(part, self.shape) if self.shape else ()
        return tuple(
            slice(int(i) * size, (int(i) + 1) * size) for i, size in zip(at, self.cells_per_block, strict=True)
        )

    def cells(self, part: int) -> dict[str, tuple[float, ...]]:
        """The values that the cells of the part have along each sweep axis."""
        boxes = zip(self.condition.sweeps.items(), self.box(part), strict=True)
        return {axis: values[own] for (axis, values), own in boxes}

    def blocks(self, seeds: Seeds, missing: npt.NDArray[np.bool_]) -> Iterator[Block]:
        """The blocks that hold the missing ones among `seeds`, which ascend; `missing` is (part, seed).

        All cells come before the next seeds, so that what is finished is soon of use. A block's seeds lie together.
        """
        groups = seeds // self.seeds_per_block
        # Where a run of seeds that may lie in one block begins, and the place after its end.
        apart = np.concatenate([[True], (np.diff(seeds) > 1) | (np.diff(groups) > 0), [True]])[: len(seeds) + 1]
        found = []
        for part in range(self.n_parts):
            gone = np.concatenate([[False], missing[part], [False]])
            firsts = np.flatnonzero(gone[1:] & (apart | ~gone[:-1]))
            stops = np.flatnonzero(gone[:-1] & (apart | ~gone[1:]))
            found.append((np.full(len(firsts), part), firsts, stops - firsts))
        parts, firsts, counts = (np.concatenate(own) for own in zip(*found, strict=True))
        order = np.lexsort((firsts, parts, np.cumsum(apart)[firsts]))
        for part, first, count in zip(*(own[order].tolist() for own in (parts, seeds[firsts], counts)), strict=True):
            yield Block(part, range(first, first + count))

    def name(self, block: Block) -> str:
        """What the file of a block is called: its place, and a key of the plan and the place."""
        place = f"cells{block.part}-seeds{block.seeds[0]}to{block.seeds[-1]}"
        return f"{place}-{hashlib.sha256((self._digest + place).encode()).hexdigest()[:20]}.nc"

    def block_named(self, name: str) -> Block | None:
        """The block whose file has that name; None where this plan has no such block."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        part, seeds = int(found["part"]), range(int(found["first"]), int(found["last"]) + 1)
        return block if part < self.n_parts and seeds and self.name(block := Block(part, seeds)) == name else None

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self.stamp.encode()).hexdigest()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def in_order(seeds: Sequence[int] | Seeds) -> Seeds:
    """The seeds from the smallest to the largest, each once; sorted, as `np.unique` hashes them, which takes longer."""
    if isinstance(seeds, range) and seeds.step > 0:
        return np.arange(seeds.start, seeds.stop, seeds.step, dtype=np.int64)
    ordered: Seeds = np.sort(np.asarray(seeds, np.int64))
    return np.concatenate([ordered[:1], ordered[1:][np.diff(ordered) > 0]])


def is_block_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _cells_per_block(lengths: Sequence[int], most: int) -> tuple[int, ...]:
    """Boxes of at most `most` cells: the last axes whole, the ones before cut into equal pieces."""
    sizes: list[int] = []
    for length in reversed(lengths):
        pieces = -(-length // max(1, most))
        sizes.append(-(-length // pieces))
        most //= sizes[-1]
    return tuple(reversed(sizes))


def _bytes(condition: Condition) -> int:
    """What one instance takes, with all its snapshots."""
    parameters = parameters_of(condition.model, condition.first_regime).values()
    tables = _TABLE_BYTES * len(condition.first_regime.contexts) * condition.model.n_features
    return tables + _FLOAT_BYTES * len(condition.recorded_steps) * sum(math.prod(own.shape) for own in parameters)


def _work(condition: Condition) -> float:
    """Multiply-adds of training one instance."""
    parameters = parameters_of(condition.model, condition.first_regime).values()
    weights = sum(math.prod(own.shape) for own in parameters if len(own.shape) > 1)
    training, n = condition.training, condition.model.n_features
    # Forward, and twice that backward; a tied matrix is used twice.
    per_sample = 3 * weights * (2 if condition.model.tied else 1) + _WORK_PER_VALUE * n
    return float(training.n_steps * training.batch_size * per_sample)
