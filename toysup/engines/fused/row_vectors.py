"""Sums of few rows of a matrix, and their adjoint, in blocks of vector registers.

A row is a sample's pre-activations, or what belongs to a feature. Its columns are padded to `LANES`.
"""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from toysup.engines.compiled_code import part_njit
from toysup.engines.fused.vectors import LANES, Matrix

# Most vectors of a row that are kept in registers.
STRIPS = 8


def block_of(n):
    """Columns of the blocks, of equal width, that rows of n numbers are divided into with the least padding."""
    strips = -(-n // LANES)
    return LANES * min(range(STRIPS, 0, -1), key=lambda width: -(-strips // width) * width)


class _Vectors:
    """`strips` neighbouring vectors of the rows of a matrix, from a column on."""

    def __init__(self, context, builder, array_type, value, column, strips):
        self.matrix, self.builder = Matrix(context, builder, array_type, value), builder
        self.columns = [builder.add(column, column.type(q * LANES)) for q in range(strips)]

    def load(self, row):
        return [self.matrix.load(row, column) for column in self.columns]

    def store(self, vectors, row):
        for vector, column in zip(vectors, self.columns, strict=True):
            self.matrix.store(vector, row, column)


def _add_products(builder, factor, vectors, sums):
    for vector, total in zip(vectors, sums, strict=True):
        product = builder.fmul(factor, vector, flags=["contract"])
        builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)


class _Terms:
    """The terms of samples: the rows `index[k, s]` of a matrix with the factors `factors[k, s]`."""

    def __init__(self, context, builder, signature, index, factors):
        self.factor = Matrix(context, builder, signature[1], factors)
        self.rows = context.make_array(signature[0])(context, builder, index)
        self.width, self.builder = cgutils.unpack_tuple(builder, self.rows.shape)[1], builder

    def term(self, number, s):
        """The row of a term, and its factor in all lanes."""
        at = self.builder.add(self.builder.mul(number, self.width), s)
        row = self.builder.load(self.builder.gep(self.rows.data, [at]))
        return self.builder.zext(row, s.type), self.factor.splat(number, s)


def _slots(context, builder, array_type, value):
    """A function from a place to the sample at that place."""
    array = context.make_array(array_type)(context, builder, value)
    return lambda place: builder.load(builder.gep(array.data, [place]))


def _sum_with(strips):
    @intrinsic
    def sum_rows(typing_context, start, matrix, index, factors, slot, place, count, terms, total, column):
        """`sum_rows` for `strips` vectors from a column on."""

        def emit(context, builder, signature, arguments):
            kinds = signature.args
            start, matrix, index, factors, slot, place, count, terms, total, column = arguments
            begin = _Vectors(context, builder, kinds[0], start, column, strips).load(place.type(0))
            source = _Vectors(context, builder, kinds[1], matrix, column, strips)
            out = _Vectors(context, builder, kinds[8], total, column, strips)
            of_sample, at = (
                _Terms(context, builder, kinds[2:4], index, factors),
                _slots(context, builder, kinds[4], slot),
            )
            sums = [cgutils.alloca_once(builder, vector.type) for vector in begin]
            with cgutils.for_range(builder, count) as samples:
                s = at(builder.add(place, samples.index))
                for vector, one in zip(begin, sums, strict=True):
                    builder.store(vector, one)
                with cgutils.for_range(builder, terms) as loop:
                    row, factor = of_sample.term(loop.index, s)
                    _add_products(builder, factor, source.load(row), sums)
                out.store([builder.load(one) for one in sums], samples.index)
            return context.get_dummy_value()

        return types.void(start, matrix, index, factors, slot, place, count, terms, total, column), emit

    return sum_rows


def _add_with(strips):
    @intrinsic
    def add_rows(typing_context, source, index, factors, slot, place, count, terms, total, whole, column):
        """`add_rows` for `strips` vectors from a column on."""

        def emit(context, builder, signature, arguments):
            kinds = signature.args
            source, index, factors, slot, place, count, terms, total, whole, column = arguments
            given = _Vectors(context, builder, kinds[0], source, column, strips)
            target = _Vectors(context, builder, kinds[7], total, column, strips)
            every = _Vectors(context, builder, kinds[8], whole, column, strips)
            of_sample, at = (
                _Terms(context, builder, kinds[1:3], index, factors),
                _slots(context, builder, kinds[3], slot),
            )
            sums = [cgutils.alloca_once_value(builder, vector) for vector in every.load(place.type(0))]
            with cgutils.for_range(builder, count) as samples:
                s, vectors = at(builder.add(place, samples.index)), given.load(samples.index)
                for vector, one in zip(vectors, sums, strict=True):
                    builder.store(builder.fadd(builder.load(one), vector), one)
                with cgutils.for_range(builder, terms) as loop:
                    row, factor = of_sample.term(loop.index, s)
                    moved = [
                        builder.fadd(old, builder.fmul(factor, vector, flags=["contract"]), flags=["contract"])
                        for old, vector in zip(target.load(row), vectors, strict=True)
                    ]
                    target.store(moved, row)
            every.store([builder.load(one) for one in sums], place.type(0))
            return context.get_dummy_value()

        return types.void(source, index, factors, slot, place, count, terms, total, whole, column), emit

    return add_rows


_sum_4, _sum_2, _sum_1 = map(_sum_with, (4, 2, 1))
_add_4, _add_2, _add_1 = map(_add_with, (4, 2, 1))


@part_njit(forceinline=True)
def sum_rows(start, matrix, index, factors, slot, place, count, terms, total):
    """total[r] = start[0] + Σ_k factors[k, s] matrix[index[k, s]] with s = slot[place + r], for r below `count`.

    k is below `terms`.
    """
    column = 0
    while column + 4 * LANES <= total.shape[1]:
        _sum_4(start, matrix, index, factors, slot, place, count, terms, total, column)
        column += 4 * LANES
    if column + 2 * LANES <= total.shape[1]:
        _sum_2(start, matrix, index, factors, slot, place, count, terms, total, column)
        column += 2 * LANES
    if column < total.shape[1]:
        _sum_1(start, matrix, index, factors, slot, place, count, terms, total, column)


@part_njit(forceinline=True)
def add_rows(source, index, factors, slot, place, count, terms, total, whole):
    """total[index[k, s]] += factors[k, s] source[r], and whole[0] += source[r], for the r and k of `sum_rows`."""
    column = 0
    while column + 4 * LANES <= source.shape[1]:
        _add_4(source, index, factors, slot, place, count, terms, total, whole, column)
        column += 4 * LANES
    if column + 2 * LANES <= source.shape[1]:
        _add_2(source, index, factors, slot, place, count, terms, total, whole, column)
        column += 2 * LANES
    if column < source.shape[1]:
        _add_1(source, index, factors, slot, place, count, terms, total, whole, column)
