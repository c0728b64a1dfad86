"""Draw the pictures of the documentation from the reference trajectories."""

from pathlib import Path

import xarray as xr

import toysup
from toysup.analysis import figures, gram

FOLDER = Path(__file__).parent


def gram_of_conditions() -> None:
    """docs/gram.png: one seed of three conditions, at initialisation, after 4 and after 12 epochs."""
    runs = toysup.open_example("conditional-importance")["conditional-importance"]
    names = ["fixed", "conditional", "anticorrelated"]
    W = xr.concat([runs[name].W.sel(seed=0).isel(step=[0, 4, 12]) for name in names], dim="condition")
    with figures.style():
        figure = figures.gram_grid(gram(W.assign_coords(condition=names)))
        figure.savefig(FOLDER / "gram.png", dpi=200)


if __name__ == "__main__":
    gram_of_conditions()
