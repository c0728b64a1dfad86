"""The samples of `toysup.sampling` in compiled code, for every engine that runs on the CPU."""
