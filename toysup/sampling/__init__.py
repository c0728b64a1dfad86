"""Samples: the definition that every engine follows to the bit."""
