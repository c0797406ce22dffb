"""Pictures of a run."""

from pathlib import Path

import numpy as np

from dnmf.kernels.tiles import Float
from dnmf.pictures import new_figure


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
    rank = W.shape[1]
    across = int(np.ceil(np.sqrt(2 * rank)))
    down = -(-rank // across)
    figure = new_figure(1.1 * across, 1.1 * down + 0.5)
    figure.suptitle(title, fontsize=10)
    for place, axes in enumerate(np.atleast_1d(figure.subplots(down, across)).ravel()):
        axes.set_axis_off()
        if place < rank:
            part = W[:, place].reshape(shape)
            axes.imshow(part / max(float(part.max()), 1e-30), cmap=None if len(shape) == 3 else "magma")
    figure.savefig(path, dpi=120)
