"""One step of online NMF: solve for W of a batch, then update H from sums in which earlier batches count less.

For the Frobenius loss, the sums are XᵀW and WᵀW, and H minimises over them (Mairal, Bach, Ponce & Sapiro 2010). For a
β-divergence, they are the numerators and denominators of the majoriser at the H of each batch (Lefèvre, Bach & Févotte
2011): H = (Σ H^(1/γ) ∘ top / Σ low)^γ. Penalties of H are multiplied by the number of rows in the sums, so that α_H has
the same weight per row for every batch size.

Multiplicative updates cannot leave 0, and a component of W is 0 where it is 0 in H. So a feature keeps its initial
values until a batch has data of it, and a component until a batch uses it. The sums of a divergence start with one
artificial row that the initial H fits, so that no single batch can set an entry to 0.
"""

import dataclasses

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.engine import ThreadEngine
from dnmf.engine.factor import MemoryFactor
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block, work_dtype
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.divergence.beta import exponent
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered, make_rule
from dnmf.kernels.rule import Model, Rule
from dnmf.settings import Settings
from dnmf.solvers.initialise import initial_state
from dnmf.solvers.iteration import PassContext
from dnmf.sources import open_matrix

# In the first epoch, a batch of w rows, of n so far, scales the sums by forget_factor^((w/n)^MEMORY). The smaller this
# is, the fewer batches the sums represent, and the faster they follow H.
MEMORY = 0.15


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Online:
    """The state of the algorithm after some batches.

    Attributes
    ----------
    start
        Initial values of Hᵀ (n_features, r), for features and components that no batch has used yet.
    Ht
        Hᵀ (n_features, r); 0 for features without data so far.
    top
        XᵀW (n_features, r), or the numerators of a divergence; in float64.
    low
        WᵀW (r, r), or the denominators of a divergence, (n_features, r) or (r,).
    weight
        Number of rows in the sums, after forgetting.
    rows, squares
        Number of rows seen, and the sum of their squares.
    """

    start: Float
    Ht: Float
    top: Float | None = None
    low: Float | None = None
    weight: float = 0.0
    rows: int = 0
    squares: float = 0.0

    def step(
        self, V: Block, W: Float | None, settings: Settings, forget_factor: float, sweeps: int, most: float = np.inf
    ) -> tuple["Online", Float, float]:
        """Return the state after a batch V (n_features, w), with Wᵀ (r, w) of the batch and its mean cost per row.

        Parameters
        ----------
        W
            Wᵀ from the last epoch, or None.
        settings
            Settings for the rows; penalties of H are per row.
        forget_factor
            Share of the sums that is left after `most` further rows. Before `most` rows have been seen, the sums are
            forgotten faster, since they come from an H far from the optimum.
        sweeps
            Sweeps over W.
        most
            Number of rows of an epoch.
        """
        rule, scratch, width = make_rule(settings, transposed=True), Scratch(), V.shape[1]
        rows = self.rows + width
        forget = forget_factor ** ((width / rows) ** MEMORY / gamma_of(rule) if rows <= most else width / most)
        weight = forget * self.weight + width
        norm = rule.entries.square_sum(V, self.Ht.dtype, scratch)
        squares = self.squares + norm
        present = with_data(V)
        if self.top is None and not present.any():
            nothing = np.zeros((self.Ht.shape[1], width), self.Ht.dtype)
            return dataclasses.replace(self, weight=weight, rows=rows), nothing, 0.0
        base, new = self._entered(rule, present)
        stats = rule.zero(*base.shape)
        stats.norms.append(norm)
        h = np.ones((base.shape[1], width), base.dtype) if W is None else W
        altered(rule, sweeps=sweeps).visit(V, h, Model.of(base), stats, scratch, fresh=W is None)
        top, low = add_batch(rule, self, base, new, stats, width, forget)
        Ht = update_H(rule, base, top, low, weight)
        cost = stats.fit / width + mean_penalty(rule, h, Ht, width)
        return Online(self.start, Ht, top, low, weight, rows, squares), h, cost

    def _entered(self, rule: Rule, present: NDArray[np.bool]) -> tuple[Float, NDArray[np.bool]]:
        """Return Hᵀ for a batch, with initial values for features and components used for the first time.

        The initial values are scaled to the present size of each component. Also return which features are new: those
        `present` in the batch and unknown before.
        """
        sums = np.zeros_like(self.Ht) if self.top is None else self.top
        known = (sums if isinstance(rule, Quadratic) else self.Ht).any(axis=1)
        new, unused = present & ~known, ~sums.any(axis=0)
        if not (new.any() or unused.any()):
            return self.Ht, new
        before, now = (H[known].sum(axis=0, dtype=np.float64) for H in (self.start, self.Ht))
        scale = np.divide(now, before, out=np.ones_like(now), where=(before > 0) & (now > 0))
        entering = new[:, None] | ((known | new)[:, None] & unused)
        return np.where(entering, self.start * scale, self.Ht).astype(self.Ht.dtype, copy=False), new


def with_data(V: Block) -> NDArray[np.bool]:
    """Return whether a batch V (n_features, w) has data of each feature."""
    if not scipy.sparse.issparse(V):
        return np.asarray((V > 0).any(axis=1))
    found = np.zeros(V.shape[0], bool)
    found[V.indices[V.data > 0]] = True
    return found


def add_batch(
    rule: Rule, before: Online, base: Float, new: NDArray[np.bool], stats: Stats, width: int, forget: float
) -> tuple[Float, Float]:
    """Add the sums of a batch at Hᵀ = `base`, and for new features those of one artificial row."""
    if isinstance(rule, Quadratic):
        top, low = stats.cross, stats.gram
    else:
        assert isinstance(rule, Divergence)
        power, low = powered(base, rule), stats.row_sums if rule.by_totals else stats.denominator
        row = low.mean(axis=-1, keepdims=True) / width
        top = stats.cross * power + np.where(new[:, None], row * power, 0)
        if not rule.by_totals:
            low = low + np.where(new[:, None], row, 0)
        elif before.low is None:
            low = low + row
    if before.top is None or before.low is None:
        return top, low
    return forget * before.top + top, forget * before.low + low


def update_H(rule: Rule, Ht: Float, top: Float, low: Float, weight: float) -> Float:
    """Return Hᵀ (n_features, r) that minimises over the sums, which represent `weight` rows."""
    stats = rule.zero(*Ht.shape)
    stats.norms.append(0.0)
    if isinstance(rule, Quadratic):
        stats.cross, stats.gram = top, low
    else:
        assert isinstance(rule, Divergence)
        base = powered(Ht, rule)
        stats.cross = np.divide(top, base, out=np.zeros_like(top), where=base > 0)
        if rule.by_totals:
            stats.row_sums = low
        else:
            stats.denominator = low
    scaled = rule.penalty_W.times(weight)
    return altered(rule, penalty_W=scaled).finish(Ht, stats).W


def gamma_of(rule: Rule) -> float:
    """Return the exponent γ of the update of H; 1 for the Frobenius loss."""
    return float(exponent(rule.beta)) if isinstance(rule, Divergence) else 1.0


def powered(Ht: Float, rule: Divergence) -> Float:
    """Return H^(1/γ) in float64."""
    power: Float = Ht.astype(np.float64) ** (1 / exponent(rule.beta))
    return power


def mean_penalty(rule: Rule, W: Float, Ht: Float, width: int) -> float:
    """Return the mean penalty of a row of X, for Wᵀ (r, w)."""
    of_W = rule.penalty_H.value(float(W.sum(dtype=np.float64)), float(np.square(W, dtype=np.float64).sum()))
    return of_W / width + rule.penalty_W.value(
        float(Ht.sum(dtype=np.float64)), float(np.square(Ht, dtype=np.float64).sum())
    )


def first_components(V: Block, settings: Settings, given: Float | None = None) -> Float:
    """Return initial values of Hᵀ (n_features, r): the given ones, or those that the initialisation finds in a batch V.

    Features without data in the batch, or whose given values are all 0, are random.
    """
    dtype = work_dtype(V.dtype)
    if given is None:
        source = open_matrix(V.T, "rows")
        rule, blocks = make_rule(settings, transposed=True), source.layout.blocks
        context = PassContext(ThreadEngine(source, 1, 1), rule, lambda rank: MemoryFactor(blocks))
        start = initial_state(context, settings.swapped(), None, settings.init).W
        silent = ~with_data(V) if settings.init != "random" else np.zeros(len(start), bool)
    else:
        start = given.T
        silent = np.zeros(len(start), bool)
    blank = silent | ~np.asarray(start.any(axis=1))
    level = start[~blank].mean(axis=0) if not blank.all() else np.ones(start.shape[1])
    drawn = np.abs(np.random.default_rng(settings.seed).standard_normal(start.shape))
    return np.ascontiguousarray(np.where(blank[:, None], level * drawn, start), dtype)
