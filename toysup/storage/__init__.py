"""What is kept on disk: the schema of a trajectory, its files, and what is there of a condition."""
