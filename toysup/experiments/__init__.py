"""What is trained: TOML in, validated objects out."""
