"""One step of the online algorithm: W of a batch, then H from sums in which earlier batches count for less.

For the Frobenius loss the sums are XᵀW and WᵀW, and H is minimised over them (Mairal, Bach, Ponce & Sapiro 2010). For a
β-divergence they are those of the majoriser at the H of each batch, as Lefèvre, Bach & Févotte 2011 add them up:
H = (Σ H^(1/γ) ∘ top / Σ low)^γ. Penalties of H count by the rows that the sums stand for, so that α_H weighs a row the
same in every batch, however X is cut.

What is 0 in H stays 0 where updates multiply, and W of a row is 0 where H is. So a feature keeps its start until a
batch has data of it, and a component until a batch uses it; and the sums of a divergence begin with those of one more
row, which H at its start fits, so that no batch alone decides that an entry is 0.
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
from dnmf.kernels.blocks.tiles import Float, Penalty
from dnmf.kernels.divergence.beta import exponent
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.registry import altered, make_rule
from dnmf.kernels.rule import Model, Rule
from dnmf.settings import Settings
from dnmf.solvers.initialise import initial_state
from dnmf.solvers.iteration import PassContext
from dnmf.sources import open_matrix

# Until all rows were seen, a batch of w rows, of n so far, leaves forget_factor^((w/n)^MEMORY) of the sums: the smaller
# this is, the fewer batches they stand for, and the sooner they follow H.
MEMORY = 0.15


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Online:
    """Where the algorithm stands after some batches.

    Attributes
    ----------
    start
        Where the rows and columns of Hᵀ (n_features, r) start that no batch has told of yet.
    Ht
        Hᵀ (n_features, r), 0 for features without data so far.
    top
        The sums XᵀW (n_features, r), or those of a divergence; in float64.
    low
        WᵀW (r, r), or the other sums of a divergence, (n_features, r) or (r,).
    weight
        The rows that the sums stand for, each by what has not been forgotten of it.
    rows
        The rows seen.
    """

    start: Float
    Ht: Float
    top: Float | None = None
    low: Float | None = None
    weight: float = 0.0
    rows: int = 0

    def step(
        self, V: Block, W: Float | None, settings: Settings, forget_factor: float, sweeps: int, most: float = np.inf
    ) -> tuple["Online", Float, float]:
        """Return what follows on this after a batch V (n_features, w), with Wᵀ (r, w) of it, and its cost for a row.

        Parameters
        ----------
        W
            Wᵀ from the last visit, or None to start from nothing.
        settings
            Those of the rows; penalties of H are for one row.
        forget_factor
            What is left of the sums when `most` rows have been added, if so many were seen; before that, they are
            forgotten faster, since H was still far off when they were made.
        sweeps
            Updates of W.
        """
        rule, scratch, width = make_rule(settings, transposed=True), Scratch(), V.shape[1]
        rows = self.rows + width
        forget = forget_factor ** ((width / rows) ** MEMORY / pace(rule) if rows <= most else width / most)
        weight = forget * self.weight + width
        norm = rule.entries.square_sum(V, self.Ht.dtype, scratch)
        present = with_data(V)
        if self.top is None and not present.any():
            nothing = np.zeros((self.Ht.shape[1], width), self.Ht.dtype)
            return dataclasses.replace(self, weight=weight, rows=rows), nothing, 0.0
        base, new = self._entered(rule, present)
        stats = rule.zero(*base.shape)
        stats.norms.append(norm)
        h = np.ones((base.shape[1], width), base.dtype) if W is None else W
        altered(rule, sweeps=sweeps).visit(V, h, Model.of(base), stats, scratch, fresh=W is None)
        top, low = added(rule, self, base, new, stats, width, forget)
        Ht = updated(rule, base, top, low, weight)
        cost = stats.fit / width + penalty(rule, h, Ht, width)
        return Online(self.start, Ht, top, low, weight, rows), h, cost

    def _entered(self, rule: Rule, present: NDArray[np.bool]) -> tuple[Float, NDArray[np.bool]]:
        """Return Hᵀ for a batch, with the start of the features and components that it is the first to use.

        Also returned is which features these are: those `present` of which nothing is known. The start is put on the
        scale that each component has by now.
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
    """Say of each feature whether a batch V (n_features, w) has data of it."""
    if not scipy.sparse.issparse(V):
        return np.asarray((V > 0).any(axis=1))
    found = np.zeros(V.shape[0], bool)
    found[V.indices[V.data > 0]] = True
    return found


def added(
    rule: Rule, before: Online, base: Float, new: NDArray[np.bool], stats: Stats, width: int, forget: float
) -> tuple[Float, Float]:
    """Return the sums with those of a batch at Hᵀ = `base`; for features that are new, with those of one row more."""
    if isinstance(rule, Quadratic):
        top, low = stats.cross, stats.gram
    else:
        assert isinstance(rule, Divergence)
        power, low = powered(base, rule), stats.mass if rule.by_totals else stats.low
        row = low.mean(axis=-1, keepdims=True) / width
        top = stats.cross * power + np.where(new[:, None], row * power, 0)
        if not rule.by_totals:
            low = low + np.where(new[:, None], row, 0)
        elif before.low is None:
            low = low + row
    if before.top is None or before.low is None:
        return top, low
    return forget * before.top + top, forget * before.low + low


def updated(rule: Rule, Ht: Float, top: Float, low: Float, weight: float) -> Float:
    """Return Hᵀ (n_features, r) for sums that stand for so many rows."""
    stats = rule.zero(*Ht.shape)
    stats.norms.append(0.0)
    if isinstance(rule, Quadratic):
        stats.cross, stats.gram = top, low
    else:
        assert isinstance(rule, Divergence)
        base = powered(Ht, rule)
        stats.cross = np.divide(top, base, out=np.zeros_like(top), where=base > 0)
        if rule.by_totals:
            stats.mass = low
        else:
            stats.low = low
    scaled = Penalty(rule.penalty_W.l1 * weight, rule.penalty_W.l2 * weight)
    return altered(rule, penalty_W=scaled).finish(Ht, stats).W


def pace(rule: Rule) -> float:
    """Return γ, the share that H moves of what the sums say."""
    return float(exponent(rule.beta)) if isinstance(rule, Divergence) else 1.0


def powered(Ht: Float, rule: Divergence) -> Float:
    """Return H^(1/γ) in float64."""
    power: Float = Ht.astype(np.float64) ** (1 / exponent(rule.beta))
    return power


def penalty(rule: Rule, W: Float, Ht: Float, width: int) -> float:
    """Return the penalties of a row of X, for Wᵀ (r, w)."""
    of_W = rule.penalty_H.value(float(W.sum(dtype=np.float64)), float(np.square(W, dtype=np.float64).sum()))
    return of_W / width + rule.penalty_W.value(
        float(Ht.sum(dtype=np.float64)), float(np.square(Ht, dtype=np.float64).sum())
    )


def first_components(V: Block, settings: Settings, given: Float | None = None) -> Float:
    """Return where Hᵀ (n_features, r) starts: as given, or as an initialisation makes it of a first batch V.

    Features of which that says nothing, since the batch has no data of them or all that is given is 0, are random.
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
