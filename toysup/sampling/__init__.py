"""What a sample is, to the bit: the definition that every engine follows."""
