"""The samples of `toysup.sampling` in compiled code, for all engines on the CPU."""
