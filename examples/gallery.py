"""Functions shared by the examples: command line, colours that colour-blind readers can distinguish, small pictures."""

import argparse
import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

# The colours of Okabe and Ito (2008), darkest contrasts first.
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK = COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
)


def arguments(story: str, size: int | None = None, unit: str = "") -> argparse.Namespace:
    """Parse the command line: the folder of the pictures, and the size of the example."""
    parser = argparse.ArgumentParser(description=story, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="folder of the picture")
    if size is not None:
        parser.add_argument("--size", type=int, default=size, help=f"{unit}; {size:,} by default")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def draw(width: float, height: float, title: str) -> Figure:
    """Return an empty figure with a title; width and height are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def tidy(axes: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Label a panel and its axes, and hide the top and right spines."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def show_image(axes: Any, image: Any, title: str = "", **options: Any) -> Any:
    """Draw an image without ticks; return it for a colour bar."""
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(image, **options)


def save(figure: Figure, path: Path, colours: int = 64) -> None:
    """Save a figure as a small PNG with few colours, and print its path."""
    with io.BytesIO() as buffer, rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, dpi=100)
        picture = (
            Image.open(buffer).convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        picture.save(path, optimize=True)
    print(f"drawn in {path}")
