"""What holds always: one test a law, over sources, rules and losses."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from naive import als, hals, kl_pass, mu, objective, quadratic_pass, violation
from scipy.optimize import nnls
from sklearn.decomposition import non_negative_factorization
from strategies import SOURCES, awkward, low_rank

import dnmf
from dnmf.engine import Engine
from dnmf.settings import Settings
from dnmf.sources import open_matrix
from dnmf.start import plan_of

RULES = [("frobenius", "hals"), ("frobenius", "mu"), ("frobenius", "als"), ("kullback-leibler", "mu")]
PENALTIES = {"l1_W": 0.02, "l2_W": 0.1, "l1_H": 0.03, "l2_H": 0.2}


def factors(result):
    return np.asarray(result.W), np.asarray(result.H)


def start(V, rank, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((V.shape[0], rank)) + 0.1, rng.random((rank, V.shape[1])) + 0.1


@pytest.mark.parametrize(("loss", "solver"), RULES)
@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_factors(kind, loss, solver, tmp_path):
    V = low_rank(30, 200, 3)
    options = {"loss": loss, "solver": solver, "init": start(V, 3), "max_passes": 6, "tol": 0}
    result = dnmf.factorize(SOURCES[kind](V, tmp_path), 3, **options)
    # Streamed by rows, W is updated first: the passes are those of a CSR matrix, which is always streamed so.
    expected = dnmf.factorize(V if isinstance(result.W, np.ndarray) else sp.csr_matrix(V), 3, **options)
    np.testing.assert_allclose(np.asarray(result.W), np.asarray(expected.W), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(np.asarray(result.H), np.asarray(expected.H), rtol=1e-7, atol=1e-9)
    assert result.loss == pytest.approx(expected.loss, rel=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if "rows" in kind or kind == "csr"])
def test_a_matrix_cut_along_its_rows_is_the_transpose_cut_along_its_columns(kind, tmp_path):
    V = low_rank(30, 200, 3)
    penalties = {"l1_W": 0.02, "l2_H": 0.2}
    swapped = {"l1_H": 0.02, "l2_W": 0.2}
    W0, H0 = start(V, 3)
    result = dnmf.factorize(SOURCES[kind](V, tmp_path), 3, init=(W0, H0), max_passes=5, tol=0, **penalties)
    mirror = dnmf.factorize(sp.csc_array(V.T), 3, init=(H0.T, W0.T), max_passes=5, tol=0, **swapped)
    np.testing.assert_allclose(result.W, np.asarray(mirror.H).T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(result.H, mirror.W.T, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("width", [13, 100, 200])
@pytest.mark.parametrize("init", ["random", "nndsvd", "nndsvda", "nndsvdar"])
def test_no_cut_into_blocks_changes_the_factors(width, init, tmp_path):
    V = low_rank(30, 200, 3)
    options = {"init": init, "max_passes": 8, "tol": 0}
    W, H = factors(dnmf.factorize(V, 3, **options))
    result = dnmf.factorize(SOURCES["dask, columns"](V, tmp_path).rechunk((-1, width)), 3, **options)
    np.testing.assert_allclose(result.W, W, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("solver", "update"), [("hals", hals), ("mu", mu), ("als", als)])
@pytest.mark.parametrize("penalties", [{}, PENALTIES])
def test_passes_equal_the_textbook(solver, update, penalties):
    V = low_rank(12, 40, 3)
    W, H = start(V, 3)
    sweeps = {"hals": 4, "mu": 10, "als": 1}[solver]
    result = dnmf.factorize(V, 3, solver=solver, init=(W, H), max_passes=3, tol=0, **penalties)
    for _ in range(3):
        W, H = quadratic_pass(update, V, W, H, sweeps=sweeps, **penalties)
    np.testing.assert_allclose(result.W, W, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-9)
    assert result.loss == pytest.approx(objective(V, W, H, **penalties), rel=1e-9)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
def test_kullback_leibler_passes_equal_the_textbook(form):
    V = low_rank(12, 40, 3) + 0.01
    W, H = start(V, 3)
    result = dnmf.factorize(form(V), 3, loss="kullback-leibler", init=(W, H), max_passes=3, tol=0)
    for _ in range(3):
        before = W
        W, H = kl_pass(V, W, H)
    np.testing.assert_allclose(result.W, W, rtol=1e-9)
    np.testing.assert_allclose(result.H, H, rtol=1e-9)
    assert result.loss == pytest.approx(objective(V, before, H, loss="kullback-leibler"), rel=1e-9)


def test_the_loss_is_no_worse_than_scikit_learns_from_the_same_start():
    V = low_rank(40, 300, 4)
    W, H = start(V, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Ws, Hs, _ = non_negative_factorization(
            V, W.copy(), H.copy(), n_components=4, init="custom", solver="cd", max_iter=200, tol=0
        )
    result = dnmf.factorize(V, 4, init=(W, H), max_passes=200, tol=0)
    # Both descend to a stationary point; from one start they come to the same one here.
    assert result.loss <= objective(V, Ws, Hs) * (1 + 1e-4)


@pytest.mark.parametrize(("loss", "solver"), RULES)
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
def test_no_pass_raises_the_objective(loss, solver, penalties, dtype, form):
    V = form(low_rank(20, 300, 4, dtype=dtype))
    result = dnmf.factorize(V, 4, loss=loss, solver=solver, max_passes=40, tol=0, **penalties)
    losses = np.array([record.loss for record in result.history])
    # The loss is a float64 sum over products rounded to the dtype: it is known to some of its units, not better.
    slack = 20 * np.finfo(dtype).eps
    assert (losses[1:] <= losses[:-1] * (1 + slack)).all()


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array, sp.csr_array])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_is_that_of_the_factors(form, dtype):
    V = low_rank(20, 100, 3, dtype=dtype)
    result = dnmf.factorize(form(V), 3, max_passes=20, tol=0, **PENALTIES)
    W, H = (factor.astype(np.float64) for factor in factors(result))
    assert result.loss == pytest.approx(objective(V.astype(np.float64), W, H, **PENALTIES), rel=1e-5)
    assert result.relative_error == pytest.approx(np.linalg.norm(V - W @ H) / np.linalg.norm(V), rel=1e-5)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_error_of_an_exact_factorisation_is_small_and_never_nan(form, dtype):
    rng = np.random.default_rng(0)
    W, H = rng.random((20, 3)), rng.random((3, 100)) * (rng.random((3, 100)) < 0.7)
    V = (W @ H).astype(dtype)
    result = dnmf.factorize(form(V), 3, max_passes=300, tol=0, init=(W + 0.01, H + 0.01))
    Wd, Hd = (factor.astype(np.float64) for factor in factors(result))
    true = np.linalg.norm(V - Wd @ Hd) / np.linalg.norm(V)
    errors = np.array([record.relative_error for record in result.history])
    assert np.isfinite(errors).all() and (errors >= 0).all()  # noqa: PT018
    assert result.relative_error == pytest.approx(true, rel=0.05, abs=5 * float(np.finfo(dtype).eps))


@given(awkward())
@settings(derandomize=True, deadline=None, max_examples=60)
@pytest.mark.parametrize(("loss", "solver"), RULES)
def test_factors_are_finite_and_not_negative(loss, solver, V):
    result = dnmf.factorize(V, 2, loss=loss, solver=solver, max_passes=4)
    for factor in factors(result):
        assert np.isfinite(factor).all()
        assert (factor >= 0).all()
    assert np.isfinite([record.loss for record in result.history]).all()
    if loss == "frobenius" and V.any():
        assert result.relative_error < 1


@pytest.mark.parametrize(("loss", "solver"), RULES)
def test_a_matrix_of_zeros_is_factorised(loss, solver):
    result = dnmf.factorize(np.zeros((4, 6)), 2, loss=loss, solver=solver)
    assert result.converged
    assert not (np.asarray(result.W) @ np.asarray(result.H)).any()


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**-27, 2.0**27, 2.0**60])
@pytest.mark.parametrize(("loss", "solver"), RULES)
def test_the_scale_of_the_matrix_is_that_of_the_factors(scale, loss, solver):
    V = low_rank(20, 100, 3, dtype="float32")
    one = dnmf.factorize(V, 3, loss=loss, solver=solver, max_passes=5, tol=0)
    other = dnmf.factorize(V * np.float32(scale), 3, loss=loss, solver=solver, max_passes=5, tol=0)
    np.testing.assert_allclose(np.asarray(other.W), one.W, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.asarray(other.H) / scale, one.H, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("penalties", [{}, PENALTIES])
def test_the_exact_rule_meets_the_optimality_conditions(penalties):
    V = low_rank(20, 80, 4)
    W, H = factors(dnmf.factorize(V, 4, solver="als", max_passes=1, **penalties))
    l1, l2 = penalties.get("l1_W", 0), penalties.get("l2_W", 0)
    missed = violation(W.T, H @ V.T, H @ H.T, l1, l2)
    assert missed.sum() <= 1e-16 * ((H @ V.T) ** 2).sum()


@pytest.mark.parametrize("init", ["random", "nndsvda"])
@pytest.mark.parametrize("kind", ["numpy", "zarr", "csc", "dask, uneven grid"])
def test_a_pass_reads_every_block_once(kind, init, tmp_path, monkeypatch):
    source = open_matrix(SOURCES[kind](low_rank(30, 200, 3), tmp_path))
    read, counts = type(source).read, {}

    def counting(self, block, scratch):
        counts[block] = counts.get(block, 0) + 1
        return read(self, block, scratch)

    monkeypatch.setattr(type(source), "read", counting)
    result = dnmf.factorize(SOURCES[kind](low_rank(30, 200, 3), tmp_path), 3, init=init, max_passes=7, tol=0)
    assert result.passes == 7
    assert counts == dict.fromkeys(range(source.layout.blocks), 7)
    assert len(result.history) == (7 if init == "random" else 4)


@pytest.mark.parametrize(("loss", "solver"), RULES)
@pytest.mark.parametrize("kind", ["zarr", "zarr, rows", "dask of csr", "csr"])
def test_no_number_of_threads_changes_a_bit(kind, loss, solver, tmp_path):
    V = SOURCES[kind](low_rank(30, 200, 3, dtype="float32"), tmp_path)
    runs = [dnmf.factorize(V, 3, loss=loss, solver=solver, max_passes=5, tol=0, threads=n) for n in (1, 2, 5, 2)]
    for run in runs[1:]:
        np.testing.assert_array_equal(np.asarray(run.W), np.asarray(runs[0].W))
        np.testing.assert_array_equal(np.asarray(run.H), np.asarray(runs[0].H))
        assert [record.loss for record in run.history] == [record.loss for record in runs[0].history]


def test_a_transformed_column_depends_on_itself_alone_and_is_exact():
    V = low_rank(20, 60, 3)
    result = dnmf.factorize(V, 3, max_passes=30, tol=0)
    H = np.asarray(dnmf.transform(result, V))
    np.testing.assert_allclose(H[:, 7:11], np.asarray(dnmf.transform(result, V[:, 7:11])), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(H, np.column_stack([nnls(result.W, v)[0] for v in V.T]), rtol=1e-7, atol=1e-10)


def test_factors_that_are_given_are_not_changed():
    V = low_rank(12, 40, 3)
    W, H = start(V, 3)
    kept = W.copy(), H.copy()
    dnmf.factorize(V, 3, init=(W, H), max_passes=3)
    np.testing.assert_array_equal(W, kept[0])
    np.testing.assert_array_equal(H, kept[1])


def test_an_error_in_a_block_is_raised_as_it_is():
    source = open_matrix(np.ones((4, 9)))
    plan = plan_of(source.layout, Settings(rank=2))

    class Fault(Exception):
        pass

    def visit(block, V, sums, scratch):
        raise Fault

    with pytest.raises(Fault):
        Engine(source, plan.groups, 2).one_pass(visit, lambda: None)
