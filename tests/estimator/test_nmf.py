"""NMF against scikit-learn's, and where it is to be better."""

import inspect
import pickle
import warnings

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import nnls
from sklearn.decomposition import NMF as Theirs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import dnmf
import dnmf.engine.session
from dnmf import NMF, MiniBatchNMF, non_negative_factorization
from dnmf.errors import DataWarning, SettingsError

SOLVERS = [
    {"solver": "cd"},
    {"solver": "mu"},
    {"solver": "als"},
    {"solver": "auto"},
    {"solver": "sketch"},
    {"solver": "minibatch"},
    {"solver": "cd", "beta_loss": "kullback-leibler"},
    {"solver": "newton", "beta_loss": "kullback-leibler"},
    {"solver": "mu", "beta_loss": "kullback-leibler"},
    {"solver": "mu", "beta_loss": 0.5},
]
quietly = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def data(samples=40, features=15, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((samples, 4)) @ rng.random((4, features)) + 0.1 * rng.random((samples, features))).astype(dtype)


def divergence(X, Y, beta):
    if beta == 2:
        return 0.5 * ((X - Y) ** 2).sum()
    if beta == 1:
        return (np.where(X > 0, X * np.log(np.where(X > 0, X, 1) / Y), 0) - X + Y).sum()
    return ((X**beta + (beta - 1) * Y**beta - beta * X * Y ** (beta - 1)) / (beta * (beta - 1))).sum()


def objective(model, X, W, beta=2):
    """The objective in the documentation of scikit-learn."""
    (samples, features), H = X.shape, model.components_
    alpha_H = model.alpha_W if model.alpha_H == "same" else model.alpha_H
    total = divergence(X, W @ H, beta)
    for alpha, count, factor in ((model.alpha_W, features, W), (alpha_H, samples, H)):
        total += alpha * count * (model.l1_ratio * factor.sum() + 0.5 * (1 - model.l1_ratio) * (factor**2).sum())
    return total


@quietly
@pytest.mark.parametrize("options", SOLVERS, ids=str)
@pytest.mark.parametrize("shape", [(40, 15), (15, 40)])
def test_fit_transform_is_fit_and_transform_to_the_bit(options, shape):
    X = data(*shape)
    model = NMF(3, random_state=0, max_iter=10, alpha_W=1e-3, l1_ratio=0.5, **options)
    W = model.fit_transform(X)
    assert np.array_equal(W, model.transform(X))
    again = NMF(**model.get_params()).fit(X)
    assert np.array_equal(W, again.transform(X))
    beta = {"kullback-leibler": 1}.get(model.beta_loss, model.beta_loss)
    error = np.sqrt(2 * divergence(X, W @ model.components_, 2 if beta == "frobenius" else beta))
    assert model.reconstruction_err_ == again.reconstruction_err_ == pytest.approx(error, rel=1e-9)


@quietly
@pytest.mark.parametrize("alphas", [{}, {"alpha_W": 0.01}, {"alpha_W": 0.01, "alpha_H": 0.002}])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_the_objective_is_as_low_as_scikit_learns(alphas, l1_ratio):
    X = data()
    best = []
    for kind, options in ((NMF, {"solver": "auto"}), (Theirs, {})):  # the better one of two local minima
        models = [
            kind(3, random_state=seed, init=init, l1_ratio=l1_ratio, tol=1e-6, max_iter=1000, **alphas, **options)
            for seed, init in ((0, None), (2, "random"))
        ]
        best.append(min(objective(model, X, model.fit_transform(X)) for model in models))
    assert best[0] <= best[1] * 1.005


@quietly
@pytest.mark.parametrize("beta", [1, 0.5])
def test_the_objective_of_a_divergence_is_as_low(beta):
    X = data()
    given = {"n_components": 3, "solver": "mu", "beta_loss": beta, "random_state": 0, "alpha_W": 0.005, "l1_ratio": 1}
    ours, theirs = (kind(max_iter=200, tol=0, **given) for kind in (NMF, Theirs))
    ours, theirs = objective(ours, X, ours.fit_transform(X), beta), objective(theirs, X, theirs.fit_transform(X), beta)
    assert ours <= theirs * (1 + 1e-4)


def test_the_parameters_and_defaults_are_scikit_learns():
    ours, theirs = NMF().get_params(), Theirs().get_params()
    assert theirs.items() <= ours.items()
    added = {"store", "checkpoint_every", "memory_limit", "max_seconds", "missing"}
    added |= {"n_runs", "threads", "fixed_components", "client", "graph_W", "graph_H", "graph_weight", "constraints"}
    added |= {"layer_weights"}
    assert ours.keys() - theirs.keys() == added


@quietly  # for β = 2 entries stay locked near 0, which is no convergence
@pytest.mark.parametrize("beta", [1, 2])
def test_transform_knows_l1_and_is_at_its_minimum(beta):
    X = data()
    model = NMF(3, beta_loss=beta, solver="mu", alpha_W=0.02, l1_ratio=1, random_state=0, tol=1e-3, max_iter=500).fit(X)
    W, H = model.transform(X), model.components_
    Y = W @ H
    slope = (Y ** (beta - 2) * (Y - X)) @ H.T + 0.02 * X.shape[1]
    scale = np.abs(slope).max()
    assert (slope > -1e-6 * scale).all()
    assert np.abs(slope * W).max() < 1e-6 * scale
    assert (W == 0).any()


@quietly
@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_transform_of_a_row_does_not_depend_on_the_others(options):
    X = data()
    model = NMF(3, random_state=0, max_iter=5, **options).fit(X)
    W = model.transform(X)
    for rows in (slice(0, 1), slice(7, 20), [3, 30]):
        np.testing.assert_allclose(model.transform(X[rows]), W[rows], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_exact_sparse_data_give_no_nan(form):
    factors = np.random.default_rng(0).random((30, 3)), np.random.default_rng(1).random((3, 12))
    X = form(np.where(factors[0] > 0.5, factors[0], 0) @ np.where(factors[1] > 0.5, factors[1], 0))
    model = NMF(3, random_state=0, tol=1e-9, max_iter=3000)
    W = model.fit_transform(X)
    assert np.isfinite(W).all()
    assert model.reconstruction_err_ < 1e-3 * np.sqrt((X.data**2).sum())


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_sparse_and_dense_data_give_the_same(form):
    X = np.where(np.random.default_rng(0).random((20, 30)) < 0.3, data(20, 30), 0)
    dense, sparse = (NMF(3, random_state=0, init="random").fit(matrix) for matrix in (X, form(X)))
    np.testing.assert_allclose(dense.components_, sparse.components_, rtol=1e-6, atol=1e-9)


@quietly
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{"solver": "cd"}, {"solver": "mu"}, {"solver": "mu", "beta_loss": 1}], ids=str)
def test_custom_factors_are_cast_and_not_changed(options, dtype):
    X, rng = data(), np.random.default_rng(3)
    W, H = rng.random((40, 3)).astype(dtype), rng.random((3, 15)).astype(np.float32)
    before = W.copy(), H.copy()
    model = NMF("auto", init="custom", max_iter=3, **options)
    model.fit_transform(X, W=W, H=H)
    assert model.n_components_ == 3
    assert np.array_equal(W, before[0])
    assert np.array_equal(H, before[1])
    assert model.components_.dtype == np.float64
    assert model.components_.base is None or not np.shares_memory(model.components_, H)


def test_the_stop_rule_does_not_saturate_in_float32():
    X = data()
    counts = [NMF(3, random_state=0, tol=2e-4, max_iter=500).fit(X.astype(dtype)).n_iter_ for dtype in ("f4", "f8")]
    assert abs(counts[0] - counts[1]) <= 2
    assert 10 < counts[0] < 500


def test_iterations_are_those_after_the_start():
    X = data()
    with pytest.warns(ConvergenceWarning, match="Maximum number of iterations 4 reached. Increase it"):
        model = NMF(3, max_iter=4, tol=1e-9).fit(X)
    assert model.n_iter_ == 4
    assert NMF(3, max_iter=4, tol=0).fit(X).n_iter_ == 4  # without a tolerance there is nothing to warn of


def test_a_shuffled_order_is_another_one_and_repeats():
    X = data()
    plain, first, second = (NMF(3, random_state=0, tol=0, max_iter=5, shuffle=on).fit(X) for on in (False, True, True))
    assert np.array_equal(first.components_, second.components_)
    assert not np.array_equal(first.components_, plain.components_)
    assert first.reconstruction_err_ < 1.1 * plain.reconstruction_err_


@quietly
def test_missing_entries_count_for_nothing():
    X = data()
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.8, X, np.nan)
    model = NMF(3, missing="nan", random_state=0)
    W = model.fit_transform(holes)
    assert np.array_equal(W, model.transform(holes))
    assert np.nanmean(np.abs(X - W @ model.components_)) < 0.1
    ratings = NMF(3, missing="zeros", random_state=0).fit(scipy.sparse.csr_array(np.nan_to_num(holes)))
    np.testing.assert_allclose(ratings.reconstruction_err_, model.reconstruction_err_, rtol=0.05)


def test_score_is_the_mean_divergence_of_a_sample():
    X = data()
    model = NMF(3, random_state=0).fit(X)
    assert model.score(X) == pytest.approx(-0.5 * model.reconstruction_err_**2 / len(X), rel=1e-9)


@quietly
def test_score_grows_with_the_components_and_select_rank_finds_their_number():
    rng = np.random.default_rng(0)
    X = rng.random((60, 3)) @ rng.random((3, 40)) * rng.uniform(0.8, 1.2, (60, 40))
    scores = [NMF(k, random_state=0).fit(X[:40]).score(X[40:]) for k in (1, 3, 6, 12)]
    assert scores == sorted(scores)
    assert dnmf.select_rank(X, [1, 2, 3, 4, 6], n_runs=4, seed=0).suggest().rank == 3
    assert "cannot choose" in NMF.score.__doc__


FORMS = [np.asarray, scipy.sparse.csr_array, scipy.sparse.csc_array, lambda X: da.from_array(X, chunks=(16, 7))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("beta_loss", [1, 0.5])
def test_score_leaves_out_features_that_no_component_has_and_warns(form, beta_loss):
    X, H = data(), np.random.default_rng(0).random((3, 15))
    H[:, [2, 7]] = 0
    others = [j for j in range(15) if j not in (2, 7)]
    model, smaller = by_hand(NMF, H, beta_loss), by_hand(NMF, H[:, others], beta_loss)
    with pytest.warns(DataWarning, match="2 of 15 features are 0"):
        score = model.score(form(X))
    assert score == pytest.approx(smaller.score(X[:, others]), rel=1e-9)
    X[:, [2, 7]] = 0
    assert model.score(form(X)) == pytest.approx(score, rel=1e-9)  # and no warning


def test_score_is_infinite_with_a_warning_where_zeros_cannot_be_left_out():
    H = np.random.default_rng(0).random((3, 15))
    H[:, 2] = 0
    with pytest.warns(DataWarning, match="score is -inf"):
        assert by_hand(NMF, H, 0).score(data()) == -np.inf


def by_hand(kind, H, beta_loss, **options):
    """Return an estimator whose components were set and not fitted."""
    model = kind(len(H), beta_loss=beta_loss, **options)
    model.components_ = H
    return model


@pytest.mark.parametrize("kind", [NMF, MiniBatchNMF])
@pytest.mark.parametrize("beta_loss", [2, 1, 0.5, 1.5, 3, 0])
def test_components_set_by_hand_serve_without_a_fit(kind, beta_loss):
    H = 0.1 + np.random.default_rng(0).random((2, 6))
    W = 0.1 + np.random.default_rng(1).random((20, 2))
    model = by_hand(kind, H, beta_loss)
    forms = FORMS if beta_loss > 0 else [FORMS[0], FORMS[3]]
    for form in forms:
        X = form(W @ H)
        np.testing.assert_allclose(np.asarray(model.transform(X)), W, rtol=1e-3)
        assert model.score(X) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(model.inverse_transform(W), W @ H)
    assert list(model.get_feature_names_out()) == [f"{kind.__name__.lower()}{k}" for k in range(2)]
    model.components_ = H[:, :4].tolist()
    np.testing.assert_allclose(model.transform(W @ H[:, :4]), W, rtol=1e-3)
    with pytest.raises(ValueError, match="X has 6 features, but"):
        model.transform(W @ H)


@pytest.mark.parametrize("kind", [NMF, MiniBatchNMF])
def test_penalties_count_for_components_set_by_hand(kind):
    X, H = data(), np.random.default_rng(0).random((3, 15))
    W = by_hand(kind, H, 2, alpha_W=0.01).transform(X)
    stacked = np.vstack([H.T, np.sqrt(0.15) * np.eye(3)])
    expected = [nnls(stacked, np.concatenate([row, np.zeros(3)]))[0] for row in X]
    np.testing.assert_allclose(W, expected, atol=1e-8)


@pytest.mark.parametrize(("H", "message"), [
    (np.ones(5), "Expected 2D array"), (-np.ones((2, 5)), "Negative values"), (np.full((2, 5), np.nan), "NaN"),
])  # fmt: skip
def test_components_set_by_hand_are_checked(H, message):
    for kind in (NMF, MiniBatchNMF):
        with pytest.raises(ValueError, match=message):
            by_hand(kind, H, 2).transform(np.ones((3, 5)))


def test_a_stream_goes_on_from_components_set_by_hand():
    X, H = data(), 0.1 + np.random.default_rng(0).random((3, 15))
    one = by_hand(MiniBatchNMF, H, 1).partial_fit(X).partial_fit(X)
    two = MiniBatchNMF(3, beta_loss=1, init="custom").partial_fit(X, H=H).partial_fit(X)
    np.testing.assert_array_equal(one.components_, two.components_)


LONE = "A penalty of {} alone has no effect"


@quietly
def test_a_penalty_of_one_factor_alone_is_warned_of_once():
    X = data()
    acts = [
        ("H", lambda: dnmf.factorize(X, 3, l1_H=0.1, max_passes=2)),
        ("W", lambda: dnmf.factorize(X, 3, l2_W=0.1, max_passes=2, solver="mu", loss=1)),
        ("H", lambda: dnmf.factorize(X, 3, l1_H=0.1, fixed_W=X[:, :2], max_passes=2)),
        ("H", lambda: dnmf.select_rank(X, [1, 2], l2_H=0.1, n_runs=2)),
        ("H", lambda: NMF(3, alpha_W=0, alpha_H=0.1, l1_ratio=1, max_iter=2).fit(X)),
        ("W", lambda: MiniBatchNMF(3, alpha_W=0.1, alpha_H=0, max_iter=2).fit(X)),
        ("H", lambda: MiniBatchNMF(3, alpha_H=0.1).partial_fit(X).partial_fit(X)),
    ]
    for factor, act in acts:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            act()
        messages = [str(warning.message) for warning in caught if warning.category is DataWarning]
        assert len(messages) == 1, messages
        assert LONE.format(factor) in messages[0]
        assert all(name not in messages[0] for name in ("alpha_H or", "alpha_W or"))


@quietly
def test_penalties_that_scale_cannot_escape_are_not_warned_of():
    X = data()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        dnmf.factorize(X, 3, l1_H=0.1, l2_W=0.1, max_passes=2)
        result = dnmf.factorize(X, 3, l1_H=0.1, fixed_W=X[:, :3], max_passes=2)
        dnmf.transform(result, X)
        model = NMF(3, alpha_W=0.1, max_iter=2).fit(X)
        model.transform(X)
        MiniBatchNMF(3, alpha_W=0.1, max_iter=2).fit(X).transform(X)
        non_negative_factorization(X, H=model.components_, update_H=False, alpha_W=0.1, alpha_H=0)


@quietly
@pytest.mark.parametrize("init", ["random", "nndsvda"])
def test_the_verdict_names_the_iterations_that_were_given(init, capsys):
    NMF(3, init=init, random_state=0, max_iter=7, tol=1e-12, verbose=1).fit(data())
    last = capsys.readouterr().out.splitlines()[-1]
    assert "The 7 iterations allowed were spent" in last
    assert "raise max_iter or tol" in last


@quietly
@pytest.mark.parametrize("update_H", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_function_is_the_estimator(update_H, dtype):
    X, H = data(), np.random.default_rng(0).random((3, 15)).astype(dtype)
    if update_H:
        W, found, count = non_negative_factorization(X, n_components=3, random_state=1, max_iter=20)
        model = NMF(3, random_state=1, max_iter=20)
        assert np.array_equal(W, model.fit_transform(X))
        assert np.array_equal(found, model.components_)
        assert count == model.n_iter_
    else:
        W, found, _ = non_negative_factorization(X, H=H, update_H=False, alpha_W=0.01)
        theirs, _ = np.linalg.lstsq(np.vstack([H.T, np.sqrt(0.15) * np.eye(3)]), np.vstack([X.T, np.zeros((3, 40))]))[
            :2
        ]
        assert found is H
        free = (theirs > 0).all(axis=0)
        np.testing.assert_allclose(W[free], theirs.T[free], rtol=1e-4)


def test_the_function_returns_an_H_that_is_a_list_as_an_array():
    H = np.ones((2, 15))
    W, found, _ = non_negative_factorization(data(), H=H.tolist(), update_H=False)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, H)
    assert (W @ found).shape == (40, 15)


@pytest.mark.parametrize("W", [np.ones((4, 2)), da.ones((4, 2)), scipy.sparse.eye_array(4), [[1, 2]], 3.0, "W.npy"])
def test_data_that_cannot_be_W_are_refused(W):
    model = NMF(3, random_state=0).fit(data())
    with pytest.raises(ValueError, match=r"X has shape \(.*\), and W needs 3 columns; give a W"):
        model.inverse_transform(W)


@pytest.mark.parametrize(
    ("options", "given", "sentence"),
    [
        (
            {"solver": "als", "beta_loss": 1.0},
            {},
            "solver 'als' does not handle beta_loss = 1.0; for this loss, give solver='auto', 'newton'",
        ),
        ({"init": "nndsvd", "n_components": 20}, {}, "can only be used when n_components <= min"),
        ({"init": "custom"}, {}, "NMF \\(input H\\) is None, and init='custom' starts from it; give H"),
        ({"init": "custom"}, {"H": 3.0}, "Expected 2D array, got scalar array instead"),
        ({"init": "custom"}, {"H": np.full((2, 15), np.nan)}, "Input H contains NaN"),
        ({"init": "custom", "n_components": 3}, {"H": np.ones((2, 15))}, "wrong first dimension passed to NMF"),
        ({"init": "custom", "n_components": 2}, {"H": -np.ones((2, 15))}, "Negative values in data passed to NMF"),
        ({"init": "custom", "n_components": 2}, {"H": np.zeros((2, 15))}, "NMF \\(input H\\) is full of zeros"),
        ({"max_iter": 0}, {}, "The 'max_iter' parameter of NMF must be an int in the range"),
        ({"missing": "zeros"}, {}, "missing='zeros' takes the entries that a sparse X does not store"),
        ({"beta_loss": 0, "solver": "mu"}, {"X": np.eye(5)}, "When beta_loss <= 0 and X contains zeros"),
    ],
)
def test_what_cannot_be_is_refused_by_a_sentence(options, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        NMF(**options).fit(**{"X": data(), **given})


def test_a_given_H_is_needed_and_dense():
    with pytest.raises(ValueError, match="update_H=False solves for the W of a given H, and H is None; give H"):
        non_negative_factorization(data(), update_H=False)
    with pytest.raises(TypeError, match="Sparse data was passed for H, but dense data is required"):
        NMF(init="custom").fit(data(), H=scipy.sparse.csr_array(np.ones((3, 15))))


@quietly
def test_warnings_are_scikit_learns():
    X = data()
    with pytest.warns(RuntimeWarning, match="provided W or H are ignored"):
        NMF(3, max_iter=2).fit(X, H=np.ones((3, 15)))
    with pytest.warns(RuntimeWarning, match="When update_H=False, the provided initial W is not used"):
        non_negative_factorization(X, W=np.ones((40, 2)), H=np.ones((2, 15)), update_H=False)
    with pytest.warns(UserWarning, match=r"The multiplicative update \('mu'\) solver cannot update zeros"):
        NMF(3, init="nndsvd", solver="mu", max_iter=2).fit(X)


def unseen():
    X = data()
    X[3] = np.nan
    return X


CALLS = {
    "fit": lambda: NMF(3, max_iter=2).fit(data()),
    "fit_transform": lambda: NMF(3, max_iter=2).fit_transform(data()),
    "fit in batches": lambda: MiniBatchNMF(3, max_iter=2, tol=1e-9).fit(data()),
    "the function": lambda: non_negative_factorization(data(), n_components=3, max_iter=2),
    "pipeline": lambda: make_pipeline(NMF(3, max_iter=2)).fit_transform(data()),
    "search": lambda: GridSearchCV(NMF(max_iter=2), {"n_components": [3]}, cv=2).fit(data()),
    "factors that are ignored": lambda: NMF(3).fit_transform(data(), H=np.ones((3, 15))),
    "zeros that stay": lambda: NMF(3, init="nndsvd", solver="mu").fit_transform(data()),
    "W is not used": lambda: non_negative_factorization(data(), np.ones((40, 2)), np.ones((2, 15)), update_H=False),
    "unseen rows": lambda: NMF(3, missing="nan").fit(unseen()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_warnings_point_at_the_line_that_called(call):
    with pytest.warns() as caught:
        call()
    assert {warning.filename for warning in caught} == {__file__}


def test_verbose_prints_a_line_an_iteration(capsys):
    model = NMF(3, verbose=1, random_state=0).fit(data())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_ + 1
    assert "Converged" in lines[-1]


def test_a_fitted_model_is_pickled_and_the_package_is_lazy():
    model = NMF(3, random_state=0).fit(data())
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.transform(data()), model.transform(data()))
    assert {"NMF", "MiniBatchNMF"} <= set(dir(dnmf))
    with pytest.raises(AttributeError, match="no attribute 'NMFF'"):
        _ = dnmf.NMFF


@quietly
def test_warnings_name_the_parameters():
    X = data()
    with pytest.warns(DataWarning, match=r"every entry of X; got solver='mu', beta_loss='kullback-leibler'\."):
        NMF(3, shuffle=True, beta_loss="kullback-leibler", solver="mu", max_iter=2).fit(X)
    X[2] = np.nan
    with pytest.warns(DataWarning, match="1 rows and 0 columns of X have no observed entry"):
        NMF(3, missing="nan", max_iter=2).fit(X)
    with pytest.warns(DataWarning, match="1 rows and 0 columns of V have no observed entry"):
        dnmf.factorize(X, 3, missing="nan", max_passes=2)


@quietly
@pytest.mark.parametrize(
    ("alphas", "word"), [({"alpha_W": 0.1, "alpha_H": 0}, "alpha_H"), ({"alpha_H": 0.1}, "alpha_W")]
)
def test_the_warning_of_one_penalty_names_the_parameter_of_the_other(alphas, word):
    with pytest.warns(DataWarning, match=rf"Give one of {word[-1]} too \({word}; on the command line"):
        NMF(3, max_iter=2, **alphas).fit(data())


def test_fixed_components_of_too_many_rows_are_an_error_that_names_n_components():
    with pytest.raises(SettingsError, match="has 4 rows, and n_components=3; give n_components=4 or more"):
        NMF(3, fixed_components=np.ones((4, data().shape[1]))).fit(data())


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_a_fit_in_memory_makes_one_plan(make, monkeypatch):
    plans, plan_here = [], dnmf.engine.session.plan_here
    monkeypatch.setattr(dnmf.engine.session, "plan_here", lambda *args: plans.append(plan_here(*args)) or plans[-1])
    X = make(data())
    model = NMF(3, solver="auto", random_state=0)
    W = model.fit_transform(X)
    assert len(plans) == 1
    exact = np.array([nnls(model.components_.T, row)[0] for row in data()])
    np.testing.assert_allclose(W, exact, atol=1e-6)


def test_a_second_fit_inspects_no_signature(monkeypatch):
    def refuse(*given, **options):
        raise AssertionError("inspect.signature was called")

    expected = NMF(3, random_state=0).fit_transform(data())
    monkeypatch.setattr(inspect, "signature", refuse)
    np.testing.assert_array_equal(NMF(3, random_state=0).fit_transform(data()), expected)
