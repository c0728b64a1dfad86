"""Intervals, tests and nulls over seeds."""
