"""Who does the work of training: in memory, to a folder, in one process or on a cluster."""
