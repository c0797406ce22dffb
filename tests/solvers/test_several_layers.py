"""A list of ranks fits several layers, V ≈ W₁ … W_l H_l for every l; the oracles are NNLS, dense sums, scikit-learn."""

import itertools

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from runs import assert_same_bits, interrupt_at, matrix, stored
from scipy.optimize import nnls
from scipy.special import kl_div
from sklearn.decomposition import NMF

import dnmf
from dnmf.errors import DataError, Interrupted, SettingsError
from dnmf.kernels.quadratic.mixing import descend_mixing

RANKS = [4, 3, 2]
PENALTIES = {"l1_W": 0.1, "l2_W": (0.2, 0.1, 0.3), "l1_H": (0.3, 0.2, 0.1), "l2_H": 0.05}
KINDS = {
    "dense": lambda V, path: np.ascontiguousarray(V),
    "columns": lambda V, path: np.asfortranarray(V),
    "dask": lambda V, path: da.from_array(V, chunks=(24, 17)),
    "csr": lambda V, path: sp.csr_array(V),
    "zarr by columns": lambda V, path: stored(path / "V.zarr", V, (24, 11)),
    "zarr by rows": lambda V, path: stored(path / "V.zarr", V, (5, 60)),
}


def objective(V, result, weights=(1, 1, 1), l1_W=0.0, l2_W=0.0, l1_H=0.0, l2_H=0.0):
    """The joint objective, from the arrays of all layers."""
    each = [np.broadcast_to(np.asarray(given), len(result.layers)) for given in (l1_W, l2_W, l1_H, l2_H)]
    total = 0.0
    for index, layer in enumerate(result.layers):
        W, H = (np.asarray(factor, np.float64) for factor in layer)
        l1, l2 = each[2][index], each[3][index]
        own = W if index == 0 else layer.mixing
        total += weights[index] * (0.5 * ((V - W @ H) ** 2).sum() + l1 * H.sum() + 0.5 * l2 * (H**2).sum())
        total += each[0][index] * own.sum() + 0.5 * each[1][index] * (own**2).sum()
    return total


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.4, 0.0), (0.2, 0.3)])
def test_a_mixing_matrix_ends_at_the_solution_of_nnls(l1, l2):
    rng = np.random.default_rng(0)
    left, right = rng.random((7, 3)), rng.random((2, 9))
    P, G, C = left.T @ left, right @ right.T, rng.normal(size=(3, 2)) + 1
    X = np.ones((3, 2))
    descend_mixing(X, C, P, G, l1, l2, 3000)
    gram = np.kron(P, G) + l2 * np.eye(6)
    root = np.linalg.cholesky(gram).T
    best, _ = nnls(root, np.linalg.solve(root.T, C.ravel() - l1))
    np.testing.assert_allclose(X.ravel(), best, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_all_layers_and_never_rises(kind, tmp_path):
    V = matrix(dtype=np.float64)
    result = dnmf.factorize(KINDS[kind](V, tmp_path), RANKS, init="random", max_passes=12, tol=0)
    assert result.loss == pytest.approx(objective(V, result), rel=1e-9)
    losses = [record.loss for record in result.history]
    assert all(now <= before for before, now in itertools.pairwise(losses))
    assert [layer.rank for layer in result.layers] == RANKS
    assert result.rank == 2
    for layer in result.layers:
        error = np.linalg.norm(V - np.asarray(layer.W) @ np.asarray(layer.H)) / np.linalg.norm(V)
        assert layer.relative_error == pytest.approx(error, rel=1e-6)
    for before, layer in itertools.pairwise(result.layers):
        np.testing.assert_allclose(layer.W, before.W @ layer.mixing, rtol=1e-12)
    np.testing.assert_array_equal(result.W, result.layers[-1].W)


@pytest.mark.parametrize("solver", ["auto", "hals", "als", "mu"])
def test_penalties_and_weights_of_layers_are_part_of_the_loss(solver):
    V, weights = matrix(dtype=np.float64), (1.0, 0.5, 2.0)
    options = {**PENALTIES, "layer_weights": weights, "init": "random", "tol": 0}
    result = dnmf.factorize(V, RANKS, solver=solver, max_passes=30, **options)
    assert result.loss == pytest.approx(objective(V, result, weights, **PENALTIES), rel=1e-9)
    losses = [record.loss for record in result.history]
    assert all(now <= before * (1 + 1e-12) for before, now in itertools.pairwise(losses))


def test_multiplicative_updates_are_never_extrapolated_to_entries_that_they_cannot_leave():
    V = matrix(dtype=np.float64) + 0.1
    options = {"solver": "mu", "extrapolate": True, "init": "random", "tol": 0}
    result = dnmf.factorize(V, RANKS, max_passes=25, **options)
    assert result.layers[0].W.min() > 0
    assert result.loss == pytest.approx(objective(V, result), rel=1e-9)


def test_a_run_ends_where_no_factor_of_any_layer_can_be_improved():
    V = np.random.default_rng(1).random((6, 20))
    result = dnmf.factorize(V, [3, 2], init="random", max_passes=4000, tol=1e-13)
    assert result.converged
    (W1, H1), (W2, H2), M = *(tuple(layer) for layer in result.layers), result.layers[1].mixing
    r1, r2 = V - W1 @ H1, V - W2 @ H2
    slopes = {"H1": -W1.T @ r1, "H2": -W2.T @ r2, "M": -W1.T @ r2 @ H2.T, "W1": -r1 @ H1.T - r2 @ H2.T @ M.T}
    for name, X in {"H1": H1, "H2": H2, "M": M, "W1": W1}.items():
        slope = slopes[name]
        assert slope.min() > -1e-4, name
        assert np.abs(slope * X).max() < 1e-4, name


def test_planted_layers_are_found_up_to_their_order():
    rng = np.random.default_rng(0)
    W1 = np.kron(np.eye(6), rng.random((4, 1)) + 0.5)  # each component has rows of its own
    M = np.kron(np.eye(3), [[1.0], [0.7]])
    H1 = rng.gamma(0.3, 1.0, (6, 200))
    V = W1 @ H1
    result = dnmf.factorize(V, [6, 3], max_passes=60, tol=1e-10)
    assert result.layers[0].relative_error < 1e-3
    pairs = result.layers[1].mixing
    unit = result.layers[0].W / np.linalg.norm(result.layers[0].W, axis=0)
    truth = W1 / np.linalg.norm(W1, axis=0)
    found = truth.T @ unit
    assert sorted(found.argmax(axis=0)) == list(range(6))
    assert found.max(axis=0).min() > 0.999
    assert pairs.shape == M.shape
    # Two layers fit together better than a flat factorisation of rank 3 does, plus one of rank 6 by itself.
    assert result.layers[1].relative_error < 1.01 * dnmf.factorize(V, 3, n_runs=4, tol=1e-9).relative_error


def test_a_sketch_starts_near_the_end():
    rng = np.random.default_rng(3)
    V = rng.gamma(0.5, 1.0, (60, 8)) @ rng.gamma(0.5, 1.0, (8, 400)) + 0.05 * rng.random((60, 400))
    start = dnmf.factorize(V, [8, 5, 3], init="sketch", max_passes=3, tol=0)
    end = dnmf.factorize(V, [8, 5, 3], init="random", max_passes=300, tol=0)
    assert start.history[0].passes == 2
    assert start.loss < 1.01 * end.loss


@pytest.mark.parametrize("weights", [None, "greedy"])
@pytest.mark.parametrize(
    ("cut", "layered"), [("csr", "W"), ("csc", "H"), ("rows", "W"), ("columns", "H"), ("file", "W")]
)
def test_a_run_on_a_matrix_that_is_cut_along_the_other_axis_is_resumed(cut, layered, weights, tmp_path):
    V = np.where(np.random.default_rng(0).random((20, 30)) < 0.5, np.random.default_rng(1).random((20, 30)), 0)
    sp.save_npz(tmp_path / "V.npz", sp.csr_matrix(V))
    chunks = {"rows": (6, 30), "columns": (20, 7)}.get(cut, (20, 30))
    V = {"csr": sp.csr_array, "csc": sp.csc_array}.get(cut, lambda V: da.from_array(V, chunks=chunks))(V)
    V = f"{tmp_path}/V.npz" if cut == "file" else V
    options = {"layered": layered, "layer_weights": weights, "max_passes": 6, "tol": 0, "checkpoint_every": 2}
    whole = dnmf.factorize(V, [4, 2], **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, [4, 2], store=tmp_path / "run.zarr", **options, **interrupt_at(3))
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", None if cut == "file" else V), whole)
    assert dnmf.likelihood(whole, V) == dnmf.likelihood(tmp_path / "run.zarr", V)


@pytest.mark.parametrize("init", ["random", "sketch"])
@pytest.mark.parametrize("layered", ["W", "H"])
def test_a_run_continues_with_the_same_bits(init, layered, tmp_path):
    V = np.random.default_rng(0).random((20, 90))
    V = da.from_array(V if layered == "W" else V.T, chunks=(20, 13) if layered == "W" else (13, 20))
    options = {"layered": layered, "init": init, "max_passes": 9, "tol": 0, "checkpoint_every": 2}
    whole = dnmf.factorize(V, RANKS, **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, RANKS, store=tmp_path / "run.zarr", **options, **interrupt_at(5))
    halfway = dnmf.load(tmp_path / "run.zarr")
    assert [layer.rank for layer in halfway.layers] == RANKS
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", V), whole)
    loaded = dnmf.load(tmp_path / "run.zarr")
    for kept, made in zip(loaded.layers, whole.layers, strict=True):
        assert_same_bits(kept, made)
        assert kept.mixing is made.mixing is None or np.array_equal(kept.mixing, made.mixing)


def test_threads_and_files_do_not_change_the_bits(tmp_path):
    V = np.random.default_rng(0).random((20, 90)).astype(np.float32)
    address = stored(tmp_path / "V.zarr", V, (20, 13))
    one, two = (dnmf.factorize(address, RANKS, threads=threads, max_passes=6, tol=0) for threads in (1, 2))
    assert_same_bits(one, two)


def test_layers_of_H_are_those_of_the_transpose():
    V = matrix(dtype=np.float64)
    one = dnmf.factorize(np.ascontiguousarray(V.T), RANKS, layered="H", init="random", max_passes=6, tol=0)
    other = dnmf.factorize(np.asfortranarray(V), RANKS, init="random", max_passes=6, tol=0)
    for of_H, of_W in zip(one.layers, other.layers, strict=True):
        np.testing.assert_array_equal(of_H.H.T, of_W.W)
        np.testing.assert_array_equal(of_H.W.T, of_W.H)
    np.testing.assert_allclose(one.layers[2].H, one.layers[2].mixing @ one.layers[1].H)


def test_new_columns_are_projected_on_any_layer():
    V = matrix(dtype=np.float64)
    result = dnmf.factorize(V[:, :40], RANKS, l2_H=(0.1, 0.2, 0.3), max_passes=10)
    for layer, l2 in zip((*result.layers, result), (0.1, 0.2, 0.3, 0.3), strict=True):
        root = np.vstack([layer.W, np.sqrt(l2) * np.eye(layer.rank)])
        best = [nnls(root, np.append(column, np.zeros(layer.rank)))[0] for column in V[:, 40:].T]
        np.testing.assert_allclose(layer.transform(V[:, 40:]), np.transpose(best), atol=1e-8)


def test_a_result_is_saved_with_its_layers(tmp_path):
    result = dnmf.factorize(matrix(dtype=np.float64), RANKS, max_passes=4)
    loaded = dnmf.load(result.save(tmp_path / "saved.zarr"))
    for kept, made in zip(loaded.layers, result.layers, strict=True):
        assert_same_bits(kept, made)


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_greedy_layers_are_each_of_the_one_before(loss, tmp_path):
    V = np.random.default_rng(2).gamma(0.4, 1.0, (20, 4)) @ np.random.default_rng(3).gamma(0.4, 1.0, (4, 80)) + 0.01
    options = {"layer_weights": "greedy", "loss": loss, "init": "random", "max_passes": 150, "tol": 1e-7}
    result = dnmf.factorize(V, [4, 3, 2], store=tmp_path / "run.zarr", **options)
    assert result.history[-1].solver == "layers"
    for layer in result.layers:
        found = layer.W @ layer.H
        loss_of = 0.5 * ((V - found) ** 2).sum() if loss == "frobenius" else kl_div(V, found).sum()
        assert layer.loss == pytest.approx(loss_of, rel=1e-6)
    alone = dnmf.factorize(V, 4, **{**options, "layer_weights": None})
    assert result.layers[0].loss == pytest.approx(alone.loss, rel=1e-6)
    for before, layer in itertools.pairwise(result.layers):
        np.testing.assert_allclose(layer.W, before.W @ layer.mixing, rtol=1e-12)
        scale = np.linalg.norm(before.W, axis=0) if loss == "frobenius" else before.W.sum(axis=0)
        target, found = scale[:, None] * before.H, scale[:, None] * layer.mixing @ layer.H
        other = NMF(layer.rank, init="nndsvda", solver="mu", beta_loss=loss, max_iter=2000, tol=1e-8)
        best = other.inverse_transform(other.fit_transform(target))
        distance = kl_div if loss == "kullback-leibler" else lambda one, two: 0.5 * (one - two) ** 2
        assert distance(target, found).sum() < 1.05 * distance(target, best).sum() + 1e-9
    before = dnmf.load(tmp_path / "run.zarr")
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", V), before)
    longer = dnmf.resume(tmp_path / "run.zarr", V, tol=0, max_passes=before.passes + 20)
    assert longer.layers[0].loss <= before.layers[0].loss
    assert [layer.rank for layer in longer.layers] == [4, 3, 2]


def test_greedy_layers_continue_after_the_first(tmp_path):
    V = da.from_array(np.random.default_rng(0).random((20, 90)), chunks=(20, 13))
    options = {"layer_weights": "greedy", "max_passes": 6, "tol": 0, "init": "random", "checkpoint_every": 2}
    whole = dnmf.factorize(V, RANKS, **options)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, RANKS, store=tmp_path / "run.zarr", **options, **interrupt_at(3))
    assert dnmf.load(tmp_path / "run.zarr").rank == 4
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", V), whole)


WRONG = {
    "grows": ([2, 3], {}, r"rank=\[2, 3\] grows from one layer to the next; give ranks that fall"),
    "one": ([3], {}, r"rank=\[3\] has one layer; give rank=3"),
    "zero": ([3, 0], {}, "rank=0 is not allowed"),
    "weights": ([3, 2], {"layer_weights": [1, 2, 3]}, r"layer_weights has 3 numbers, and rank=\[3, 2\]; give one, or"),
    "weight of 0": ([3, 2], {"layer_weights": [1, 0]}, "give 'greedy', or a number above 0 for every layer"),
    "a word": ([3, 2], {"layer_weights": "gready"}, "give 'greedy', or a number above 0"),
    "weights alone": (3, {"layer_weights": [1.0]}, "layer_weights is for several layers; give their ranks"),
    "layered alone": (3, {"layered": "H"}, "layered is for several layers"),
    "penalties": ([3, 2], {"l1_H": [1, 2, 3]}, "l1_H has 3 numbers, .* one for every layer"),
    "fixed": ([3, 2], {"fixed_W": np.ones((24, 1))}, r"rank=\[3, 2\] does not go with fixed_W and fixed_H"),
    "graph": ([3, 2], {"graph_H": dnmf.graphs.chain(60)}, "does not go with graphs"),
    "runs": ([3, 2], {"n_runs": 3}, "does not go with n_runs=3"),
    "minibatch": ([3, 2], {"solver": "minibatch"}, "does not go with solver='minibatch'"),
    "start": ([3, 2], {"init": (np.ones((24, 2)), np.ones((2, 60)))}, "not from given factors"),
    "nndsvd": ([3, 2], {"init": "nndsvda"}, "does not go with init='nndsvda'"),
    "sketch": ([9, 2], {"init": "sketch"}, "init='sketch' at .* is for matrices of more than 27 rows and columns"),
    "loss": ([3, 2], {"loss": "kullback-leibler"}, "one after another; give layer_weights='greedy'"),
    "missing": ([3, 2], {"missing": "nan"}, "needs every entry of V, with the same weight"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_layers_do_not_have_is_refused_before_a_pass(case):
    rank, options, message = WRONG[case]
    with pytest.raises(SettingsError, match=message):
        dnmf.factorize(np.asfortranarray(matrix()), rank, **options)


def test_a_matrix_that_was_opened_along_the_other_axis_is_refused():
    prepared = dnmf.preprocessing.log_normalize(np.ascontiguousarray(matrix().T + 1))
    with pytest.raises(DataError, match="to be read along its columns"):
        dnmf.factorize(prepared, [3, 2])


def test_the_hierarchy_names_the_parts_of_each_component():
    V = np.kron(np.eye(2), np.outer([1, 2], [1.0, 3, 2]))
    result = dnmf.factorize(V, [2, 1], row_names=["a", "b", "c", "d"], tol=1e-12)
    (node,) = result.hierarchy(1)
    assert node.part == pytest.approx(1)
    assert sorted(str(below.component.top[0][0]) for below in node.made_of) == ["b", "d"]
    sums = result.layers[0].W.sum(axis=0) * result.layers[1].mixing[:, 0]
    parts = sorted(sums / sums.sum(), reverse=True)
    assert [below.part for below in node.made_of] == pytest.approx(parts)
    assert dnmf.factorize(V, 2).hierarchy() == []
