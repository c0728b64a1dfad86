"""Sizes that compiled code rounds up, and those of its buffers."""

from numba import njit

# Blocks of words of an order that are drawn at once.
WORDS = 256


@njit
def ceil_div(count, size):
    return (count + size - 1) // size


@njit
def ceil(count, multiple):
    return (count + multiple - 1) // multiple * multiple
