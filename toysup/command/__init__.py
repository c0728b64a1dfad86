"""The command `toysup-train`: the only place that knows click and rich."""
