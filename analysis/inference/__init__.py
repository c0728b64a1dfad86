"""What follows from several seeds: intervals, tests and nulls."""
