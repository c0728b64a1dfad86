"""The width of the vectors that LLVM uses in a loop."""

from numba import types
from numba.extending import intrinsic


@intrinsic
def wide_vectors(typing_context):
    """Let LLVM vectorise the loops of the calling function with whole registers; for AVX-512 it prefers half of one."""

    def emit(context, builder, signature, arguments):
        # `set.add` bypasses llvmlite's check, which does not know this attribute. It has an effect only on x86.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), emit
