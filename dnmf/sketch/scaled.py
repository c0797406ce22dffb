"""A start for the divergences: the sketch of V scaled as correspondence analysis scales it, and scaled back.

With p_i and l_j the sums of rows and columns, X = V/√(p lᵀ) has entries of one variance where V is counts (Greenacre
1984), so that the best factors of X in the Frobenius sense are close to good ones of V in the sense of Kullback and
Leibler. The sums of rows are those of a few columns: they only have to be about right.
"""

import dataclasses

import numpy as np

from dnmf.engine import Engine
from dnmf.factor import ArrayFactor, Factor, StackedFactor
from dnmf.kernels.panels import Block, panels, square_sum
from dnmf.kernels.products import add_outer_product, cross_product
from dnmf.kernels.quadratic import Quadratic
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.tiles import Float, Penalty
from dnmf.kernels.updates import hals
from dnmf.settings import Settings
from dnmf.sketch.basis import basis_of, pilot, pseudo_inverse, sampled, stride_of
from dnmf.sketch.passes import Nothing, SketchSums
from dnmf.sketch.surrogate import LocalColumns, SpreadColumns, Surrogate
from dnmf.solve import Bench
from dnmf.state import State

# The share of a flat factor that is mixed into the start: what is 0 is so for ever under updates that multiply.
FLAT = 1e-3
# The share of their mean that is added to the sums of rows.
EVEN = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class ScaledSketch:
    """The work of the pass: R = QᵀX of every block, with √l below it, for Q (m, K) over √p.

    `sums.product` is to be divided by √p.
    """

    Q: Float
    bounds: tuple[int, ...]
    stride: int

    def zero(self) -> SketchSums:
        """Return the sums of no block."""
        rows, width = self.Q.shape
        return SketchSums(np.zeros((rows, width)), np.zeros((width, width)), [], [])

    def visit(self, block: int, V: Block, H: Float | None, sums: SketchSums, scratch: Scratch) -> Float:
        """Return R and √l of a block."""
        sums.norms.append(square_sum(V, self.Q.dtype, scratch))
        width = self.Q.shape[1]
        out = np.empty((width + 1, V.shape[1]), self.Q.dtype)
        ones = np.ones((len(self.Q), 1), self.Q.dtype)
        for columns, panel in panels(V, self.Q.dtype, scratch):
            root = np.sqrt(cross_product(panel, ones, scratch)[0])
            inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
            out[width, columns] = root
            out[:width, columns] = cross_product(panel, self.Q, scratch) * inverse
            add_outer_product(panel, out[:width, columns] * inverse, sums.product, scratch)
        wide = out[:width].astype(np.float64)
        sums.gram += wide @ wide.T
        sums.sample.append(sampled(out, self.bounds[block], self.stride))
        return out


@dataclasses.dataclass(frozen=True, slots=True)
class ScaledBack:
    """The work of a pass over [H; R; √l] that makes H that of V.

    Attributes
    ----------
    scale
        What every row of H is multiplied with (r,), beside √l.
    """

    scale: Float

    def zero(self) -> Nothing:
        """Return nothing."""
        return Nothing()

    def visit(self, block: int, V: Block, H: Float | None, sums: Nothing, scratch: Scratch) -> Float:
        """Return H (r, w) of a block."""
        assert H is not None
        return self.of(H[: len(self.scale)], H[-1])

    def of(self, H: Float, root: Float) -> Float:
        """Return H (r, w) of columns with these √l."""
        scaled: Float = self.scale[:, None] * H * root + FLAT * root * root / len(self.scale)
        return scaled.astype(H.dtype)


def scaled_start(bench: Bench, settings: Settings, width: int, starts: int, rounds: tuple[int, int]) -> State:
    """Make the pass, and return the state that its surrogate leads to.

    Parameters
    ----------
    bench, settings
        What V is read with, rank and seed.
    width
        Columns of the basis.
    starts, rounds
        Random starts on the surrogate, and rounds of updates in this process and over all columns.
    """
    engine, rank = bench.engine, settings.rank
    layout = engine.source.layout
    dtype, stride = layout.work_dtype, stride_of(layout)
    root, Q, known = scaled_basis(engine, width, np.random.default_rng(settings.seed))
    room = bench.make_room(Q.shape[1] + 1)
    work = ScaledSketch(np.ascontiguousarray(Q / root, dtype), layout.bounds, stride)
    sums: SketchSums = engine.one_pass(work, room=room, known=known)
    known.clear()
    product = sums.product / root
    left = Q + (product - Q @ (Q.T @ product)) @ pseudo_inverse(sums.gram, dtype)
    rule = Quadratic(hals, 1, Penalty(), Penalty())
    surrogate = Surrogate(left.astype(dtype), rule, float(np.vdot(left.T @ left, sums.gram)))
    sample = np.concatenate(sums.sample, axis=1)
    S = np.ascontiguousarray(sample[:-1])
    local = LocalColumns(S)
    part = dataclasses.replace(surrogate, norm=surrogate.norm * S.shape[1] / layout.shape[1])
    W, _ = part.descend(local, surrogate.best_of(S, rank, starts, settings.seed), rounds[0])
    columns: LocalColumns | SpreadColumns = local
    if stride > 1:
        columns = SpreadColumns(engine, bench.make_room, room, below=1)
        W, _ = surrogate.descend(columns, W, rounds[1])
    columns.update(surrogate.round(W, dtype))

    wide = W * root
    wide += FLAT * wide.mean(axis=0) * root**2 / float((root**2).mean())
    lengths = wide.sum(axis=0)
    lengths = np.where(lengths > 0, lengths, 1)
    back = ScaledBack(lengths)
    H: Factor
    if isinstance(columns, LocalColumns):
        assert columns.H is not None
        H = ArrayFactor(back.of(columns.H, sample[-1]), layout.bounds)
    else:
        assert columns.H is not None
        H = bench.make_room(rank)
        engine.one_pass(back, StackedFactor(columns.H, room), H, reading=False)
        columns.drop()
    room.drop()
    return State(1, np.ascontiguousarray(wide / lengths, dtype), H, tuple(sums.norms), method="sketch")


def scaled_basis(engine: Engine, width: int, generator: np.random.Generator) -> tuple[Float, Float, dict[int, Block]]:
    """Return √p (m, 1), a basis (m, width) of X, and the blocks that were read for both."""
    M, known = pilot(engine, width, generator)
    rows = np.asarray(M.sum(axis=1, dtype=np.float64)).reshape(-1, 1)
    mean = float(rows.mean())
    root = np.sqrt(rows + EVEN * mean) if mean > 0 else np.ones_like(rows)
    column = np.sqrt(np.asarray(M.sum(axis=0, dtype=np.float64)).reshape(1, -1))
    inverse = np.divide(1, column, out=np.zeros_like(column), where=column > 0)
    if engine.source.layout.sparse:
        X = M.multiply(1 / root).multiply(inverse).tocsc().astype(M.dtype)
    else:
        X = (M / root * inverse).astype(M.dtype)
    return root, basis_of(X, width, generator), known
