"""Violation of the optimality conditions: squared residuals by component, and the squares that they are relative to.

The Karush–Kuhn–Tucker conditions of a factor H ≥ 0 with the gradient g are g ≥ 0, h ≥ 0 and g h = 0. See "One pass" in
docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import Float, Penalty, kernel, reordered

# Columns of GH that are formed at once.
COLUMNS = 2048


def relative_violation(residual: Float, scale: Float, weights: Float | None = None) -> float:
    """Return √(Σ residual_k/ω_k / Σ scale_k/ω_k) over the components k, with ω = `weights` or 1.

    Components without weight are left out. Where the scale is 0, the result is 0 without a residual, else 1.

    >>> relative_violation(np.array([4.0, 9.0]), np.array([16.0, 9.0]), np.array([1.0, 0.0]))
    0.5
    """
    if weights is not None:
        used = weights > 0
        residual, scale = residual[used] / weights[used], scale[used] / weights[used]
    top, bottom = residual.sum(), scale.sum()
    return float(np.sqrt(top / bottom)) if bottom > 0 else float(top > 0)


def quadratic_violation(H: Float, C: Float, G: Float, penalty: Penalty) -> Float:
    """Return three sums of every component (3, r) in float64: squared residuals, C², and C ∘ H.

    The residual of an entry is min(g, (G_kk + l2) h), where g = (GH)_k − c + l2 h + l1 is its gradient: the projected
    gradient, made continuous at h = 0. It is 0 exactly where the conditions hold.
    """
    sums = np.zeros((3, len(H)))
    l1, l2 = H.dtype.type(penalty.l1), H.dtype.type(penalty.l2)
    product = np.empty((len(H), min(H.shape[1], COLUMNS)), H.dtype)
    for start in range(0, H.shape[1], COLUMNS):
        h, c = H[:, start : start + COLUMNS], C[:, start : start + COLUMNS]
        slope = np.matmul(G, h, out=product[:, : h.shape[1]])
        _add_quadratic(h, c, slope, np.diag(G) + l2, l1, l2, sums)
    return sums


@reordered
def _add_quadratic(H, C, slope, curvature, l1, l2, sums):  # type: ignore[no-untyped-def]
    for k in range(H.shape[0]):
        residual, scale, product = 0.0, 0.0, 0.0
        bend = curvature[k]
        for j in range(H.shape[1]):
            gradient = slope[k, j] + l1 - C[k, j] + l2 * H[k, j]
            bound = bend * H[k, j]
            short = np.float64(gradient if gradient < bound else bound)
            wide = np.float64(C[k, j])
            residual += short * short
            scale += wide * wide
            product += wide * np.float64(H[k, j])
        sums[0, k] += residual
        sums[1, k] += scale
        sums[2, k] += product


@reordered
def gradient_entry(k, h, c, G, l1, l2):  # type: ignore[no-untyped-def]
    """Return entry k of the gradient Gh − c + l2 h + l1 of a column."""
    slope = l1 + l2 * h[k] - c[k]
    row = G[k]
    for i in range(len(h)):
        slope += row[i] * h[i]
    return slope


@reordered
def add_column_violation(h, c, G, l1, l2, fixed, sums):  # type: ignore[no-untyped-def]
    """Add the squared residual of every entry of a column, and c², both over its curvature G_kk + l2, to `sums` (2, r).

    The column has a Gram matrix of its own, so that the curvature is not the same for all columns of a component.
    """
    for k in range(fixed, len(h)):
        bend = G[k, k] + l2
        if bend <= 0.0:
            continue
        residual = min(gradient_entry(k, h, c, G, l1, l2), bend * h[k])
        sums[0, k] += residual * (residual / bend)  # the square of a product of entries of V need not be a float
        sums[1, k] += c[k] * (c[k] / bend)


def divergence_violation(H: Float, numerator: Float, denominator: Float, penalty: Penalty) -> Float:
    """Return two sums of every component (2, r) in float64: squared residuals, and the squares they are relative to.

    The residual of an entry is s = 1 − t/b, with t its numerator and b = denominator + l1 + l2 h: the gradient b − t
    relative to b. Where s > 0 it counts by the share h·b of the component in the column, so that it fades as h does.
    Columns count by their mass Σ h t.
    """
    sums = np.zeros((2, len(H)))
    _add_divergence(H, numerator, np.broadcast_to(denominator, H.shape), penalty.l1, penalty.l2, sums)
    return sums


@kernel
def _add_divergence(H, numerator, denominator, l1, l2, sums):  # type: ignore[no-untyped-def]
    for j in range(H.shape[1]):
        add_divergence_violation(H[:, j], numerator[:, j], denominator[:, j], l1, l2, 0, sums)


@reordered
def add_divergence_violation(h, numerator, denominator, l1, l2, fixed, sums):  # type: ignore[no-untyped-def]
    """Add the squared residual of every entry of a column, and its mass, to `sums` (2, r)."""
    mass = 0.0
    for k in range(len(h)):
        mass += np.float64(h[k]) * np.float64(numerator[k])
    inverse = 1.0 / mass if mass > 0.0 else 0.0
    for k in range(fixed, len(h)):
        bottom = np.float64(denominator[k]) + l1 + l2 * np.float64(h[k])
        slope = 1.0 - np.float64(numerator[k]) / bottom if bottom > 0.0 else 0.0
        slope *= min(np.float64(h[k]) * bottom * inverse, 1.0) if slope > 0.0 else 1.0
        sums[0, k] += slope * slope * mass
        sums[1, k] += mass
