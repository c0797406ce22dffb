"""The table of methods: what a run does between passes, and where it starts."""

import dataclasses

from dnmf.engine.plan import Load
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import make_rule, solver_of, sums_per_row
from dnmf.kernels.rule import Rule
from dnmf.settings import Settings
from dnmf.solvers.bundle import bundled
from dnmf.solvers.initialise import spectral_load
from dnmf.solvers.iteration import Follow, Method, after_extrapolated, after_plain, after_second_order, stepping
from dnmf.solvers.minibatch import minibatch
from dnmf.solvers.sketch import corrected, fits, pays, sketch_load, starts
from dnmf.sources.base import Layout

# The Hessians of the rows of W are added up where the sums of one task take no more than this for them.
CURVED_BYTES = 64 * 2**20
# Arrays of a narrow panel's size that are made of it where entries are listed or weighted: a cast, values, weights and
# their product, a list of both with the places, and of weights and places once more, by rows.
LISTS = 10
# Sweeps over H in a pass of a sketch: the W it looks at may be far from the one that H was made for.
SKETCH_SWEEPS = 12


def method_of(settings: Settings, rule: Rule, layout: Layout, several: bool = False) -> Method:
    """Return the method that the settings name, or the best one for the rule and the size; of several models, if so."""
    if several:
        return bundled(follow_of(settings, rule))
    if settings.solver == "minibatch":
        return minibatch(settings.seed, settings.forget)
    return corrected if sketching(settings, rule, layout) else stepping(follow_of(settings, rule))


def follow_of(settings: Settings, rule: Rule) -> Follow:
    """Return what makes the next state of a pass of the rule."""
    if isinstance(rule, Divergence) and rule.curved:
        return after_second_order
    extrapolating = settings.solver in ("auto", "sketch") if settings.extrapolate is None else settings.extrapolate
    return after_extrapolated if extrapolating else after_plain


def init_of(settings: Settings, rule: Rule, layout: Layout) -> str:
    """Return the initialisation that the settings name, or the best one."""
    if settings.init != "auto":
        return settings.init
    if not starts(rule, layout, settings.rank) or (isinstance(rule, Quadratic) and rule.least > 0):
        return "random"  # what is 0 in the factors of a sketch, updates that multiply would leave so
    wanted = settings.beta != 2 or settings.solver == "sketch" or pays(layout, settings.rank)
    return "sketch" if wanted else "random"


def rule_of(settings: Settings, layout: Layout, *, weighted: bool = False) -> Rule:
    """Return the rule that the settings describe for a matrix."""
    rule = make_rule(settings, transposed=layout.transposed, weighted=weighted)
    if solver_of(settings) == "newton" and isinstance(rule, Divergence) and rule.by_totals:
        rows, rank = layout.shape[0], settings.rank
        return dataclasses.replace(rule, curved=8 * rows * rank * (rank + 1) // 2 <= CURVED_BYTES)
    if settings.sweeps is None and isinstance(rule, Quadratic) and sketching(settings, rule, layout):
        return dataclasses.replace(rule, sweeps=SKETCH_SWEEPS)
    return rule


def sketching(settings: Settings, rule: Rule, layout: Layout) -> bool:
    """Say whether passes alternate with surrogates: where that is asked for and can be, or is the best."""
    if solver_of(settings) != "sketch" or not fits(rule, layout, settings.rank):
        return False
    return settings.solver == "sketch" or pays(layout, settings.rank)


def plain_name(settings: Settings) -> str:
    """Return the name of a pass of the solver whose method has not begun, or cannot."""
    solver = solver_of(settings)
    return {"sketch": "hals", "newton": "cd"}.get(solver, solver)


def several(settings: Settings, rule: Rule, layout: Layout) -> bool:
    """Say whether models advance side by side: where there are several runs, and no surrogate to make them on."""
    chosen_on_surrogate = isinstance(rule, Quadratic) and init_of(settings, rule, layout) == "sketch"
    return settings.n_runs > 1 and not chosen_on_surrogate


def listed_panels(rule: Rule) -> int:
    """Return how many arrays of a narrow panel's size a rule makes of it."""
    return 0 if isinstance(rule, Quadratic) else LISTS


def load_of(settings: Settings, layout: Layout, weighted: bool = False) -> Load:
    """Return what a run with the settings works with beside V."""
    rank, rule = settings.rank, rule_of(settings, layout, weighted=weighted)
    load = Load.plain(rank, sums_per_row(rule, rank), listed_panels(rule))
    if isinstance(rule, Divergence):  # the W that was evaluated, and the one of the step
        load = load._replace(kept=load.kept + rank)
    if several(settings, rule, layout):
        load = load.times(settings.n_runs)
    if settings.solver == "minibatch":  # V Hᵀ with the H before, too
        load = load._replace(sums=2 * rank)
    if sketching(settings, rule, layout) or init_of(settings, rule, layout) == "sketch":
        return sketch_load(load, rank, layout)
    return spectral_load(load, rank, layout) if settings.init.startswith("nndsvd") else load
