"""The table of methods: what a run does between passes, and where it starts."""

from dnmf.kernels.model import Rule
from dnmf.kernels.rules import make_rule, solver_of, sums_per_row
from dnmf.plan import Load
from dnmf.settings import Settings
from dnmf.sketch import corrected, fits, pays, sketch_load
from dnmf.solve import Method, extrapolated, plain
from dnmf.sources.layout import Layout


def method_of(settings: Settings, rule: Rule, layout: Layout) -> Method:
    """Return the method that the settings name, or the best one for the rule and the size of the matrix."""
    if sketching(settings, rule, layout):
        return corrected
    extrapolating = settings.solver in ("auto", "sketch") if settings.extrapolate is None else settings.extrapolate
    return extrapolated if extrapolating else plain


def init_of(settings: Settings, rule: Rule, layout: Layout) -> str:
    """Return the initialisation that the settings name, or the best one."""
    if settings.init != "auto":
        return settings.init
    return "sketch" if fits(rule, layout, settings.rank) and pays(layout, settings.rank) else "random"


def sketching(settings: Settings, rule: Rule, layout: Layout) -> bool:
    """Say whether passes alternate with surrogates: where that is asked for and can be, or is the best."""
    if solver_of(settings) != "sketch" or not fits(rule, layout, settings.rank):
        return False
    return settings.solver == "sketch" or pays(layout, settings.rank)


def load_of(settings: Settings, layout: Layout, weighted: bool = False) -> Load:
    """Return what a run with the settings works with beside V."""
    rank, rule = settings.rank, make_rule(settings, weighted=weighted)
    load = Load.plain(rank, sums_per_row(settings, weighted))
    if sketching(settings, rule, layout) or init_of(settings, rule, layout) == "sketch":
        return sketch_load(load, rank, layout)
    return load
