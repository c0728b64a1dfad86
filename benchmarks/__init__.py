"""How fast toysup is, measured beside what it replaces: `python -m benchmarks`, or `make bench`."""
