"""Every solver of rows and columns with one factor held, against expectation maximisation, NNLS and closed forms."""

import numpy as np
import pytest
import scipy.sparse as sp
from naive import divergence
from scipy.optimize import nnls

import dnmf

SOLVERS = {
    2: ["sketch", "hals", "als", "mu"],
    1: ["newton", "cd", "mu"],
    **{beta: ["mu"] for beta in (-1, 0, 0.5, 1.3, 1.5, 2.5, 3)},
}
WAYS = [(beta, solver) for beta, solvers in SOLVERS.items() for solver in solvers]
FORMS = {"dense": np.asarray, "CSC": sp.csc_array, "CSR": sp.csr_array}


def counts(beta, dtype="float64", rows=40, columns=60, rank=4, seed=0):
    """Counts of a planted model, most of them 0, and a W with entries of every size."""
    rng = np.random.default_rng(seed)
    W = 10.0 ** rng.uniform(-9, 1, (rows, rank)) * (rng.random((rows, rank)) < 0.7)
    W[:, 0] += 1e-3
    V = rng.poisson(3 * W @ rng.gamma(0.3, 1, (rank, columns)))
    V[:, 5] = 0
    return (V + (0.5 if beta <= 0 else 0)).astype(dtype), W.astype(dtype)


def fitted(V, W, loss, solver="auto", **options):
    """Return a result with a given W, from a run that fixes it."""
    return dnmf.factorize(V, W.shape[1], loss=loss, solver=solver, fixed_W=W, init="random", max_passes=1, **options)


def objective(V, Y, beta, M=1.0):
    with np.errstate(all="ignore"):
        return np.where(M > 0, M * divergence(V, Y, beta), 0).sum(axis=0)


def expectation_maximisation(V, W, beta, M=1.0, rounds=3000):
    """H (r, n) after many multiplicative updates from a flat start (Févotte & Idier 2011, eq. 4.1; EM for β = 1)."""
    power = 1 / (2 - beta) if beta < 1 else 1 if beta <= 2 else 1 / (beta - 1)
    H = np.ones((W.shape[1], V.shape[1]))
    with np.errstate(all="ignore"):
        for round in range(rounds):
            Y = W @ H
            if round == 0:
                scale = (M * V * Y ** (beta - 1)).sum(axis=0) / (M * Y**beta).sum(axis=0)
                H *= np.nan_to_num(scale)
                Y *= np.nan_to_num(scale)
            top = np.where(Y > 0, V * Y ** (beta - 2.0), 0)
            low = np.where(Y > 0, Y ** (beta - 1.0), 0)
            H *= np.nan_to_num(W.T @ (M * top) / (W.T @ (M * low))) ** power
    return H


def assert_best(V, W, H, beta, M=1.0):
    """No column has a higher loss than with the oracle, to a share of the loss of a flat model."""
    V, W, H = (np.asarray(array, float) for array in (V, W, H))
    expected = objective(V, W @ expectation_maximisation(V, W, beta, M), beta, M)
    flat = objective(V, np.full_like(V, V.mean()), beta, M).mean()
    assert (H >= 0).all()
    assert (objective(V, W @ H, beta, M) <= expected + 1e-9 * (expected + flat)).all()


def columns_of(given, W):
    """Return H (r, n) as a NumPy array."""
    H = np.asarray(given)
    return H if len(H) == W.shape[1] else H.T


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("beta", "solver"), WAYS)
def test_new_columns_have_the_loss_of_expectation_maximisation(beta, solver, form):
    V, W = counts(beta)
    result = dnmf.factorize(sp.csc_array(V), 4, loss=beta, solver=solver, fixed_W=W, init="random", max_passes=1)
    assert_best(V, W, columns_of(dnmf.transform(result, sp.csc_array(V) if form is sp.csr_array else form(V)), W), beta)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("beta", SOLVERS)
def test_rows_with_h_held_have_the_loss_of_expectation_maximisation(beta, form):
    V, W = counts(beta)
    solver = {"beta_loss": beta, "solver": "cd" if beta == 2 else "mu"}
    T, _, _ = dnmf.non_negative_factorization(form(V.T), H=W.T, update_H=False, n_components=4, **solver)
    assert_best(V, W, T.T, beta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("beta", [1, 1.5, 2])
def test_single_precision_solves_as_well_as_double(beta, dtype):
    V, W = counts(beta, dtype)
    T, _, _ = dnmf.non_negative_factorization(
        V.T, H=W.T, update_H=False, n_components=4, beta_loss=beta, solver="cd" if beta == 2 else "mu"
    )
    expected = expectation_maximisation(V.astype(float), W.astype(float), beta)
    V, W, T = (np.asarray(array, float) for array in (V, W, T))
    assert objective(V, W @ T.T, beta).sum() <= objective(V, W @ expected, beta).sum() * (1 + 1e-5)


@pytest.mark.parametrize("how", ["nan", "zeros", "weights"])
@pytest.mark.parametrize(("beta", "solver"), [way for way in WAYS if way[1] != "sketch"])
def test_entries_that_are_missing_or_weighted_count_as_much_as_they_should(beta, solver, how):
    V, W = counts(beta)
    seen = np.random.default_rng(1).random(V.shape) < 0.7
    M = seen * (np.random.default_rng(2).random(V.shape) + 0.1 if how == "weights" else 1.0)
    stored = sp.csc_array((np.where(V == 0, 1, V)[seen.nonzero()], seen.nonzero()), shape=V.shape)
    if how == "zeros":
        stored.data[:] = V[stored.tocoo().coords[0], stored.tocoo().coords[1]]
    given = {"nan": np.where(seen, V, np.nan), "zeros": stored, "weights": V}[how]
    options = {"weights": M} if how == "weights" else {"missing": how}
    result = dnmf.factorize(given, 4, loss=beta, solver=solver, fixed_W=W, init="random", max_passes=1, **options)
    weights = {"weights": M} if how == "weights" else {}
    assert_best(V, W, columns_of(dnmf.transform(result, given, **weights), W), beta, M)


@pytest.mark.parametrize("solver", SOLVERS[2])
def test_the_least_squares_are_scipys(solver):
    rng = np.random.default_rng(0)
    V, W = rng.random((40, 60)), rng.random((40, 5)) * (rng.random((40, 5)) < 0.6)
    result = dnmf.factorize(V, 5, solver=solver, fixed_W=W, init="random", max_passes=1)
    expected = np.column_stack([nnls(W, v)[0] for v in V.T])
    np.testing.assert_allclose(columns_of(dnmf.transform(result, V), W), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("beta", [-1, 0, 0.5, 1, 1.5, 2, 3])
def test_one_component_is_fitted_by_the_closed_form(beta):
    """The best scale of w is (Σ v w^(β−1)) / (Σ w^β)."""
    rng = np.random.default_rng(0)
    w, V = rng.random((30, 1)) + 0.1, rng.poisson(3, (30, 20)) + (1.0 if beta <= 0 else 0.0)
    T, _, _ = dnmf.non_negative_factorization(
        V.T.astype(float), H=w.T, update_H=False, n_components=1, beta_loss=beta, solver="mu"
    )
    expected = (V * w ** (beta - 1.0)).sum(axis=0) / (w ** float(beta)).sum()
    np.testing.assert_allclose(T[:, 0], expected, rtol=1e-9)


def test_a_component_that_alone_feeds_an_entry_does_not_stand_still():
    X, H = np.array([[10.0, 1.0]]), np.array([[1.0, 1e-9], [1.0, 1.0]])
    W, _, _ = dnmf.non_negative_factorization(X, H=H, update_H=False, n_components=2, beta_loss="kullback-leibler")
    np.testing.assert_allclose(W, [[9, 1]], rtol=1e-7)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_the_error_of_an_estimator_is_that_of_its_own_factors(form):
    V, _ = counts(1)
    model = dnmf.NMF(3, beta_loss="kullback-leibler", solver="mu", init="random", random_state=0, tol=0.1)
    W = model.fit_transform(form(V))
    H = model.components_
    expected = np.sqrt(2 * divergence(V, W @ H, 1).sum())
    assert model.reconstruction_err_ == pytest.approx(expected, rel=1e-6)
    assert_best(V.T, H.T, W.T, 1)


@pytest.mark.parametrize("beta", [-1, 0, 0.5, 1, 1.5, 3])
def test_entries_of_every_size_end_no_column(beta):
    """Components whose entries are as small as floats are, as multiplicative updates leave them."""
    rng = np.random.default_rng(0)
    W = 10.0 ** rng.uniform(-300, 1, (30, 4))
    W[:, 3] = rng.random(30)
    V = rng.poisson(3 * W @ rng.gamma(0.5, 1, (4, 40))) + (0.5 if beta <= 0 else 0.0)
    T, _, _ = dnmf.non_negative_factorization(V.T, H=W.T, update_H=False, n_components=4, beta_loss=beta, solver="mu")
    alone = expectation_maximisation(V, W[:, 3:], beta)
    assert np.isfinite(T).all()
    assert (objective(V, W @ T.T, beta) <= objective(V, W[:, 3:] @ alone, beta) * (1 + 1e-9)).all()
