"""Figures look the same whatever the user's settings of matplotlib are, and need no backend."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pytest
import xarray as xr
from matplotlib.figure import Figure

import toysup
from toysup import analysis
from toysup.analysis import figures

# A dark style, and settings of matplotlib that change sizes, fonts, or what lies over the data.
HOSTILE = {
    "text.usetex": True,
    "axes.grid": True,
    "figure.facecolor": "black",
    "axes.facecolor": "black",
    "savefig.facecolor": "black",
    "savefig.transparent": True,
    "savefig.bbox": "tight",
    "savefig.dpi": 33,
    "text.color": "white",
    "xtick.color": "white",
    "xtick.minor.visible": True,
    "axes.edgecolor": "white",
    "axes.formatter.limits": (-1, 1),
    "axes.unicode_minus": False,
    "axes.xmargin": 0.3,
    "font.family": "serif",
    "lines.linewidth": 5,
    "image.interpolation": "bicubic",
    "legend.frameon": True,
    "pdf.use14corefonts": True,
    "pdf.fonttype": 3,
    "svg.fonttype": "none",
    "figure.autolayout": True,
    "figure.constrained_layout.use": False,
}


@pytest.fixture(scope="module")
def runs() -> xr.DataTree:
    return toysup.open_example("conditional-importance")["conditional-importance"]


def drawings(runs: xr.DataTree) -> dict[str, Callable[[], Figure]]:
    """Kinds of figures that differ in what they are made of: images, lines, dots, cells with text."""
    last = {name: runs[name]["W"].isel(step=-1) for name in ("fixed", "conditional")}
    energy = {name: analysis.quadrant_interference(W)["energy"] for name, W in last.items()}
    loss = {name: runs[name]["train_loss"] for name in last}
    table = xr.DataArray([[[2.0, 4], [3, 1]], [[2, 5], [3, 2]]], dims=["seed", "trained_on", "evaluated_on"])
    swept = xr.DataArray([[9.0, 8, 6], [9, 7, 6]], {"statistic": "represented", "p": [0.1, 0.2, 0.4]}, ["seed", "p"])
    over = {name: analysis.over_seeds(array) for name, array in energy.items()}
    return {
        "gram": lambda: figures.gram_grid(analysis.gram(runs["fixed"]["W"].isel(seed=[0], step=[0, -1]))),
        "curves": lambda: figures.loss_curves({name: analysis.over_seeds(values) for name, values in loss.items()}),
        "quadrants": lambda: figures.quadrant_interference(energy, over, statistic="energy"),
        "matrix": lambda: figures.loss_matrix(analysis.over_seeds(table)),
        "sweep": lambda: figures.along_sweep({"fixed": analysis.over_seeds(swept)}),
    }


def saved(figure: Figure, format: str) -> bytes:
    image = BytesIO()
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(format)
    figure.savefig(image, format=format, metadata=metadata)
    return image.getvalue()


# All have lines and text; pixels show every other setting, and the matrix has an image beside.
@pytest.mark.parametrize(
    ("kind", "format"),
    [
        *((kind, "png") for kind in ("gram", "curves", "quadrants", "matrix", "sweep")),
        *((kind, format) for kind in ("curves", "matrix") for format in ("pdf", "svg")),
        *(
            pytest.param(kind, format, marks=pytest.mark.slow)
            for kind in ("gram", "quadrants", "sweep")
            for format in ("pdf", "svg")
        ),
    ],
)
def test_no_setting_changes_a_byte(runs: xr.DataTree, kind: str, format: str) -> None:
    draw = drawings(runs)[kind]
    expected = saved(draw(), format)
    with mpl.rc_context(HOSTILE):
        figure = draw()
        assert saved(figure, format) == expected
    # Made under one setting and saved under another, also after it was in another process.
    again = pickle.loads(pickle.dumps(draw()))
    with mpl.rc_context(HOSTILE):
        assert saved(again, format) == expected


def test_settings_within_the_style_still_count(runs: xr.DataTree) -> None:
    draw = drawings(runs)["curves"]
    with figures.style(), mpl.rc_context({"lines.linewidth": 4, "savefig.dpi": 40}):
        figure = draw()
    assert figure.axes[0].lines[0].get_linewidth() == 4
    with figures.style(), mpl.rc_context({"savefig.dpi": 50}):
        image = saved(figure, "png")
    width = int.from_bytes(image[16:20], "big")
    assert width == round(50 * figures.SINGLE_COLUMN)
    assert int.from_bytes(saved(figure, "png")[16:20], "big") == round(40 * figures.SINGLE_COLUMN)


def test_jupyter_shows_a_picture(runs: xr.DataTree) -> None:
    with mpl.rc_context(HOSTILE):
        image = drawings(runs)["curves"]()._repr_png_()  # type: ignore[attr-defined]
    assert image.startswith(b"\x89PNG")
    assert int.from_bytes(image[16:20], "big") == round(150 * figures.SINGLE_COLUMN)


NO_BACKEND = """
from toysup.analysis import figures, over_seeds
from xarray import DataArray
loss = DataArray([[[2, 4], [3, 1]], [[2, 5], [3, 2]]], dims=["seed", "trained_on", "evaluated_on"])
figures.loss_matrix(over_seeds(loss)).savefig("matrix.pdf")
import os, sys
print(os.environ["MPLBACKEND"], "matplotlib.pyplot" in sys.modules)
"""


def test_no_backend_is_needed(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("backend: module://no_such_module\n")
    backend = "module://no_such_module.backend_inline"
    done = subprocess.run(
        [sys.executable, "-c", NO_BACKEND],
        env=os.environ | {"MPLBACKEND": backend},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [backend, "False"]
    assert (tmp_path / "matrix.pdf").stat().st_size > 0


def test_the_users_backend_stays_chosen() -> None:
    code = "from toysup.analysis import figures; import matplotlib; print(matplotlib.rcParams['backend'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": "svg"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "svg"
