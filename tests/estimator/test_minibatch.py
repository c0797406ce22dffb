"""MiniBatchNMF: partial_fit is equivalent to fit, and sorted rows do no harm."""

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
def test_rows_sorted_by_class_do_no_harm(lazy):
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
    assert MiniBatchNMF(3, tol=0.5, **options).fit(X).n_steps_ == 3  # every row was seen
    stuck = MiniBatchNMF(3, tol=0, max_no_improvement=2, verbose=1, **options).fit(X)
    assert stuck.n_iter_ < 200
    assert len(capsys.readouterr().out.splitlines()) == stuck.n_steps_ - 1
    with pytest.warns(ConvergenceWarning, match="Maximum number of iterations 2 reached"):
        assert MiniBatchNMF(3, tol=1e-9, max_iter=2, **options).fit(X).n_iter_ == 2


def test_rows_of_many_scales_do_not_end_a_fit_early():
    rng = np.random.default_rng(2)
    rows = rng.gamma(0.5, size=(3000, 5)) @ rng.gamma(0.5, size=(5, 40)) + 0.1 * rng.random((3000, 40))
    rows *= 10 ** rng.uniform(-1, 1, (3000, 1))
    fitted = MiniBatchNMF(5, init="random", random_state=0, batch_size=100, max_iter=100).fit(rows)
    assert fitted.reconstruction_err_ < 1.05 * NMF(5, random_state=0).fit(rows).reconstruction_err_
    assert fitted.n_iter_ < 100


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
def test_given_components_are_ignored_with_a_warning_without_custom_init(act):
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


SILENCE = np.zeros((8, 12))
SPEECH = np.random.default_rng(1).random((24, 2)) @ np.random.default_rng(2).random((2, 12))
LATE = SPEECH.copy()
LATE[:8, 6:] = 0
APART = SPEECH.copy()
APART[:8, 6:], APART[8:, :6] = 0, 0
STREAMS = {"silent at first": np.concatenate([SILENCE, SPEECH]), "late features": LATE, "nothing in common": APART}
DRAWN = 0.1 + np.random.default_rng(3).random((2, 12))


def streamed(kind, rows, epochs, **options):
    """Return a model after some epochs of a stream in batches of 8 rows."""
    model, H = kind(2, random_state=0, **options), DRAWN if options.get("init") == "custom" else None
    with_W = {} if kind is MiniBatchNMF or H is None else {"W": 0.1 + np.random.default_rng(4).random((8, 2))}
    for _ in range(epochs):
        for start in range(0, len(rows), 8):
            model.partial_fit(rows[start : start + 8], H=H, **with_W)
    return model


def error_of(model, rows):
    """Return the relative error of rows and what a model makes of them."""
    return np.linalg.norm(rows - model.transform(rows) @ model.components_) / np.linalg.norm(rows)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("beta_loss", [2, 1, 0.5, 1.5, 3])
@pytest.mark.parametrize("init", [None, "random", "nndsvdar", "custom"])
def test_a_stream_learns_what_its_first_batches_lack(stream, beta_loss, init):
    rows = STREAMS[stream]
    model = streamed(MiniBatchNMF, rows, 40, beta_loss=beta_loss, init=init)
    sounding = SPEECH if stream == "silent at first" else rows  # scikit-learn's learns nothing after silence
    theirs = streamed(Theirs, sounding, 40, beta_loss=beta_loss, init=init)
    ours, bound = (error_of(kind, data) for kind, data in ((model, rows), (theirs, sounding)))
    assert ours < 1.1 * bound + 0.02
    assert (model.components_.max(axis=0) > 0).all()
    assert (model.components_.max(axis=1) > 0).all()
    assert np.isfinite(model.score(rows))


@pytest.mark.parametrize("beta_loss", [2, 1, 0.5, 1.5, 3])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_fit_too_learns_a_feature_of_one_row(beta_loss, form):
    counts = np.random.default_rng(0).poisson(2.0, (100, 6)).astype(float)
    counts[:, 5] = 0
    counts[70, 5] = 3
    options = {"beta_loss": beta_loss, "batch_size": 10, "random_state": 0, "max_iter": 50}
    ours, theirs = (kind(2, **options).fit(form(counts)) for kind in (MiniBatchNMF, Theirs))
    assert ours.components_[:, 5].max() > 0
    assert ours.n_steps_ > 10
    assert ours.reconstruction_err_ < 1.05 * theirs.reconstruction_err_


@pytest.mark.parametrize("beta_loss", [2, 1, 0.5, 1.5, 3])
def test_a_feature_without_data_is_nothing_and_hurts_nothing(beta_loss):
    wide = np.insert(SPEECH, 5, 0, axis=1)
    with_it, without = (streamed(MiniBatchNMF, rows, 2, beta_loss=beta_loss, init="nndsvda") for rows in (wide, SPEECH))
    assert (with_it.components_[:, 5] == 0).all()
    assert with_it.score(wide) == pytest.approx(without.score(SPEECH), rel=0.2)


@pytest.mark.parametrize("init", [None, "random", "custom"])
def test_silence_before_the_first_data_leaves_where_a_stream_starts(init):
    options = {"beta_loss": "kullback-leibler", "init": init, "forget_factor": 1.0}
    late, early = (streamed(MiniBatchNMF, rows, 1, **options) for rows in (STREAMS["silent at first"], SPEECH))
    np.testing.assert_array_equal(late.components_, early.components_)
    quiet = streamed(MiniBatchNMF, SILENCE, 1, **options)
    assert quiet.score(SILENCE) == 0
    assert not quiet.components_.any()


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_goes_on_after_pickling_to_the_same_bits(stream):
    rows, options = STREAMS[stream], {"random_state": 0, "beta_loss": "kullback-leibler"}
    one, two = MiniBatchNMF(2, **options), MiniBatchNMF(2, **options)
    for start in range(0, len(rows), 8):
        one.partial_fit(rows[start : start + 8])
        two = pickle.loads(pickle.dumps(two)).partial_fit(rows[start : start + 8])
    np.testing.assert_array_equal(one.components_, two.components_)


def test_no_fit_ends_before_all_rows_were_seen():
    rows = np.kron(np.eye(6), np.ones((10, 3)))
    model = MiniBatchNMF(6, beta_loss="kullback-leibler", batch_size=2, max_no_improvement=1, random_state=0).fit(rows)
    assert model.n_steps_ >= 30
    assert np.isfinite(model.reconstruction_err_)


@pytest.mark.parametrize("seed", range(4))
def test_batches_of_zeros_end_no_fit(seed):
    """Most batches have no row that is not 0, and move H by nothing."""
    few = np.zeros((2000, 15))
    few[:60] = X
    options = {"random_state": seed, "max_no_improvement": None, "max_iter": 30}
    fitted = MiniBatchNMF(4, batch_size=20, **options).fit(few)
    best = min(NMF(4, random_state=start, max_iter=2000).fit(X).reconstruction_err_ for start in range(3))
    assert fitted.reconstruction_err_ < 1.1 * best


def test_the_parameters_are_scikit_learns():
    ours, theirs = MiniBatchNMF().get_params(), Theirs().get_params()
    assert ours.items() <= theirs.items()
    assert theirs.keys() - ours.keys() == {"transform_max_iter"}
