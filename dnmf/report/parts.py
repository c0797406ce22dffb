"""The picture of a factor whose columns are images."""

from pathlib import Path

from dnmf.inspection.figures import plot_images
from dnmf.kernels.blocks.tiles import Float


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
    plot_images([part.reshape(shape) for part in W.T], title=title).savefig(path, dpi=120)
