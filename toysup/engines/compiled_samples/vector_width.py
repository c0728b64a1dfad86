"""How wide LLVM makes the vectors of a loop."""

from numba import types
from numba.extending import intrinsic


@intrinsic
def wide_vectors(typing_context):
    """Let LLVM vectorise the calling function's loops with all of a register: for AVX-512 it prefers half."""

    def emit(context, builder, signature, arguments):
        # Not in llvmlite's list of attributes, hence past its check. Elsewhere than on x86 it means nothing.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), emit
