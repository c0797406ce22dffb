"""The figure that all pictures are drawn on, its colours, and how a panel looks."""

import functools
import io
from typing import Any

from dnmf.errors import MissingExtraError

# Okabe & Ito's colours, which the colour-blind tell apart.
BLUE, ORANGE, GREEN, VERMILION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PALETTE = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", VERMILION)
INK, FAINT = "#333333", "#e3e3e3"


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, on white, that a notebook shows.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # an optional package: asked for when a picture is
    except ImportError as error:
        raise MissingExtraError(
            "Pictures need matplotlib, which is not installed; install it with `pip install 'dnmf[plot]'`."
        ) from error
    figure: Any = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure._repr_png_ = functools.partial(_as_png, figure)  # IPython asks for it; pyplot would know the figure itself
    return figure


def _as_png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def plain(axis: Any, title: str, across: str, up: str) -> None:
    """Title and label a panel, with a faint grid and without a box."""
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axis.set_xlabel(across, fontsize=9, color=INK)
    axis.set_ylabel(up, fontsize=9, color=INK)
    axis.tick_params(labelsize=8, colors=INK)
    axis.grid(True, color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
