"""matplotlib, imported though `MPLBACKEND` names a backend that is not installed here.

A notebook leaves its own backend in `MPLBACKEND`, and the shells that it starts inherit the variable. matplotlib then
cannot be imported in an environment without that backend. Figures of toysup need no backend.
"""

import os
import sys
from contextlib import suppress


def import_matplotlib() -> None:
    """Import matplotlib. It uses the backend of `MPLBACKEND` if there is such a backend, and chooses one otherwise."""
    name = os.environ.get("MPLBACKEND")
    if name is None or "matplotlib" in sys.modules:
        return
    del os.environ["MPLBACKEND"]
    try:
        import matplotlib

        with suppress(ValueError):
            matplotlib.rcParams["backend"] = name
    finally:
        os.environ["MPLBACKEND"] = name


import_matplotlib()
