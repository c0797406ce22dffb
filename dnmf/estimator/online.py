"""One step of the online algorithm: W of a batch, then H from sums in which earlier batches count for less.

For the Frobenius loss the sums are XᵀW and WᵀW, and H is minimised over them (Mairal, Bach, Ponce & Sapiro 2010). For a
β-divergence they are those of the majoriser at the H of each batch, as Lefèvre, Bach & Févotte 2011 add them up:
H = (Σ H^(1/γ) ∘ top / Σ low)^γ. Penalties of H count by the rows that the sums stand for, so that α_H weighs a row the
same in every batch, however X is cut.
"""

import dataclasses

import numpy as np

from dnmf.engine import ThreadEngine
from dnmf.factor import MemoryFactor
from dnmf.initialise import initial_state
from dnmf.kernels.beta import exponent
from dnmf.kernels.divergence import Divergence
from dnmf.kernels.model import Model, Rule
from dnmf.kernels.panels import Block
from dnmf.kernels.quadratic import Quadratic
from dnmf.kernels.rules import altered, make_rule
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float, Penalty
from dnmf.settings import Settings
from dnmf.solve import Bench
from dnmf.sources import open_matrix


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Online:
    """Where the algorithm stands after some batches.

    Attributes
    ----------
    Ht
        Hᵀ (n_features, r).
    top
        The sums XᵀW (n_features, r), or those of a divergence; in float64.
    low
        WᵀW (r, r), or the other sums of a divergence, (n_features, r) or (r,).
    weight
        The rows that the sums stand for, each by what has not been forgotten of it.
    rows
        The rows seen.
    """

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
            What is left of the sums when as many rows as were seen so far, or `most`, have been added.
        sweeps
            Updates of W.
        """
        rule, scratch, width = make_rule(settings, transposed=True), Scratch(), V.shape[1]
        stats = rule.zero(*self.Ht.shape)
        stats.norms.append(rule.entries.square_sum(V, self.Ht.dtype, scratch))
        h = np.ones((self.Ht.shape[1], width), self.Ht.dtype) if W is None else W
        altered(rule, sweeps=sweeps).visit(V, h, Model.of(self.Ht), stats, scratch, fresh=W is None)
        rows = self.rows + width
        forget = forget_factor ** (width / min(rows, most))
        top, low = added(rule, self, stats, forget)
        weight = forget * self.weight + width
        Ht = updated(rule, self.Ht, top, low, weight)
        cost = stats.fit / width + penalty(rule, h, self.Ht, width)
        return Online(Ht, top, low, weight, rows), h, cost


def added(rule: Rule, before: Online, stats: Stats, forget: float) -> tuple[Float, Float]:
    """Return the sums with those of a batch."""
    if isinstance(rule, Quadratic):
        top, low = stats.cross, stats.gram
    else:
        assert isinstance(rule, Divergence)
        top, low = stats.cross * powered(before.Ht, rule), stats.mass if rule.by_totals else stats.low
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


def first_components(V: Block, settings: Settings) -> Float:
    """Return the Hᵀ (n_features, r) that an initialisation makes of the first batch V (n_features, w)."""
    source = open_matrix(V.T, "rows")
    rule, blocks = make_rule(settings, transposed=True), source.layout.blocks
    bench = Bench(ThreadEngine(source, 1, 1), rule, lambda rank: MemoryFactor(blocks))
    return initial_state(bench, settings.swapped(), None, settings.init).W
