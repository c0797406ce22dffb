"""An initialisation for divergences: a sketch of V, scaled as in correspondence analysis and scaled back.

With row sums p_i and column sums l_j, the entries of X = V/√(p lᵀ) have equal variances if V holds counts (Greenacre
1984). So the best factors of X for the Frobenius loss are close to good ones of V for the Kullback–Leibler divergence.
The row sums are those of a few columns, since they need not be exact. Where V is dense and has few columns, the
singular vectors of X cost less than a basis and a pass.
"""

import dataclasses
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse

from dnmf.engine import H_ALONE, MapBlocks, MapFunction, Scope, parallel_map
from dnmf.engine.factor import ArrayFactor, Factor, StackedFactor
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.penalty import Penalty
from dnmf.kernels.quadratic.row_updates import hals
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import gram_of
from dnmf.settings import Settings
from dnmf.solvers.bundle import bundle
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.sketch.basis import basis_of, is_tall, lifted, pilot, tall_basis
from dnmf.solvers.sketch.columns import BlockColumns
from dnmf.solvers.sketch.effort import FULL_EFFORT, Effort
from dnmf.solvers.sketch.passes import Sketch, SketchSums
from dnmf.solvers.sketch.samples import stride_of
from dnmf.solvers.sketch.surrogate import Surrogate
from dnmf.solvers.state import State
from dnmf.sources.base import Layout

# The share of a constant factor that is mixed into the first factors, since multiplicative updates cannot leave 0.
FLAT = 1e-3
# The share of their mean that is added to the row sums.
EVEN = 0.5
# The rule of the factors of X.
RULE = Quadratic(hals, 1, Penalty(), Penalty())


@dataclasses.dataclass(frozen=True, slots=True)
class ScaledBack:
    """Converts a block [H; R; √l] with H for X into H for V.

    Attributes
    ----------
    scale
        Factors (r,) of the rows of H, besides √l.
    """

    scale: Float

    def __call__(self, block: int, H: Float) -> Float:
        """Return H (r, w) of a block."""
        root = H[-1]
        scaled = H[: len(self.scale)] * self.scale.astype(H.dtype)[:, None]
        scaled *= root
        scaled += FLAT / len(self.scale) * root * root
        return scaled


def scaled(M: Any) -> tuple[Float, Float, Any]:
    """Return √p (m, 1), √l (1, n) and X (m, n) of columns M (m, n) of V, dense or sparse."""
    rows = np.asarray(M.sum(axis=1, dtype=np.float64)).reshape(-1, 1)
    mean = float(rows.mean())
    root = np.sqrt(rows + EVEN * mean) if mean > 0 else np.ones_like(rows)
    column = np.sqrt(np.asarray(M.sum(axis=0, dtype=np.float64)).reshape(1, -1))
    inverse = np.divide(1, column, out=np.zeros_like(column), where=column > 0)
    if scipy.sparse.issparse(M):
        return root, column, M.multiply(1 / root).multiply(inverse).tocsc().astype(M.dtype)
    X = M * (1 / root).astype(M.dtype)
    X *= inverse.astype(M.dtype)
    return root, column, X


class ScaledBasis(NamedTuple):
    """√p (m, 1) and a basis Q (m, K) of X, both from some columns of V."""

    root: Float
    Q: Float

    @classmethod
    def of(cls, M: Any, width: int, generator: np.random.Generator) -> Self:
        """Return the basis from columns M (m, n) of V, dense or sparse, with `width` directions."""
        root, _, X = scaled(M)
        return cls(root, tall_basis(X, width, generator) if is_tall(X, width) else basis_of(X, width, generator))

    def work(self, layout: Layout) -> Sketch:
        """Return the work of the pass that computes the sketch."""
        Q = np.ascontiguousarray(self.Q / self.root, layout.work_dtype)
        return Sketch(Q, layout.bounds, stride_of(layout), scaled=True)


@dataclasses.dataclass(frozen=True, slots=True)
class ScaledSketch:
    """A surrogate of the scaled V.

    Attributes
    ----------
    surrogate
        X̂ = L S.
    sample, stride
        One of `stride` columns of S (q, p).
    root
        √p (m, 1).
    norms
        ‖V_j‖² of every block, or None.
    """

    surrogate: Surrogate
    sample: Float
    stride: int
    root: Float
    norms: tuple[float, ...] | None

    @classmethod
    def of(
        cls,
        basis: ScaledBasis,
        sums: SketchSums,
        layout: Layout,
        each: MapFunction = map,
        effort: Effort = FULL_EFFORT,
    ) -> Self:
        """Return the surrogate from the sums of the pass; `each` maps over its parts."""
        dtype, Q = layout.work_dtype, basis.Q
        product = sums.product / basis.root
        left = Q + lifted(Q, product, sums.gram, dtype)
        norm = float(np.vdot(left.T @ left, sums.gram))
        surrogate = Surrogate(left.astype(dtype), RULE, norm, each=each, effort=effort)
        sample = np.ascontiguousarray(np.concatenate(sums.sample, axis=1)[:-1])
        return cls(surrogate, sample, stride_of(layout), basis.root, tuple(sums.norms))

    @classmethod
    def of_all(
        cls, M: Float, scale: float, width: int, each: MapFunction = map, effort: Effort = FULL_EFFORT
    ) -> tuple[Self, Float]:
        """Return the surrogate from all columns M (m, n) of V over a scale, by singular vectors, and [S; √l]."""
        root, column, X = scaled(M)
        values, vectors = np.linalg.eigh(gram_of(X))
        leading = vectors[:, -width:].astype(M.dtype)
        norm = scale * float(values[-width:].sum())
        surrogate = Surrogate(X @ leading, RULE, norm, each=each, effort=effort)
        rows = (np.sqrt(scale) * np.vstack([leading.T, column])).astype(M.dtype)
        return cls(surrogate, np.ascontiguousarray(rows[:-1]), 1, root, None), rows

    def scaled_back(self, W: Float) -> tuple[Float, Float]:
        """Convert W (m, r) for X into W for V; return it with columns of sum 1, and the sums before (r,)."""
        wide = W * self.root
        wide += FLAT * wide.mean(axis=0) * self.root**2 / float((self.root**2).mean())
        lengths = wide.sum(axis=0)
        lengths = np.where(lengths > 0, lengths, 1)
        return np.ascontiguousarray(wide / lengths, self.sample.dtype), lengths

    def W(self, rank: int, seed: int, rounds: int) -> Float:
        """Return the W (m, r) for V from a random start on the sample."""
        W, _ = self.surrogate.fitted(self.sample, rank, seed, self.stride, 1, rounds)
        return self.scaled_back(W)[0]

    def state(self, context: PassContext, columns: Factor, rank: int, seed: int, starts: int) -> State:
        """Return the state from the best of some random starts, given [S; √l] in the blocks of V."""
        bounds = context.layout.bounds
        W = self.surrogate.on_sample(self.sample, self.stride).best_of(self.sample, rank, starts, seed)
        all_columns = BlockColumns(context.engine, context.new_factor, columns, skipped=1)
        W, found = self.surrogate.solve(self.sample, W, all_columns, self.stride)
        new, lengths = self.scaled_back(W)
        H = context.new_factor(rank)
        context.engine.one_pass(
            MapBlocks(ScaledBack(lengths)), StackedFactor(found.factor(bounds), columns), H, H_ALONE
        )
        all_columns.drop()
        return State(1, new, H, self.norms, method="sketch")


def scaled_start(context: PassContext, settings: Settings, width: int) -> State:
    """Make the pass, and return factors of its surrogate as the first state; for several runs, a bundle of them.

    Parameters
    ----------
    context, settings
        The means to read V; rank, seed and number of runs.
    width
        Columns of the basis.
    """
    engine, layout, effort = context.engine, context.layout, Effort.of_start(context.layout, settings)
    generator = np.random.default_rng(settings.seed)
    M, places, known, scale = pilot(engine, width, generator)
    whole = len(places) == layout.shape[1] and is_tall(M, width)
    with parallel_map(context.threads) as each:
        if whole:
            sketch, rows = ScaledSketch.of_all(M, scale, width, each, effort)
            columns: Factor = ArrayFactor(rows, layout.bounds)
        else:
            basis = ScaledBasis.of(M, width, generator)
            columns = context.new_factor(basis.Q.shape[1] + 1)
            sums: SketchSums = engine.one_pass(basis.work(layout), output=columns, scope=Scope(known=known))
            sketch = ScaledSketch.of(basis, sums, layout, each, effort)
        known.clear()
        if settings.n_runs == 1:
            state = sketch.state(context, columns, settings.rank, settings.seed, effort.starts)
        else:
            seeds = range(settings.seed, settings.seed + settings.n_runs)
            state = bundle([sketch.state(context, columns, settings.rank, seed, 1) for seed in seeds])
    columns.drop()
    return state
