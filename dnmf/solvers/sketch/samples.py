"""Samples of the columns of V and of the rows and columns of a surrogate, and whether they stand for all of them."""

import numpy as np

from dnmf.kernels.blocks.hashing import places
from dnmf.kernels.blocks.products import add_gram
from dnmf.kernels.blocks.tiles import Float, slices
from dnmf.kernels.quadratic.rule import Quadratic
from dnmf.kernels.rule import Rule, gram_of
from dnmf.solvers.shared_scale import needs_scale, usual_entry
from dnmf.sources.base import Layout

# Columns of a surrogate that are factorised in this process, at most.
SAMPLE = 10000
# Columns of a surrogate, or rows of W, in one unit of work: independent of the number of threads, for the same bits.
TOGETHER = 2048
# A sample stands for the whole if its squares, times the inverse of its share, are those of the whole to this factor,
# and it has MANY columns that are not small beside others for every component; else it is made larger by GROWTH.
FAIR, MANY, GROWTH = 2.0, 2, 4


def stride_of(layout: Layout) -> int:
    """Return the number of columns of V for every one in the sample."""
    return -(-int(layout.bounds[-1]) // SAMPLE)


def sampled(block: Float, start: int, stride: int) -> Float:
    """Return the columns of a block, from column `start` of V on, that are in the sample."""
    return block[:, places(start, start + block.shape[1], stride) - start]


def squares(left: Float, S: Float) -> float:
    """Return ‖L S‖² for L (m, q) and S (q, n).

    >>> squares(np.eye(3)[:, :2], np.ones((2, 5)))
    10.0
    """
    gram = np.zeros((len(S), len(S)))
    for part in slices(S.shape[1], TOGETHER):
        add_gram(S[:, part], gram)
    # ‖L S‖² = Σ ‖row of L‖² in the metric SSᵀ, in parts so that few of its rows are wide at once.
    parts = (left[part].astype(np.float64) for part in slices(len(left), TOGETHER))
    return sum(float(np.vdot(part @ gram, part)) for part in parts)


def stands_for(part: float, share: float, whole: float) -> bool:
    """Return whether a part has about its share of the squares of the whole.

    >>> stands_for(0.9, 0.1, 10.0), stands_for(0.0, 0.1, 10.0)
    (True, False)
    """
    return whole * share <= FAIR * part and part <= FAIR * whole * share


def effective_columns(left: Float, S: Float) -> float:
    """Return how many columns L S (m, n) has that are not small beside others: (Σ x)² / Σ x² of their squares x.

    >>> effective_columns(np.eye(2), np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    3.0
    """
    gram = gram_of(left)
    parts = (S[:, part].astype(np.float64) for part in slices(S.shape[1], TOGETHER))
    found = np.concatenate([np.einsum("kj,kj->j", part, gram @ part) for part in parts])
    largest = float(found.max(initial=0))
    found /= largest if largest > 0 else 1.0  # since squares of squares leave the range of floats
    return float(found.sum() ** 2 / max(np.square(found).sum(), 1.0))


def represents(left: Float, S: Float, shares: tuple[float, float], part: float, whole: float, rank: int) -> bool:
    """Return whether L S, with ‖L S‖² `part`, stands for a matrix with ‖·‖² `whole`, of which it has these shares."""
    thinned = [pair for share, pair in zip(shares, ((S.T, left.T), (left, S)), strict=True) if share < 1]
    fair = stands_for(part, shares[0] * shares[1], whole)
    return fair and all(effective_columns(*pair) >= MANY * rank for pair in thinned)


def revived(W: Float, rule: Quadratic) -> Float:
    """Return W (m, r) with random columns in place of those that a sample made 0, which no update would change."""
    lost = np.flatnonzero(~W.any(axis=0))
    if not len(lost):
        return W
    new, scale = W.copy(), float(W.mean()) if W.any() else 1.0
    new[:, lost] = scale * np.abs(np.random.default_rng(len(W)).standard_normal((len(W), len(lost))))
    return rule.penalty_W.within.begin(new.T).T


def begun(W: Float, rule: Rule, size: float, shape: tuple[int, int]) -> Float:
    """Return a start W (p, r) of rows of a V of a shape: within a constraint, or in the scale that penalties need.

    `size` is the root mean square of V.

    >>> from dnmf.kernels.registry import make_rule
    >>> from dnmf.settings import Settings
    >>> rule = make_rule(Settings(rank=1, l2_W=0.1, l2_H=0.1))
    >>> begun(np.array([[1.0], [3.0]]), rule, 4.0, (2, 2)).tolist()
    [[1.0], [3.0]]
    """
    if not needs_scale(rule) or not size > 0:
        return rule.penalty_W.within.begin(W.T).T
    entry = usual_entry(size / W.shape[1], shape, rule.penalty_W, rule.penalty_H)
    return W * (entry / float(W.mean()))
