"""Blocks: the parts in which the instances of a condition are trained and stored.

A block is a box of the sweep's cells times a run of consecutive seeds. The size of the boxes and the seeds at which
blocks begin follow from the condition alone. So every machine plans the same blocks, and a later call for more seeds
finds the blocks of an earlier one.
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

# Most bytes of a block: all snapshots of the parameters of its instances.
_BLOCK_BYTES = 2**26
# Most multiply-adds of a block: one to five minutes of one core, which bounds the work that a dead worker loses.
_BLOCK_WORK = 1e12
# Cost of drawing a value and its error, in multiply-adds. The engine has its own number, which may be tuned. This one
# may not change, because files on disk depend on where blocks begin.
_WORK_PER_VALUE = 40
_FLOAT_BYTES = 4
# Bytes of a feature in the tables of an instance, for each context.
_TABLE_BYTES = 28
# Attributes of a file that is one of several blocks: the stamp of its plan, and its own name.
BLOCK_OF, BLOCK = "block_of", "block"
Seeds = npt.NDArray[np.int64]
_NAME = re.compile(r"cells(?P<part>\d+)-seeds(?P<first>\d+)to(?P<last>\d+)-(?P<key>[0-9a-f]{20})\.nc")


class Block(NamedTuple):
    """The box of cells with the number `part`, at these seeds; `part` is None for the one file of a small condition."""

    part: int | None
    seeds: Sequence[int]


@dataclass(frozen=True)
class BlockPlan:
    """How the instances of a condition are divided into blocks, and how the files of the blocks are named.

    `cells_per_block` has an entry for each sweep axis. Blocks begin at multiples of `seeds_per_block`. `stamp` is the
    whole plan as JSON. Every block has it as an attribute, and file names contain a hash of its text. So a later
    version of toysup, whose specifications have more keys or whose blocks have other sizes, can extend old blocks.
    """

    condition: Condition
    engine: str
    cells_per_block: tuple[int, ...]
    seeds_per_block: int
    stamp: str

    @classmethod
    def of(cls, condition: Condition, engine: str) -> "BlockPlan":
        """The plan with the largest blocks that keep within the bounds on memory and work."""
        most = int(max(1, min(_BLOCK_BYTES // _bytes(condition), _BLOCK_WORK // _work(condition))))
        cells = _cells_per_block([len(values) for values in condition.sweeps.values()], most)
        return cls.cut(condition, engine, cells, max(1, most // math.prod(cells)))

    @classmethod
    def cut(
        cls, condition: Condition, engine: str, cells_per_block: Sequence[int], seeds_per_block: int
    ) -> "BlockPlan":
        """The plan with blocks of this size."""
        stamp = {"condition": json.loads(condition.identity), "engine": engine}
        stamp |= {"cells_per_block": list(cells_per_block), "seeds_per_block": seeds_per_block}
        return cls(condition, engine, tuple(cells_per_block), seeds_per_block, json.dumps(stamp))

    @classmethod
    def stamped(cls, stamp: str) -> "BlockPlan":
        """The plan of a stamp; ValueError if the text is not a stamp."""
        try:
            parts = json.loads(stamp)
            cells, seeds, engine = parts["cells_per_block"], parts["seeds_per_block"], parts["engine"]
            condition = Condition.identified(parts["condition"])
            counts = (*cells, seeds)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("not the plan of a condition") from error
        fits = isinstance(engine, str) and len(counts) == len(condition.sweeps) + 1 and all(map(_is_count, counts))
        if not fits:
            raise ValueError("not the plan of a condition")
        return cls(condition, engine, tuple(cells), seeds, stamp)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Number of boxes along each sweep axis."""
        lengths = [len(values) for values in self.condition.sweeps.values()]
        return tuple(-(-length // size) for length, size in zip(lengths, self.cells_per_block, strict=True))

    @property
    def n_parts(self) -> int:
        """Number of boxes."""
        return math.prod(self.shape)

    def n_cells(self, part: int) -> int:
        """Number of cells of the part."""
        lengths = [len(values) for values in self.condition.sweeps.values()]
        return math.prod(len(range(length)[own]) for length, own in zip(lengths, self.box(part), strict=True))

    def box(self, part: int) -> tuple[slice, ...]:
        """The range of the part's cells along each sweep axis."""
        at = np.unravel_index(part, self.shape) if self.shape else ()
        return tuple(
            slice(int(i) * size, (int(i) + 1) * size) for i, size in zip(at, self.cells_per_block, strict=True)
        )

    def cells(self, part: int) -> dict[str, tuple[float, ...]]:
        """The swept values of the part's cells along each sweep axis."""
        boxes = zip(self.condition.sweeps.items(), self.box(part), strict=True)
        return {axis: values[own] for (axis, values), own in boxes}

    def blocks(self, seeds: Seeds, missing: npt.NDArray[np.bool_]) -> Iterator[Block]:
        """The blocks that hold the missing instances of `seeds`, which ascend; `missing` is (part, seed).

        The blocks of all cells come before those of later seeds, so that complete seeds are available early. The seeds
        of a block are consecutive.
        """
        groups = seeds // self.seeds_per_block
        # Whether a run of seeds that may share a block begins at each position, and True after the last one.
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
        """Name of a block's file: its cells and seeds, and a hash of these and the plan."""
        place = f"cells{block.part}-seeds{block.seeds[0]}to{block.seeds[-1]}"
        return f"{place}-{hashlib.sha256((self._digest + place).encode()).hexdigest()[:20]}.nc"

    def block_named(self, name: str) -> Block | None:
        """The block whose file has this name; None if the plan has no such block."""
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
    """The distinct seeds, ascending. They are sorted here, because `np.unique` hashes them, which takes longer."""
    if isinstance(seeds, range) and seeds.step > 0:
        return np.arange(seeds.start, seeds.stop, seeds.step, dtype=np.int64)
    ordered: Seeds = np.sort(np.asarray(seeds, np.int64))
    return np.concatenate([ordered[:1], ordered[1:][np.diff(ordered) > 0]])


def is_block_name(name: str) -> bool:
    """Whether a file of this name is a block."""
    return _NAME.fullmatch(name) is not None


def _cells_per_block(lengths: Sequence[int], most: int) -> tuple[int, ...]:
    """The size of boxes of at most `most` cells: the last axes whole, the axes before divided evenly."""
    sizes: list[int] = []
    for length in reversed(lengths):
        pieces = -(-length // max(1, most))
        sizes.append(-(-length // pieces))
        most //= sizes[-1]
    return tuple(reversed(sizes))


def _bytes(condition: Condition) -> int:
    """Bytes of one instance with all its snapshots."""
    parameters = parameters_of(condition.model, condition.first_regime).values()
    tables = _TABLE_BYTES * len(condition.first_regime.contexts) * condition.model.n_features
    return tables + _FLOAT_BYTES * len(condition.recorded_steps) * sum(math.prod(own.shape) for own in parameters)


def _work(condition: Condition) -> float:
    """Multiply-adds of training one instance."""
    parameters = parameters_of(condition.model, condition.first_regime).values()
    weights = sum(math.prod(own.shape) for own in parameters if len(own.shape) > 1)
    training, n = condition.training, condition.model.n_features
    # The backward pass costs twice the forward pass, and a tied matrix is used twice.
    per_sample = 3 * weights * (2 if condition.model.tied else 1) + _WORK_PER_VALUE * n
    return float(training.n_steps * training.batch_size * per_sample)
