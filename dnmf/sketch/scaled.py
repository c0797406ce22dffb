"""A start for the divergences: the sketch of V scaled as correspondence analysis scales it, and scaled back.

With p_i and l_j the sums of rows and columns, X = V/√(p lᵀ) has entries of one variance where V is counts (Greenacre
1984), so that the best factors of X in the Frobenius sense are close to good ones of V in the sense of Kullback and
Leibler. The sums of rows are those of a few columns: they only have to be about right.
"""

import dataclasses
from typing import Self

import numpy as np

from dnmf.bundle import bundle
from dnmf.engine import H_ALONE, Engine, Scope
from dnmf.factor import Factor, StackedFactor
from dnmf.kernels.panels import Block
from dnmf.kernels.quadratic import Quadratic
from dnmf.kernels.scratch import Scratch
from dnmf.kernels.stats import Stats
from dnmf.kernels.tiles import Float, Penalty
from dnmf.kernels.updates import hals
from dnmf.settings import Settings
from dnmf.sketch.basis import basis_of, pilot, pseudo_inverse, stride_of
from dnmf.sketch.columns import SpreadColumns
from dnmf.sketch.passes import Sketch, SketchSums
from dnmf.sketch.surrogate import Surrogate
from dnmf.solve import Bench
from dnmf.state import State

# The share of a flat factor that is mixed into the start: what is 0 is so for ever under updates that multiply.
FLAT = 1e-3
# The share of their mean that is added to the sums of rows.
EVEN = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class ScaledBack:
    """The work of a pass over [H; R; √l] that makes H that of V.

    Attributes
    ----------
    scale
        What every row of H is multiplied with (r,), beside √l.
    """

    scale: Float

    def zero(self) -> Stats:
        """Return the statistics of no block."""
        return Stats.zero(1, 1)  # there is nothing to add up

    def visit(self, block: int, V: Block, H: Float | None, sums: Stats, scratch: Scratch) -> Float:
        """Return H (r, w) of a block."""
        assert H is not None
        root = H[-1]
        scaled = H[: len(self.scale)] * self.scale.astype(H.dtype)[:, None]
        scaled *= root
        scaled += FLAT / len(self.scale) * root * root
        return scaled


@dataclasses.dataclass(frozen=True, slots=True)
class ScaledSketch:
    """A surrogate of the scaled V, as long as its columns are held.

    Attributes
    ----------
    surrogate
        X̂ = L S.
    columns
        [S; √l] in the blocks of V.
    sample
        Some columns of S (q, p), every `stride`-th.
    root
        √p (m, 1).
    norms
        ‖V_j‖² of every block.
    """

    surrogate: Surrogate
    columns: Factor
    sample: Float
    stride: int
    root: Float
    norms: tuple[float, ...]

    @classmethod
    def of(cls, bench: Bench, width: int, seed: int) -> Self:
        """Make the pass, for a basis of so many columns."""
        layout = bench.engine.source.layout
        dtype, stride = layout.work_dtype, stride_of(layout)
        root, Q, known = scaled_basis(bench.engine, width, np.random.default_rng(seed))
        room = bench.make_room(Q.shape[1] + 1)
        work = Sketch(np.ascontiguousarray(Q / root, dtype), layout.bounds, stride, scaled=True)
        sums: SketchSums = bench.engine.one_pass(work, room=room, scope=Scope(known=known))
        known.clear()
        product = sums.product / root
        left = Q + (product - Q @ (Q.T @ product)) @ pseudo_inverse(sums.gram, dtype)
        rule = Quadratic(hals, 1, Penalty(), Penalty())
        surrogate = Surrogate(left.astype(dtype), rule, float(np.vdot(left.T @ left, sums.gram)))
        sample = np.ascontiguousarray(np.concatenate(sums.sample, axis=1)[:-1])
        return cls(surrogate, room, sample, stride, root, tuple(sums.norms))

    def state(self, bench: Bench, rank: int, seed: int, starts: int, rounds: tuple[int, int]) -> State:
        """Return the state that the best of some random starts leads to, after rounds in this process and over all."""
        W = self.surrogate.best_of(self.sample, rank, starts, seed)
        everywhere = SpreadColumns(bench.engine, bench.make_room, self.columns, below=1)
        W, columns = self.surrogate.solve(self.sample, W, everywhere, self.stride, rounds)

        layout = bench.engine.source.layout
        wide = W * self.root
        wide += FLAT * wide.mean(axis=0) * self.root**2 / float((self.root**2).mean())
        lengths = wide.sum(axis=0)
        lengths = np.where(lengths > 0, lengths, 1)
        H = bench.make_room(rank)
        both = StackedFactor(columns.factor(layout.bounds), self.columns)
        bench.engine.one_pass(ScaledBack(lengths), both, H, H_ALONE)
        everywhere.drop()
        return State(1, np.ascontiguousarray(wide / lengths, layout.work_dtype), H, self.norms, method="sketch")


def scaled_start(bench: Bench, settings: Settings, width: int, starts: int, rounds: tuple[int, int]) -> State:
    """Make the pass, and return the state that its surrogate leads to; of several runs, those of all.

    Parameters
    ----------
    bench, settings
        What V is read with, rank, seed and runs.
    width
        Columns of the basis.
    starts, rounds
        Random starts on the surrogate, and rounds of updates in this process and over all columns.
    """
    sketch = ScaledSketch.of(bench, width, settings.seed)
    if settings.n_runs == 1:
        state = sketch.state(bench, settings.rank, settings.seed, starts, rounds)
    else:
        seeds = range(settings.seed, settings.seed + settings.n_runs)
        state = bundle([sketch.state(bench, settings.rank, seed, 1, rounds) for seed in seeds])
    sketch.columns.drop()
    return state


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
        X = M * (1 / root).astype(M.dtype)
        X *= inverse.astype(M.dtype)
    return root, basis_of(X, width, generator), known
