"""What holds always: one test a law, over sources, rules and losses."""

import collections
import warnings

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from naive import als, hals, kl_pass, mu, objective, promised, quadratic_pass, violation
from scipy.optimize import nnls
from sklearn.decomposition import non_negative_factorization
from strategies import SOURCES, awkward, cut_matrices, low_rank
from threadpoolctl import threadpool_limits

import dnmf
from dnmf.engine import ThreadEngine
from dnmf.engine.factor import RandomFactor
from dnmf.estimator import NMF
from dnmf.run.open import plan_of
from dnmf.run.residuals import measure_residuals
from dnmf.settings import Settings
from dnmf.sources import open_matrix

RULES = [
    ("frobenius", "hals"),
    ("frobenius", "mu"),
    ("frobenius", "als"),
    ("kullback-leibler", "mu"),
    ("kullback-leibler", "cd"),
    (1.5, "mu"),
]
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
    given = SOURCES[kind](V, tmp_path)
    result = dnmf.factorize(given, 3, **options)
    # Streamed by rows, W is updated first: the passes are those of a CSR matrix, which is always streamed so.
    by_rows = dnmf.plan(given, 3).streamed == "rows"
    expected = dnmf.factorize(sp.csr_matrix(V) if by_rows else V, 3, **options)
    np.testing.assert_allclose(np.asarray(result.W), np.asarray(expected.W), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(np.asarray(result.H), np.asarray(expected.H), rtol=1e-7, atol=1e-9)
    assert result.loss == pytest.approx(expected.loss, rel=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if "rows" in kind or kind == "csr"])
def test_a_matrix_cut_along_its_rows_is_the_transpose_cut_along_its_columns(kind, tmp_path):
    V = low_rank(30, 200, 3)
    penalties = {"l1_W": 0.02, "l2_H": 0.2}
    swapped = {"l1_H": 0.02, "l2_W": 0.2}
    W0, H0 = start(V, 3)
    options = {"solver": "sketch", "max_passes": 5, "tol": 0}  # "auto" is not the same in memory and on a disk
    result = dnmf.factorize(SOURCES[kind](V, tmp_path), 3, init=(W0, H0), **options, **penalties)
    mirror = dnmf.factorize(sp.csc_array(V.T), 3, init=(H0.T, W0.T), **options, **swapped)
    np.testing.assert_allclose(result.W, np.asarray(mirror.H).T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(result.H, mirror.W.T, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("width", [13, 100, 200])
@pytest.mark.parametrize("init", ["random", "nndsvd", "nndsvda", "nndsvdar"])
def test_no_cut_into_blocks_changes_the_factors(width, init, tmp_path):
    V = low_rank(30, 200, 3)
    options = {"init": init, "solver": "sketch", "max_passes": 8, "tol": 0}
    W, H = factors(dnmf.factorize(V, 3, **options))
    result = dnmf.factorize(SOURCES["dask, columns"](V, tmp_path).rechunk((-1, width)), 3, **options)
    np.testing.assert_allclose(result.W, W, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-8)


@given(cut_matrices())
@settings(derandomize=True, deadline=None, max_examples=30)
@pytest.mark.parametrize(("loss", "solver"), RULES)
def test_uneven_chunks_of_awkward_matrices_give_the_same_product(loss, solver, case):
    V, cut = case
    options = {"loss": loss, "solver": solver, "max_passes": 2, "tol": 0}
    result = dnmf.factorize(cut, 2, **options)
    whole = dnmf.factorize((sp.csr_array if result.rows_streamed else sp.csc_array)(V), 2, **options)
    (W, H), (Wx, Hx) = factors(result), factors(whole)
    # W stops near its optimum, which may be flat in W and H but not in their product.
    np.testing.assert_allclose(W @ H, Wx @ Hx, rtol=1e-4, atol=1e-5 * V.max(initial=0))
    assert result.loss == pytest.approx(whole.loss, rel=1e-5, abs=1e-12 * float(np.vdot(V, V)))


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
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_kullback_leibler_passes_equal_the_textbook(penalties, form):
    V = low_rank(12, 40, 3)
    W, H = start(V, 3)
    result = dnmf.factorize(form(V), 3, loss=1, solver="mu", init=(W, H), max_passes=3, tol=0, **penalties)
    for _ in range(3):
        before = W
        W, H = kl_pass(V, W, H, **penalties)
    np.testing.assert_allclose(result.W, before, rtol=1e-9)  # the last step of W is for the next pass to evaluate
    np.testing.assert_allclose(result.H, H, rtol=1e-9)
    assert result.loss == pytest.approx(objective(V, before, H, loss="kullback-leibler", **penalties), rel=1e-9)


@pytest.mark.parametrize(("solver", "update"), [("hals", hals), ("mu", mu), ("als", als)])
def test_a_random_start_is_scaled_by_columns_in_the_first_pass(solver, update):
    V = low_rank(12, 40, 3)
    W0 = np.abs(np.random.default_rng(7).standard_normal((12, 3)))
    H0 = RandomFactor(3, (0, 40), V.dtype, 7).read(0)
    sweeps = {"hals": 4, "mu": 10, "als": 1}[solver]
    W, H = quadratic_pass(update, V, W0, H0, sweeps=sweeps, fresh=True)
    result = dnmf.factorize(V, 3, solver=solver, init="random", seed=7, max_passes=1)
    np.testing.assert_allclose(result.W, W, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-9)


def scikit_learn(V, W, H, passes, **options):
    """The factors of so many iterations of scikit-learn on the transpose: it updates W first, dnmf H."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        found = non_negative_factorization(
            V.T, H.T.copy(), W.T.copy(), n_components=len(H), init="custom", max_iter=passes, tol=0, **options
        )
    return found[1].T, found[0].T


@pytest.mark.parametrize("penalties", [{}, {"l1_H": 0.3, "l2_H": 0.2}], ids=["plain", "penalised"])
@pytest.mark.parametrize(("solver", "theirs"), [("hals", "cd"), ("mu", "mu")])
def test_the_first_sweep_is_scikit_learns(solver, theirs, penalties):
    V = low_rank(12, 40, 3)
    W, H = start(V, 3)
    # scikit-learn's W is updated first, and its penalties are per feature.
    l1, l2 = penalties.get("l1_H", 0) / len(V), penalties.get("l2_H", 0) / len(V)
    weights = {"alpha_W": l1 + l2, "alpha_H": 0.0, "l1_ratio": l1 / (l1 + l2) if l1 else 0.0}
    _, expected = scikit_learn(V, W, H, 1, solver=theirs, **weights)
    result = dnmf.factorize(V, 3, solver=solver, init=(W, H), sweeps=1, max_passes=1, **penalties)
    np.testing.assert_allclose(result.H, expected, rtol=1e-9, atol=1e-12)


def test_single_kullback_leibler_steps_are_scikit_learns():
    V = low_rank(12, 40, 3) + 0.01
    W, H = start(V, 3)
    expected = scikit_learn(V, W, H, 5, solver="mu", beta_loss="kullback-leibler")
    options = {"loss": 1, "solver": "mu", "init": (W, H), "sweeps": 1, "tol": 0}
    np.testing.assert_allclose(dnmf.factorize(V, 3, max_passes=5, **options).H, expected[1], rtol=1e-9)
    # The W of the fifth step is the one that the sixth pass evaluates.
    np.testing.assert_allclose(dnmf.factorize(V, 3, max_passes=6, **options).W, expected[0], rtol=1e-9)


@pytest.mark.parametrize("solver", ["hals", "als"])
def test_where_scikit_learn_has_converged_so_have_we(solver):
    V = low_rank(15, 60, 3)
    W, H = scikit_learn(V, *start(V, 3), 3000, solver="cd")
    result = dnmf.factorize(V, 3, solver=solver, init=(W, H), max_passes=1)
    np.testing.assert_allclose(result.W, W, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-8)
    assert result.history[0].optimality < 1e-8


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


@pytest.mark.parametrize("init", ["random", "nndsvd", "nndsvda"])
@pytest.mark.parametrize(("loss", "solver"), RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rank_above_that_of_the_matrix_raises_nothing(dtype, loss, solver, init):
    rng = np.random.default_rng(0)
    V = (rng.random((20, 2)) @ rng.random((2, 90))).astype(dtype)
    result = dnmf.factorize(V, 6, loss=loss, solver=solver, init=init, max_passes=25, tol=0)
    losses = np.array([record.loss for record in result.history])
    # The Gram matrices are singular, and the loss goes to 0: it is known to some units of ‖V‖², or of Σ v log v.
    scale = float(np.vdot(V, V)) if loss == "frobenius" else float((V ** (1 if isinstance(loss, str) else loss)).sum())
    assert (np.diff(losses) <= 20 * np.finfo(dtype).eps * scale).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array, sp.csr_array])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("solver", ["hals", "mu", "als"])
def test_the_loss_of_every_pass_is_that_of_its_factors(solver, exact, dtype, form):
    V = low_rank(20, 100, 2 if exact else 4, noise=0 if exact else 0.1, dtype=dtype)
    whole = float(np.vdot(V.astype(float), V))
    for result in dnmf.iterate(form(V), 3, solver=solver, max_passes=25, tol=0):
        W, H = (factor.astype(np.float64) for factor in factors(result))
        true = objective(V.astype(np.float64), W, H)
        # Products in the dtype are right to some units of it, and with them the loss, as a share of ½‖V‖².
        assert result.loss == pytest.approx(true, rel=1e-5, abs=8 * float(np.finfo(dtype).eps) * whole)
        assert result.relative_error == pytest.approx(np.sqrt(2 * result.loss / whole), rel=1e-12)


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
    options = {"loss": loss, "solver": solver, "init": "random", "max_passes": 5, "tol": 0}
    one = dnmf.factorize(V, 3, **options)
    other = dnmf.factorize(V * np.float32(scale), 3, **options)
    np.testing.assert_allclose(np.asarray(other.W), one.W, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.asarray(other.H) / scale, one.H, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", ["random", "nndsvd", "spa", "spa_rows"])  # others fill with the mean of V, unscaled
def test_every_start_is_that_of_the_scaled_matrix(dtype, init, scale):
    V = low_rank(20, 100, 3)
    runs = [dnmf.factorize((V * s).astype(dtype), 3, init=init, max_passes=6, tol=0) for s in (1.0, scale)]
    errors = [run.relative_error for run in runs]
    # In float32, V·s is rounded anew, by 6e-8 of each entry; the passes carry that on.
    assert errors[1] == pytest.approx(errors[0], rel=1e-4 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("penalties", [{}, PENALTIES])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_exact_rule_solves_every_column(dtype, penalties):
    V = low_rank(20, 80, 4, dtype=dtype)
    W, H = (factor.astype(dtype) for factor in start(V, 4))
    found = np.asarray(dnmf.factorize(V, 4, solver="als", init=(W, H), max_passes=1, **penalties).H)
    Vw, Ww = V.astype(np.float64), W.astype(np.float64)
    l1, l2 = penalties.get("l1_H", 0), penalties.get("l2_H", 0)
    missed = violation(found.astype(np.float64), Ww.T @ Vw, Ww.T @ Ww, l1, l2)
    # C = WᵀV is rounded to the dtype, entry by entry: so is what the gradient can vanish to.
    assert missed.sum() <= (8 * np.finfo(dtype).eps) ** 2 * ((Ww.T @ Vw) ** 2).sum()


def test_a_component_with_nothing_to_fit_comes_back():
    rng = np.random.default_rng(0)
    V = rng.random((30, 3)) @ rng.random((3, 200)) + 0.1 * rng.random((30, 200))
    for solver in ("hals", "als"):
        W, H = rng.random((30, 4)), rng.random((4, 200))
        W[:, 3], H[3] = W[:, 0], 0
        result = dnmf.factorize(V, 4, solver=solver, init=(W, H), max_passes=20, tol=0)
        assert (np.asarray(result.H).sum(axis=1) > 0).all()


@pytest.mark.parametrize("penalties", [{}, PENALTIES])
def test_the_exact_rule_meets_the_optimality_conditions(penalties):
    V = low_rank(20, 80, 4)
    W, H = factors(dnmf.factorize(V, 4, solver="als", max_passes=1, **penalties))
    l1, l2 = penalties.get("l1_W", 0), penalties.get("l2_W", 0)
    missed = violation(W.T, H @ V.T, H @ H.T, l1, l2)
    assert missed.sum() <= 1e-16 * ((H @ V.T) ** 2).sum()


@pytest.mark.parametrize("init", ["random", "nndsvda"])
@pytest.mark.parametrize("kind", SOURCES)
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
    assert len(result.history) == (7 if init == "random" else 6)


@pytest.mark.parametrize("stored", [False, True])
def test_a_dask_chunk_is_computed_once_a_pass(stored, tmp_path):
    counts = collections.Counter()

    def load(block_info=None):
        counts[block_info[None]["chunk-location"]] += 1
        return low_rank(30, 200, 3)[tuple(slice(*bounds) for bounds in block_info[None]["array-location"])]

    V = da.map_blocks(load, chunks=((20, 10), (70, 80, 50)), dtype="float64", meta=np.empty((0, 0)))
    dnmf.factorize(V, 3, max_passes=5, tol=0, store=tmp_path / "run.zarr" if stored else None)
    # The first block is computed once more to see what it is, and where there is a store once for its fingerprint.
    assert counts == {(i, j): 5 + (j == 0) * (1 + stored) for i in range(2) for j in range(3)}


@pytest.mark.parametrize(("loss", "solver"), RULES)
@pytest.mark.parametrize("kind", ["zarr", "zarr, rows", "dask of csr", "csr"])
def test_no_number_of_threads_changes_a_bit(kind, loss, solver, tmp_path):
    V = SOURCES[kind](low_rank(30, 200, 3, dtype="float32"), tmp_path)
    runs = [dnmf.factorize(V, 3, loss=loss, solver=solver, max_passes=5, tol=0, threads=n) for n in (1, 2, 5, 2)]
    for run in runs[1:]:
        np.testing.assert_array_equal(np.asarray(run.W), np.asarray(runs[0].W))
        np.testing.assert_array_equal(np.asarray(run.H), np.asarray(runs[0].H))
        assert [record.loss for record in run.history] == [record.loss for record in runs[0].history]


def dense():
    """Return a matrix whose products round differently with two threads of BLAS."""
    rng = np.random.default_rng(0)
    return rng.random((300, 8)) @ rng.random((8, 800)) + 0.1 * rng.random((300, 800))


def survey_of(V, **options):
    survey = dnmf.select_rank(V, [2, 5], n_runs=3, cv=2, max_passes=4, threads=2, **options)
    table = survey.table()
    criteria = (table[name] for name in table if name != "seconds")
    return [*criteria, *(model.W for model in survey.models), *factors(survey.consensus(5, V))]


def residuals_of(V):
    found = measure_residuals(fitted(sp.csc_array(V * (V > 2.2))), sp.csc_array(V * (V > 2.2)))
    return found.total, found.rows.sums, found.columns.sums


def fitted(V, **options):
    with threadpool_limits(1, user_api="blas"):
        return dnmf.factorize(V, 6, max_passes=3, tol=0, **options)


def lazy_rows(V):
    with threadpool_limits(1, user_api="blas"):
        model = NMF(6, max_iter=3, tol=0, random_state=0).fit(V)
    return [np.asarray(model.transform(da.from_array(V, chunks=chunks))) for chunks in ((150, 800), (150, 400))]


@pytest.mark.parametrize(
    "compute",
    [
        survey_of,
        lambda V: survey_of(V, loss="kullback-leibler"),
        residuals_of,
        lambda V: dnmf.likelihood(fitted(V, loss="kullback-leibler"), V),
        lambda V: [dnmf.spectra(fitted(V), V, units=units).to_numpy() for units in ("counts", "z-score")],
        lazy_rows,
    ],
)
def test_no_number_of_threads_of_BLAS_changes_a_bit(compute):
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            results.append(compute(dense()))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("init", ["random", "nndsvd", "nndsvdar"])
def test_many_blocks_in_few_tasks_change_no_bit_either(init, tmp_path):
    V = da.from_array(low_rank(30, 200, 3, dtype="float32"), chunks=(30, 1))
    assert dnmf.plan(V, 3).groups < dnmf.plan(V, 3).blocks == 200
    runs = [dnmf.factorize(V, 3, init=init, max_passes=6, tol=0, threads=n) for n in (1, 5, 2)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.W, runs[0].W)
        np.testing.assert_array_equal(np.asarray(run.H), np.asarray(runs[0].H))


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array, sp.csr_array])
@pytest.mark.parametrize("penalties", [{}, PENALTIES])
def test_the_optimality_is_the_share_of_the_loss_that_steps_of_both_factors_promise(penalties, form):
    V = low_rank(20, 60, 3)
    W0, H0 = start(V, 3)
    rows = form is sp.csr_array
    result = dnmf.factorize(form(V), 3, init=(W0, H0), max_passes=1, **penalties)
    # The factor that is streamed is new, the other one old.
    W, H = (factors(result)[0], H0) if rows else (W0, factors(result)[1])
    parts = [(W.T, H @ V.T, H @ H.T, "W"), (H, W.T @ V, W.T @ W, "H")]
    gain = sum(
        promised(X, C, G, penalties.get(f"l1_{name}", 0), penalties.get(f"l2_{name}", 0)) for X, C, G, name in parts
    )
    whole = result.loss + np.finfo(float).eps * (V**2).sum()
    assert result.history[0].optimality == pytest.approx(gain / whole, rel=1e-9)


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
@pytest.mark.parametrize("kind", ["numpy", "csc", "dask, columns", "zarr"])
def test_transform_is_one_answer_for_every_source(kind, loss, tmp_path):
    V = low_rank(30, 200, 3)
    result = dnmf.factorize(V, 3, loss=loss, max_passes=20, tol=0)
    H = np.asarray(dnmf.transform(result, SOURCES[kind](V, tmp_path)))
    np.testing.assert_allclose(H, np.asarray(dnmf.transform(result, V)), rtol=1e-9, atol=1e-12)
    if loss == "kullback-leibler":
        np.testing.assert_allclose(H[:, 7:11], np.asarray(dnmf.transform(result, V[:, 7:11])), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_that_the_factors_do_not_know_changes_nothing_in_a_transform(dtype, form):
    V = (low_rank(30, 200, 3) * 100).astype(dtype)
    V[4] = 0
    result = dnmf.factorize(V, 3, loss="kullback-leibler", max_passes=20, tol=0)
    assert not result.W[4].any()
    expected = np.asarray(dnmf.transform(result, form(V)))
    V[4] = 300
    # h's scale is found from all of v, and forgotten again by the updates.
    np.testing.assert_allclose(np.asarray(dnmf.transform(result, form(V))), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
@pytest.mark.parametrize("value", [1, 300])
def test_a_divergence_that_is_infinite_from_the_start_is_told(value, form):
    V = np.full((6, 20), value, "float32")
    W, H = start(V, 2)
    W[3] = 0
    with pytest.raises(dnmf.DnmfError, match="WH is 0 where V is not"):
        dnmf.factorize(form(V), 2, loss="kullback-leibler", init=(W, H))


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

    class Faulty:
        def zero(self):
            return None

        def visit(self, block, V, H, sums, scratch):
            raise Fault

    with pytest.raises(Fault):
        ThreadEngine(source, plan.groups, 2).one_pass(Faulty())
