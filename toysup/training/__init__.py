"""Training: in memory or to a folder, in one process or on a cluster."""
