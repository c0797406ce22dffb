"""The left factors of several layers, and their joint update.

A deep factorisation has V ≈ Ψ_l H_l in every layer l = 1 … L, with Ψ_l = W₁ W₂ … W_l: the first factor W₁ (m, r₁), and
mixing matrices W_l (r_l−1, r_l) after it. All layers minimise one objective,

    Σ_l μ_l (½‖V − Ψ_l H_l‖² + penalties of H_l) + penalties of W₁ … W_L,

the data-centric loss of De Handschutter & Gillis 2023. With the Ψ_l fixed, the H_l are independent. With the H_l fixed,
the objective depends on V through A_l = V H_lᵀ and B_l = H_l H_lᵀ alone, and is quadratic in each W_l:

    W₁:  gram Σ_p μ_p S_p B_p S_pᵀ, cross Σ_p μ_p A_p S_pᵀ                     S_p = W_l+1 … W_p, p ≥ l
    W_l: the same from p = l on, with Ψ_l−1ᵀ Ψ_l−1 on the left and Ψ_l−1ᵀ times the cross product
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np

from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.extrapolation import extrapolate
from dnmf.kernels.optimality import quadratic_gains
from dnmf.kernels.quadratic.free_rows import update_free
from dnmf.kernels.quadratic.mixing import descend_mixing
from dnmf.kernels.quadratic.rule import W_ROUNDS, W_SHARE_LEFT, W_SHARE_OF_H, W_TOLERANCE, Quadratic

# Sweeps over a mixing matrix in a round.
MIXING_SWEEPS = 4


class Tower(NamedTuple):
    """The left factors of all layers: W₁ (m, r₁) in the working dtype, and the mixing matrices in float64."""

    first: Float
    mixings: tuple[Float, ...]

    @classmethod
    def random(cls, rows: int, ranks: Sequence[int], dtype: np.dtype[np.floating], seed: int) -> Self:
        """Return factors with |N(0, 1)| entries."""
        generator = np.random.default_rng(seed)
        shapes = [(rows, ranks[0]), *itertools.pairwise(ranks)]
        first, *mixings = (np.abs(generator.standard_normal(shape)) for shape in shapes)
        return cls(first.astype(dtype), tuple(mixings))

    def products(self) -> list[Float]:
        """Return Ψ_l (m, r_l) of every layer, in the dtype of W₁."""
        found = [self.first]
        for mixing in self.mixings:
            found.append(np.ascontiguousarray(found[-1] @ mixing, self.first.dtype))
        return found

    def beyond(self, before: "Tower", step: float, least: float, scaled: bool) -> Self:
        """Return the point beyond these factors on the line from others; see `extrapolate`."""
        mixings = (extrapolate(*pair, step, 0.0, False) for pair in zip(self.mixings, before.mixings, strict=True))
        return type(self)(extrapolate(self.first, before.first, step, least, scaled), tuple(mixings))


class Outcome(NamedTuple):
    """The result of a joint update: the factors, the loss and the squared residual of every layer, and the gain."""

    tower: Tower
    losses: list[float]
    residuals: list[float]
    penalty: float
    gain: float


def unchanged(X: Float) -> Float:
    """Return an array as it is."""
    return X


@dataclasses.dataclass(frozen=True, slots=True)
class Joint:
    """The joint update of all layers.

    Attributes
    ----------
    rules
        The rule of every layer; its `penalty_W` is that of W₁ᵀ, or of a mixing matrix.
    weights
        μ_l of every layer.
    """

    rules: tuple[Quadratic, ...]
    weights: tuple[float, ...]

    @property
    def scaled(self) -> bool:
        """Whether the objective does not depend on the scale of the components."""
        return all(rule.scaled for rule in self.rules)

    def size(self, norm: float) -> float:
        """Return the order of magnitude of the objective for factors that are 0, given ‖V‖²."""
        return norm * sum(self.weights)

    def objective(self, losses: Sequence[float], penalty: float) -> float:
        """Return the objective, given the loss of every layer and the penalty of W₁ … W_L."""
        return float(np.dot(self.weights, losses)) + penalty

    def finish(
        self,
        tower: Tower,
        stats: Sequence[Stats],
        rounds: int = W_ROUNDS,
        lift: Callable[[Float], Float] = unchanged,
        project: Callable[[Float], Float] = unchanged,
    ) -> Outcome:
        """Update W₁ and the mixing matrices from the sums of all layers, in rounds until the next one promises little.

        Parameters
        ----------
        tower
            The factors that the H of the sums were computed with.
        stats
            The sums of every layer; `fit` is ½‖V − Ψ_l H_l‖² with these factors.
        rounds
            Rounds at most.
        lift, project
            L X and Lᵀ Y, where the sums have A_l as L X_l with X_l in place of A_l.
        """
        rows, mixings = tower.first.T.astype(np.float64, order="C"), [mixing.copy() for mixing in tower.mixings]
        size, gain = self.size(sum(stats[0].norms)), float(np.dot(self.weights, [one.gain for one in stats]))
        enough, first = 0.0, 0.0
        for index in range(rounds):
            promised = self._round(rows, mixings, stats, lift, project)
            if index == 0:
                first = promised
                enough = max(W_SHARE_OF_H * gain, W_SHARE_LEFT * first, W_TOLERANCE * size)
            if promised <= enough:
                break
        new = Tower(np.ascontiguousarray(rows.T, tower.first.dtype), tuple(mixings))
        residuals = [
            max(one.fit + change(project(old), project(now), one.cross, one.gram, old, now), 0.0)
            for one, old, now in zip(stats, tower.products(), new.products(), strict=True)
        ]
        losses = [
            residual + rule.penalty_H.value(one.row_sums, np.diag(one.gram)) + one.penalty
            for rule, one, residual in zip(self.rules, stats, residuals, strict=True)
        ]
        penalties = [rule.penalty_W.value_at(W) for rule, W in zip(self.rules, [new.first.T, *mixings], strict=True)]
        return Outcome(new, losses, residuals, sum(penalties), first + gain)

    def _round(
        self,
        rows: Float,
        mixings: list[Float],
        stats: Sequence[Stats],
        lift: Callable[[Float], Float],
        project: Callable[[Float], Float],
    ) -> float:
        """Update W₁ᵀ (r₁, m) and the mixing matrices in place, and return what a step of every entry promised."""
        first = self.rules[0]
        cross, gram = self._sums(0, mixings, stats)
        target = np.ascontiguousarray(lift(cross).T)
        promised, _ = quadratic_gains(rows, target, gram, first.penalty_W)
        update_free(first.update, rows, target, gram, first.penalty_W, first.sweeps, 0)
        product = rows.T
        for index, mixing in enumerate(mixings, start=1):
            cross, gram = self._sums(index, mixings, stats)
            penalty = self.rules[index].penalty_W
            left = product.T @ product
            promised += descend_mixing(mixing, project(product).T @ cross, left, gram, *penalty[:2], MIXING_SWEEPS)
            product = product @ mixing
        return promised

    def _sums(self, index: int, mixings: Sequence[Float], stats: Sequence[Stats]) -> tuple[Float, Float]:
        """Return the cross product and the Gram matrix of the right-hand side of one W_l."""
        cross, gram = self.weights[index] * stats[index].cross, self.weights[index] * stats[index].gram
        through = np.eye(len(gram))
        for later in range(index + 1, len(stats)):
            through = through @ mixings[later - 1]
            cross = cross + self.weights[later] * (stats[later].cross @ through.T)
            gram = gram + self.weights[later] * (through @ stats[later].gram @ through.T)
        return cross, gram


def change(projected: Float, moved: Float, cross: Float, gram: Float, old: Float, new: Float) -> float:
    """Return the change of ½ tr(ΨBΨᵀ) − tr(AΨᵀ) from an old Ψ (m, r) to a new one, without cancellation.

    `projected` and `moved` are Lᵀ times the old and the new one, where A is L times `cross`.
    """
    step = new.astype(np.float64) - old
    middle = old + 0.5 * step
    return float(np.vdot(step, middle @ gram) - np.vdot(moved.astype(np.float64) - projected, cross))
