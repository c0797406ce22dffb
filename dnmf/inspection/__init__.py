"""Components, profiles and figures of factors."""

from dnmf.inspection.hierarchy import Node

__all__ = ["Node"]
