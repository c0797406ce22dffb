"""Pictures of a run."""

from pathlib import Path
from typing import Any

import numpy as np

from dnmf.errors import MissingExtraError
from dnmf.kernels.tiles import Float


def draw_parts(W: Float, shape: tuple[int, ...], path: str | Path, title: str = "") -> None:
    """Draw every column of W (m, r) as an image of a shape, and save the picture as a PNG.

    Parameters
    ----------
    W
        The factor whose columns are images, (m, r).
    shape
        Rows and columns of an image, and 3 for colours; their product is m.
    path
        Of the PNG.
    title
        Above the picture.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure_class = _figure_class()
    rank = W.shape[1]
    across = int(np.ceil(np.sqrt(2 * rank)))
    down = -(-rank // across)
    figure = figure_class(figsize=(1.1 * across, 1.1 * down + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for place, axes in enumerate(np.atleast_1d(figure.subplots(down, across)).ravel()):
        axes.set_axis_off()
        if place < rank:
            part = W[:, place].reshape(shape)
            axes.imshow(part / max(float(part.max()), 1e-30), cmap=None if len(shape) == 3 else "magma")
    figure.savefig(path, dpi=120)


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # an optional package: asked for when a picture is
    except ImportError as error:
        raise MissingExtraError(
            "Pictures need matplotlib, which is not installed; install it with `pip install 'dnmf[plot]'`."
        ) from error
    return Figure
