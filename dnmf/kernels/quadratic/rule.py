"""The Frobenius loss ½‖V − WH‖² with penalties, for any row update; see "One pass" in docs/mathematics.md."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block, panels
from dnmf.kernels.blocks.products import add_gram, scale_columns
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float, MapFunction, slices
from dnmf.kernels.optimality import promised_share, quadratic_gains
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.fit import block_fit
from dnmf.kernels.quadratic.free_rows import count_zeros, solve, update_free, update_measured
from dnmf.kernels.quadratic.row_steps import change, improve_rows
from dnmf.kernels.quadratic.row_updates import KEPT, RowUpdate, hals, multiplicative
from dnmf.kernels.quadratic.volume import Volume
from dnmf.kernels.rule import PART_ROWS, Model, Step

# The update of W costs no read of V. It ends when its next step promises W_SHARE_OF_H of the gain of H in the pass, or
# W_SHARE_LEFT of its own before, or W_TOLERANCE of ‖V‖², or after W_ROUNDS rounds of sweeps. More would save no passes.
W_SHARE_OF_H = 0.01
W_SHARE_LEFT = 1e-4
W_TOLERANCE = 1e-12
W_ROUNDS = 10
# Sweeps by which the components of a column with few entries are guessed, before it is solved for.
GUESS_SWEEPS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Quadratic:
    """The rule of the Frobenius loss.

    With W fixed, the objective of H is quadratic with cross products C = WᵀV and Gram matrix G = WᵀW; that of W, with
    A = VHᵀ and B = HHᵀ. So one visit of a block serves any number of updates of its H, and the sums A and B any number
    of updates of W.

    Attributes
    ----------
    update, sweeps
        The update of both factors, and the sweeps over H in a visit.
    penalty_W, penalty_H
        Penalties, that of W for Wᵀ (r, m).
    n_fixed_W, n_fixed_H
        Numbers of fixed components: the first ones of each factor.
    first
        Whether a visit measures what its own steps promise, not those that follow: where the penalty of H majorises
        another one at the H of the visit, its slope is exact there and nowhere else.
    volume
        Penalty on the volume of W, whose columns then sum to 1.
    """

    update: RowUpdate
    sweeps: int
    penalty_W: Penalty
    penalty_H: Penalty
    n_fixed_W: int = 0
    n_fixed_H: int = 0
    first: bool = False
    volume: Volume | None = None

    @property
    def entries(self) -> Entries:
        """The entries that count: all."""
        return Entries()

    @property
    def least(self) -> float:
        """The smallest share of an entry of W that may be proposed: above 0 where updates hardly leave 0."""
        return KEPT if self.update is multiplicative else 0.0

    @property
    def scaled(self) -> bool:
        """Whether the objective does not depend on how the scale of a component is split between W and H."""
        return self.penalty_W.none and self.penalty_H.none and self.volume is None

    def zero(self, rows: int, rank: int) -> Stats:
        """Return the sums of no block."""
        return Stats.zero(rows, rank)

    def visit(self, V: Block, H: Float, model: Model, stats: Stats, scratch: Scratch, *, fresh: bool) -> None:
        """Update H (r, w) in place from C = WᵀV, then add up A = VHᵀ and B = HHᵀ."""
        share = Share(self, model, stats, fresh)
        visit_together(V, H, (share,), model.W, stats.cross, scratch)

    def transform(self, V: Block, model: Model, scratch: Scratch, stats: Stats | None = None) -> Float:
        """Return the H (r, w) that minimises the objective with W fixed, and add the loss to `stats` if given."""
        H = np.zeros((len(model.gram), V.shape[1]), model.W.dtype)
        gram, crossed, products = model.gram.astype(H.dtype), 0.0, np.zeros_like(model.gram)
        for columns, panel in panels(V, H.dtype, scratch):
            C, h, penalty = panel.cross(model.W, scratch), np.zeros_like(H[:, columns]), self.penalty_H.columns(columns)
            if panel.sparse and penalty.within.free:  # few entries have few components, which sweeps soon find
                hals(h, C, gram, penalty, GUESS_SWEEPS)
            solve(h, C, model.gram, penalty)
            H[:, columns] = h
            if stats is not None:
                crossed += float(np.vdot(C.astype(np.float64), h.astype(np.float64)))
                add_gram(h, products)
        if stats is not None:
            stats.fit += block_fit(V, H, model, stats.norms[-1], crossed, products, scratch)
        return H

    def best(self, C: Float, gram: Float) -> Float:
        """Return the H (r, p) that minimises the objective for C = WᵀV (r, p), and WᵀW (r, r)."""
        H = np.zeros(C.shape, C.dtype)
        solve(H, C, gram, self.penalty_H)
        return H

    def finish(self, W: Float, stats: Stats, each: MapFunction = map) -> Step:
        """Minimise over W from A and B alone; the loss follows from the exact change of the quadratic."""
        squares = stats.gram.diagonal()
        norm = sum(stats.norms)
        new, first, moved = (self._finish_at_once if self._simple else self._finish_by_rounds)(W, stats, each)
        fit = max(stats.fit + moved, 0.0)
        total = self.penalty_H.value(stats.row_sums, squares) + stats.penalty + self.penalty_W.value_at(new.T, squares)
        total += 0.0 if self.volume is None else self.volume.value(new.T)
        error = float(np.sqrt(2 * fit / norm)) if norm > 0 else 0.0
        optimality = promised_share(first + stats.gain, fit + total, norm, W.dtype)
        unseen = count_zeros(stats.cross.T) if self.penalty_W.within.simplex else 0, stats.unseen_columns
        return Step(new, fit + total, error, optimality, unseen)

    @property
    def _simple(self) -> bool:
        """Whether a round over some rows of W is one call."""
        plain = self.penalty_W.exact and self.penalty_W.plain and self.penalty_W.within.free
        return self.update is hals and plain and not self.n_fixed_W and self.volume is None

    def _finish_at_once(self, W: Float, stats: Stats, each: MapFunction) -> tuple[Float, float, float]:
        """Return the new W, what a step of every entry promised, and the change of the loss without penalties."""
        new, moved, first, enough = np.empty(W.shape, W.dtype), 0.0, 0.0, self._enough(stats)

        def improve(part: slice) -> tuple[float, float, float]:
            return improve_rows(W[part], stats.cross[part], stats.gram, self.penalty_W, self.sweeps, new[part])

        for turn in range(W_ROUNDS):
            before, left, changes = map(sum, zip(*each(improve, slices(len(W), PART_ROWS)), strict=True))
            moved += changes
            if turn == 0:
                first, enough = before, max(enough, W_SHARE_LEFT * before)
            if left <= enough:
                break
            W = new
        return new, first, moved

    def _finish_by_rounds(self, W: Float, stats: Stats, each: MapFunction) -> tuple[Float, float, float]:
        """Return the same by rounds over all rows."""
        parts = list(slices(len(W), PART_ROWS if self.volume is None else len(W)))
        rows: list[Float] = [W[part].T.astype(np.float64, order="C") for part in parts]
        crosses: list[Float] = [np.ascontiguousarray(stats.cross[part].T) for part in parts]
        first = self._improve_rows(rows, crosses, stats, each)
        del crosses
        new = np.concatenate([own.T for own in rows], out=np.empty(W.shape, W.dtype), casting="same_kind")
        return new, first, change(W, new, stats.cross, stats.gram, each)

    def _enough(self, stats: Stats) -> float:
        """Return the promise at which the update of W ends."""
        return max(W_SHARE_OF_H * stats.gain, W_TOLERANCE * sum(stats.norms))

    def _improve_rows(self, rows: list[Float], crosses: list[Float], stats: Stats, each: MapFunction) -> float:
        """Improve parts of Wᵀ (r, p) in place, given those of (VHᵀ)ᵀ, and return what a step of every entry promised.

        A penalty that couples rows of W is majorised at all of them after every round.
        """
        penalties = self._penalties(rows, stats)
        enough = self._enough(stats)
        if self.volume is not None and not self.n_fixed_W:
            return self.volume.improve(rows[0], crosses[0], stats.gram, penalties[0], enough)

        def promise(own: Float, cross: Float, penalty: Penalty) -> float:
            return quadratic_gains(own, cross, stats.gram, penalty, self.n_fixed_W)[0]

        def improve(own: Float, cross: Float, penalty: Penalty) -> float:
            update_free(self.update, own, cross, stats.gram, penalty, self.sweeps, self.n_fixed_W)
            return promise(own, cross, penalty)

        for own in rows:
            self.penalty_W.within.enter(own, self.n_fixed_W)
        first = sum(each(promise, rows, crosses, penalties))
        enough = max(enough, W_SHARE_LEFT * first)
        for _ in range(W_ROUNDS):
            left = sum(each(improve, rows, crosses, penalties))
            if not self.penalty_W.exact:
                penalties = self._penalties(rows, stats)
                left = sum(each(promise, rows, crosses, penalties))
            if left <= enough:
                break
        return first

    def _penalties(self, rows: list[Float], stats: Stats) -> list[Penalty]:
        """Return the penalty of every part of Wᵀ, as it acts near there."""
        whole = rows[0] if self.penalty_W.exact else np.concatenate(rows, axis=1)
        penalty, edges = self.penalty_W.at(whole, np.diag(stats.gram)), np.cumsum([0, *(own.shape[1] for own in rows)])
        return [penalty.columns(slice(*pair)) for pair in itertools.pairwise(edges)]


class Share(NamedTuple):
    """One of several models that are updated together; the `cross` of its sums is part of a sum for all."""

    rule: Quadratic
    model: Model
    stats: Stats
    fresh: bool


def visit_together(V: Block, H: Float, shares: Sequence[Share], W: Float, cross: Float, scratch: Scratch) -> None:
    """Visit a block for several models by one product each way.

    Parameters
    ----------
    V
        The block (m, w).
    H
        Their H on top of each other (Σr, w), updated in place.
    shares
        The models, in the order of the rows of H.
    W
        Their W side by side (m, Σr).
    cross
        The sum to which VHᵀ (m, Σr) is added; `stats.cross` of each model is a part of it.
    """
    dtype = H.dtype
    edges = np.cumsum([0, *(len(share.model.gram) for share in shares)])
    rows = [slice(*pair) for pair in itertools.pairwise(edges)]
    grams = [share.model.gram.astype(dtype) for share in shares]
    block_grams = [np.zeros_like(share.model.gram) for share in shares]
    crossed = [0.0] * len(shares)
    for columns, panel in panels(V, dtype, scratch):
        C = panel.cross(W, scratch)
        h = np.ascontiguousarray(H[:, columns])
        for k, (share, own) in enumerate(zip(shares, rows, strict=True)):
            crossed[k] += improve(share, h[own], C[own], grams[k], block_grams[k], columns)
        H[:, columns] = h
        panel.add_outer(h, cross, scratch)
    for k, (share, own) in enumerate(zip(shares, rows, strict=True)):
        stats = share.stats
        stats.gram += block_grams[k]
        stats.fit += block_fit(V, H[own], share.model, stats.norms[-1], crossed[k], block_grams[k], scratch)


def improve(share: Share, h: Float, C: Float, gram: Float, block_gram: Float, columns: slice) -> float:
    """Update some columns h (r, p) of a block in place, add them to the sums, and return ⟨C, h⟩."""
    rule, stats = share.rule, share.stats
    penalty = rule.penalty_H.columns(columns)
    if share.fresh:
        begin(h, C, gram, penalty, rule.n_fixed_H)
    if penalty.within.simplex and gram.any():  # W may start at 0
        stats.unseen_columns += count_zeros(C)
    before = quadratic_gains(h, C, gram, penalty, rule.n_fixed_H)[0] if rule.first else 0.0
    gain, product = update_measured(rule.update, h, C, gram, penalty, rule.sweeps, rule.n_fixed_H)
    stats.gain += before if rule.first else gain
    wide = h.astype(np.float64)
    block_gram += wide @ wide.T
    stats.row_sums += wide.sum(axis=1)
    return product


def begin(H: Float, C: Float, G: Float, penalty: Penalty, fixed: int = 0) -> None:
    """Scale random columns of H in place: into the set of a constraint, or else to fit those of V best."""
    if penalty.within.free:
        match_scale(H, C, G, fixed)
    else:
        H[fixed:] = penalty.within.begin(H[fixed:])


def match_scale(H: Float, C: Float, G: Float, fixed: int = 0) -> None:
    """Scale every column h of H by cᵀh / hᵀGh, which fits best, in place, except for the first `fixed` rows."""
    scale_columns(H, np.einsum("kj,kj->j", C, H), np.einsum("kj,kj->j", H, G @ H), fixed)
