"""The Figure that all functions return: it looks the same wherever it is drawn, shown or saved."""

from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any, cast

import matplotlib as mpl
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure

from toysup.analysis.figures.style import within_style

# Settings of windows and of the process, which are not part of how a figure looks.
_OF_THE_PROCESS = ("backend", "interactive", "toolbar")


class StyledFigure(Figure):
    """A Figure that is drawn and saved with the settings with which it was made.

    matplotlib reads many settings only when it draws or saves: fonts, tick labels, the kind of embedded fonts, the box
    that is cut out. A StyledFigure keeps them, so that a dark style or a matplotlibrc does not change it later. Within
    `style()` the settings there apply. In Jupyter it is shown as a picture.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = dict(mpl.rcParams.copy())
        self._settings: dict[str, Any] = {key: settings[key] for key in settings if key not in _OF_THE_PROCESS}

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure, with its own settings."""
        with self._own_settings():
            super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save the figure, with its own settings; takes what `matplotlib.figure.Figure.savefig` takes."""
        with self._own_settings():
            super().savefig(*args, **kwargs)

    def _own_settings(self) -> AbstractContextManager[None]:
        return within_style(lambda: mpl.rc_context(cast(Any, self._settings)))

    def _repr_png_(self) -> bytes:
        """What Jupyter shows if no backend of its own draws figures."""
        image = BytesIO()
        self.savefig(image, format="png", dpi=self.dpi)
        return image.getvalue()
