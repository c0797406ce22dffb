"""New rows and columns that are joined to those of a fit, solved as SciPy solves them."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

import dnmf

rng = np.random.default_rng(2)
V, NEW = rng.random((8, 20)), rng.random((8, 5))
EDGES = sp.random(5, 20, 0.3, random_state=1, format="csr")


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


def test_bad_edges_are_refused():
    fit = dnmf.factorize(V, 2, max_passes=3)
    with pytest.raises(dnmf.DnmfError, match=r"edges has shape \(20, 5\); 5 new ones and 20 of the fit need"):
        dnmf.transform(fit, NEW, edges=EDGES.T)
    with pytest.raises(dnmf.DnmfError, match=r"edges\[0, \d+\] is -\d.*; the weights of a graph are finite"):
        dnmf.transform(fit, NEW, edges=-EDGES)
    with pytest.raises(dnmf.DnmfError, match=r"edges pull as hard as the data for loss='frobenius', and the fit has"):
        dnmf.transform(dnmf.factorize(V, 2, loss=1, max_passes=2), NEW, edges=EDGES)
