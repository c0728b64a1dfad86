"""Storage: the schema of a trajectory, its files, and the blocks of a condition on disk."""
