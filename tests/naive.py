"""A textbook oracle in float64: slow, short, and independent of the package."""

import numpy as np
from scipy.optimize import nnls


def hals(H, C, G, l1, l2, sweeps):
    """Cyclic coordinate descent over the rows of H (Cichocki et al. 2007)."""
    H = H.copy()
    for _ in range(sweeps):
        for k in range(len(H)):
            if G[k, k] + l2 > 0:
                rest = C[k] - l1 - G[k] @ H + G[k, k] * H[k]
                H[k] = np.maximum(0, rest / (G[k, k] + l2))
    return H


def mu(H, C, G, l1, l2, sweeps):
    """Lee & Seung 2001, with entries kept above the relative floor that the package documents."""
    H = H.copy()
    for _ in range(sweeps):
        with np.errstate(divide="ignore", invalid="ignore"):
            new = np.where(G @ H + l2 * H + l1 > 0, H * C / (G @ H + l2 * H + l1), H)
            floor = np.where(np.diag(G)[:, None] > 0, 1e-16 * C / np.diag(G)[:, None], 0)
        H = np.maximum(new, np.minimum(floor, H))
    return H


def als(H, C, G, l1, l2, sweeps):
    """Solve every column by SciPy's active-set method, on a square root of the Gram matrix."""
    gram = G + l2 * np.eye(len(G))
    values, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.maximum(values, 1e-300))[:, None] * vectors.T
    return np.column_stack([nnls(root, np.linalg.solve(root.T, c - l1))[0] for c in C.T])


def violation(H, C, G, l1, l2):
    """The projected gradient made continuous, squared and summed by component."""
    return (np.minimum(G @ H - C + l2 * H + l1, (np.diag(G)[:, None] + l2) * H) ** 2).sum(axis=1)


def promised(H, C, G, l1, l2):
    """The decrease of the quadratic by the best step of every entry by itself, added up."""
    slope, curvature = G @ H - C + l2 * H + l1, np.broadcast_to(np.diag(G)[:, None] + l2, H.shape)
    step = np.maximum(-np.divide(slope, curvature, out=np.zeros_like(H), where=curvature > 0), -H)
    return -(slope * step + 0.5 * curvature * step**2).sum()


def quadratic_pass(update, V, W, H, l1_W=0.0, l2_W=0.0, l1_H=0.0, l2_H=0.0, sweeps=4, rounds=10, fresh=False):
    """One pass of the Frobenius rule: H, then so many rounds of W, or fewer where little is promised by more."""
    C, G = W.T @ V, W.T @ W
    if fresh:
        top, bottom = (C * H).sum(axis=0), (H * (G @ H)).sum(axis=0)
        H = H * np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 0)
    H = update(H, C, G, l1_H, l2_H, sweeps)
    A, B = V @ H.T, H @ H.T
    Wt = W.T.copy()
    parts = 0.01 * promised(H, C, G, l1_H, l2_H), 1e-4 * promised(Wt, A.T, B, l1_W, l2_W), 1e-12 * (V**2).sum()
    for _ in range(rounds):
        Wt = update(Wt, A.T, B, l1_W, l2_W, sweeps)
        if promised(Wt, A.T, B, l1_W, l2_W) <= max(parts):
            break
    return Wt.T, H


def divergence(v, y, beta):
    """The β-divergence of two arrays, entry by entry (Févotte & Idier 2011, eq. 2.3), with 0 · log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if beta == 1:
            return np.where(v > 0, v * np.log(v / y), 0) - v + y
        if beta == 0:
            return v / y - np.log(v / y) - 1
        first = np.where(v > 0, v**beta, 0)
        cross = np.where(v > 0, v * y ** (beta - 1), 0)
        return (first + (beta - 1) * y**beta - beta * cross) / (beta * (beta - 1))


def objective(V, W, H, l1_W=0.0, l2_W=0.0, l1_H=0.0, l2_H=0.0, loss="frobenius", M=None):
    """The loss with its penalties, over the entries of weight M > 0."""
    beta = {"frobenius": 2, "kullback-leibler": 1, "itakura-saito": 0}.get(loss, loss)
    each = divergence(np.nan_to_num(V), W @ H, beta)
    fit = each.sum() if M is None else (M[M > 0] * each[M > 0]).sum()
    return fit + l1_W * W.sum() + 0.5 * l2_W * (W**2).sum() + l1_H * H.sum() + 0.5 * l2_H * (H**2).sum()


def beta_update(V, W, H, beta, l1=0.0, l2=0.0, M=1.0):
    """One multiplicative update of H: the root, found by bisection, of the slope of the majoriser at h·x.

    For β = 2, l1 is in the denominator (Hoyer 2002).
    """
    Y = W @ H
    V = np.nan_to_num(V)
    with np.errstate(divide="ignore", invalid="ignore"):
        top = W.T @ (M * np.where(Y > 0, V * Y ** (beta - 2), 0))
        low = W.T @ (M * np.where(Y > 0, Y ** (beta - 1), 0))
    if beta == 2:
        bottom = low + l2 * H + l1
        return np.divide(H * top, bottom, out=np.zeros_like(H), where=bottom > 0)
    a, b = (0, beta - 2) if beta < 1 else (beta - 1, beta - 2) if beta <= 2 else (beta - 1, 0)
    least, most = np.full(H.shape, 1e-12), np.full(H.shape, 1e12)
    for _ in range(300):
        x = np.sqrt(least * most)
        above = low * x**a + l1 + l2 * H * x - top * x**b > 0
        least, most = np.where(above, least, x), np.where(above, x, most)
    return np.where(top > 0, H * x, 0) if b < 0 else np.where(top > l1, H * x, 0)


def beta_pass(V, W, H, beta, sweeps=4, l1_W=0.0, l2_W=0.0, l1_H=0.0, l2_H=0.0, M=1.0, held=0):
    """One pass of the rule of a β-divergence: several updates of H, one of the columns of W that are not held."""
    for _ in range(sweeps):
        H = beta_update(V, W, H, beta, l1_H, l2_H, M)
    new = beta_update(V.T, H.T, W.T, beta, l1_W, l2_W, np.broadcast_to(M, V.shape).T).T
    new[:, :held] = W[:, :held]
    return new, H


def weighted_pass(V, W, H, M, sweeps=4, l1_W=0.0, l2_W=0.0, l1_H=0.0, l2_H=0.0, held=0, rounds=20):
    """One pass of weighted HALS: every column, then every row in so many rounds, with a Gram matrix of its own."""
    V, H, W = np.nan_to_num(V), H.copy(), W.copy()
    for j in range(V.shape[1]):
        G, c = (W * M[:, [j]]).T @ W, W.T @ (M[:, j] * V[:, j])
        H[:, [j]] = hals(H[:, [j]], c[:, None], G, l1_H, l2_H, sweeps)
    for i in range(V.shape[0]):
        G, c = (H * M[i]) @ H.T, H @ (M[i] * V[i])
        free = hals(
            W[i, held:, None], (c - G[:, :held] @ W[i, :held])[held:, None], G[held:, held:], l1_W, l2_W, rounds
        )
        W[i, held:] = free[:, 0] if M[i].any() else 0
    H[:, ~M.any(axis=0)] = 0
    return W, H


def kl_update(V, W, H, l1, l2):
    """Lee & Seung 2001, eq. 5; with penalties, the root that is not negative of l2 h² + (Wᵀ1 + l1) h − h·Wᵀ(V/WH)."""
    WH = W @ H
    top = H * (W.T @ np.divide(V, WH, out=np.zeros_like(V), where=WH > 0))
    bottom = (W.sum(axis=0) + l1)[:, None] * np.ones_like(H)
    bottom = bottom + np.sqrt(bottom**2 + 4 * l2 * top)
    return np.divide(2 * top, bottom, out=np.zeros_like(H), where=bottom > 0)


def kl_pass(V, W, H, sweeps=4, l1_W=0.0, l2_W=0.0, l1_H=0.0, l2_H=0.0):
    """One pass of the Kullback–Leibler rule: several updates of H, one of W."""
    for _ in range(sweeps):
        H = kl_update(V, W, H, l1_H, l2_H)
    return kl_update(V.T, H.T, W.T, l1_W, l2_W).T, H


def extrapolated_passes(make_pass, value, W, H, passes, scaled=True, least=0.0):
    """Passes from points beyond W (Ang & Gillis 2019); one that raises the objective leaves the factors as they were.

    `make_pass(W, H)` returns new factors, and `value(W, new W, new H)` the objective of the pass. Returned are W, H,
    the objectives, and the point of the last pass that was accepted.
    """
    point, ahead, lowest, step, bound, losses, at = W, False, np.inf, 0.5, 1.0, [], W
    for _ in range(passes):
        W_new, H_new = make_pass(point, H)
        loss = value(point, W_new, H_new)
        if ahead and loss > lowest:
            point, ahead, step, bound = W, False, step / 1.5, step
        else:
            if ahead:
                step, bound = min(bound, 1.05 * step), min(1.0, 1.01 * bound)
            old = W * (np.linalg.norm(W_new, axis=0) / np.linalg.norm(W, axis=0)) if scaled else W
            ahead, at = np.isfinite(lowest), point
            point = np.maximum(W_new + step * (W_new - old), least * W_new) if ahead else W_new
            W, H, lowest = W_new, H_new, loss
        losses.append(lowest)
    return W, H, losses, at
