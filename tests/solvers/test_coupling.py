"""Graphs, targets and penalties of entries: the objective of NumPy, which no pass raises, and its optimality."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from naive import divergence
from scipy.optimize import minimize

import dnmf

RANK, ROWS, COLUMNS = 3, 16, 40
rng = np.random.default_rng(4)
V = rng.gamma(1, 1, (ROWS, RANK)) @ rng.gamma(1, 1, (RANK, COLUMNS)) + 0.1
BLOCKS = da.from_array(np.asfortranarray(V), chunks=(ROWS, 13))


def graph(size, seed):
    A = sp.random(size, size, 0.15, random_state=seed)
    return A.maximum(A.T).tocsr()


GRAPHS = {"graph_H": graph(COLUMNS, 1), "graph_W": graph(ROWS, 2)}
MASK = (rng.random(V.shape) < 0.7) * rng.random(V.shape)
MASK[:, 5] = 0  # a column that its neighbours alone determine


def laplacian(A):
    A = A.toarray() * (1 - np.eye(A.shape[0]))
    return (np.diag(A.sum(axis=0)) - A) / A.sum(axis=0).mean()


def objective(W, H, beta=2.0, weight=1.0, M=None, graph_H=None, graph_W=None):
    """The objective of docs/mathematics.md, with dense Laplacians."""
    m = np.ones_like(V) if M is None else M
    curvature = 1.0 if M is None and beta == 2 else m.mean() * ((m * V).sum() / m.sum()) ** (beta - 2)
    total = (m * divergence(V, np.where(m > 0, W @ H, 1), beta)).sum()
    if graph_H is not None:
        rough = np.einsum("ki,ij,kj->k", H, laplacian(graph_H), H)
        total += 0.5 * weight * curvature * rough @ (W**2).sum(axis=0)
    if graph_W is not None:
        rough = np.einsum("ik,ij,jk->k", W, laplacian(graph_W), W)
        total += 0.5 * weight * curvature * rough @ (H**2).sum(axis=1)
    return total


def factors(result):
    return np.asarray(result.W, float), np.asarray(result.H, float)


CASES = {
    "hals": {"solver": "hals"},
    "als": {"solver": "als"},
    "mu": {"solver": "mu"},
    "auto": {},
    "minibatch": {"solver": "minibatch"},
    "weighted": {"solver": "hals", "weights": MASK},
    "weighted mu": {"solver": "mu", "weights": MASK},
    "newton": {"loss": "kullback-leibler"},
    "kl cd, weighted": {"loss": "kullback-leibler", "solver": "cd", "weights": MASK},
    "kl mu": {"loss": "kullback-leibler", "solver": "mu"},
    "beta 0.5": {"loss": 0.5},
    "beta 3": {"loss": 3.0},
    "several starts": {"n_runs": 2},
    "a fixed component": {"fixed_W": V[:, :1], "solver": "hals"},
}


@pytest.mark.parametrize("name", CASES)
def test_no_pass_raises_the_objective_of_numpy(name):
    options = CASES[name]
    beta = {"kullback-leibler": 1.0}.get(options.get("loss"), options.get("loss", 2.0))
    M = options.get("weights")
    losses, weight = [], 2.0
    for result in dnmf.iterate(BLOCKS, RANK, **GRAPHS, graph_weight=weight, max_passes=12, tol=0, **options):
        losses.append(result.loss)
        assert result.loss == pytest.approx(objective(*factors(result), beta, weight, M, **GRAPHS), rel=1e-10)
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "options", [{"graph_W": GRAPHS["graph_W"]}, {"target_W": V[:, :RANK]}], ids=["graph", "target"]
)
def test_a_pull_raises_no_objective_where_WH_meets_zeros_of_V(beta, options):
    data = np.where(np.random.default_rng(3).random((ROWS, 7)) < 0.3, V[:, :7], 0)
    losses = []
    for result in dnmf.iterate(data, RANK, loss=beta, solver="mu", max_passes=60, tol=0, extrapolate=False, **options):
        W, H = factors(result)
        Y, v = np.maximum(W @ H, 1e-300), data
        total = ((v**beta + (beta - 1) * Y**beta - beta * v * Y ** (beta - 1)) / (beta * (beta - 1))).sum()
        if "target_W" in options:
            total += 0.5 * np.square(W - V[:, :RANK]).sum()
        else:
            rough = np.einsum("ik,ij,jk->k", W, laplacian(GRAPHS["graph_W"]), W)
            total += 0.5 * data.mean() ** (beta - 2) * rough @ np.square(H).sum(axis=1)
        assert result.loss == pytest.approx(total, rel=1e-9)
        losses.append(result.loss)
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()


@pytest.mark.parametrize(
    "options",
    [
        {"graph_H": GRAPHS["graph_H"]},
        {"graph_W": GRAPHS["graph_W"]},
        {**GRAPHS, "loss": "kullback-leibler"},
        {**GRAPHS, "weights": MASK},
    ],
)
def test_a_converged_run_is_where_scipy_stops(options):
    beta = 1.0 if "loss" in options else 2.0
    result = dnmf.factorize(BLOCKS, RANK, graph_weight=1.0, max_passes=3000, tol=1e-9, init="random", **options)
    W, H = factors(result)
    graphs = {name: options[name] for name in GRAPHS if name in options}

    def value(x):
        W, H = x[:W_size].reshape(ROWS, RANK), x[W_size:].reshape(RANK, COLUMNS)
        return objective(W, H, beta, 1.0, options.get("weights"), **graphs)

    W_size = W.size
    start = np.concatenate([W.ravel(), H.ravel()])
    found = minimize(value, start, bounds=[(1e-9, None)] * start.size, method="L-BFGS-B", options={"maxfun": 3000})
    assert result.converged
    assert value(start) - found.fun < 2e-4 * value(start)


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_a_component_with_a_known_W_is_the_solution_of_a_linear_system(weight):
    w, graph_H = V[:, :1] + 1.0, GRAPHS["graph_H"]
    result = dnmf.factorize(
        BLOCKS, 1, fixed_W=w, graph_H=graph_H, graph_weight=weight, solver="hals", max_passes=300, tol=0
    )
    H = np.linalg.solve(np.eye(COLUMNS) + weight * laplacian(graph_H), (w.T @ V / (w**2).sum()).ravel())
    np.testing.assert_allclose(np.asarray(result.H)[0], H, rtol=1e-9)


def test_without_weight_the_bits_are_those_without_a_graph():
    plain = dnmf.factorize(BLOCKS, RANK, max_passes=4, tol=0)
    zero = dnmf.factorize(BLOCKS, RANK, max_passes=4, tol=0, **GRAPHS, graph_weight=0)
    assert all(np.array_equal(one, two) for one, two in zip(factors(plain), factors(zero), strict=True))


@pytest.mark.parametrize("options", [{}, {"n_runs": 2}, {"weights": MASK}, {"loss": 1}])
def test_each_graph_may_have_its_weight(options):
    M, beta = options.get("weights"), options.get("loss", 2.0)
    result = dnmf.factorize(BLOCKS, RANK, **GRAPHS, graph_weight=(0.5, 3.0), max_passes=4, tol=0, **options)
    W, H = factors(result)
    both = objective(W, H, beta, 0.5, M, **GRAPHS)
    rest = objective(W, H, beta, 2.5, M, graph_H=GRAPHS["graph_H"]) - objective(W, H, beta, 0, M)
    assert result.loss == pytest.approx(both + rest, rel=1e-10)


def test_a_graph_of_weight_0_is_none(tmp_path):
    options = {"max_passes": 4, "tol": 0, "graph_H": GRAPHS["graph_H"]}
    both = dnmf.factorize(BLOCKS, RANK, graph_W=GRAPHS["graph_W"], graph_weight=[0, 2], store=tmp_path / "a", **options)
    one = dnmf.factorize(BLOCKS, RANK, graph_weight=2, **options)
    assert all(np.array_equal(one, two) for one, two in zip(factors(both), factors(one), strict=True))
    again = dnmf.resume(tmp_path / "a", BLOCKS, **GRAPHS, max_passes=5)
    assert (again.passes, again.settings.graph_weight) == (5, (0.0, 2.0))
    with pytest.raises(dnmf.DnmfError, match="graph_weight has 3 numbers; give one, or one for W and one for H"):
        dnmf.factorize(BLOCKS, RANK, graph_weight=[1, 2, 3], **options)


def test_with_a_large_weight_columns_that_are_connected_become_equal():
    A = sp.block_diag([np.ones((15, 15)), np.ones((25, 25))])
    _, H = factors(dnmf.factorize(BLOCKS, RANK, graph_H=A, graph_weight=1e7, solver="hals", max_passes=200, tol=0))
    for part in (H[:, :15], H[:, 15:]):
        assert np.ptp(part, axis=1).max() < 1e-3 * H.max()


def test_both_axes_have_the_same_objective():
    """A graph of the columns of V is one of the rows of its transpose, whichever axis is streamed."""
    runs = [
        dnmf.factorize(da.from_array(X, chunks=chunks), RANK, **{name: GRAPHS["graph_H"]}, max_passes=600, tol=1e-8)
        for X, chunks, name in (
            (V, (ROWS, 13), "graph_H"),
            (V, (5, COLUMNS), "graph_H"),
            (V.T, (COLUMNS, 5), "graph_W"),
        )
    ]
    losses = [run.loss for run in runs]
    for run, name in zip(runs, ("graph_H", "graph_H", "graph_W"), strict=True):
        W, H = factors(run)
        W, H = (W, H) if name == "graph_H" else (H.T, W.T)
        assert run.loss == pytest.approx(objective(W, H, graph_H=GRAPHS["graph_H"]), rel=1e-9)
    assert np.ptp(losses) < 1e-3 * losses[0]


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_and_an_interruption_do_not_change_a_bit(threads, tmp_path):
    options = {**GRAPHS, "target_H": np.where(rng.random((RANK, COLUMNS)) < 0.5, 1.0, np.nan), "target_weight": 0.3}
    whole = dnmf.factorize(BLOCKS, RANK, max_passes=6, tol=0, threads=2, **options)
    dnmf.factorize(BLOCKS, RANK, max_passes=3, tol=0, store=tmp_path / "run.zarr", threads=threads, **options)
    options.pop("target_weight")
    again = dnmf.resume(tmp_path / "run.zarr", BLOCKS, max_passes=6, threads=threads, **options)
    assert all(np.array_equal(one, two) for one, two in zip(factors(whole), factors(again), strict=True))
    assert again.loss == whole.loss


def test_penalties_of_entries_are_in_the_objective():
    l1, l2, target = rng.random((RANK, COLUMNS)), rng.random((1, COLUMNS)), rng.random((ROWS, RANK))
    target[:4] = np.nan
    l2_W, l1_W = rng.random((ROWS, 1)), [0, 1, 2]
    options = {"l1_H": l1, "l2_H": l2, "l2_W": l2_W, "target_W": target, "target_weight": 2.0, "l1_W": l1_W}
    losses = []
    for result in dnmf.iterate(BLOCKS, RANK, **options, max_passes=300, tol=1e-9, solver="hals"):
        W, H = factors(result)
        expected = 0.5 * ((V - W @ H) ** 2).sum() + (l1 * H + 0.5 * l2 * H**2).sum()
        expected += (np.array(l1_W) * W + 0.5 * l2_W * W**2).sum() + np.nansum((W - target) ** 2)
        losses.append(result.loss)
        assert result.loss == pytest.approx(expected, rel=1e-10)
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    slope = (V @ H.T - W @ H @ H.T) - np.array(l1_W) - l2_W * W - 2 * np.nan_to_num(W - target)
    assert np.abs(np.where(W > 0, slope, np.maximum(slope, 0))).max() < 1e-3 * V.max()
    slope = W.T @ (V - W @ H) - l1 - l2 * H
    assert np.abs(np.where(H > 0, slope, np.maximum(slope, 0))).max() < 1e-3 * V.max()


def test_a_sketch_reaches_in_three_reads_what_plain_passes_need_many_for():
    chain = sp.diags([np.ones(599)], [1])
    T = np.cumsum(np.abs(np.sin(np.arange(4)[:, None] + np.linspace(0, 9, 600))), axis=0)
    X = rng.poisson(rng.gamma(0.5, 1, (60, 4)) @ T).astype(float)
    blocks = da.from_array(np.asfortranarray(X), chunks=(60, 100))
    options = {"graph_H": chain + chain.T, "graph_weight": 3.0, "tol": 0.0}
    losses = [result.loss for result in dnmf.iterate(blocks, 4, solver="sketch", max_passes=4, **options)]
    plain = dnmf.factorize(blocks, 4, solver="hals", init="random", max_passes=40, extrapolate=False, **options)
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    assert losses[1] <= plain.loss


def test_a_sketch_with_a_graph_resumes_from_the_factors_of_its_trial(tmp_path):
    options = {**GRAPHS, "solver": "sketch", "tol": 0}
    whole = dnmf.factorize(BLOCKS, RANK, max_passes=5, **options)
    dnmf.factorize(BLOCKS, RANK, max_passes=3, store=tmp_path / "run.zarr", **options)
    assert len(list((tmp_path / "run.zarr").glob("checkpoints/*/trial/zarr.json"))) == 1
    again = dnmf.resume(tmp_path / "run.zarr", BLOCKS, max_passes=5, **GRAPHS)
    assert all(np.array_equal(one, two) for one, two in zip(factors(whole), factors(again), strict=True))
    assert [record.loss for record in again.history] == [record.loss for record in whole.history]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"solver": "mu"}, {"missing": "nan"}, {"loss": "kullback-leibler"}])
def test_no_loss_of_an_exact_fit_at_its_targets_is_below_0(options, dtype):
    W, H = rng.random((ROWS, RANK)), rng.random((RANK, COLUMNS))
    given = {"target_W": 100 * W, "target_H": H, "init": (100 * W, H), "max_passes": 8, "tol": 0}
    result = dnmf.factorize((100 * W @ H).astype(dtype), RANK, **given, **options)
    assert all(record.loss >= 0 for record in result.history)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_has_the_targets_with_penalties_of_entries(dtype):
    target_W, target_H, l1 = rng.random((ROWS, RANK)), rng.random((RANK, COLUMNS)), 3 * rng.random((ROWS, RANK))
    l2 = rng.random((RANK, COLUMNS))
    given = {"target_W": target_W, "target_H": target_H, "target_weight": 2.0, "l1_W": l1, "l2_H": l2, "l2_W": 0.1}
    result = dnmf.factorize(V.astype(dtype), RANK, max_passes=30, **given)
    W, H = factors(result)
    expected = objective(W, H) + ((W - target_W) ** 2).sum() + ((H - target_H) ** 2).sum()
    expected += (l1 * W).sum() + 0.5 * (l2 * H**2).sum() + 0.05 * (W**2).sum()
    assert result.loss == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-10)
