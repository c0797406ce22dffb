"""Initialisation by singular vectors: NNDSVD and its variants (Boutsidis & Gallopoulos 2008)."""

import dataclasses
import math

import numpy as np

from dnmf.engine import H_ALONE, single_threaded_products
from dnmf.engine.factor import Factor, MappedFactor, RandomFactor
from dnmf.engine.plan import Load
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.settings import Settings
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.sketch import SketchSums, leading_vectors, low_rank, pilot_bytes, split_vectors, squares_of_parts
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

# Zeros of the factors are filled with the mean of V, as in the paper, if its root is within this factor of 1.
FILL_RANGE = 1e3
# Columns of the basis for the singular vectors: for every component, and in addition.
PROBES, OVERSAMPLING = 2, 10


@dataclasses.dataclass(slots=True)
class PartNorms(Summable):
    """Squared norms of the positive and the negative part of every right singular vector (2, r)."""

    squares: Float


@dataclasses.dataclass(frozen=True, slots=True)
class Combine:
    """The work of a pass over R (K, n) alone that computes X R, for X (r, K)."""

    X: Float

    def zero(self) -> PartNorms:
        """Return the sums of no block."""
        return PartNorms(np.zeros((2, len(self.X))))

    def visit(self, block: int, V: Block, H: Float | None, sums: PartNorms, scratch: Scratch) -> Float:
        """Return X R of a block."""
        assert H is not None
        wide = self.X @ H
        sums.squares += squares_of_parts(wide)
        return wide.astype(H.dtype)


def spectral_state(context: PassContext, settings: Settings) -> State:
    """Return factors from the leading singular vectors of V, computed in one pass.

    They are the singular vectors of a sketch of V, a matrix of low rank that agrees with V to first order on a basis of
    some of its columns. Components beyond the rank of V are random.
    """
    layout = context.layout
    with single_threaded_products():
        left, vectors, norms, sums = singular_vectors(context, settings)
    mean = sums.total / (layout.shape[0] * layout.shape[1])
    W, signs, gains, balance = split_vectors(left, norms.squares)
    root = math.sqrt(mean)
    usual = root * min(max(root, 1 / FILL_RANGE), FILL_RANGE)  # the mean, or the root if it is far from 1
    fill = {"nndsvd": 0.0, "nndsvda": usual, "nndsvdar": usual / 100}[settings.init]
    noisy = settings.init == "nndsvdar"
    missing = gains == 0
    drawn = np.sqrt(mean / settings.rank)
    normal = np.abs(np.random.default_rng(settings.seed).standard_normal(W.shape))
    W = np.where(missing, drawn * normal, np.where(W == 0, fill / balance * (normal if noisy else 1.0), W))
    # Penalties depend on how the factors share their scale, which updates change slowly.
    share = balance if any((settings.l1_W, settings.l2_W, settings.l1_H, settings.l2_H)) else np.ones_like(balance)
    random = RandomFactor(settings.rank, layout.bounds, layout.work_dtype, settings.seed)

    def make(block: int, projected: Float) -> Float:
        H = (np.maximum(projected * signs[:, None], 0) * gains[:, None]).astype(layout.work_dtype)
        if fill or missing.any():
            normal = random.read(block)
            filled = fill * balance[:, None] * (normal if noisy else 1.0)
            H = np.where(missing[:, None], drawn * normal, np.where(H == 0, filled, H)).astype(H.dtype)
        return (H / share[:, None]).astype(H.dtype, copy=False)

    return State(1, (W * share).astype(layout.work_dtype), MappedFactor(vectors, make), tuple(sums.norms))


def spectral_load(load: Load, rank: int, layout: Layout) -> Load:
    """Return the load of a run with this initialisation: it adds the basis, R, and arrays of their size."""
    width = PROBES * rank + OVERSAMPLING
    return load.beginning(
        "for the singular vectors of the start",
        sums=width,
        worked=width + rank,
        held=width + rank,
        kept=4 * width,
        extra=pilot_bytes(layout),
    )


def singular_vectors(context: PassContext, settings: Settings) -> tuple[Float, Factor, PartNorms, SketchSums]:
    """Return left singular vectors U (m, r), UᵀV (r, n), the norms of the parts of its rows, and the sums of the pass.

    Vectors beyond the numerical rank of V are 0.
    """
    engine, rank = context.engine, settings.rank
    layout = engine.source.layout
    width = min(PROBES * rank + OVERSAMPLING, *layout.shape)
    L, R, sums = low_rank(context, width, np.random.default_rng(settings.seed), summed=True)
    U, X = leading_vectors(L, sums.gram, rank, layout.work_dtype)
    projected_V = context.new_factor(rank)
    norms: PartNorms = engine.one_pass(Combine(X), R, projected_V, H_ALONE)
    R.drop()
    return U, projected_V, norms, sums
