"""The compiled loops of loss evaluation. Only what evaluates a loss imports them, because numba loads slowly."""
