"""New rows and columns that are joined to those of a fit, solved as SciPy solves them."""

import numpy as np
import pandas
import pytest
import scipy.sparse as sp
from naive import divergence
from scipy.optimize import minimize, nnls

import dnmf
from dnmf.errors import DataWarning

rng = np.random.default_rng(2)
V, NEW = rng.random((8, 20)), rng.random((8, 5))
EDGES = sp.random(5, 20, 0.3, random_state=1, format="csr")
MASK = (rng.random(NEW.shape) < 0.7) * rng.random(NEW.shape)
MASK[:, 3] = 0  # a column that its neighbours alone determine


def expected(V, W, H, edges, weight):
    """H of the new columns of V, each by least squares with rows for its neighbours."""
    scale = weight / (edges.sum() / edges.shape[0]) * np.diag(W.T @ W)
    columns = []
    for j, row in enumerate(edges.toarray()):
        root = np.sqrt(scale * row.sum())
        mean = H @ row / row.sum() if row.sum() else np.zeros(len(H))
        columns.append(nnls(np.vstack([W, np.diag(root)]), np.concatenate([V[:, j], root * mean]))[0])
    return np.column_stack(columns)


@pytest.mark.parametrize("transposed", [False, True])
def test_new_ones_are_pulled_to_their_neighbours(transposed):
    axis, name = ("rows", "graph_W") if transposed else ("columns", "graph_H")
    graph = dnmf.graphs.chain(20)
    fit = dnmf.factorize(V.T if transposed else V, 2, **{name: graph}, graph_weight=0.7, max_passes=5)
    found = dnmf.transform(fit, NEW.T if transposed else NEW, axis=axis, edges=EDGES)
    W, H = np.asarray(fit.W), np.asarray(fit.H)
    W, H, found = (H.T, W.T, np.asarray(found).T) if transposed else (W, H, np.asarray(found))
    np.testing.assert_allclose(found, expected(NEW, W, H, EDGES, 0.7), atol=1e-9)


def test_edges_are_matched_by_names():
    fit = dnmf.factorize(V, 2, column_names=[f"spot {i}" for i in range(20)], max_passes=3)
    expected = dnmf.transform(fit, NEW, edges=EDGES)
    edges = pandas.DataFrame(EDGES.toarray(), columns=[f"spot {i}" for i in range(20)]).iloc[:, ::-1]
    with pytest.warns(DataWarning, match="edges was brought into the order of V"):
        assert np.array_equal(dnmf.transform(fit, NEW, edges=edges), expected)


def test_bad_edges_are_refused():
    fit = dnmf.factorize(V, 2, max_passes=3)
    with pytest.raises(dnmf.DnmfError, match=r"edges has shape \(20, 5\); 5 new ones and 20 of the fit need"):
        dnmf.transform(fit, NEW, edges=EDGES.T)
    with pytest.raises(dnmf.DnmfError, match=r"edges\[0, \d+\] is -\d.*; the weights of a graph are finite"):
        dnmf.transform(fit, NEW, edges=-EDGES)


def objective(new, M, W, H, h, beta):
    """The objective of new columns h, of which those of the fit are neighbours that do not change."""
    curvature = M.mean() * ((M * new).sum() / M.sum()) ** (beta - 2)
    apart = ((h[:, :, None] - H[:, None, :]) ** 2 * EDGES.toarray()).sum(axis=(1, 2))
    pull = curvature / (EDGES.sum() / len(h.T)) * np.diag(W.T @ W) @ apart
    return (M * divergence(new, np.where(M > 0, W @ h, 1), beta)).sum() + 0.5 * pull


@pytest.mark.parametrize("beta", [0, 0.5, 1, 1.5, 3, "masked", "masked 1"])
def test_every_loss_is_minimised_as_scipy_does(beta):
    beta, masked = (beta, False) if beta not in ("masked", "masked 1") else ({"masked": 2}.get(beta, 1), True)
    M = MASK if masked else np.ones_like(NEW)
    W, H = rng.random((8, 2)) + 0.1, rng.random((2, 20)) + 0.1
    fit = dnmf.factorize(V, 2, loss=beta, init=(W, H), max_passes=2)
    W, H = np.asarray(fit.W), np.asarray(fit.H)
    found = dnmf.transform(fit, NEW, axis="columns", edges=EDGES, weights=M if masked else None)

    def value(x):
        return objective(NEW, M, W, H, x.reshape(2, -1), beta)

    starts = [np.ravel(found)] if beta in (0, 0.5, 3) else [np.ravel(found), np.ones(found.size)]
    for start in starts:
        best = minimize(value, start, bounds=[(1e-9, None)] * start.size, method="L-BFGS-B", options={"ftol": 1e-15})
        assert value(found) - best.fun <= 1e-7 * best.fun
