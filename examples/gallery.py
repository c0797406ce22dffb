"""What the examples share: the folder they write to, colours that colour-blind eyes tell apart, and small pictures."""

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
    """Return what was asked on the command line: the folder of the pictures, and how large the example shall be."""
    parser = argparse.ArgumentParser(description=story, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the picture goes")
    if size is not None:
        parser.add_argument("--size", type=int, default=size, help=f"{unit}; {size:,} by default")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def draw(width: float, height: float, title: str) -> Figure:
    """Return an empty figure of so many inches, with a title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def tidy(axes: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Name a panel and its axes, and leave away the lines that say nothing."""
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
    """Save a figure as a PNG of so few colours that it is small, and say where."""
    with io.BytesIO() as buffer, rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, dpi=100)
        picture = (
            Image.open(buffer).convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        picture.save(path, optimize=True)
    print(f"drawn in {path}")
