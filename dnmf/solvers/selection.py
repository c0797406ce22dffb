"""What the settings mean for one matrix: solver, rule, initialisation, method and memory, decided once."""

import dataclasses
from functools import partial
from typing import cast

from dnmf.engine.plan import Load
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered, make_rule, solver_of, sums_per_row
from dnmf.kernels.rule import Rule
from dnmf.settings import Settings
from dnmf.solvers.bundle import bundled
from dnmf.solvers.compatibility import check_layers, check_matrix, check_missing
from dnmf.solvers.coupling import Coupling
from dnmf.solvers.direct import direct_bytes, is_small
from dnmf.solvers.iteration import (
    Follow,
    Method,
    PassContext,
    after_extrapolated,
    after_plain,
    after_second_order,
    stepping,
)
from dnmf.solvers.layers import STARTS, Joint, deepened, fits_layers, layered, layered_load
from dnmf.solvers.minibatch import minibatch
from dnmf.solvers.separable import separable_load
from dnmf.solvers.several_runs import halving, without_overflows
from dnmf.solvers.sketch import corrected, fits, pays, sketch_load, starts
from dnmf.solvers.spectral import spectral_load
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

# Bytes that the sums of one task may take for the Hessians of the rows of W, and the entries of a row of V, about, of
# which its Hessian is the sum: from one entry in four, runs on 2000 columns take twice the passes to 1e-6.
HESSIAN_BYTES, HESSIAN_ENTRIES = 128 * 2**20, 10_000
# Arrays of the size of a narrow panel that a rule makes of it where entries are listed or weighted: a cast, values,
# weights and their product, a list of both with their positions, and of weights and positions once more, by rows.
LIST_ARRAYS = 10
# Sweeps over H in a pass of a sketch: the W of the surrogate may be far from the one that H was computed for.
SKETCH_SWEEPS = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a run on one matrix, with every `"auto"` decided.

    Attributes
    ----------
    settings
        As the user gave them.
    solver, init
        Names of the solver and of the initialisation.
    rule
        Loss, penalties and updates.
    follow
        Returns the state after a pass of the rule.
    method
        Makes one pass of a single model.
    load
        What the run holds in memory besides V.
    coupling
        Graphs and penalties of single entries, or None.
    joint
        The joint update of several layers, or None.
    """

    settings: Settings
    solver: str
    init: str
    rule: Rule
    follow: Follow
    method: Method
    load: Load
    coupling: Coupling | None = None
    joint: Joint | None = None

    @property
    def plain_name(self) -> str:
        """Name of a pass that applies the rule alone, before the method of the solver begins or where it cannot."""
        return {"sketch": "hals", "newton": "cd"}.get(self.solver, self.solver)

    @property
    def batches(self) -> bool:
        """Whether W is updated several times in a pass."""
        return self.solver == "minibatch"

    def method_for(self, state: State) -> Method:
        """Return the method for a state: that of a single model, or of several models side by side."""
        if not state.parts or self.joint is not None:
            return self.method
        several = without_overflows(bundled(self.follow))
        return halving(several) if self.init == "sketch" else several

    def deepen(self, context: PassContext, state: State) -> State:
        """Return the state of all layers, which are factorised one after another, from that of the first one."""

        def of_layer(settings: Settings, layout: Layout) -> tuple[Rule, Follow]:
            recipe = resolve(settings, layout)
            return recipe.rule, recipe.follow

        return deepened(context, state, self.settings, of_layer)


def resolve(settings: Settings, layout: Layout, weighted: bool = False, coupling: Coupling | None = None) -> Recipe:
    """Decide what the settings mean for a matrix, whose entries may have weights, and other data of the objective.

    Raises
    ------
    SettingsError
        If options do not fit each other or the matrix.
    """
    if settings.layers:
        check_layers(settings, layout, weighted, coupling is not None)
        if not settings.greedy:
            return _resolve_joint(settings, layout)
        recipe = resolve(settings.of_layer(0), layout, weighted)
        load = _greedy_load(recipe.load, settings)._replace(again=partial(_load_on, settings, weighted, coupling))
        return dataclasses.replace(recipe, settings=settings, load=load)
    check_matrix(settings, layout, weighted)
    solver, rank = solver_of(settings), settings.rank
    rule = rule_of(settings, layout, weighted)
    sketching = solver == "sketch" and fits(rule, layout, rank) and (settings.solver == "sketch" or pays(layout, rank))
    if solver == "newton" and isinstance(rule, Divergence) and rule.by_totals:
        if layout.work_dtype.itemsize * layout.shape[0] * rank * (rank + 1) // 2 <= HESSIAN_BYTES:
            rate = min(HESSIAN_ENTRIES / layout.shape[1], 1.0)
            rule = altered(rule, hessian_rate=rate, hessian_dtype=layout.work_dtype.name)
    elif sketching and settings.sweeps is None:
        rule = altered(rule, sweeps=SKETCH_SWEEPS)
    init, follow = init_of(settings, rule, layout), follow_of(settings, rule)
    if coupling is None and is_small(rule, layout, settings):
        init, sketching = "direct", False
    method = stepping(follow)
    if sketching:
        method = corrected
    elif solver == "minibatch":
        method = minibatch(settings.seed, settings.forget)
    load = _load(settings, rule, layout, init, sketching)
    if coupling is not None:
        load = coupling.load(load, rank, settings.n_runs)
    if load.base is not None or (isinstance(rule, Divergence) and rule.with_hessian):
        words, lighter = _lighter(settings, rule, layout, sketching)
        lighter = lighter if coupling is None else coupling.load(lighter, rank, settings.n_runs)
        load = load._replace(lighter=(words, lighter))
    load = load._replace(again=partial(_load_on, settings, weighted, coupling))
    return Recipe(settings, solver, init, rule, follow, method, load, coupling)


def _resolve_joint(settings: Settings, layout: Layout) -> Recipe:
    """Decide what the settings of several layers mean that are fitted together."""
    each = [settings.of_layer(index) for index in range(len(settings.layers))]
    solver, fitting = solver_of(settings), fits_layers(layout, settings.layers)
    rules = [cast(Quadratic, rule_of(own, layout)) for own in each]
    if solver == "sketch" and settings.sweeps is None:
        rules = [dataclasses.replace(rule, sweeps=SKETCH_SWEEPS) for rule in rules]
    joint = Joint(tuple(rules), cast(tuple[float, ...], settings.layer_weights) or (1.0,) * len(rules))
    # In memory, a round on a sketch costs as much as a pass.
    reads_cost = not layout.in_memory and pays(layout, settings.layers[0])
    wanted = settings.init == "sketch" or (settings.init == "auto" and reads_cost)
    init = "sketch" if wanted and fitting and rules[0].least == 0 else "random"
    extrapolating = settings.solver in ("auto", "sketch") if settings.extrapolate is None else settings.extrapolate
    load = layered_load(settings, layout, init == "sketch")._replace(again=partial(_load_on, settings, False, None))
    method = layered(joint, extrapolating)
    return Recipe(settings, solver, init, rules[0], after_plain, method, load, joint=joint)


def rule_of(settings: Settings, layout: Layout, weighted: bool = False) -> Rule:
    """Return the rule of the settings for a matrix that is read with one factor held, in any of its forms.

    Of several layers, it is that of the last one.

    Raises
    ------
    SettingsError
        If the matrix cannot mark entries as missing in the way that the settings name.
    """
    check_missing(settings, layout)
    return make_rule(settings.of_layer(), transposed=layout.transposed, weighted=weighted)


def follow_of(settings: Settings, rule: Rule) -> Follow:
    """Return the function that makes the state after a pass of the rule."""
    if isinstance(rule, Divergence) and rule.with_hessian:
        return after_second_order
    extrapolating = settings.solver in ("auto", "sketch") if settings.extrapolate is None else settings.extrapolate
    return after_extrapolated if extrapolating else after_plain


def init_of(settings: Settings, rule: Rule, layout: Layout) -> str:
    """Return the initialisation that the settings name, or the best one."""
    if settings.init != "auto":
        return settings.init
    if settings.volume_W or settings.volume_H:
        return "spa" if settings.volume_W else "spa_rows"
    beta = settings.beta if settings.solver == "auto" else 2
    if not starts(rule, layout, settings.rank, beta) or (isinstance(rule, Quadratic) and rule.least > 0):
        return "random"  # the factors of a sketch have zeros, which multiplicative updates cannot leave
    wanted = settings.beta != 2 or settings.solver == "sketch" or pays(layout, settings.rank)
    return "sketch" if wanted else "random"


def listed_panels(rule: Rule) -> int:
    """Return how many arrays of the size of a narrow panel a rule makes of it."""
    return 0 if isinstance(rule, Quadratic) else LIST_ARRAYS


def _lighter(settings: Settings, rule: Rule, layout: Layout, sketching: bool) -> tuple[str, Load]:
    """Return the options by which a run makes no sketch, no singular vectors and no Hessians, and its load."""
    options = {"init": "random"}
    if sketching:
        options = {"solver": "hals"} | options
    elif isinstance(rule, Divergence) and rule.with_hessian:
        rule, options = altered(rule, hessian_rate=0.0), {"solver": "cd"} | options
    flags = " ".join(f"--{name} {value}" for name, value in options.items())
    words = ", ".join(f'{name}="{value}"' for name, value in options.items())
    return f"{words} ({flags})", _load(settings.replace(options), rule, layout, "random", sketching=False)


def _greedy_load(load: Load, settings: Settings) -> Load:
    """Return the load of a run on layers that are fitted one after another, given that of the first one.

    During the passes for a later layer, there are the H of those before it, and that of the first one twice: after its
    last two passes.
    """
    before, held = 2 * settings.layers[0], max(load.held, 2 * settings.width)
    for rank in settings.layers[1:]:
        held, before = max(held, before + 3 * STARTS * rank), before + rank
    lighter = None if load.lighter is None else (load.lighter[0], _greedy_load(load.lighter[1], settings))
    return load._replace(held=held, lighter=lighter)


def _load_on(settings: Settings, weighted: bool, coupling: Coupling | None, layout: Layout) -> Load:
    """Return the load of a run on a matrix with another layout."""
    return resolve(settings, layout, weighted, coupling).load


def _load(settings: Settings, rule: Rule, layout: Layout, init: str, sketching: bool) -> Load:
    """Return the memory that a run needs besides V."""
    rank = settings.rank
    load = Load.plain(rank, sums_per_row(rule, rank), listed_panels(rule))
    load = load._replace(shares=isinstance(rule, Quadratic) and settings.solver != "minibatch")
    if isinstance(rule, Divergence):  # the W that was evaluated, and the one after the step
        load = load._replace(kept=load.kept + rank)
    if settings.n_runs > 1 and not (isinstance(rule, Quadratic) and init in ("sketch", "direct")):
        load = load.times(settings.n_runs)  # which were not chosen before the first pass
    if settings.solver == "minibatch":  # VHᵀ with the previous H, too
        load = load._replace(sums=2 * rank)
    if init == "direct":
        return load._replace(extra=direct_bytes(layout))
    if sketching or init == "sketch":
        return sketch_load(load, rank, layout)
    if init.startswith("spa"):
        return separable_load(load, rank, layout)
    return spectral_load(load, rank, layout) if init.startswith("nndsvd") else load
