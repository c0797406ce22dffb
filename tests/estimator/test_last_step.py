"""The components of a fit under a divergence that `max_iter` ends: after its last step, if that is better."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from naive import beta_pass, kl_pass, objective
from runs import change_header, matrix
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

import dnmf
from dnmf import NMF
from dnmf.errors import StoreError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.poisson(5 * RNG.random((60, 4)) @ RNG.random((4, 20))) + 0.5
W0, H0 = RNG.random((60, 3)), RNG.random((3, 20))
FORMS = {
    "dense": lambda X: X,
    "sparse": scipy.sparse.csr_array,
    "by samples": lambda X: da.from_array(X, chunks=(25, 20)),
    "by features": lambda X: da.from_array(X, chunks=(60, 7)),
}
LOSSES = {1: "kullback-leibler", 0.5: 0.5}


def best_rows(X, H, beta, l1=0.0):
    """The rows of W that minimise the penalised divergence, by SciPy's L-BFGS-B."""

    def value(w, x):
        y = w @ H
        if beta == 1:
            return (x * np.log(x / y) - x + y).sum() + l1 * w.sum(), H @ (1 - x / y) + l1
        each = (x**beta + (beta - 1) * y**beta - beta * x * y ** (beta - 1)) / (beta * (beta - 1))
        return each.sum() + l1 * w.sum(), H @ (y ** (beta - 1) - x * y ** (beta - 2)) + l1

    options = {"maxiter": 10_000, "maxfun": 10_000, "ftol": 1e-15, "gtol": 1e-10}
    bounds = [(1e-12, None)] * len(H)
    starts = np.full(len(H), X.mean() / H.sum(axis=0).mean())
    return np.array([minimize(value, starts, (x,), "L-BFGS-B", jac=True, bounds=bounds, options=options).x for x in X])


@pytest.mark.parametrize("form", ["dense", "sparse", "by samples"])
@pytest.mark.parametrize("alpha", [0.0, 0.01])
@pytest.mark.parametrize("beta", [1, 0.5])
def test_one_iteration_takes_the_step_of_the_textbook(beta, alpha, form):
    model = NMF(3, beta_loss=beta, solver="mu", init="custom", max_iter=1, tol=0, alpha_W=alpha, l1_ratio=1)
    W = np.asarray(model.fit_transform(FORMS[form](X), W=W0, H=H0))
    l1 = {"l1_W": alpha * 60, "l1_H": alpha * 20}  # of the transpose, whose W is the components
    passes = kl_pass if beta == 1 else lambda *args, **given: beta_pass(*args, beta, **given)
    expected = passes(X.T, H0.T, W0.T, **l1)[0].T
    np.testing.assert_allclose(model.components_, expected, rtol=1e-8)
    value = objective(X, W, expected, loss=LOSSES[beta], l1_W=alpha * 20, l1_H=alpha * 60)
    best = objective(
        X, best_rows(X, expected, beta, alpha * 20), expected, loss=LOSSES[beta], l1_W=alpha * 20, l1_H=alpha * 60
    )
    assert value == pytest.approx(best, rel=1e-6)
    assert model.reconstruction_err_**2 / 2 == pytest.approx(objective(X, W, expected, loss=LOSSES[beta]), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("solver", ["auto", "cd", "mu"])
def test_fits_of_one_iteration_in_a_loop_lower_the_loss(solver, form):
    W, H, losses = W0, H0, [np.inf]
    for _ in range(6):
        model = NMF(3, beta_loss="kullback-leibler", solver=solver, init="custom", max_iter=1, tol=0)
        W = np.asarray(model.fit_transform(FORMS[form](X), W=W, H=H))
        H = model.components_
        losses.append(objective(X, W, H, loss="kullback-leibler"))
    assert (np.diff(losses) < -1e-4 * losses[-1]).all()


@pytest.mark.parametrize(("beta", "passes", "taken"), [(0.5, 1, True), (0.5, 20, True), (0, 40, True), (0, 3, False)])
def test_the_step_is_taken_if_the_objective_falls(beta, passes, taken, tmp_path):
    V, store = matrix(60, 24, dtype=np.float64) + 0.1, tmp_path / "run.zarr"
    options = {"beta_loss": beta, "solver": "auto", "init": "random", "random_state": 0, "tol": 0}
    model, last = NMF(4, max_iter=passes, store=store, **options).fit(V), dnmf.load(store)
    loss = {"loss": "itakura-saito" if beta == 0 else beta}
    before = objective(V, np.asarray(dnmf.transform(last, V)), last.H, **loss)
    after = objective(V, model.transform(V), model.components_, **loss)
    assert np.array_equal(model.components_, last.H) != taken
    assert after <= max(before, last.history[-1].loss) if taken else after == before


@pytest.mark.parametrize("form", ["dense", "sparse", "by samples"])
def test_a_frobenius_fit_returns_the_components_of_its_run(form, tmp_path):
    model = NMF(3, solver="auto", init="random", random_state=0, max_iter=6, tol=0, store=tmp_path / "run.zarr")
    model.fit(FORMS[form](X))
    np.testing.assert_array_equal(model.components_, dnmf.load(tmp_path / "run.zarr").H)


def test_a_converged_fit_returns_the_components_of_its_run():
    model = NMF(3, beta_loss=1, solver="auto", random_state=0, tol=1e-2).fit(X)
    assert model.result_.converged
    np.testing.assert_array_equal(model.components_, model.result_.H)


@pytest.mark.parametrize("constraints", [None, {"rows_H": "simplex"}])
def test_a_store_has_the_step_and_resumes_from_before_it(tmp_path, constraints):
    options = {"beta_loss": 1, "solver": "auto", "init": "random", "random_state": 0, "tol": 0}
    options |= {"constraints": constraints}
    store = tmp_path / "run.zarr"
    first, same = (NMF(3, max_iter=3, **options, **more).fit(X) for more in ({"store": store}, {}))
    assert not np.array_equal(first.components_, dnmf.load(store).H)
    np.testing.assert_array_equal(first.components_, same.components_)
    loaded = NMF.from_store(store)
    np.testing.assert_array_equal(loaded.components_, first.components_)
    np.testing.assert_array_equal(loaded.transform(X), same.transform(X))
    for model in (first, loaded):
        np.testing.assert_array_equal(dnmf.transform(model, X), same.transform(X))
    if constraints:
        np.testing.assert_allclose(first.components_.sum(axis=1), 1)
    again, whole = (NMF(3, max_iter=6, **options, **more).fit(X) for more in ({"store": store}, {}))
    np.testing.assert_array_equal(again.components_, whole.components_)
    dnmf.resume(store, X, max_passes=8)
    np.testing.assert_array_equal(NMF.from_store(store).components_, dnmf.load(store).H)


@pytest.mark.parametrize("proposed", ["1", 2.0, 1])
def test_a_step_that_a_store_does_not_have_is_not_taken(proposed, tmp_path):
    store = tmp_path / "run.zarr"
    result = dnmf.factorize(X, 3, solver="hals", init="random", max_passes=1, store=store)
    parameters = NMF(3).get_params() | {"store": None}
    change_header(store, estimator={"parameters": parameters, "proposed": proposed})
    if proposed == 1:
        np.testing.assert_array_equal(NMF.from_store(store).components_, result.H)
    else:
        with pytest.raises(StoreError, match=r"description of the estimator .* is not valid"):
            NMF.from_store(store)


def test_the_warning_of_the_end_remains():
    with pytest.warns(ConvergenceWarning, match="Maximum number of iterations 1 reached"):
        NMF(3, beta_loss=1, solver="mu", max_iter=1, random_state=0).fit(X)
