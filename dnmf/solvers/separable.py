"""Initialisation by pure columns: the successive projection algorithm on a sketch of V.

If the columns of V are mixtures of some of them, these are the vertices of the columns divided by their sums (Araújo et
al. 2001; Gillis & Vavasis 2014, Algorithm 1). The longest column is a vertex; all are projected on its orthogonal
complement, and so on. The columns are those of V̂ = L R, the low-rank approximation of the first pass. With L = U T by
QR, the columns of T R have the lengths and products of those of V̂, and with F = (RRᵀ)^½, F Lᵀ has those of its rows.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from dnmf.engine import H_ALONE, Engine, MapBlocks, single_threaded_products
from dnmf.engine.factor import Factor, MappedFactor
from dnmf.engine.plan import Load
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.products import power_of_two
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float, Vector
from dnmf.kernels.constraint import Constraint
from dnmf.kernels.divergence.rule import Divergence
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.free_rows import solve
from dnmf.kernels.rule import Rule
from dnmf.settings import Settings
from dnmf.solvers.iteration import PassContext, check_scale_of
from dnmf.solvers.projections import CLIPPINGS, DARK, Farthest, Normalise, Search, successive
from dnmf.solvers.sketch import low_rank, pilot_bytes
from dnmf.solvers.spectral import OVERSAMPLING, PROBES
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

# The share of their mean that is added to the entries of factors which updates cannot raise from 0.
FLAT = 1e-3


@dataclasses.dataclass(slots=True)
class Products(Summable):
    """RHᵀ (K, r), HHᵀ (r, r), and the sums of the rows of R (K,)."""

    cross: Float
    gram: Float
    totals: Vector


@dataclasses.dataclass(frozen=True, slots=True)
class Multiply:
    """The work of a pass over R (K, n) alone that adds up products with H = max(X R, 0), for X (r, K)."""

    X: Float

    def zero(self) -> Products:
        """Return the sums of no block."""
        rank, width = self.X.shape
        return Products(np.zeros((width, rank)), np.zeros((rank, rank)), np.zeros(width))

    def visit(self, block: int, V: Block, H: Float | None, sums: Products, scratch: Scratch) -> None:
        """Add the products of a block."""
        assert H is not None
        R = H.astype(np.float64)
        chosen = np.maximum(self.X @ R, 0)
        sums.cross += R @ chosen.T
        sums.gram += chosen @ chosen.T
        sums.totals += R.sum(axis=1)


@dataclasses.dataclass(slots=True)
class Total(Summable):
    """A sum of numbers."""

    total: float


@dataclasses.dataclass(frozen=True, slots=True)
class Brightness:
    """The work of a pass over R (K, n) alone that adds up the sums of the columns of V̂, each up to `most`.

    `totals` (K,) is 1ᵀL.
    """

    totals: Vector
    most: float

    def zero(self) -> Total:
        """Return the sum of no block."""
        return Total(0.0)

    def visit(self, block: int, V: Block, H: Float | None, sums: Total, scratch: Scratch) -> None:
        """Add the sums of the columns of a block."""
        assert H is not None
        sums.total += float(np.clip(self.totals @ H, 0, self.most).sum())


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """Returns the rows max(X R, 0) of V̂, for X (r, K), with a share of their means `flat` (r, 1) added."""

    X: Float
    flat: Float

    def __call__(self, block: int, R: Float) -> Float:
        """Return the rows in a block."""
        return np.asarray(np.maximum(self.X @ R, 0) + self.flat, R.dtype)


@dataclasses.dataclass(frozen=True, slots=True)
class Solve:
    """Returns the non-negative H (r, w) with the least ‖V̂ − WH‖ for a block of R (K, w).

    Attributes
    ----------
    left, gram
        WᵀL (r, K) and WᵀW (r, r).
    flat
        (r, K) such that `flat` R is added; zeros, or a share of the sums of the columns of V̂.
    within
        Constraint of H.
    """

    left: Float
    gram: Float
    flat: Float
    within: Constraint

    def __call__(self, block: int, R: Float) -> Float:
        """Return H of a block."""
        H = np.zeros((len(self.gram), R.shape[1]))
        solve(H, self.left @ R, self.gram, Penalty(within=self.within))
        return np.asarray(H + np.maximum(self.flat @ R, 0), R.dtype)


def separable_state(context: PassContext, settings: Settings, columns: bool) -> State:
    """Return factors of which one has columns or rows of V, chosen by successive projections, in one pass.

    W has `columns` of V as streamed, or else H has rows; the other factor is solved for. `State.anchors` has the
    numbers of those chosen.

    Raises
    ------
    DataError
        If less columns than components are independent.
    """
    layout, rank = context.layout, settings.rank
    width = min(PROBES * rank + OVERSAMPLING, *layout.shape)
    with single_threaded_products():
        L, R, sums = low_rank(context, width, np.random.default_rng(settings.seed), summed=True)
        check_scale_of(context, sums.norms)
        choose = of_columns if columns else of_rows
        anchors, W, H = choose(context, rank, Sketched(L, R, sums.gram, sums.total))
    return State(1, W.astype(layout.work_dtype), H, tuple(sums.norms), anchors=anchors)


class Sketched(NamedTuple):
    """V̂ = L R for L (m, K) and R (K, n), with RRᵀ (K, K) and the sum of V."""

    L: Float
    R: Factor
    gram: Float
    total: float


def of_columns(context: PassContext, rank: int, V: Sketched) -> tuple[tuple[int, ...], Float, Factor]:
    """Return the numbers of the chosen columns, W (m, r) with these columns, and H."""
    layout, engine = context.layout, context.engine
    T, totals = np.linalg.qr(V.L)[1], V.L.sum(axis=0)
    points, usual = context.new_factor(len(T)), V.total / layout.shape[1]
    for _ in range(CLIPPINGS):
        clipped: Total = engine.one_pass(Brightness(totals, usual), V.R, scope=H_ALONE)
        usual = clipped.total / layout.shape[1]
    least = DARK * usual
    engine.one_pass(MapBlocks(Normalise(T, totals, least)), V.R, points, H_ALONE)

    def search(basis: Float) -> Farthest:
        found: Farthest = engine.one_pass(Search(basis, layout.bounds), points, scope=H_ALONE)
        return found

    anchors = successive(search, len(T), rank, layout, layout.transposed)
    points.drop()
    W = fetched(engine, anchors)
    if context.rule.penalty_H.none:  # else H could not take the scale of a V whose squares leave the range of floats
        W /= power_of_two(V.total / layout.shape[0] / layout.shape[1])
    W += flat_share(context.rule) * W.mean(axis=0)
    flat = flat_share(context.rule) / rank * totals / W.sum(axis=0)[:, None]
    return anchors, W, MappedFactor(V.R, Solve(W.T @ V.L, W.T @ W, flat, context.rule.penalty_H.within))


def of_rows(context: PassContext, rank: int, V: Sketched) -> tuple[tuple[int, ...], Float, Factor]:
    """Return the numbers of the chosen rows, W (m, r), and H with these rows of V̂."""
    layout, engine = context.layout, context.engine
    values, vectors = np.linalg.eigh(V.gram)
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    whole: Products = engine.one_pass(Multiply(np.zeros((0, len(root)))), V.R, scope=H_ALONE)
    usual = V.total / layout.shape[0]
    for _ in range(CLIPPINGS):
        usual = float(np.clip(V.L @ whole.totals, 0, usual).mean())
    points = Normalise(root, whole.totals, DARK * usual)(0, V.L.T)
    anchors = successive(lambda basis: Farthest.of(points, basis), len(root), rank, layout, not layout.transposed)
    X, share = V.L[list(anchors)], flat_share(context.rule)
    sums: Products = engine.one_pass(Multiply(X), V.R, scope=H_ALONE)
    flat = share * (X @ whole.totals)[:, None] / layout.shape[1]
    H = MappedFactor(V.R, Chosen(X, flat))
    flat = share / rank * whole.totals / (X @ whole.totals)[:, None]
    solved = Solve(sums.cross.T, sums.gram, flat, context.rule.penalty_W.within)(0, V.L.T)
    return anchors, np.ascontiguousarray(solved.T), H


def fetched(engine: Engine, places: Sequence[int]) -> Float:
    """Return some columns of V (m, r) in float64."""
    layout = engine.source.layout
    W = np.empty((layout.shape[0], len(places)))
    blocks = np.searchsorted(layout.bounds, places, side="right") - 1
    for block in np.unique(blocks).tolist():
        own = np.flatnonzero(blocks == block).tolist()
        part = engine.fetch(block, np.array([places[k] - layout.bounds[block] for k in own]))
        W[:, own] = part.toarray() if scipy.sparse.issparse(part) else part
    return W


def flat_share(rule: Rule) -> float:
    """Return the share of a constant factor that is added where updates cannot raise entries from 0."""
    return FLAT if isinstance(rule, Divergence) or rule.least > 0 else 0.0


def separable_load(load: Load, rank: int, layout: Layout) -> Load:
    """Return the load of a run with this initialisation: it adds the basis, R, normalised columns, and their copies."""
    width = PROBES * rank + OVERSAMPLING
    return load.beginning(
        "for the successive projections of the start",
        sums=width,
        worked=3 * width,
        held=2 * width + rank,
        kept=4 * width,
        extra=pilot_bytes(layout),
    )
