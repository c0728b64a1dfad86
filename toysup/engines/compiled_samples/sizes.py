"""Rounding up of sizes, and the size of a buffer, for compiled code."""

from numba import njit

# Number of blocks of four words that a shuffle draws at once.
WORDS = 256


@njit
def ceil_div(count, size):
    """⌈count / size⌉ of integers."""
    return (count + size - 1) // size


@njit
def ceil(count, multiple):
    """`count` rounded up to a multiple of `multiple`."""
    return (count + multiple - 1) // multiple * multiple
