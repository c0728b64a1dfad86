"""The two matrix products of the fused engine, written as blocks of vector registers.

numba leaves vectorising to LLVM, which here uses half of an AVX-512 register, tests at every call whether arrays
overlap, and keeps sums in memory. Explicit blocks are 1.5 to 2 times as fast. A block is 4 rows high, so the rows of
matrices are padded to `ROWS`. Their columns are samples or features, and are padded to `COLUMNS`.
"""

from itertools import chain

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from toysup.engines.compiled_code import part_njit

_WIDE = llvm.get_host_cpu_features().get("avx512f", False)
LANES = 16 if _WIDE else 8
# Vectors in each row of a block. The sums of a block, rows times vectors, take half of the registers.
_STRIPS = 4 if _WIDE else 2
ROWS = 4
COLUMNS = LANES * _STRIPS
_INDEX = ir.IntType(32)


class Matrix:
    """A C-contiguous 2-d array argument, addressed element by element."""

    def __init__(self, context, builder, array_type, value):
        array = context.make_array(array_type)(context, builder, value)
        self.builder = builder
        self.data = array.data
        self.height, self.width = cgutils.unpack_tuple(builder, array.shape)
        self.element = context.get_data_type(array_type.dtype)
        self.vector = ir.VectorType(self.element, LANES)
        self.alignment = array_type.dtype.bitwidth // 8

    def pointer(self, row, column, kind=None):
        offset = self.builder.add(self.builder.mul(row, self.width), column)
        pointer = self.builder.gep(self.data, [offset])
        return pointer if kind is None else self.builder.bitcast(pointer, kind.as_pointer())

    def load(self, row, column, kind=None):
        kind = self.vector if kind is None else kind
        return self.builder.load(self.pointer(row, column, kind), align=self.alignment)

    def store(self, value, row, column):
        self.builder.store(value, self.pointer(row, column, value.type), align=self.alignment)

    def splat(self, row, column):
        """A vector with one element in all lanes."""
        scalar = self.builder.load(self.pointer(row, column))
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, _INDEX(0))
        return self.builder.shuffle_vector(first, undefined, _mask([0] * LANES))


def _mask(lanes):
    return ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes)


def _accumulate(builder, sums, rows, columns):
    """sums[r][q] += rows[r] * columns[q], as fused multiply-adds if the machine has them."""
    for row, sums_of_row in zip(rows, sums, strict=True):
        for column, total in zip(columns, sums_of_row, strict=True):
            product = builder.fmul(row, column, flags=["contract"])
            builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)


def _fold(builder, vectors):
    """The sums over lanes of `LANES` vectors, as one vector: neighbours are added until one vector is left."""
    even, odd = _mask(list(range(0, 2 * LANES, 2))), _mask(list(range(1, 2 * LANES, 2)))
    while len(vectors) > 1:
        vectors = [
            builder.fadd(builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


def _product_block_with(strips):
    @intrinsic
    def product_block(typing_context, start, weights, inputs, outputs, row, column):
        """outputs[row:row+4, column:column+strips·LANES] = start[row:row+4] + weights @ inputs."""

        def emit(context, builder, signature, arguments):
            start, weights, inputs, outputs = (
                Matrix(context, builder, t, v) for t, v in zip(signature.args[:4], arguments[:4], strict=True)
            )
            row, column = arguments[4:]
            rows = [builder.add(row, row.type(r)) for r in range(ROWS)]
            columns = [builder.add(column, row.type(q * LANES)) for q in range(strips)]
            sums = [[cgutils.alloca_once(builder, inputs.vector) for _ in columns] for _ in rows]
            for r, sums_of_row in zip(rows, sums, strict=True):
                first = start.splat(r, row.type(0))
                for total in sums_of_row:
                    builder.store(first, total)
            with cgutils.for_range(builder, inputs.height) as loop:
                _accumulate(
                    builder,
                    sums,
                    [weights.splat(r, loop.index) for r in rows],
                    [inputs.load(loop.index, c) for c in columns],
                )
            for r, sums_of_row in zip(rows, sums, strict=True):
                for c, total in zip(columns, sums_of_row, strict=True):
                    outputs.store(builder.load(total), r, c)
            return context.get_dummy_value()

        return types.void(start, weights, inputs, outputs, row, column), emit

    return product_block


_product_block, _product_pair, _product_one = map(_product_block_with, (_STRIPS, 2, 1))


@intrinsic
def _correlation_block(typing_context, left, right, total, row, column, length):
    """total[row:row+4, column:column+_STRIPS] += left[row:row+4] @ right[column:column+_STRIPS].T."""

    def emit(context, builder, signature, arguments):
        left, right, total = (
            Matrix(context, builder, t, v) for t, v in zip(signature.args[:3], arguments[:3], strict=True)
        )
        row, column, length = arguments[3:]
        rows = [builder.add(row, row.type(r)) for r in range(ROWS)]
        columns = [builder.add(column, row.type(q)) for q in range(_STRIPS)]
        sums = [[cgutils.alloca_once(builder, left.vector) for _ in columns] for _ in rows]
        for one in chain(*sums):
            builder.store(ir.Constant(left.vector, None), one)
        with cgutils.for_range(builder, builder.sdiv(length, row.type(LANES))) as loop:
            at = builder.mul(loop.index, row.type(LANES))
            _accumulate(builder, sums, [left.load(r, at) for r in rows], [right.load(c, at) for c in columns])
        folded = _fold(builder, [builder.load(one) for one in chain(*sums)])
        few = ir.VectorType(left.element, _STRIPS)
        for r in range(ROWS):
            part = builder.shuffle_vector(folded, folded, _mask(list(range(r * _STRIPS, (r + 1) * _STRIPS))))
            total.store(builder.fadd(total.load(rows[r], column, few), part), rows[r], column)
        return context.get_dummy_value()

    return types.void(left, right, total, row, column, length), emit


@part_njit(forceinline=True)
def product(start, weights, inputs, outputs, length):
    """outputs = start + weights @ inputs, over the first `length` columns (a multiple of `COLUMNS`).

    `start` has one column; columns that `weights` has beyond the rows of `inputs` are ignored.
    """
    for column in range(0, length, COLUMNS):
        for row in range(0, weights.shape[0], ROWS):
            _product_block(start, weights, inputs, outputs, row, column)


@part_njit(forceinline=True)
def narrow_product(start, weights, inputs, outputs, rows):
    """`rows` rows (a multiple of `ROWS`) of `product`, for matrices whose columns are padded to `LANES` only."""
    wide = outputs.shape[1] // COLUMNS * COLUMNS
    for row in range(0, rows, ROWS):
        for column in range(0, wide, COLUMNS):
            _product_block(start, weights, inputs, outputs, row, column)
        column = wide
        if column + 2 * LANES <= outputs.shape[1]:
            _product_pair(start, weights, inputs, outputs, row, column)
            column += 2 * LANES
        if column < outputs.shape[1]:
            _product_one(start, weights, inputs, outputs, row, column)


@part_njit(forceinline=True)
def correlate(left, right, total, length):
    """total += left @ right.T, over the first `length` columns (a multiple of `COLUMNS`); `total` may be larger."""
    for row in range(0, left.shape[0], ROWS):
        for column in range(0, right.shape[0], _STRIPS):
            _correlation_block(left, right, total, row, column, length)
