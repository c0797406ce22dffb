"""Every loss on every kind of entries: what is missing or weighted, held or penalised, from any source."""

import warnings

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from naive import beta_pass, beta_update, objective, weighted_pass
from runs import assert_same_bits, interrupt_at
from scipy.optimize import nnls
from strategies import SOURCES, low_rank

import dnmf
from dnmf.errors import DataError, DataWarning, Interrupted, SettingsError, StoreError

BETAS = [-1, 0, 0.5, 1, 1.5, 2, 3]
PENALTIES = {"l1_W": 0.02, "l2_W": 0.1, "l1_H": 0.03, "l2_H": 0.2}
WAYS = [("frobenius", "hals"), ("frobenius", "als"), ("frobenius", "mu"), (1, "mu"), (1, "cd"), (0, "mu"), (1.5, "mu")]


def matrix(rows=30, columns=200, dtype="float64", positive=True, scale=1.0):
    V = low_rank(rows, columns, 3, dtype="float64")
    return ((V + 0.05 if positive else V) * scale).astype(dtype)


def start(V, rank=3, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((V.shape[0], rank)) + 0.1, rng.random((rank, V.shape[1])) + 0.1


def mask(shape, seen=0.6, seed=4):
    return np.random.default_rng(seed).random(shape) < seen


def factors(result):
    return np.asarray(result.W), np.asarray(result.H)


def losses(result):
    return np.array([record.loss for record in result.history])


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
@pytest.mark.parametrize("beta", [beta for beta in BETAS if beta != 2])
def test_passes_equal_the_textbook(beta, penalties, tall):
    V = matrix(12, 40)
    W, H = start(V)
    given = (
        {name.translate(str.maketrans("WH", "HW")): value for name, value in penalties.items()} if tall else penalties
    )
    result = dnmf.factorize(
        V.T if tall else V, 3, loss=beta, init=(H.T, W.T) if tall else (W, H), max_passes=3, tol=0, solver="mu", **given
    )
    for _ in range(3):
        before = W
        W, H = beta_pass(V, W, H, beta, **penalties)
    found = [factor.T for factor in factors(result)][::-1] if tall else factors(result)
    np.testing.assert_allclose(found[0], before, rtol=1e-8)
    np.testing.assert_allclose(found[1], H, rtol=1e-8)
    assert result.loss == pytest.approx(objective(V, before, H, loss=beta, **penalties), rel=1e-9)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array, sp.csr_array])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("beta", "solver"), [*((beta, "mu") for beta in BETAS), (1, "cd")])
def test_no_pass_raises_the_objective(beta, solver, dtype, penalties, form):
    V = form(matrix(20, 150, dtype, positive=beta <= 0))
    result = dnmf.factorize(V, 4, loss=beta, solver=solver, max_passes=40, tol=0, **penalties)
    assert (np.diff(losses(result)) <= 30 * np.finfo(dtype).eps * abs(losses(result)[0])).all()
    assert result.loss < 0.9 * losses(result)[0]


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("beta", "solver"), [*((beta, "mu") for beta in BETAS), (1, "cd")])
def test_the_scale_of_the_matrix_is_that_of_the_factors(beta, solver, dtype, scale):
    one, other = (
        dnmf.factorize(matrix(20, 100, dtype, scale=s), 3, loss=beta, solver=solver, init="random", max_passes=5, tol=0)
        for s in (1.0, scale)
    )
    (W, H), (Ws, Hs) = factors(one), factors(other)
    tight = 2e-3 if dtype == "float32" else 1e-7
    np.testing.assert_allclose(Ws @ Hs / scale, W @ H, rtol=tight, atol=tight)
    assert other.loss == pytest.approx(one.loss * float(scale) ** beta, rel=2e-3)


@pytest.mark.parametrize(("beta", "solver"), [*((beta, "mu") for beta in BETAS), (1, "cd"), (2, "hals")])
def test_the_conditions_are_met_in_the_end(beta, solver):
    """A small problem, until nothing moves: the slope of every entry is 0, or the entry is 0 and its slope above."""
    V = matrix(8, 30)
    result = dnmf.factorize(V, 2, loss=beta, solver=solver, max_passes=4000, tol=0)
    W, H = factors(result)
    Y = W @ H
    for X, top, low in (
        (H, W.T @ (V * Y ** (beta - 2.0)), W.T @ Y ** (beta - 1.0)),
        (W.T, H @ (V * Y ** (beta - 2.0)).T, H @ (Y ** (beta - 1.0)).T),
    ):
        slope = 1 - top / low
        # The multiplicative rule brings an entry back from near 0 by a share of its slope only.
        assert (slope > (-2e-3 if solver == "mu" else -1e-4)).all()
        assert (np.minimum(abs(slope), X / X.max()) < 5e-3).all()


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize(("loss", "solver"), WAYS)
def test_where_nothing_is_missing_it_is_the_run_without(loss, solver, tall):
    V = matrix().T if tall else matrix()
    options = {"loss": loss, "solver": solver, "init": start(V), "max_passes": 4, "tol": 0}
    if solver == "hals":  # so that H converges in a pass, and W with it, however each rule stops W
        options["sweeps"] = 50
    expected = dnmf.factorize(V, 3, **options)
    if (loss, solver) == ("frobenius", "mu"):  # with weights, W takes one step a pass, as for every other β
        expected = dnmf.factorize(V, 3, **options, weights=np.ones(V.shape))
        textbook = start(V)[::-1] if tall else start(V)
        W, H = (textbook[0].T, textbook[1].T) if tall else textbook
        for _ in range(4):
            before = W
            W, H = beta_pass(V.T if tall else V, W, H, 2, sweeps=10)
        np.testing.assert_allclose(factors(expected)[tall].T if tall else factors(expected)[0], before, rtol=1e-8)
    for how in ({"missing": "nan"}, {"weights": np.ones(V.shape)}, {"weights": sp.csr_array(np.ones(V.shape))}):
        result = dnmf.factorize(V, 3, **options, **how)
        # W stops near its minimum for Frobenius, by other rules with weights and without.
        for one, other in zip(factors(result), factors(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * other.max())
        assert result.loss == pytest.approx(expected.loss, rel=1e-4)


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize(("loss", "solver"), WAYS)
def test_weights_of_0_and_1_are_a_mask(loss, solver, tall):
    V, M = matrix(), mask((30, 200))
    if tall:
        V, M = V.T, M.T
    options = {"loss": loss, "solver": solver, "init": start(V), "max_passes": 4, "tol": 0}
    expected = dnmf.factorize(np.where(M, V, np.nan), 3, missing="nan", **options)
    for given, how in (
        (V, {"weights": M}),
        (np.where(M, V, np.nan), {"weights": 1.0 * M, "missing": "nan"}),
        (V, {"weights": sp.csr_array(1.0 * M)}),
        ((sp.csr_array if tall else sp.csc_array)(np.where(M, V, 0)), {"missing": "zeros"}),
    ):
        result = dnmf.factorize(given, 3, **options, **how)
        for one, other in zip(factors(result), factors(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
        assert result.loss == pytest.approx(expected.loss, rel=1e-9)


def test_weighted_passes_equal_the_textbook():
    V, (W, H) = matrix(12, 40), start(matrix(12, 40))
    M = mask(V.shape) * np.random.default_rng(5).random(V.shape)
    quadratic = dnmf.factorize(V, 3, weights=M, init=(W, H), solver="hals", max_passes=2, tol=0, **PENALTIES)
    divergent = dnmf.factorize(V, 3, weights=M, loss=0.5, init=(W, H), solver="mu", max_passes=2, tol=0, **PENALTIES)
    Wq, Hq = weighted_pass(V, *weighted_pass(V, W, H, M, **PENALTIES), M, **PENALTIES)
    np.testing.assert_allclose(quadratic.W, Wq, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(quadratic.H, Hq, rtol=1e-6, atol=1e-9)
    assert quadratic.loss == pytest.approx(objective(V, Wq, Hq, M=M, **PENALTIES), rel=1e-9)
    Wb, Hb = beta_pass(V, W, H, 0.5, M=M, **PENALTIES)
    _, Hb = beta_pass(V, Wb, Hb, 0.5, M=M, **PENALTIES)
    np.testing.assert_allclose(divergent.W, Wb, rtol=1e-7)
    np.testing.assert_allclose(divergent.H, Hb, rtol=1e-7)


@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
@pytest.mark.parametrize("missing", ["nan", "zeros"])
@pytest.mark.parametrize(("loss", "solver"), WAYS)
def test_no_pass_raises_the_objective_where_much_is_missing(loss, solver, missing, penalties):
    V, M = matrix(), mask((30, 200), 0.3)
    given = np.where(M, V, np.nan) if missing == "nan" else sp.csc_array(np.where(M, V, 0))
    result = dnmf.factorize(given, 3, loss=loss, solver=solver, missing=missing, max_passes=40, tol=0, **penalties)
    assert (np.diff(losses(result)) <= 1e-12 * losses(result)[0]).all()
    assert result.loss < losses(result)[0]


@pytest.mark.parametrize("solver", ["hals", "als", "mu"])
def test_what_was_missing_is_found_again(solver):
    rng = np.random.default_rng(0)
    V = rng.random((40, 2)) @ rng.random((2, 300))
    M = mask(V.shape, 0.5)
    result = dnmf.factorize(np.where(M, V, np.nan), 2, solver=solver, missing="nan", max_passes=600, tol=1e-9)
    W, H = factors(result)
    assert abs(W @ H - V)[~M].max() < (0.05 if solver == "mu" else 1e-3)


@pytest.mark.parametrize(("loss", "solver"), WAYS)
def test_a_transform_counts_what_was_observed(loss, solver):
    V, M = matrix(), mask((30, 200))
    holes = np.where(M, V, np.nan)
    result = dnmf.factorize(holes, 3, loss=loss, solver=solver, missing="nan", max_passes=30, tol=0)
    H = np.asarray(dnmf.transform(result, holes))
    np.testing.assert_allclose(H[:, 7:11], np.asarray(dnmf.transform(result, holes[:, 7:11])), rtol=1e-9, atol=1e-12)
    changed = np.where(M, V, 1e6)
    np.testing.assert_allclose(np.asarray(dnmf.transform(result, changed, weights=M)), H, rtol=1e-6, atol=1e-9)
    assert objective(V, result.W, H, loss=result.settings.beta, M=M) <= result.loss * 1.05


@pytest.mark.parametrize("kind", ["numpy", "dask, columns", "zarr", "zarr, rows", "npy"])
@pytest.mark.parametrize("missing", ["nan", "weights"])
def test_every_source_gives_the_same_factors(missing, kind, tmp_path):
    V, M = matrix(), mask((30, 200))
    holes = np.where(M, V, np.nan) if missing == "nan" else V
    given = SOURCES[kind](holes, tmp_path)
    how = {"missing": "nan"} if missing == "nan" else {"weights": SOURCES[kind](1.0 * M, tmp_path / ".")}
    if kind == "npy" and missing == "weights":
        np.save(tmp_path / "M.npy", 1.0 * M)
        np.save(tmp_path / "V-C.npy", holes)
        how = {"weights": tmp_path / "M.npy"}
    result = dnmf.factorize(given, 3, init=start(V), max_passes=4, tol=0, **how)
    if isinstance(result.W, np.ndarray):
        expected = dnmf.factorize(np.where(M, V, np.nan), 3, init=start(V), missing="nan", max_passes=4, tol=0)
    else:
        stored = sp.csr_array(np.where(M, V, 0))
        expected = dnmf.factorize(stored, 3, init=start(V), missing="zeros", max_passes=4, tol=0)
    for one, other in zip(factors(result), factors(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("how", ["nan", "zeros", "weights"])
@pytest.mark.parametrize(("loss", "solver"), WAYS)
def test_no_number_of_threads_and_no_interruption_changes_a_bit(loss, solver, how, tmp_path):
    V, M = matrix(dtype="float32"), mask((30, 200))
    chunked = da.from_array(np.where(M, V, np.nan if how == "nan" else 0), chunks=(30, 17))
    given = chunked.map_blocks(sp.csc_array) if how == "zeros" else chunked
    options = {"loss": loss, "solver": solver, "max_passes": 6, "tol": 0}
    options |= {"weights": 1.0 * M} if how == "weights" else {"missing": how}
    if how == "weights":
        given = da.from_array(V, chunks=(30, 17))
    expected = dnmf.factorize(given, 3, threads=1, **options)
    assert_same_bits(dnmf.factorize(given, 3, threads=4, **options), expected)
    with pytest.raises(Interrupted):
        dnmf.factorize(given, 3, store=tmp_path / "a", **options, **interrupt_at(3))
    again = {"weights": 1.0 * M} if how == "weights" else {}
    assert_same_bits(dnmf.resume(tmp_path / "a", given, **again), expected)


def test_a_store_knows_its_weights(tmp_path):
    V, M = matrix(), 1.0 * mask((30, 200))
    dnmf.factorize(V, 3, weights=M, max_passes=3, tol=0, store=tmp_path / "a")
    with pytest.raises(StoreError, match="was given its weights in memory; give weights again"):
        dnmf.resume(tmp_path / "a", V)
    with pytest.raises(StoreError, match="a digest of its first block"):
        dnmf.resume(tmp_path / "a", V, weights=M[:, ::-1])
    for name, array in (("V", V), ("M", M)):
        stored = zarr.create_array(tmp_path / name, shape=V.shape, chunks=(30, 40), dtype="f8", compressors=None)
        stored[...] = array
    dnmf.factorize(tmp_path / "V", 3, weights=tmp_path / "M", max_passes=3, tol=0, store=tmp_path / "b")
    assert dnmf.resume(tmp_path / "b", max_passes=5).passes == 5


@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("how", ["all", "nan"])
@pytest.mark.parametrize(("loss", "solver"), WAYS)
def test_columns_of_w_that_are_fixed_stay_and_the_rest_is_learned(loss, solver, how, tall):
    V = matrix().T if tall else matrix()
    known = np.random.default_rng(3).random((V.shape[0], 2)) + 0.05
    given = np.where(mask(V.shape), V, np.nan) if how == "nan" else V
    options = {"loss": loss, "solver": solver, "missing": "nan" if how == "nan" else "none", "tol": 0}
    result = dnmf.factorize(given, 4, fixed_W=known, max_passes=30, **options)
    W = np.asarray(result.W)
    np.testing.assert_array_equal(W[:, :2], known)
    assert (W[:, 2:].sum(axis=0) > 0).all()
    assert (np.diff(losses(result)) <= 1e-11 * losses(result)[0]).all()
    assert result.loss < losses(result)[0]
    alone = dnmf.factorize(given, 2, fixed_W=known, max_passes=30, **options)
    np.testing.assert_array_equal(factors(alone)[0], known)
    assert result.loss < alone.loss
    turned = dnmf.factorize(given.T, 4, fixed_H=known.T, max_passes=30, **options)
    np.testing.assert_array_equal(turned.H[:2], known.T)
    np.testing.assert_array_equal(factors(turned)[0], factors(result)[1].T)


def test_both_factors_may_be_fixed_in_part():
    V, rng = matrix(), np.random.default_rng(3)
    columns, rows = rng.random((30, 2)), rng.random((1, V.shape[1]))
    result = dnmf.factorize(V, 4, fixed_W=columns, fixed_H=rows, max_passes=200, tol=1e-10, init="random")
    W, H = factors(result)
    np.testing.assert_array_equal(W[:, :2], columns)
    np.testing.assert_array_equal(H[:1], rows)
    left = V - W[:, :1] @ H[:1]
    solved = np.column_stack([nnls(W[:, 1:], column)[0] for column in left.T])
    np.testing.assert_allclose(H[1:], solved, atol=1e-3 * H.max())


def test_fixed_columns_are_resumed_and_may_be_all_there_are(tmp_path):
    V = matrix()
    known = np.random.default_rng(3).random((30, 3))
    expected = dnmf.factorize(V, 5, fixed_W=known, max_passes=6, tol=0)
    with pytest.raises(Interrupted):
        dnmf.factorize(V, 5, fixed_W=known, max_passes=6, tol=0, store=tmp_path / "a", **interrupt_at(3))
    assert_same_bits(dnmf.resume(tmp_path / "a", V), expected)
    whole = dnmf.factorize(V, 3, fixed_W=known, max_passes=2000, tol=1e-9)
    np.testing.assert_allclose(np.asarray(whole.H), np.asarray(dnmf.transform(whole, V)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("loss", "solver"), WAYS)
def test_rows_and_columns_without_an_entry_get_zeros_and_are_counted(loss, solver):
    V = matrix()
    V[4], V[:, [3, 9, 11]] = np.nan, np.nan
    with pytest.warns(DataWarning, match=r"1 rows and 3 columns of V have no observed entry; their factors are 0"):
        result = dnmf.factorize(V, 3, loss=loss, solver=solver, missing="nan", max_passes=5, tol=0)
    W, H = factors(result)
    assert not W[4].any()
    assert not H[:, [3, 9, 11]].any()
    assert np.isfinite(W).all()
    with pytest.warns(DataWarning, match="3 rows and 1 columns"):
        dnmf.factorize(V.T, 3, loss=loss, solver=solver, missing="nan", max_passes=2, tol=0)


def test_scikit_learns_divergence_is_ours_where_there_is_no_small_entry():
    from sklearn.decomposition import non_negative_factorization

    V = matrix(12, 40) + 0.1
    W, H = start(V)
    for beta in (0, 0.5, 1.5, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            found = non_negative_factorization(
                V.T,
                H.T.copy(),
                W.T.copy(),
                n_components=3,
                init="custom",
                solver="mu",
                beta_loss=beta,
                max_iter=3,
                tol=0,
            )
        options = {"loss": beta, "solver": "mu", "init": (W, H), "sweeps": 1, "tol": 0}
        np.testing.assert_allclose(dnmf.factorize(V, 3, max_passes=3, **options).H, found[0].T, rtol=1e-6)
        # The W of the third step is the one that the fourth pass evaluates.
        np.testing.assert_allclose(dnmf.factorize(V, 3, max_passes=4, **options).W, found[1].T, rtol=1e-6)


def test_a_held_out_transform_with_l1_keeps_its_penalty_once():
    """The penalty is part of every step; scikit-learn adds it again each time for Kullback–Leibler."""
    V = matrix(12, 40)
    result = dnmf.factorize(V, 3, loss=1, l1_H=0.5, max_passes=20, tol=0)
    H = np.asarray(dnmf.transform(result, V))
    again = H
    for _ in range(2000):
        again = beta_update(V, result.W, again, 1, 0.5)
    best = objective(V, result.W, again, l1_H=0.5, loss=1)
    assert objective(V, result.W, H, l1_H=0.5, loss=1) == pytest.approx(best, rel=1e-5)


BAD = [
    (
        {"loss": "poisson"},
        SettingsError,
        r"loss='poisson' is not known; allowed are .*'itakura-saito' and a number β\. Did you mean 'kullback-leibler'",
    ),
    ({"loss": 11}, SettingsError, "loss=11 is not allowed; give a name, or β as a number between"),
    ({"loss": True}, SettingsError, "loss=True is not allowed"),
    (
        {"loss": 0.5, "solver": "cd"},
        SettingsError,
        "solver='cd' needs loss='frobenius' or 'kullback-leibler', and got",
    ),
    ({"loss": 0}, DataError, r"V\[3, 0\] is 0, where this loss is infinite; add a small constant"),
    ({"missing": "zeros"}, SettingsError, "does not store as missing, and this V is dense"),
    ({"missing": "naan"}, SettingsError, "missing='naan' is not known.*Did you mean 'nan'"),
    ({"missing": "nan", "init": "nndsvd"}, SettingsError, "init='nndsvd' needs every entry of V"),
    (
        {"weights": np.ones((30, 3))},
        DataError,
        r"weights has shape \(30, 3\), and V has \(30, 200\); give a weight for",
    ),
    (
        {"weights": -np.ones((30, 200))},
        DataError,
        r"weights\[0, 0\] is -1, which is negative; weights must hold finite",
    ),
    ({"weights": np.full((30, 200), "a")}, DataError, "weights has dtype <U1; give real numbers"),
    (
        {"weights": da.ones((30, 200), chunks=(30, 50))},
        DataError,
        "weights is cut into 4 blocks .* rechunk the weights",
    ),
    (
        {"fixed_W": np.ones((29, 1))},
        DataError,
        r"fixed_W has shape \(29, 1\); .* needs \(30, number of fixed components",
    ),
    ({"fixed_W": np.ones((30, 4))}, SettingsError, "fixed_W has 4 columns, and rank=3; give rank=4 or more"),
    ({"fixed_W": -np.ones((30, 1))}, DataError, r"fixed_W\[0, 0\] is -1; give finite numbers of at least 0"),
    ({"fixed_H": np.ones((1, 9))}, DataError, r"fixed_H has shape \(1, 9\); .* needs \(number of fixed components, "),
    ({"n_fixed_H": 2}, SettingsError, "the option 'n_fixed_H' is not known; give the known rows of H as fixed_H="),
    ({"fixed": 2}, SettingsError, "the option 'fixed' is not known; give the known columns of W as fixed_W="),
    ({"n_fixed_W": 2}, SettingsError, "the option 'n_fixed_W' is not known; give the known columns of W as fixed_W="),
]


@pytest.mark.parametrize(("options", "error", "sentence"), BAD, ids=[", ".join(case[0]) for case in BAD])
def test_what_cannot_be_is_told_before_the_first_pass(options, error, sentence, tmp_path):
    V = matrix(positive=False)
    with pytest.raises(error, match=sentence):
        dnmf.factorize(V, 3, max_passes=1, **options)


def test_nan_is_an_error_unless_it_is_told_to_be_missing():
    V = matrix()
    V[3, 7] = np.nan
    with pytest.raises(DataError, match=r"V\[3, 7\] is nan, which is not finite.* taken as missing with missing='nan'"):
        dnmf.factorize(V, 3)
    V[5, 9] = -1
    with pytest.raises(DataError, match=r"V\[5, 9\] is -1, which is negative"):
        dnmf.factorize(V, 3, missing="nan")
    with pytest.raises(SettingsError, match="missing='nan' needs a dense V, and this one is sparse"):
        dnmf.factorize(sp.csr_array(np.eye(4)), 2, missing="nan")


@pytest.mark.parametrize("options", [{}, PENALTIES, {"missing": "nan"}], ids=["plain", "penalised", "missing"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "solver"), [*((beta, "mu") for beta in BETAS), (1, "newton"), (1, "cd"), (2, "hals"), (2, "auto")]
)
def test_the_loss_is_that_of_the_factors_returned(loss, solver, dtype, options):
    """After any number of passes, from any start, for the best of several runs, and for what a store holds."""
    V = np.random.default_rng(0).poisson(20 * matrix()).astype(dtype) + (loss <= 0)
    V[3, 7] = np.nan if "missing" in options else V[3, 7]
    M = np.isfinite(V).astype(float)
    for more in ({"init": "random"}, {"init": "auto"}, {"init": "random", "n_runs": 2}, {"extrapolate": True}):
        for passes in (1, 2, 3, 8):
            result = dnmf.factorize(V, 3, loss=loss, solver=solver, max_passes=passes, tol=0, **options, **more)
            W, H = (factor.astype(float) for factor in factors(result))
            penalties = {} if "missing" in options else options
            expected = objective(V.astype(float), W, H, loss=loss, M=M, **penalties)
            assert result.loss == pytest.approx(expected, rel=1e-9 if dtype == "float64" else 2e-5)
