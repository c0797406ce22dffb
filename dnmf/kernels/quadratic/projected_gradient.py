"""Nesterov's accelerated projected gradient method for non-negative least squares under constraints.

Guan, Tao, Luo & Yuan 2012, algorithm 1 ("NeNMF"), from C = WᵀV and G = WᵀW alone, with the restarts of O'Donoghue &
Candès 2015. See "Projected gradients" in docs/mathematics.md.
"""

import numpy as np

from dnmf.kernels.blocks.tiles import LANES, Float, gram_row, kernel, load_tile, reordered, store_tile
from dnmf.kernels.constraint import LEAST_CURVATURE, project
from dnmf.kernels.optimality import set_gradient
from dnmf.kernels.penalty import Penalty

# Steps in a visit where a constraint is the reason for projected gradients, and not the choice of the solver.
STEPS = 15
# Steps with which a column is minimised, and the move, relative to the largest entry, at which they end.
MOST_STEPS, STILL = 5000, 1e-13
# Products with the Gram matrix for the bound of its largest eigenvalue, and the share that is added for rounding.
POWERS, SLACK = 20, 1e-5
# The share of the largest entry that is added to every entry of a power, so that it stays positive.
LEAST_SHARE = 1e-3


def accelerated(H: Float, C: Float, G: Float, penalty: Penalty, sweeps: int) -> None:
    """Take `sweeps` accelerated steps of every column h of H (r, p), within the constraint of the penalty, in place.

    h' = P(y − D⁻¹(Gy − c + l1 + l2 y)/L) from y = h + β (h − h₋). A column starts again from y = h where the step turns
    back, ⟨D(y − h'), h' − h⟩ > 0, and stays as it was if all of its steps together do not lower the objective.

    A departure from the paper: D is the diagonal of G with l2, where the paper has none, so that the result does not
    depend on how the scale of a component is split between W and H. L bounds the eigenvalues of D⁻½GD⁻½. A component
    without data (G_kk + l2 = 0) stays as it is, or is set to 0 where l1 > 0.
    """
    within = penalty.within
    l1, l2 = penalty.arrays(H.shape, H.dtype)
    dtype = H.dtype.type
    metric = within.metric(np.diag(G).astype(np.float64))
    bound = largest_eigenvalue(G, metric)
    bend = np.ascontiguousarray(l2)
    _accelerate(H, C - l1, G, bend, metric.astype(H.dtype), dtype(bound), dtype(within.upper), within.simplex, sweeps)


def largest_eigenvalue(G: Float, metric: Float) -> float:
    """Return an upper bound of the eigenvalues of D⁻½GD⁻½, for D = diag(`metric`), of at least 1.

    The largest eigenvalue of a matrix A ≥ 0 is at most max_k (Ax)_k/x_k for every x > 0 (Collatz 1942), and the powers
    of A bring the bound close. Where G has negative entries, |G| has a larger one.

    >>> largest_eigenvalue(np.array([[4.0, 2.0], [2.0, 4.0]]), np.array([4.0, 4.0])).__round__(3)
    1.5
    """
    scale = np.sqrt(metric)
    scale = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    A = np.abs(np.asarray(G, np.float64)) * scale * scale[:, None]
    x, bound = np.ones(len(A)), np.inf
    for _ in range(POWERS):
        product = A @ x
        bound = min(bound, float((product / x).max()))
        x = product + LEAST_SHARE * product.max() + np.finfo(np.float64).tiny
    return max(bound, 1.0) * (1 + SLACK)


@kernel
def _accelerate(H, C, G, l2, metric, bound, upper, simplex, sweeps):  # type: ignore[no-untyped-def]
    rank, width = H.shape
    h, y, new, first = np.zeros((4, rank, LANES), H.dtype)
    c, ridge, bend, inverse = np.zeros((4, rank, LANES), H.dtype)
    speed, turn, slope = np.zeros((3, LANES), H.dtype)
    one = bound / bound
    zero = one - one
    for start in range(0, width, LANES):
        load_tile(H, start, h)
        load_tile(C, start, c)
        load_tile(l2, start, ridge)
        for k in range(rank):
            for j in range(LANES):
                bend[k, j] = metric[k] + ridge[k, j]
                inverse[k, j] = one / (bound * bend[k, j]) if bend[k, j] > zero else zero
        project(h, inverse, upper, simplex)
        load_tile(h, 0, first)
        load_tile(h, 0, y)
        speed[:] = 1
        for _ in range(sweeps):
            for k in range(rank):
                gram_row(G, k, y, slope)
                for j in range(LANES):
                    step = (c[k, j] - slope[j] - ridge[k, j] * y[k, j]) * inverse[k, j]
                    kept = bend[k, j] > zero or c[k, j] >= zero
                    new[k, j] = y[k, j] + step if kept else zero
            project(new, inverse, upper, simplex)
            _look_ahead(h, y, new, bend, speed, turn)
        for k in range(rank):
            for j in range(LANES):
                y[k, j] = h[k, j] + first[k, j]
        turn[:] = 0
        for k in range(rank):
            gram_row(G, k, y, slope)
            for j in range(LANES):
                half = (slope[j] + ridge[k, j] * y[k, j]) / (one + one) - c[k, j]
                turn[j] += (h[k, j] - first[k, j]) * half
        for k in range(rank):
            for j in range(LANES):
                h[k, j] = first[k, j] if turn[j] > zero else h[k, j]
        store_tile(h, H, start)


@kernel
def _look_ahead(h, y, new, bend, speed, turn):  # type: ignore[no-untyped-def]
    """Set y to the point beyond `new` on the line from h, or to `new` where the step turns back, and h to `new`."""
    turn[:] = 0
    one = bend.dtype.type(1)
    for k in range(len(h)):
        for j in range(len(turn)):
            turn[j] += bend[k, j] * (y[k, j] - new[k, j]) * (new[k, j] - h[k, j])
    for j in range(len(turn)):
        last = speed[j]
        root = (one + np.sqrt(one + (one + one) * (one + one) * last * last)) / (one + one)
        back = turn[j] > 0
        speed[j] = one if back else root
        turn[j] = 0 * one if back else (last - one) / root
    for k in range(len(h)):
        for j in range(len(turn)):
            y[k, j] = new[k, j] + turn[j] * (new[k, j] - h[k, j])
            h[k, j] = new[k, j]


@reordered
def accelerate_column(h, c, G, l1, l2, fixed, upper, simplex, steps, tolerance):  # type: ignore[no-untyped-def]
    """Take accelerated steps of one column as `accelerated` does, with a Gram matrix of its own.

    The penalties have a value for every entry (r,). The first `fixed` entries stay. Steps end when no entry moves by
    more than `tolerance` times the largest.
    """
    rank = len(h)
    free = rank - fixed
    bend, inverse = np.empty(free), np.empty((free, 1))
    x, new, y = h[fixed:].copy().reshape(free, 1), np.empty((free, 1)), h.copy()
    largest = 0.0
    for k in range(free):
        bend[k] = G[fixed + k, fixed + k] + l2[fixed + k]
        largest = max(largest, bend[k])
    for k in range(free):
        if simplex:
            bend[k] = max(bend[k], LEAST_CURVATURE * largest) if largest > 0.0 else 1.0
        inverse[k, 0] = 1.0 / bend[k] if bend[k] > 0.0 else 0.0
    bound = _column_bound(G, l2, inverse, fixed)
    for k in range(free):
        inverse[k, 0] /= bound
    project(x, inverse, upper, simplex)
    first, speed, gradient = x.copy(), 1.0, np.empty(rank)
    for k in range(free):
        y[fixed + k] = x[k, 0]
    for _ in range(steps):
        set_gradient(y, c, G, l1, l2, gradient)
        for k in range(free):
            new[k, 0] = y[fixed + k] - gradient[fixed + k] * inverse[k, 0]
            if bend[k] <= 0.0 and l1[fixed + k] > 0.0:
                new[k, 0] = 0.0
        project(new, inverse, upper, simplex)
        turn, moved, most = 0.0, 0.0, 0.0
        for k in range(free):
            turn += bend[k] * (y[fixed + k] - new[k, 0]) * (new[k, 0] - x[k, 0])
            moved = max(moved, abs(y[fixed + k] - new[k, 0]))
            most = max(most, new[k, 0])
        root = 1.0 if turn > 0.0 else (1.0 + np.sqrt(1.0 + 4.0 * speed * speed)) / 2.0
        factor = 0.0 if turn > 0.0 else (speed - 1.0) / root
        speed = root
        for k in range(free):
            y[fixed + k] = new[k, 0] + factor * (new[k, 0] - x[k, 0])
            x[k, 0] = new[k, 0]
        if moved <= tolerance * most:
            break
    change = 0.0
    for k in range(free):
        y[fixed + k] = 0.5 * (x[k, 0] + first[k, 0])
    set_gradient(y, c, G, l1, l2, gradient)
    for k in range(free):
        change += (x[k, 0] - first[k, 0]) * gradient[fixed + k]
    for k in range(free):
        h[fixed + k] = first[k, 0] if change > 0.0 else x[k, 0]


@reordered
def constrained_column_gain(h, gradient, G, l2, fixed, upper, simplex):  # type: ignore[no-untyped-def]
    """Return what the minimum of the separable model of a column promises, as `Constraint.gain` does."""
    free = len(h) - fixed
    slope, bend, inverse, step = np.empty(free), np.empty(free), np.empty((free, 1)), np.empty((free, 1))
    largest, shared, total = 0.0, 0.0, 1e-300
    for k in range(free):
        slope[k] = gradient[fixed + k]
        bend[k] = G[fixed + k, fixed + k] + l2[fixed + k]
        largest = max(largest, bend[k])
        shared += h[fixed + k] * slope[k]
        total += h[fixed + k]
    for k in range(free):
        if simplex:
            slope[k] -= shared / total
            bend[k] = max(bend[k], LEAST_CURVATURE * largest) if largest > 0.0 else 1.0
        inverse[k, 0] = 1.0 / bend[k] if bend[k] > 0.0 else 0.0
        step[k, 0] = h[fixed + k] - slope[k] * inverse[k, 0] if bend[k] > 0.0 or slope[k] <= 0.0 else 0.0
    project(step, inverse, upper, simplex)
    gain = 0.0
    for k in range(free):
        move = step[k, 0] - h[fixed + k]
        gain -= move * (slope[k] + 0.5 * bend[k] * move)
    return max(gain, 0.0)


@reordered
def _column_bound(G, l2, inverse, fixed):  # type: ignore[no-untyped-def]
    """Return the bound of `largest_eigenvalue` for G with l2, in the metric 1/`inverse`."""
    free = len(inverse)
    x, product = np.ones(free), np.empty(free)
    bound = np.inf
    for _ in range(POWERS):
        largest, ratio = 0.0, 0.0
        for k in range(free):
            total = l2[fixed + k] * x[k]
            for i in range(free):
                total += abs(G[fixed + k, fixed + i]) * x[i]
            product[k] = total * inverse[k, 0]
            largest, ratio = max(largest, product[k]), max(ratio, product[k] / x[k])
        bound = min(bound, ratio)
        for k in range(free):
            x[k] = product[k] + LEAST_SHARE * largest + 1e-300
    return max(bound, 1.0) * (1.0 + SLACK)


def minimise(H: Float, C: Float, G: Float, penalty: Penalty) -> None:
    """Set every column of H (r, p) to its minimum within the constraint of the penalty, in place."""
    wide = H.astype(np.float64)
    within = penalty.within
    options = (within.upper, within.simplex, MOST_STEPS, STILL)
    _minimise(wide, C, np.asarray(G, np.float64), *penalty.by_columns(H.shape), options)
    H[...] = wide


@kernel
def _minimise(H, C, G, l1, l2, options):  # type: ignore[no-untyped-def]
    upper, simplex, steps, still = options
    h, c = np.empty(len(H)), np.empty(len(H))
    for column in range(H.shape[1]):
        for k in range(len(H)):
            h[k], c[k] = H[k, column], C[k, column]
        accelerate_column(h, c, G, l1[column], l2[column], 0, upper, simplex, steps, still)
        for k in range(len(H)):
            H[k, column] = h[k]
