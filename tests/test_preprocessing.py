"""Prepared matrices: what scikit-learn makes of the whole, block by block, and again wherever the run is taken up."""

import json
import pickle

import cloudpickle
import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from hypothesis import given, settings
from runs import assert_same_bits, change_header, factors, interrupt_at, matrix, stored
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler
from strategies import SOURCES, cut_matrices, low_rank

import dnmf
from dnmf import preprocessing as prep
from dnmf.cli.app import main
from dnmf.errors import DataError, Interrupted, SettingsError, StoreError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources import open_matrix
from dnmf.sources.memory import ArraySource

AXES = ("rows", "columns")


def read_back(source, among=None):
    scratch, parts = Scratch(), []
    for block in range(source.layout.blocks):
        part = (among or source).read(block, scratch)
        parts.append(part.toarray() if sp.issparse(part) else part.copy())
    whole = np.concatenate(parts, axis=1)
    return whole.T if source.layout.transposed else whole


def counts(rows=30, columns=200, seed=0):
    rng = np.random.default_rng(seed)
    V = rng.poisson(2.0 * rng.random((rows, 1)) * rng.random(columns)).astype(np.uint8)
    V[3], V[:, 7], V[:, 11] = 0, 0, 2
    return V


def by_rows(act):
    """Return what an oracle for samples in rows makes of a matrix of either kind."""
    return lambda V, samples: act(V) if samples == "rows" else act(V.T).T


def log_normalised(V):
    sums = V.sum(axis=1, keepdims=True)
    return np.log1p(V * np.where(sums > 0, 1e4 / np.where(sums > 0, sums, 1), 1))


# Each function with an oracle in memory that takes samples as rows.
PREPARED = {
    "unit variance": (prep.unit_variance, by_rows(StandardScaler(with_mean=False).fit_transform)),
    "tf-idf": (prep.tfidf, by_rows(lambda V: TfidfTransformer().fit_transform(V).toarray())),
    "tf-idf, sublinear": (
        lambda V, samples: prep.tfidf(V, samples=samples, sublinear=True, norm=None),
        by_rows(lambda V: TfidfTransformer(sublinear_tf=True, norm=None).fit_transform(V).toarray()),
    ),
    "logarithms": (prep.log_normalize, by_rows(log_normalised)),
    "several": (
        lambda V, samples: prep.unit_variance(prep.log_normalize(prep.clip(V), samples=samples), samples=samples),
        by_rows(lambda V: StandardScaler(with_mean=False).fit_transform(log_normalised(V))),
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_blocks_are_what_scikit_learn_makes_of_the_whole(kind, tmp_path):
    V = counts()
    given = SOURCES[kind](V, tmp_path)
    for name, (act, oracle) in PREPARED.items():
        for samples in AXES:
            found = act(given, samples=samples)
            assert found.layout.dtype == np.float32
            assert found.layout.sparse == sp.issparse(found.read(0, Scratch()))
            np.testing.assert_allclose(
                read_back(found), oracle(V.astype(float), samples), rtol=2e-5, atol=1e-6, err_msg=f"{name}, {samples}"
            )


@settings(derandomize=True, deadline=None, max_examples=30)
@given(cut_matrices())
def test_neither_chunks_nor_sparsity_change_what_is_made(cut):
    V, array = cut
    V = np.asarray(V.toarray() if sp.issparse(V) else V)
    for act in (prep.unit_variance, prep.tfidf, prep.log_normalize):
        for samples in AXES:
            whole, found = read_back(act(V, samples=samples)), read_back(act(array, samples=samples))
            np.testing.assert_allclose(found, whole, rtol=1e-9)
            assert ((found != 0) == (V != 0)).all()


def test_the_panels_of_a_block_do_not_show(monkeypatch):
    forms = (counts(), sp.csr_array(counts()))
    ways = [(act, V, samples) for act, _ in PREPARED.values() for V in forms for samples in AXES]
    expected = [read_back(act(V, samples=samples)) for act, V, samples in ways]
    monkeypatch.setattr("dnmf.kernels.blocks.panels.PART_BYTES", 100)
    found = [read_back(act(V, samples=samples)) for act, V, samples in ways]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("samples", AXES)
def test_a_variance_is_exact_where_the_mean_is_large(samples, tmp_path):
    V = 1e6 + 1e-3 * np.random.default_rng(0).random((50, 60))
    path = stored(tmp_path / "V.zarr", V, (50, 7))
    expected = V / V.std(axis=0 if samples == "rows" else 1, keepdims=True)
    np.testing.assert_allclose(read_back(prep.unit_variance(path, samples=samples)), expected, rtol=1e-5)


@pytest.fixture
def reads(monkeypatch):
    """Return the blocks of arrays in memory that are read from now on."""
    seen = []
    read = ArraySource.read

    def counting(self, block, scratch):
        seen.append(block)
        return read(self, block, scratch)

    monkeypatch.setattr(ArraySource, "read", counting)
    return seen


@pytest.mark.parametrize("act", [prep.unit_variance, prep.tfidf, prep.log_normalize])
def test_each_function_reads_the_matrix_at_most_once(act, reads, monkeypatch):
    monkeypatch.setattr("dnmf.sources.bounds.FINE_BYTES", 30 * 40 * 4)
    V = counts().astype(np.float32)  # cut along its columns
    per_block = {prep.unit_variance: "rows", prep.tfidf: None, prep.log_normalize: "columns"}[act]
    for samples in AXES:
        reads.clear()
        act(V, samples=samples)
        assert sorted(reads) == ([] if samples == per_block else [0, 1, 2, 3, 4])
    reads.clear()
    prep.clip(V)
    assert reads == []


def test_missing_entries_count_for_nothing():
    V = low_rank(20, 50, 3)
    holes = np.where(np.random.default_rng(0).random(V.shape) < 0.8, V, np.nan)
    holes[4] = 0.5
    for samples, axis in (("rows", 0), ("columns", 1)):
        spread = np.nanstd(holes, axis=axis, keepdims=True)
        expected = holes / np.where(spread > 1e-9, spread, 1)
        np.testing.assert_allclose(read_back(prep.unit_variance(holes, samples=samples)), expected)
    result = dnmf.factorize(prep.unit_variance(holes), 3, missing="nan", max_passes=5)
    assert result.relative_error < 0.5


@pytest.mark.parametrize("value", [-1.0, np.inf, np.nan])
@pytest.mark.parametrize("samples", AXES)
@pytest.mark.parametrize("act", [prep.unit_variance, prep.tfidf, prep.log_normalize])
def test_entries_that_cannot_be_are_still_named_by_their_place(act, samples, value):
    V = counts().astype(float)
    V[2, 5] = value
    with pytest.raises(DataError, match=r"V\[2, 5\] is"):
        dnmf.factorize(act(V, samples=samples), 2)


def test_clipping_makes_a_matrix_with_negative_entries_fit():
    V = low_rank(20, 50, 3) - 0.2
    clipped, expected = (dnmf.factorize(given, 3, max_passes=5) for given in (prep.clip(V), np.maximum(V, 0)))
    assert_same_bits(clipped, expected)


def test_the_matrix_that_was_given_stays_as_it_is():
    V = counts().astype(np.float32)
    before = V.copy()
    read_back(prep.unit_variance(prep.log_normalize(V)))
    assert np.array_equal(V, before)


def prepared(V, samples):
    return prep.tfidf(prep.log_normalize(V, samples=samples), samples=samples)


@pytest.mark.parametrize("samples", AXES)
@pytest.mark.parametrize("long", AXES)
def test_transform_prepares_new_data_by_what_was_learned(samples, long, tmp_path):
    V = counts()[:, :150]
    V = V if long == "columns" else V.T
    result = dnmf.factorize(prepared(V, samples), 3, max_passes=5, store=tmp_path / "run.zarr")
    new = counts(seed=1)[:, 50:90]
    new = new if long == "columns" else new.T
    again = dnmf.transform(result, new)
    steps = result.steps
    by_hand = prep.Prepared(open_matrix(new, long), steps)
    plain = dnmf.factorize(read_back(prepared(V, samples)), 3, max_passes=5)
    expected = dnmf.transform(plain, read_back(by_hand))
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(dnmf.transform(tmp_path / "run.zarr", new), again)
    np.testing.assert_array_equal(dnmf.transform(result, by_hand), again)
    with pytest.raises(DataError, match="prepared by other steps"):
        dnmf.transform(result, prepared(new, samples))
    with pytest.raises(DataError, match="give data with 30"):
        dnmf.transform(result, new[:-1] if long == "columns" else new[:, :-1])


@pytest.mark.parametrize("samples", AXES)
@pytest.mark.parametrize("kind", ["dask, columns", "dask, rows", "dask of csr"])
@pytest.mark.parametrize("name", PREPARED)
def test_predictions_are_of_the_prepared_matrix(name, kind, samples, tmp_path):
    act, oracle = PREPARED[name]
    rng = np.random.default_rng(0)
    V = (0.5 + rng.random((30, 3)) ** 3) @ (0.5 + rng.random((3, 200)) ** 3)
    expected = oracle(V, samples)
    result = dnmf.factorize(act(SOURCES[kind](V, tmp_path), samples=samples), 3, tol=1e-9, store=tmp_path / "run.zarr")
    WH = result.reconstruct().compute()
    missed = np.linalg.norm(expected - WH) / np.linalg.norm(expected)
    assert result.relative_error == pytest.approx(missed, rel=1e-2, abs=1e-5)
    if name in ("unit variance", "tf-idf"):  # the factors of rows and columns leave the rank
        np.testing.assert_allclose(WH, expected, atol=2e-3 * expected.max())
    pairs = rng.integers(0, V.shape, (50, 2))
    for fitted in (result, tmp_path / "run.zarr"):
        np.testing.assert_allclose(dnmf.predict(fitted, pairs), WH[tuple(pairs.T)], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("again", ["nothing", "the path", "the matrix", "prepared"])
def test_a_run_is_resumed_to_the_same_bits(again, tmp_path):
    V = matrix()
    path = stored(tmp_path / "V.zarr", V, (24, 7))
    expected = dnmf.factorize(prepared(path, "columns"), 3, max_passes=9, tol=0)
    with pytest.raises(Interrupted):
        dnmf.factorize(
            prepared(path, "columns"), 3, max_passes=9, tol=0, store=tmp_path / "run.zarr", **interrupt_at(4)
        )
    given = {"nothing": None, "the path": path, "the matrix": path, "prepared": prepared(path, "columns")}[again]
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr", given), expected)
    assert factors(dnmf.load(tmp_path / "run.zarr"))[0].shape == (24, 3)


def test_a_run_is_not_resumed_on_what_was_prepared_otherwise(tmp_path):
    V = matrix()
    dnmf.factorize(prepared(V, "rows"), 3, max_passes=2, tol=0, store=tmp_path / "run.zarr")
    with pytest.raises(DataError, match="prepared by other steps"):
        dnmf.resume(tmp_path / "run.zarr", prep.clip(V), max_passes=3)
    dnmf.factorize(V, 3, max_passes=2, tol=0, store=tmp_path / "plain.zarr")
    with pytest.raises(StoreError, match="a digest of its first block"):
        dnmf.resume(tmp_path / "plain.zarr", prepared(V, "rows"), max_passes=3)


def test_a_matrix_with_weights_may_be_prepared():
    V, weights = matrix(), np.random.default_rng(0).random((24, 60))
    result = dnmf.factorize(prepared(V, "rows"), 3, weights=weights, max_passes=4)
    expected = dnmf.factorize(read_back(prepared(V, "rows")), 3, weights=weights, max_passes=4)
    np.testing.assert_allclose(result.loss, expected.loss, rtol=1e-4)


@pytest.mark.parametrize("kind", ["numpy", "csc", "dask, columns", "zarr"])
def test_a_prepared_matrix_sent_to_a_worker_gives_the_same_blocks(kind, tmp_path):
    source = prepared(SOURCES[kind](counts(), tmp_path), "rows")
    part = pickle.loads(cloudpickle.dumps(source.part(range(source.layout.blocks))))
    np.testing.assert_array_equal(read_back(source, part), read_back(source))


HOSTILE = {
    "no list": 7,
    "no step": [{"name": "clip"}],
    "an unknown step": [{"name": "eval", "along": None, "total": 1.0, "factors": None}],
    "a name that is not a text": [{"name": ["clip"], "along": None, "total": 1.0, "factors": None}],
    "a step along nothing": [{"name": "idf", "along": None, "total": 1.0, "factors": None}],
    "no total": [{"name": "total", "along": "columns", "total": -1.0, "factors": None}],
    "factors that are missing": [{"name": "idf", "along": "rows", "total": 1.0, "factors": None}],
    "factors that are no numbers": [{"name": "idf", "along": "rows", "total": 1.0, "factors": "%%%"}],
    "factors of another matrix": [{"name": "clip", "along": None, "total": 1.0, "factors": ""}],
}


@pytest.mark.parametrize("steps", HOSTILE.values(), ids=HOSTILE)
def test_steps_that_no_run_writes_are_refused(steps, tmp_path):
    dnmf.factorize(matrix(), 3, max_passes=2, store=tmp_path / "run.zarr")
    change_header(tmp_path / "run.zarr", prepared=steps)
    with pytest.raises(StoreError, match=r"is not a store that dnmf wrote: the preparation is wrong"):
        dnmf.load(tmp_path / "run.zarr")


@pytest.mark.parametrize("change", ["factors", "digest", "length"])
def test_factors_that_were_changed_are_refused(change, tmp_path):
    dnmf.factorize(prep.unit_variance(matrix(), samples="columns"), 3, max_passes=2, store=tmp_path / "run.zarr")
    step = json.loads((tmp_path / "run.zarr" / "zarr.json").read_bytes())["attributes"]["dnmf"]["prepared"][0]
    if change == "length":
        step = prep.unit_variance(matrix(rows=23), samples="columns").steps[0].to_json()
    else:
        step[change] = "A" + step[change][1:] if step[change][0] != "A" else "B" + step[change][1:]
    change_header(tmp_path / "run.zarr", prepared=[step])
    with pytest.raises(StoreError, match="the preparation is wrong"):
        dnmf.load(tmp_path / "run.zarr")


def test_the_store_of_an_older_version_has_no_steps(tmp_path):
    dnmf.factorize(matrix(), 3, max_passes=2, tol=0, store=tmp_path / "run.zarr")
    change_header(tmp_path / "run.zarr", format=1, prepared=..., seal=...)
    assert dnmf.load(tmp_path / "run.zarr").steps == ()
    assert dnmf.resume(tmp_path / "run.zarr", matrix(), max_passes=3).passes == 3


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda V: prep.tfidf(V, norm="l1"), "norm='l1' is not allowed"),
        (lambda V: prep.log_normalize(V, total=0), "total=0 is not allowed"),
        (lambda V: prep.unit_variance(V, samples="row"), "Did you mean 'rows'"),
        (lambda V: prep.prepare(V, ["log1p"]), "Did you mean 'log-normalize'"),
        (lambda V: prep.prepare(V, ["log-normalise"]), "Did you mean 'log-normalize'"),
    ],
)
def test_options_are_checked_before_anything_is_read(act, message, reads):
    with pytest.raises(SettingsError, match=message):
        act(matrix())
    assert reads == []


def test_a_matrix_prepared_for_one_axis_is_not_read_along_the_other():
    with pytest.raises(DataError, match="prepared to be read along its columns, and is to be read along its rows"):
        open_matrix(prep.clip(matrix()), "rows")


def test_the_command_line_prepares_what_it_fits_and_what_it_transforms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("V.npy", matrix())
    for command in (
        "fit V.npy --rank 3 --max-passes 4 --store run.zarr --samples columns "
        "--prepare log-normalize --prepare unit-variance",
        "transform run.zarr V.npy --out H.zarr",
    ):
        ended = CliRunner().invoke(main, command.split())
        assert ended.exit_code == 0, ended.output
    expected = prep.prepare("V.npy", ["log-normalize", "unit-variance"], samples="columns")
    assert dnmf.load("run.zarr").steps == expected.steps
    assert "total, log1p, variance" in CliRunner().invoke(main, ["info", "run.zarr"]).output
