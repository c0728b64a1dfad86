"""Small reference trajectories and the sources' published values; the README beside this file says what and whence."""
