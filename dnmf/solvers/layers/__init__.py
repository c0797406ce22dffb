"""Deep factorisation: several layers, fitted together on one read of V per pass, or one after another."""

from dnmf.solvers.layers.greedy import STARTS, deepened
from dnmf.solvers.layers.method import layered, stacked
from dnmf.solvers.layers.start import fits_layers, layered_load, layered_start
from dnmf.solvers.layers.tower import Joint, Tower

__all__ = ["STARTS", "Joint", "Tower", "deepened", "fits_layers", "layered", "layered_load", "layered_start", "stacked"]
