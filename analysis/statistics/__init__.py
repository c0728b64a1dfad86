"""Statistics of weights, responses and trajectories: xarray in, xarray out."""
