"""MiniBatchNMF: partial_fit is fit, and the order of the rows is no trap."""

import pickle

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from sklearn.decomposition import MiniBatchNMF as Theirs
from sklearn.exceptions import ConvergenceWarning

from dnmf import NMF, MiniBatchNMF
from dnmf.estimator.batches import BlockBatches, RowBatches
from dnmf.sources import open_matrix

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
rng = np.random.default_rng(0)
X = rng.random((60, 4)) @ rng.random((4, 15)) + 0.1 * rng.random((60, 15))
LOSSES = ["frobenius", "kullback-leibler", 0.5]


@pytest.mark.parametrize("beta_loss", LOSSES)
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_partial_fit_on_the_batches_is_fit(beta_loss, form):
    options = {"beta_loss": beta_loss, "batch_size": 13, "random_state": 5, "alpha_W": 1e-3, "forget_factor": 0.6}
    matrix = form(X)
    whole = MiniBatchNMF(3, max_iter=1, **options).fit(matrix)
    parts, batches = MiniBatchNMF(3, **options), RowBatches(matrix, 13, 5)
    for batch in batches.order(0):
        parts.partial_fit(form(X[batches.rows(batch)]))
    np.testing.assert_array_equal(parts.components_, whole.components_)
    assert parts.n_steps_ == whole.n_steps_ == 5
    np.testing.assert_array_equal(parts.transform(matrix), whole.transform(matrix))


def test_scikit_learns_partial_fit_is_not_its_fit():
    options = {"batch_size": 15, "random_state": 5, "init": "random", "max_no_improvement": None}
    whole, parts = Theirs(3, max_iter=1, **options).fit(X), Theirs(3, **options)
    for start in range(0, 60, 15):
        parts.partial_fit(X[start : start + 15])
    assert not np.allclose(parts.components_, whole.components_, rtol=0.05)


def test_partial_fit_on_the_blocks_of_a_dask_array_is_fit():
    blocks = da.from_array(X, chunks=((20, 13, 27), 15))
    options = {"random_state": 3, "batch_size": 25}
    whole = MiniBatchNMF(3, max_iter=1, **options).fit(blocks)
    parts, batches = MiniBatchNMF(3, **options), BlockBatches(open_matrix(blocks, "rows"), 25, 3)
    for batch in batches.order(0):
        parts.partial_fit(batches.read(batch).T)
    np.testing.assert_array_equal(parts.components_, whole.components_)
    assert parts.n_steps_ == whole.n_steps_ == 3
    np.testing.assert_array_equal(MiniBatchNMF(3, **options).partial_fit(blocks).components_, whole.components_)
    assert isinstance(whole.transform(blocks), da.Array)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_block_is_read_once_an_epoch_in_another_order(sparse, monkeypatch):
    monkeypatch.setattr("dnmf.estimator.batches.MIXED_BYTES", 3 * 6 * 15 * 8)
    blocks = da.from_array(X, chunks=(6, 15))
    source = open_matrix(blocks.map_blocks(scipy.sparse.csr_matrix) if sparse else blocks, "rows")
    batches, read = BlockBatches(source, 4, 0), []
    original = type(source).read
    monkeypatch.setattr(
        type(source), "read", lambda self, block, *rest: read.append(block) or original(self, block, *rest)
    )
    for epoch in range(3):
        rows = [batches.read(batch).T for batch in batches.order(epoch)]
        dense = np.concatenate([part.toarray() if sparse else part for part in rows])
        np.testing.assert_array_equal(dense[np.argsort(dense[:, 0])], X[np.argsort(X[:, 0])])
        assert sorted(read[-10:]) == list(range(10))
    assert len(read) <= 30
    assert read[:10] != read[10:20]


@pytest.mark.parametrize("lazy", [False, True])
def test_rows_sorted_by_class_are_no_trap(lazy):
    topics = np.kron(np.eye(4), np.ones((1, 5)))
    rows = np.repeat(topics, 50, axis=0) * rng.random((200, 20)) + 0.01 * rng.random((200, 20))
    matrix = da.from_array(rows, chunks=(10, 20)) if lazy else rows
    best = NMF(4, random_state=0, solver="auto").fit(rows).reconstruction_err_
    fits = (
        MiniBatchNMF(4, batch_size=10, random_state=seed, max_no_improvement=None, max_iter=10).fit(matrix)
        for seed in range(2)
    )
    assert min(model.reconstruction_err_ for model in fits) < 1.02 * best


@pytest.mark.parametrize("beta_loss", LOSSES)
@pytest.mark.parametrize("fresh_restarts", [False, True])
def test_it_gets_as_far_as_scikit_learns(beta_loss, fresh_restarts):
    options = {"beta_loss": beta_loss, "batch_size": 20, "random_state": 0, "fresh_restarts": fresh_restarts}
    ours, theirs = (kind(3, max_iter=20, max_no_improvement=None, **options).fit(X) for kind in (MiniBatchNMF, Theirs))
    assert ours.reconstruction_err_ < 1.02 * theirs.reconstruction_err_


def test_the_penalty_of_H_counts_by_all_rows():
    options = {"random_state": 0, "alpha_W": 0.01, "l1_ratio": 0.5, "forget_factor": 1.0}
    batches = MiniBatchNMF(3, batch_size=6, max_iter=1, max_no_improvement=None, **options).fit(X)
    assert batches._online.weight == pytest.approx(60)
    found = []
    for model in (
        NMF(3, random_state=0, alpha_W=0.01, solver="auto"),
        MiniBatchNMF(3, random_state=0, alpha_W=0.01, batch_size=6, max_iter=30, max_no_improvement=None, tol=0),
    ):
        W = model.fit_transform(X)
        squares = 15 * (W**2).sum() + 60 * (model.components_**2).sum()
        found.append(0.5 * ((X - W @ model.components_) ** 2).sum() + 0.5 * 0.01 * squares)
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_when_it_ends(capsys):
    options = {"random_state": 0, "batch_size": 20}
    assert MiniBatchNMF(3, tol=0.5, **options).fit(X).n_steps_ == 2
    stuck = MiniBatchNMF(3, tol=0, max_no_improvement=2, verbose=1, **options).fit(X)
    assert stuck.n_iter_ < 200
    assert len(capsys.readouterr().out.splitlines()) == stuck.n_steps_ - 1
    with pytest.warns(ConvergenceWarning, match="Maximum number of iterations 2 reached"):
        assert MiniBatchNMF(3, tol=1e-9, max_iter=2, **options).fit(X).n_iter_ == 2


def test_given_components_are_cast_and_not_changed():
    H = rng.random((3, 15)).astype(np.float32)
    before = H.copy()
    model = MiniBatchNMF(init="custom", random_state=0, max_iter=3).fit(X, H=H)
    np.testing.assert_array_equal(H, before)
    assert model.n_components_ == 3
    assert model.components_.dtype == np.float64


def test_the_rank_of_given_components_decides_what_fits_into_memory():
    wide, H = da.ones((30, 60000), chunks=(10, 60000)), np.ones((3, 60000))
    model = MiniBatchNMF(init="custom", batch_size=10, max_iter=1)
    assert model.fit(wide, H=H).n_components_ == 3
    again = MiniBatchNMF(init="custom").partial_fit(wide, H=H)
    assert again.partial_fit(wide).n_steps_ == 2


@pytest.mark.parametrize("act", ["fit", "partial_fit"])
def test_given_components_that_are_no_start_are_ignored_with_a_warning(act):
    options = {"init": "nndsvda", "n_components": "auto", "random_state": 0, "max_iter": 2}
    square, given = X[:20], np.ones((40, 15))
    with pytest.warns(RuntimeWarning, match="provided W or H are ignored"):
        model = getattr(MiniBatchNMF(**options), act)(square, H=given)
    alone = getattr(MiniBatchNMF(**options), act)(square)
    np.testing.assert_array_equal(model.components_, alone.components_)


def test_partial_fit_goes_on_after_pickling():
    options = {"random_state": 0, "batch_size": 20}
    one, two = MiniBatchNMF(3, **options).partial_fit(X[:20]), MiniBatchNMF(3, **options).partial_fit(X[:20])
    one.partial_fit(X[20:40])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(two)).partial_fit(X[20:40]).components_, one.components_)


def test_the_parameters_are_scikit_learns():
    ours, theirs = MiniBatchNMF().get_params(), Theirs().get_params()
    assert ours.items() <= theirs.items()
    assert theirs.keys() - ours.keys() == {"transform_max_iter"}
