"""The experiments that come with toysup, one TOML file each."""
