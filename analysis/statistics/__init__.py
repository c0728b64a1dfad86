"""What is measured of a model: xarray in, xarray out."""
