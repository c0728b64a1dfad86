"""The command `toysup-train`, its error messages and its progress bar."""
