"""Constraints of an `NMF`: those of a run, in `transform` and in a store too."""

import numpy as np
import pytest

import dnmf
from dnmf.errors import SettingsError

rng = np.random.default_rng(0)
X = rng.dirichlet(np.ones(3) * 0.5, 90) @ rng.random((3, 12)) + 0.01 * rng.random((90, 12))


def test_rows_sum_to_one_in_the_fit_in_transform_and_from_a_store(tmp_path):
    store = tmp_path / "run.zarr"
    model = dnmf.NMF(3, solver="auto", constraints={"rows_W": "simplex"}, store=store, random_state=0, max_iter=20)
    W = model.fit_transform(X)
    np.testing.assert_allclose(W.sum(axis=1), 1, rtol=1e-12)
    expected = dnmf.factorize(X, 3, rows_W="simplex", max_passes=20, tol=1e-4)
    np.testing.assert_array_equal(model.components_, expected.H)
    again = dnmf.NMF.from_store(store)
    assert again.constraints == {"rows_W": "simplex"}
    np.testing.assert_allclose(again.transform(X), W, atol=1e-9)
    dnmf.factorize(X, 3, rows_W="simplex", max_passes=2, store=store, overwrite=True)
    assert dnmf.NMF.from_store(store).constraints == {"rows_W": "simplex"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows", "constraints='rows' is not known; allowed are 'rows_W', 'upper_W'"),
        ("columns_W", "'columns_W' couples the samples, and transform solves each by itself; give 'rows_H'"),
    ],
)
def test_a_constraint_that_transform_cannot_keep_is_refused(name, message):
    with pytest.raises(SettingsError, match=message):
        dnmf.NMF(3, solver="auto", constraints={name: "simplex"}).fit(X)


@pytest.mark.parametrize(
    "constraints", [{"rows_W": "simplex"}, {"upper_W": 0.4, "upper_H": 1.0}], ids=["simplex", "bound"]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_measuring_the_error_leaves_W_as_transform_finds_it(constraints, weighted):
    rng = np.random.default_rng(3)
    X = rng.random((30, 3)) @ rng.random((3, 12)) + 0.1 * rng.random((30, 12))
    weights = rng.random(X.shape) if weighted else None
    model = dnmf.NMF(3, solver="auto", random_state=0, constraints=constraints)
    W = model.fit_transform(X, weights=weights)
    np.testing.assert_array_equal(model.transform(X, weights=weights), W)
    rest = (1.0 if weights is None else weights) * (X - W @ model.components_) ** 2
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(rest.sum()), rel=1e-10)
