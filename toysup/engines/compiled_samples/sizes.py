"""Rounding up of sizes, and the size of a buffer, for compiled code."""

from numba.extending import register_jitable

# Number of blocks of four words that a shuffle draws at once.
WORDS = 256


@register_jitable
def ceil_div(count, size):
    """⌈count / size⌉ of integers."""
    return (count + size - 1) // size


@register_jitable
def ceil(count, multiple):
    """`count` rounded up to a multiple of `multiple`."""
    return (count + multiple - 1) // multiple * multiple
