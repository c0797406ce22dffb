"""Where V comes from: `open_matrix` opens a matrix of any kind, and the rest is what a new kind of source needs."""

from dnmf.sources.base import Elsewhere, Layout, Part, Pieces, Source
from dnmf.sources.bounds import even_bounds, uncut_bounds
from dnmf.sources.opening import open_matrix

__all__ = ["Elsewhere", "Layout", "Part", "Pieces", "Source", "even_bounds", "open_matrix", "uncut_bounds"]
