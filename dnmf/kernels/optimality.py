"""What one more step of every single entry promises: the decrease of the objective, entry by entry, added up.

It is 0 exactly where the Karush–Kuhn–Tucker conditions of a factor H ≥ 0 with the gradient g hold: g ≥ 0, h ≥ 0 and
g h = 0. See "One pass" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.simd import add_multiple
from dnmf.kernels.blocks.tiles import LANES, Float, kernel, reordered
from dnmf.kernels.penalty import Penalty

# Columns of GH that are formed at once.
COLUMNS = 2048


def promised_share(gain: float, loss: float, size: float, dtype: "np.dtype[np.floating]") -> float:
    """Return the share of the loss that steps promise.

    Parameters
    ----------
    gain
        By how much the steps of single entries lower the objective, added up.
    loss
        The objective.
    size
        The order of magnitude of the objective for factors that are 0; a loss below `eps` of it is lost in rounding.
    """
    whole = loss + float(np.finfo(dtype).eps) * size
    return max(gain, 0.0) / whole if whole > 0 else float(gain > 0)


@kernel
def quadratic_gain(h, slope, curvature):  # type: ignore[no-untyped-def]
    """Return by how much a step of an entry h ≥ 0 lowers a quadratic of this slope and curvature.

    The entry may fall by h at most, so it is q (2g − q)/2b with q = min(g, b h).
    """
    if not curvature > 0.0:
        return slope * h if slope > 0.0 else 0.0
    fall = min(slope, curvature * h)
    return (0.5 * fall / curvature) * (2.0 * slope - fall)  # in this order it does not overflow


@kernel
def majorised_gain(h, new, slope):  # type: ignore[no-untyped-def]
    """Return by how much a step to the minimum of the majoriser lowers it, given the slope at h.

    For β = 1 that is h b (x log x − x + 1) with x = new/h and the slope b (1 − x). The logarithm is replaced by its
    Padé approximant, x log x − x + 1 ≈ 3/2 (x − 1)²/(x + 2), which is exact to third order at x = 1 and a lower bound.
    """
    return 1.5 * slope * (h - new) * (h / (new + 2.0 * h)) if h > 0.0 else 0.0


def quadratic_gains(H: Float, C: Float, G: Float, penalty: Penalty, fixed: int = 0) -> tuple[float, float]:
    """Return the gain of all entries behind the first `fixed` rows of H (r, p), and ⟨C, H⟩.

    An entry has the gradient (GH)_k − c + l2 h + l1 and the curvature G_kk + l2.
    """
    if not penalty.within.free:
        return _constrained_gains(H, C, G, penalty, fixed)
    sums = np.zeros(2)
    product = np.empty((len(H), min(H.shape[1], COLUMNS)), H.dtype)
    for start in range(0, H.shape[1], COLUMNS):
        chosen = slice(start, start + COLUMNS)
        h, c = H[:, chosen], C[:, chosen]
        slope = np.matmul(G, h, out=product[:, : h.shape[1]])
        if penalty.plain:
            l1, l2 = H.dtype.type(penalty.l1), H.dtype.type(penalty.l2)
            _add_quadratic(h, c, slope, G.diagonal() + l2, l1, l2, fixed, sums)
        else:
            _add_quadratic_arrays(h, c, slope, G.diagonal(), *penalty.columns(chosen).arrays(h.shape), fixed, sums)
    return float(sums[0]), float(sums[1])


def _constrained_gains(H: Float, C: Float, G: Float, penalty: Penalty, fixed: int) -> tuple[float, float]:
    """Do the same within a constraint, in float64."""
    gain, product, gram = 0.0, 0.0, np.asarray(G, np.float64)
    within = penalty.within._replace(upper=float(H.dtype.type(penalty.within.upper)))
    for start in range(0, H.shape[1], COLUMNS):
        chosen = slice(start, start + COLUMNS)
        h, c = H[:, chosen].astype(np.float64), C[:, chosen].astype(np.float64)
        l1, l2 = penalty.columns(chosen).arrays(h.shape)
        slope, curvature = gram @ h - c + l1 + l2 * h, gram.diagonal()[:, None] + l2
        gain += within.gain(h[fixed:], slope[fixed:], curvature[fixed:])
        product += float(np.vdot(c, h))
    return gain, product


@reordered
def _add_quadratic(H, C, slope, curvature, l1, l2, fixed, sums):  # type: ignore[no-untyped-def]
    """Add the gains and the products; `quadratic_gain` is written out, so that it becomes vector instructions."""
    for k in range(H.shape[0]):
        gain, product = 0.0, 0.0
        bend = curvature[k]
        inverse = 0.5 / np.float64(bend) if k >= fixed and bend > 0.0 else 0.0
        for j in range(H.shape[1]):
            gradient = slope[k, j] + l1 - C[k, j] + l2 * H[k, j]
            bound = bend * H[k, j]
            fall = np.float64(gradient if gradient < bound else bound)
            gain += (fall * inverse) * (2.0 * np.float64(gradient) - fall)
            product += np.float64(C[k, j]) * np.float64(H[k, j])
        sums[0] += gain
        sums[1] += product


@kernel
def add_row_gains(h, c, slope, diagonal, l1, l2, gains, products):  # type: ignore[no-untyped-def]
    """Do the same for a row of a tile, given that of GH, with a sum for every lane."""
    bend = diagonal + l2
    inverse = 0.5 / np.float64(bend) if bend > 0.0 else 0.0
    for j in range(LANES):
        gradient = slope[j] + l1 - c[j] + l2 * h[j]
        bound = bend * h[j]
        fall = np.float64(gradient if gradient < bound else bound)
        gains[j] += (fall * inverse) * (2.0 * np.float64(gradient) - fall)
        products[j] += np.float64(c[j]) * np.float64(h[j])


@reordered
def _add_quadratic_arrays(H, C, slope, diagonal, l1, l2, fixed, sums):  # type: ignore[no-untyped-def]
    """Do the same with penalties of every entry (r, p), in float64."""
    for k in range(H.shape[0]):
        for j in range(H.shape[1]):
            h, c = np.float64(H[k, j]), np.float64(C[k, j])
            if k >= fixed:
                sums[0] += quadratic_gain(h, slope[k, j] - c + l1[k, j] + l2[k, j] * h, diagonal[k] + l2[k, j])
            sums[1] += c * h


@reordered
def set_gradient(h, c, G, l1, l2, out):  # type: ignore[no-untyped-def]
    """Set `out` (r,) to the gradient Gh − c + l2 h + l1 of a column, with a symmetric G and penalties (r,)."""
    for k in range(len(h)):
        out[k] = l1[k] + l2[k] * h[k] - c[k]
    for k in range(len(h)):
        if h[k] != 0.0:
            add_multiple(h[k], G[k], out)


@reordered
def column_gain(h, slope, G, l2, fixed):  # type: ignore[no-untyped-def]
    """Return the gain of a column with a Gram matrix of its own, given its gradient."""
    gained = 0.0
    for k in range(fixed, len(h)):
        bend = G[k, k] + l2[k]
        if bend > 0.0:
            gained += quadratic_gain(h[k], slope[k], bend)
    return gained


def divergence_gain(
    H: Float, new: Float, numerator: Float, denominator: Float, penalty: Penalty, curvature: Float | None = None
) -> float:
    """Return the gain of all entries of H (r, p) under a divergence.

    Parameters
    ----------
    H, new
        Factor, and the minimum of its majoriser.
    numerator, denominator
        Sums (r, p), and (r, p) or (r, 1): the gradient is their difference, and that of the penalties.
    curvature
        Σ v w²/y² (r, p), where Newton's steps are possible, which leave 0 too; else the steps are multiplicative.
    """
    H, new, numerator = (np.ascontiguousarray(array) for array in (H, new, numerator))
    denominator = np.ascontiguousarray(np.broadcast_to(denominator, H.shape))
    bend = np.zeros((0, 0)) if curvature is None else np.ascontiguousarray(curvature)
    return float(_divergence_gain(H, new, numerator, denominator, bend, *penalty.arrays(H.shape)))


@reordered
def _divergence_gain(H, new, numerator, denominator, curvature, l1, l2):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(H.shape[0]):
        for j in range(H.shape[1]):
            h = np.float64(H[k, j])
            slope = np.float64(denominator[k, j]) + l1[k, j] + l2[k, j] * h - np.float64(numerator[k, j])
            if len(curvature) > 0:
                total += quadratic_gain(h, slope, np.float64(curvature[k, j]) + l2[k, j])
            else:
                total += majorised_gain(h, np.float64(new[k, j]), slope)
    return total
