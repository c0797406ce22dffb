"""Graphs: of every form, and refused in one sentence where they are no graph of V's rows or columns."""

import anndata
import numpy as np
import pandas
import pytest
import scipy.sparse as sp

import dnmf
from dnmf.errors import DataError, DataWarning
from dnmf.sources.graphs import located_graph, open_graph

CHAIN = sp.diags([np.ones(4)], [1], shape=(5, 5))
A = (CHAIN + CHAIN.T).tocsr()
rng = np.random.default_rng(5)


def dense(graph):
    return sp.csc_array((graph.weights, graph.neighbours, graph.starts), shape=(graph.size, graph.size)).toarray()


def test_every_form_of_a_graph_has_the_same_weights(tmp_path):
    sp.save_npz(tmp_path / "A.npz", A.tocsr())
    np.save(tmp_path / "A.npy", A.toarray())
    data = anndata.AnnData(np.ones((5, 3)), obsp={"near": A.tocsr()})
    data.write_h5ad(tmp_path / "V.h5ad")
    given = [A, A.tocsc(), A.tocoo(), sp.coo_array(A), A.toarray(), A.toarray().tolist(), A.astype(bool)]
    given += [tmp_path / "A.npz", str(tmp_path / "A.npy"), f"{tmp_path}/V.h5ad::obsp/near"]
    given += [located_graph("obsp/near", data), located_graph("obsp/near", f"{tmp_path}/V.h5ad")]
    given += [located_graph("obsp/near", f"{tmp_path}/V.h5ad::X")]
    for one in given:
        np.testing.assert_array_equal(dense(open_graph(one, 5, "graph_W")), A.toarray())


def test_loops_are_dropped_and_entries_of_one_edge_are_added():
    looped = A + sp.diags([np.full(5, 9.0)], [0])
    np.testing.assert_array_equal(dense(open_graph(looped, 5, "graph_W")), A.toarray())
    twice = sp.coo_array(([1.0, 2.0, 3.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    assert dense(open_graph(twice, 2, "graph_W")).tolist() == [[0, 3], [3, 0]]


def test_an_asymmetric_graph_is_made_symmetric_with_a_warning():
    with pytest.warns(DataWarning, match="graph_W is not symmetric; each weight becomes the larger one of both"):
        graph = open_graph(CHAIN, 5, "graph_W")
    np.testing.assert_array_equal(dense(graph), A.toarray())


NAMES = list("edcba")  # of the rows of V, and the nodes of A in another order, with one more
LARGER = sp.block_diag([A, sp.csr_array([[0.0]])], format="csr") + sp.csr_array(([1.0, 1], ([5, 0], [0, 5])), (6, 6))


def in_a_file(tmp_path, A, names):
    data = anndata.AnnData(np.ones((len(names), 2)), obsp={"near": A.tocsr()})
    data.obs_names = names
    data.write_h5ad(tmp_path / "other.h5ad")
    return f"{tmp_path}/other.h5ad::obsp/near"


@pytest.mark.parametrize("in_pandas", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_nodes_are_matched_by_names(tmp_path, in_pandas, more):
    moved = np.array([3, 0, 4, 1, 2, 5] if more else [3, 0, 4, 1, 2])
    whole, names = (LARGER if more else A)[moved][:, moved], [[*NAMES, "f"][i] for i in moved]
    graph = in_a_file(tmp_path, whole, names)
    if in_pandas:
        other = moved[::-1]
        graph = pandas.DataFrame(whole.toarray(), names, names)[[[*NAMES, "f"][i] for i in other]]
    V = pandas.DataFrame(rng.random((5, 9)), NAMES)
    sentence = "The nodes of graph_W were brought into the order of V by their names"
    with pytest.warns(DataWarning, match=sentence + ("; 1 that V lacks are left out" if more else r"\.")):
        found = dnmf.factorize(V, 2, graph_W=graph, max_passes=3)
    expected = dnmf.factorize(V, 2, graph_W=A, max_passes=3)
    assert np.array_equal(found.W, expected.W)
    with pytest.warns(DataWarning, match=sentence):
        named = dnmf.factorize(V.to_numpy(), 2, graph_W=graph, row_names=NAMES, max_passes=3)
    assert np.array_equal(named.W, expected.W)


def test_a_graph_of_other_nodes_is_refused(tmp_path, monkeypatch):
    V = pandas.DataFrame(rng.random((5, 9)), NAMES)
    graph = in_a_file(tmp_path, A, list("edcbz"))
    with pytest.raises(DataError, match=r"Row 4 of V is 'a', which is not among those of graph_W .* Give graph_W as a"):
        dnmf.factorize(V, 2, graph_W=graph)
    monkeypatch.setattr("dnmf.run.coupled.COPIES", 10**9)
    with pytest.raises(DataError, match="graph_W has other nodes than V or another order of them, and is too large"):
        dnmf.factorize(V, 2, graph_W=in_a_file(tmp_path, A, list("abcde")))


def changed(value):
    bad = A.tolil()
    bad[2, 3] = bad[3, 2] = value
    return bad.tocsr()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (A[:4, :4], r"graph_H has shape \(4, 4\); V has 5 columns, and a graph between them has shape \(5, 5\)\."),
        (A[:4], r"graph_H has shape \(4, 5\); V has 5 columns"),
        (changed(-1), r"graph_H\[3, 2\] is -1; the weights of a graph are finite numbers of at least 0\."),
        (changed(np.nan), r"graph_H\[3, 2\] is nan; the weights"),
        (changed(np.inf), r"graph_H\[3, 2\] is inf; the weights"),
        (sp.csr_array((5, 5)), r"graph_H has no edge: all of its 5 nodes are isolated; give a graph with edges"),
        (sp.eye_array(5), r"graph_H has no edge"),
        (A.toarray().astype(complex), r"graph_H has dtype complex128; give real numbers\."),
        (np.ones(5), r"graph_H is a ndarray of shape \(5,\); give a SciPy sparse matrix"),
        ("obsp/near", r"names a part of an AnnData, and V is a ndarray; give a SciPy sparse matrix"),
    ],
)
def test_bad_graphs_are_refused_before_a_pass(given, sentence):
    told = []

    class Watch(dnmf.Watcher):
        def started(self, *args):
            told.append(args)

    with pytest.raises(DataError, match=sentence):
        dnmf.factorize(np.ones((4, 5)), 2, graph_H=given, watchers=[Watch()])
    assert told == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"l1_H": np.ones((2, 4))},
            r"l1_H has shape \(2, 4\); give an array of shape \(2, 5\) or \(2, 1\) or \(1, 5\)",
        ),
        ({"l2_W": -np.ones((4, 1))}, r"l2_W\[0, 0\] is -1; give finite numbers of at least 0\."),
        ({"target_H": np.ones((2, 4))}, r"target_H has shape \(2, 4\); give an array of shape \(2, 5\)\."),
        ({"target_H": np.full((2, 5), np.inf)}, r"target_H\[0, 0\] is inf; .* or NaN where there is no target"),
        ({"l1_H": [1, 2, 3]}, r"l1_H has 3 numbers, and rank=2; give one, or one for every component\."),
        ({"graph_weight": -1}, r"graph_weight=-1 is not allowed; give a finite number of at least 0"),
    ],
)
def test_bad_penalties_are_refused_in_one_sentence(options, sentence):
    with pytest.raises(dnmf.DnmfError, match=sentence):
        dnmf.factorize(np.ones((4, 5)), 2, **options)


def large(size=60):
    A = sp.random(size, size, 0.2, random_state=3, format="csc")
    return (A + A.T).tocsc()


def test_a_graph_that_is_too_large_is_mapped_with_the_same_bits(tmp_path, monkeypatch):
    data = anndata.AnnData(np.random.default_rng(0).random((60, 8)), obsp={"near": large().tocsr()})
    data.write_h5ad(tmp_path / "V.h5ad")
    options = {"graph_W": "obsp/near", "max_passes": 4, "tol": 0}
    held = dnmf.factorize(str(tmp_path / "V.h5ad"), 3, **options)
    monkeypatch.setattr("dnmf.run.coupled.COPIES", 10**9)
    found = dnmf.factorize(str(tmp_path / "V.h5ad"), 3, **options)
    assert np.array_equal(np.asarray(held.W), np.asarray(found.W))
    assert held.loss == found.loss


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (sp.csc_array(([1.0], ([4], [9])), shape=(60, 60)), r"graph_W is not symmetric, at node \d+ first, and is too"),
        (sp.csc_array(([-9.0], ([4], [9])), shape=(60, 60)), r"graph_W\[\d, \d\] is -.*; the weights of a graph"),
        (-large(), r"graph_W has no edge"),
    ],
)
def test_a_large_graph_is_checked_block_by_block(change, sentence, tmp_path, monkeypatch):
    sp.save_npz(tmp_path / "A.npz", (large() + change).tocsc())
    monkeypatch.setattr("dnmf.run.coupled.COPIES", 10**9)
    with pytest.raises(DataError, match=sentence):
        dnmf.factorize(np.ones((60, 8)), 3, graph_W=tmp_path / "A.npz")
