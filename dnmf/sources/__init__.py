"""Where V comes from: one module for each kind of matrix, and `open_matrix`, which alone asks what a thing is."""

from dnmf.sources.base import Elsewhere, Layout, Pieces, Source, even_bounds
from dnmf.sources.opening import open_matrix

__all__ = ["Elsewhere", "Layout", "Pieces", "Source", "even_bounds", "open_matrix"]
