"""Sources of V: `open_matrix` opens a matrix of any kind; the other names are for new kinds of sources."""

from dnmf.sources.base import InMemoryBlocks, Layout, Part, SharedSource, Source
from dnmf.sources.bounds import even_bounds, uncut_bounds
from dnmf.sources.opening import open_matrix

__all__ = ["InMemoryBlocks", "Layout", "Part", "SharedSource", "Source", "even_bounds", "open_matrix", "uncut_bounds"]
