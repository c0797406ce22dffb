"""Sketch and correct: the result is evaluated on V alone, and is good after few reads."""

import collections
import threading

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from naive import objective, violation
from runs import PLAIN, Told, assert_same_bits, factors, interrupt_at, matrix, spill, stored
from strategies import SOURCES, low_rank

import dnmf
import dnmf.run.run
import dnmf.solvers.sketch.basis
import dnmf.solvers.sketch.method
import dnmf.solvers.sketch.surrogate
from dnmf.engine import ThreadEngine
from dnmf.engine.factor import DiskFactor, MemoryFactor
from dnmf.errors import DataError, Interrupted, SettingsError
from dnmf.kernels.registry import make_rule
from dnmf.settings import Settings
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.sketch import corrected, sketched
from dnmf.solvers.sketch.basis import first_basis, orthonormal, pseudo_inverse
from dnmf.solvers.sketch.method import Trial
from dnmf.solvers.sketch.surrogate import Surrogate
from dnmf.sources import open_matrix

PENALTIES = {"l1_W": 0.02, "l2_W": 0.1, "l1_H": 0.03, "l2_H": 0.2}
EACH_PENALTY = [{}, PENALTIES, *({name: 0.3} for name in PENALTIES)]
OPTIONS = {"rank": 4, "solver": "sketch", "init": "sketch", "tol": 0}


def losses(result):
    return np.array([record.loss for record in result.history])


def slack(V):
    """Return the precision of the loss of a matrix."""
    return 20 * float(np.finfo(V.dtype).eps) * float(np.vdot(V, V))


def context(V, **options):
    """Return the context of passes over V, and a list of the blocks that they read."""
    source, read = open_matrix(V), []
    layout = source.layout
    engine = ThreadEngine(source, min(layout.blocks, 3), 2, read.append)
    return PassContext(engine, make_rule(Settings(rank=4, **options)), lambda rows: MemoryFactor(layout.blocks)), read


def whole(factor, blocks):
    return np.concatenate([factor.read(block) for block in range(blocks)], axis=1)


@pytest.fixture
def few(monkeypatch):
    """Make the sample so small that the last rounds run over all columns, in their blocks."""
    monkeypatch.setattr(dnmf.solvers.sketch.samples, "SAMPLE", 90)


@pytest.fixture(params=["sample is all", "sample is a part"])
def sample(request):
    if request.param == "sample is a part":
        request.getfixturevalue("few")


@pytest.fixture
def misled(monkeypatch):
    """Let every trial point of a surrogate raise the loss."""
    solve = Surrogate.solve

    def mislead(*given):
        W, H = solve(*given)
        return (W if len(given) < 6 else np.ones_like(W)), H

    monkeypatch.setattr(Surrogate, "solve", mislead)


# Results.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("penalties", EACH_PENALTY, ids=str)
def test_no_pass_raises_the_loss_and_it_is_that_of_the_factors(penalties, form, dtype, sample):
    V = low_rank(40, 300, 4, noise=0.5, dtype=dtype)
    for result in dnmf.iterate(form(V), max_passes=10, **OPTIONS, **penalties):
        W, H = (factor.astype(np.float64) for factor in factors(result))
        true = objective(V.astype(np.float64), W, H, **penalties)
        assert result.loss == pytest.approx(true, rel=1e-5, abs=slack(V))
    assert (np.diff(losses(result)) <= slack(V)).all()
    assert [record.passes for record in result.history] == list(range(2, 11))
    assert (W >= 0).all()
    assert (H >= 0).all()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_known_columns_stay_and_no_pass_raises_the_loss(count, penalties, form, sample):
    V, known = low_rank(40, 300, 4, noise=0.5), np.random.default_rng(2).random((40, count))
    given = {"fixed_W": known, "solver": "sketch", "tol": 0, **penalties}
    result = dnmf.factorize(form(V), 4, max_passes=60, **given)
    np.testing.assert_array_equal(result.W[:, :count], known)
    assert (np.diff(losses(result)) <= slack(V)).all()
    assert result.loss == pytest.approx(objective(V, *factors(result), **penalties), rel=1e-6)
    plain = dnmf.factorize(form(V), 4, fixed_W=known, max_passes=100, tol=0, **PLAIN, **penalties)
    assert result.loss <= 1.01 * plain.loss


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_where_it_ends_the_optimality_conditions_are_met(penalties, form):
    V = low_rank(40, 300, 3, noise=0.02)
    result = dnmf.factorize(form(V), 3, solver="sketch", init="sketch", tol=1e-10, max_passes=400, **penalties)
    assert result.converged
    W, H = factors(result)
    for X, C, G, name in [(W.T, H @ V.T, H @ H.T, "W"), (H, W.T @ V, W.T @ W, "H")]:
        missed = violation(X, C, G, penalties.get(f"l1_{name}", 0), penalties.get(f"l2_{name}", 0))
        # W was updated once more after the optimality was taken: it moves the other conditions a little.
        assert np.sqrt((missed / np.diag(G)).sum() / ((C**2).sum(axis=1) / np.diag(G)).sum()) <= 1e-5


# To the bit, or to rounding.


@pytest.mark.parametrize("kind", ["zarr", "zarr, rows", "dask of csr", "csr", "npy"])
def test_no_number_of_threads_changes_a_bit(kind, tmp_path, sample, monkeypatch):
    for where in ("columns", "surrogate"):  # several parts of the sample and of W, for the threads to share
        monkeypatch.setattr(f"dnmf.solvers.sketch.{where}.TOGETHER", 7)
    V = SOURCES[kind](low_rank(30, 200, 3, dtype="float32"), tmp_path)
    runs = [dnmf.factorize(V, max_passes=6, threads=n, **OPTIONS) for n in (1, 2, 5)]
    for run in runs[1:]:
        assert_same_bits(run, runs[0])


def test_a_factor_on_the_disk_has_the_bits_of_one_in_memory(tmp_path, monkeypatch, sample):
    V = stored(tmp_path / "V.zarr", matrix(24, 300), (24, 37))
    expected = dnmf.factorize(V, max_passes=6, **OPTIONS)
    spill(monkeypatch)
    assert_same_bits(dnmf.factorize(V, max_passes=6, **OPTIONS), expected)
    result = dnmf.factorize(V, max_passes=6, store=tmp_path / "run.zarr", **OPTIONS)
    for one, other in zip(factors(result), factors(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_more_of_it_is_on_the_disk_than_a_pass_needs(tmp_path, monkeypatch, few):
    spill(monkeypatch)
    V, left = stored(tmp_path / "V.zarr", matrix(24, 300), (24, 37)), []
    for _ in dnmf.iterate(V, max_passes=6, store=tmp_path / "run.zarr", **OPTIONS):
        left.append(len(list((tmp_path / "run.zarr").rglob("H-*"))))
    assert left == [1] * 5


@pytest.mark.parametrize("width", [1, 37, 200])
@pytest.mark.parametrize("rows", [False, True], ids=["columns", "rows"])
def test_no_cut_into_blocks_changes_the_factors(rows, width, sample):
    V = low_rank(30, 200, 3)
    V, chunks = (V.T.copy(), (width, -1)) if rows else (V, (-1, width))
    W, H = factors(dnmf.factorize(da.from_array(V, chunks=(200, -1) if rows else (-1, 200)), max_passes=4, **OPTIONS))
    result = dnmf.factorize(da.from_array(V, chunks=chunks), max_passes=4, **OPTIONS)
    np.testing.assert_allclose(result.W, W, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_sparse_and_dense_end_alike(penalties, sample):
    V = low_rank(30, 200, 3)
    W, H = factors(dnmf.factorize(V, max_passes=4, **OPTIONS, **penalties))
    result = dnmf.factorize(sp.csc_array(V), max_passes=4, **OPTIONS, **penalties)
    np.testing.assert_allclose(result.W, W, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.H, H, rtol=1e-6, atol=1e-8)


def test_a_matrix_cut_along_its_rows_is_the_transpose_cut_along_its_columns(sample):
    V = low_rank(200, 30, 3)
    result = dnmf.factorize(sp.csr_array(V), max_passes=5, l1_W=0.02, l2_H=0.2, **OPTIONS)
    mirror = dnmf.factorize(sp.csc_array(V.T), max_passes=5, l1_H=0.02, l2_W=0.2, **OPTIONS)
    np.testing.assert_array_equal(result.W, np.asarray(mirror.H).T)
    np.testing.assert_array_equal(result.H, mirror.W.T)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**-27, 2.0**27, 2.0**60])
def test_the_scale_of_the_matrix_is_that_of_the_factors(scale, sample):
    V = low_rank(20, 300, 3, dtype="float32")
    one, other = (dnmf.factorize(V * np.float32(s), **{**OPTIONS, "rank": 3}, max_passes=5) for s in (1, scale))
    np.testing.assert_allclose(other.W, one.W, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.asarray(other.H) / scale, one.H, rtol=1e-3, atol=1e-4)


# The trial point is found when the next pass begins, or before a state is saved.


@pytest.fixture
def proposals(monkeypatch):
    """Count the trial points that are found, and the columns that are freed."""
    counts, propose, drop = collections.Counter(), Trial.__call__, Trial.drop

    def counting(self):
        counts["found"] += 1
        return propose(self)

    def freeing(self):
        counts["freed"] += 1
        drop(self)

    monkeypatch.setattr(Trial, "__call__", counting)
    monkeypatch.setattr(Trial, "drop", freeing)
    return counts


@pytest.mark.parametrize("stored", [False, True], ids=["without a store", "with a store"])
def test_a_look_waits_for_no_trial_point_unless_it_is_saved(stored, proposals, tmp_path):
    where = {"store": tmp_path / "run.zarr"} if stored else {}
    V, found = low_rank(30, 200, 4, noise=0.5), []
    for result in dnmf.iterate(V, max_passes=5, **where, **OPTIONS):
        found.append(proposals["found"])
        W, H = factors(result)
        assert result.loss == pytest.approx(objective(V, W, H), rel=1e-6)
    assert found == ([1, 2, 3, 4] if stored else [0, 1, 2, 3])
    assert proposals["freed"] == 4


@pytest.mark.parametrize("spilled", [False, True], ids=["H in memory", "H on disk"])
def test_a_trial_point_has_the_same_bits_early_and_late(spilled, tmp_path, monkeypatch, sample):
    if spilled:
        spill(monkeypatch)
    V = stored(tmp_path / "V.zarr", matrix(24, 300), (24, 37))
    late = list(dnmf.iterate(V, max_passes=6, **OPTIONS))
    early = list(dnmf.iterate(V, max_passes=6, store=tmp_path / "run.zarr", **OPTIONS))
    assert losses(late[-1]).tolist() == losses(early[-1]).tolist()
    for one, other in zip(late, early, strict=True):
        np.testing.assert_array_equal(one.W, other.W)


def test_leaving_the_loop_frees_the_columns_of_the_surrogate(tmp_path, monkeypatch):
    spill(monkeypatch)
    folders, made = [], DiskFactor.__init__

    def noting(self, folder, *given, **words):
        made(self, folder, *given, **words)
        folders.append(self._folder)

    monkeypatch.setattr(DiskFactor, "__init__", noting)
    states = dnmf.iterate(stored(tmp_path / "V.zarr", matrix(24, 300), (24, 37)), max_passes=6, **OPTIONS)
    result = next(states)
    assert sum(folder.exists() for folder in folders) == 2  # H, and the columns
    states.close()
    assert sum(folder.exists() for folder in folders) == 1
    assert np.isfinite(np.asarray(result.H)).all()


# Interrupted and resumed.


def resumed(V, where, at, **options):
    """Return a run that was interrupted at some passes, and resumed after each."""
    options = {"max_passes": 12, "checkpoint_every": 3, **OPTIONS, **options}
    with pytest.raises(Interrupted):
        dnmf.factorize(V, store=where, **options, **interrupt_at(at[0]))
    for passes in at[1:]:
        with pytest.raises(Interrupted):
            dnmf.resume(where, V, **interrupt_at(passes))
    return dnmf.resume(where, V), dnmf.factorize(V, **options)


@pytest.mark.parametrize("spilled", [False, True], ids=["H in memory", "H on disk"])
@pytest.mark.parametrize("cut", ["columns", "rows"])
@pytest.mark.parametrize("penalties", [{}, PENALTIES], ids=["plain", "penalised"])
def test_a_resumed_run_ends_in_the_bits_of_one_that_was_not(penalties, cut, spilled, tmp_path, monkeypatch, sample):
    if spilled:
        spill(monkeypatch)
    V = matrix(24, 300) if cut == "columns" else matrix(300, 24)
    V = stored(tmp_path / "V.zarr", V, (24, 37) if cut == "columns" else (37, 24))
    assert_same_bits(*resumed(V, tmp_path / "run.zarr", [2, 3, 5, 8], **penalties))


def test_a_point_that_was_refused_is_not_tried_again_and_after_two_of_them_the_rest_is_extrapolated(misled):
    V = low_rank(30, 200, 4)
    result = dnmf.factorize(V, max_passes=12, **OPTIONS)
    solvers = [record.solver for record in result.history]
    # Pass 2 is at the first factors, 3 and 5 at rejected points, 4 at the factors again.
    assert solvers == ["sketch"] * 4 + ["extrapolated"] * 7
    assert losses(result)[1] == losses(result)[0]
    assert losses(result)[3] == losses(result)[2]
    assert (np.diff(losses(result)) <= 0).all()
    assert losses(result)[2] < losses(result)[0]
    assert losses(result)[-1] < losses(result)[3]


@pytest.mark.parametrize("at", [[2], [3], [4], [5], [6], [7], [2, 3, 4, 5, 6, 7, 8]], ids=str)
def test_it_is_resumed_after_points_that_were_refused(at, tmp_path, misled):
    assert_same_bits(*resumed(low_rank(30, 200, 4), tmp_path / "run.zarr", at))


@pytest.mark.parametrize("blocks", [0, 1, 5, 8])
@pytest.mark.parametrize("how", ["cancel", "KeyboardInterrupt"])
def test_an_interruption_while_the_sketch_is_made_loses_nothing_but_that(how, blocks, tmp_path):
    cancel = threading.Event()

    class Interrupter(Told):
        def started(self, plan, passes, max_passes):
            super().started(plan, passes, max_passes)
            self.count()

        def block_read(self, count):
            super().block_read(count)
            self.count()

        def count(self):
            if len(self.blocks) == blocks and how == "cancel":
                cancel.set()
            elif len(self.blocks) == blocks:
                raise KeyboardInterrupt

    V, where, told = stored(tmp_path / "V.zarr", matrix(24, 60), (24, 7)), tmp_path / "run.zarr", Interrupter()
    with pytest.raises(Interrupted if how == "cancel" else KeyboardInterrupt):
        dnmf.factorize(V, store=where, max_passes=5, watchers=[told], cancel=cancel, threads=1, **OPTIONS)
    assert told.calls == [("started", 0, 5)]
    assert len(told.blocks) == blocks
    assert_same_bits(dnmf.resume(where), dnmf.factorize(V, max_passes=5, **OPTIONS))


# Reads.


def reads(monkeypatch, V):
    """Count the reads of every block."""
    kind, counts = type(open_matrix(V)), collections.Counter()
    read = kind.read

    def counting(self, block, scratch):
        counts[block] += 1
        return read(self, block, scratch)

    monkeypatch.setattr(kind, "read", counting)
    return counts


@pytest.mark.parametrize("kind", ["zarr", "zarr, rows", "csr", "csc", "dask of csr", "npy Fortran"])
def test_the_first_pass_reads_every_block_once_its_columns_for_the_basis_included(kind, tmp_path, monkeypatch, sample):
    V, told = SOURCES[kind](low_rank(30, 200, 3), tmp_path), Told()
    blocks, counts = open_matrix(V).layout.blocks, reads(monkeypatch, V)
    result = dnmf.factorize(V, max_passes=6, watchers=[told], **OPTIONS)
    assert counts == dict.fromkeys(range(blocks), 6)
    assert len(told.blocks) == 6 * blocks
    whole = open_matrix(V).layout.stored_bytes
    assert [record.bytes_read for record in result.history] == [passes * whole for passes in range(2, 7)]


def test_blocks_that_do_not_stay_in_memory_are_read_again_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.solvers.sketch.basis, "PILOT_BYTES", 30 * 7 * 8 * 2)
    monkeypatch.setattr(dnmf.solvers.sketch.basis, "PILOT_COLUMNS", 28)
    V, told = da.from_array(low_rank(30, 210, 3), chunks=(-1, 7)), Told()
    counts = reads(monkeypatch, V)
    result = dnmf.factorize(V, max_passes=2, watchers=[told], **OPTIONS)
    # Four runs of seven columns are in eight blocks at most; those of the last run may stay.
    assert 60 <= sum(counts.values()) <= 68
    assert min(counts.values()) == 2
    assert sum(counts.values()) == len(told.blocks)
    assert result.history[-1].bytes_read == sum(told.blocks) == sum(counts.values()) * 30 * 7 * 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("form", [np.asarray, sp.csc_array, sp.csr_array])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["auto", "hals", "als"])
def test_the_first_bad_entry_is_named_in_the_first_pass(solver, dtype, form, value, tmp_path):
    V, told = low_rank(30, 200, 3, dtype=dtype), Told()
    V[17, 120] = V[20, 7] = value
    first = (17, 120) if form is sp.csr_array else (20, 7)
    with pytest.raises(DataError, match=rf"V\[{first[0]}, {first[1]}\] is {value:g}"):
        dnmf.factorize(form(V), 4, solver=solver, init="sketch", watchers=[told], store=tmp_path / "run.zarr")
    assert told.calls == [("started", 0, 100)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("largest", [1e-100, 1e-30, 1e30, 1e60])
def test_entries_of_any_size_start_a_sketch(largest, dtype):
    V = low_rank(30, 200, 4)
    if not 1e-40 < largest < 1e40:
        dtype = "float64"
    one, other = (dnmf.factorize((V * s).astype(dtype), max_passes=3, **OPTIONS) for s in (1, largest))
    assert other.relative_error == pytest.approx(one.relative_error, rel=1e-3)


# Degenerate matrices.


def zeros(shape):
    return np.zeros(shape)


def of_rank(rank):
    rng = np.random.default_rng(0)
    return rng.random((30, rank)) @ rng.random((rank, 200))


def gaps():
    V = low_rank(30, 200, 3)
    V[3:20], V[:, 10:150] = 0, 0
    return V


def spike():
    V = np.zeros((30, 200))
    V[11, 177] = 3
    return V


@pytest.mark.parametrize("width", [1, 60])
@pytest.mark.parametrize("form", [np.asarray, sp.csc_matrix])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "make",
    [lambda: np.zeros((30, 200)), lambda: of_rank(1), lambda: of_rank(2), gaps, spike, lambda: np.ones((30, 200))],
)
def test_factors_are_finite_and_not_negative(make, dtype, form, width, sample, tmp_path):
    V = make().astype(dtype)
    given = da.from_array(V, chunks=(-1, width)).map_blocks(form)
    result = dnmf.factorize(given, max_passes=5, **OPTIONS)
    W, H = factors(result)
    for factor in (W, H):
        assert np.isfinite(factor).all()
        assert (factor >= 0).all()
    assert (np.diff(losses(result)) <= slack(V)).all()
    # Rows without data converge to 0.
    np.testing.assert_allclose((W @ H)[~V.any(axis=1)], 0, atol=1e-6 * V.max())
    np.testing.assert_allclose((W @ H)[:, ~V.any(axis=0)], 0, atol=1e-6 * V.max())
    assert result.relative_error < 1
    if np.linalg.matrix_rank(V) <= 2:
        assert result.relative_error < 1e-3


def test_a_matrix_of_zeros_is_resumed(tmp_path):
    where, V = tmp_path / "run.zarr", np.zeros((30, 200))
    first = dnmf.factorize(V, 4, store=where)
    assert first.converged
    assert_same_bits(dnmf.resume(where, V), first)


# Without a sketch.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rank": 6}, r"at rank=6 is for matrices of more than 30 rows and columns, and V has \(30, 200\)"),
        ({"missing": "nan"}, "needs every entry of V, with the same weight"),
        ({"weights": np.ones((30, 200))}, "needs every entry of V, with the same weight"),
        ({"fixed_W": np.ones((30, 1))}, "takes neither fixed_W nor fixed_H"),
    ],
    ids=str,
)
def test_a_sketch_by_name_is_refused_where_there_can_be_none(options, sentence):
    with pytest.raises(SettingsError, match=sentence):
        dnmf.factorize(low_rank(30, 200, 3) + 0.1, **{"rank": 4, "init": "sketch", **options})


@pytest.mark.parametrize("solver", ["auto", "sketch"])
@pytest.mark.parametrize("options", [{"rank": 6}, {"missing": "nan"}, {"weights": np.ones((30, 200))}], ids=str)
def test_where_there_can_be_no_sketch_the_run_is_extrapolated_from_a_random_start(options, solver, monkeypatch):
    monkeypatch.setattr(dnmf.solvers.direct, "MOST", 0)
    result = dnmf.factorize(low_rank(30, 200, 3), **{"rank": 4, "solver": solver, "max_passes": 4, "tol": 0, **options})
    assert [(record.passes, record.solver) for record in result.history] == [(k, "extrapolated") for k in (1, 2, 3, 4)]


def test_a_matrix_that_is_smaller_than_its_sketch_is_not_sketched_unless_it_is_told():
    V = sp.random_array((300, 1000), density=0.01, rng=np.random.default_rng(0), format="csc")
    assert dnmf.factorize(V, 4, max_passes=2).history[0].passes == 1
    assert dnmf.factorize(V, max_passes=2, **OPTIONS).history[0].passes == 2


# Parts of a sketch.


def test_dependent_columns_are_dropped_and_the_first_ones_kept():
    rng = np.random.default_rng(0)
    X = rng.random((40, 5)) * [1, 1e-150, 1, 1e150, 1]
    X = np.column_stack([X[:, 0], np.zeros(40), X[:, 1], X[:, 0] * 3, X[:, 0] + X[:, 1] * 1e150, X[:, 2:]])
    Q = orthonormal(X)
    assert Q.shape == (40, 5)
    np.testing.assert_allclose(Q.T @ Q, np.eye(5), atol=1e-14)
    lengths = np.linalg.norm(X, axis=0)
    unit = X / np.where(lengths > 0, lengths, 1)
    np.testing.assert_allclose(Q @ (Q.T @ unit), unit, atol=1e-8)
    np.testing.assert_allclose(abs(Q[:, 0] @ unit[:, 0]), 1)
    assert orthonormal(np.zeros((7, 3))).shape == (7, 0)


def test_nearly_dependent_columns_leave_no_rounding_in_a_basis():
    rng = np.random.default_rng(0)
    X = rng.random((100, 4))
    Q = orthonormal(np.hstack([X, X + 1e-11 * rng.random((100, 4)), X + 1e-6 * rng.random((100, 4))]))
    assert Q.shape == (100, 8)
    np.testing.assert_allclose(Q.T @ Q, np.eye(8), atol=1e-13)


def test_the_pseudo_inverse_sees_no_scale():
    X = np.random.default_rng(0).random((3, 20)) * [[1e-80], [1.0], [1e80]]
    gram = X @ X.T
    inverse = pseudo_inverse(gram, np.dtype("float64"))
    scales = np.outer(*[np.sqrt(np.diag(gram))] * 2)
    np.testing.assert_allclose((gram / scales) @ (inverse * scales), np.eye(3), atol=1e-10)
    assert not pseudo_inverse(np.zeros((2, 2)), np.dtype("float32")).any()


def test_the_first_basis_knows_a_matrix_of_low_rank():
    V = of_rank(3)
    engine = context(V)[0].engine
    Q, _ = first_basis(engine, 12, np.random.default_rng(0))
    assert Q.shape == (30, 12)
    np.testing.assert_allclose(Q.T @ Q, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(Q @ (Q.T @ V), V, atol=1e-10)


@pytest.mark.parametrize("form", [np.asarray, sp.csc_array])
@pytest.mark.parametrize("width", [37, 200])
def test_a_surrogate_is_exact_to_first_order_where_the_pass_was(width, form, monkeypatch):
    """At the W and the H of the pass, WᵀV̂ = WᵀV and V̂Hᵀ = VHᵀ."""
    V, seen, solve = low_rank(30, 200, 4, noise=0.5), [], Surrogate.solve

    def look(*given):
        seen.append((given[0], given[1].copy(), given[5].copy() if len(given) == 6 else None))
        return solve(*given)

    monkeypatch.setattr(Surrogate, "solve", look)
    made, _ = context(da.from_array(V, chunks=(-1, width)).map_blocks(form))
    state = sketched(made, Settings(rank=4))
    for _ in range(3):
        point, state = state.point, corrected(made, state).proposed()
        surrogate, S, H = seen[-1]
        np.testing.assert_array_equal(H, whole(state.H, -(-200 // width)))
        near = surrogate.left @ S
        np.testing.assert_allclose(point.T @ near, point.T @ V, atol=1e-10 * np.abs(V).max())
        np.testing.assert_allclose(near @ H.T, V @ H.T, rtol=1e-9, atol=1e-9 * np.abs(V @ H.T).max())


def test_the_first_surrogate_of_a_matrix_of_low_rank_is_the_matrix(monkeypatch):
    V, seen, solve = of_rank(4), [], Surrogate.solve

    def look(*given):
        seen.append(given[:2])
        return solve(*given)

    monkeypatch.setattr(Surrogate, "solve", look)
    state = sketched(context(V)[0], Settings(rank=4))
    np.testing.assert_allclose(seen[0][0].left @ seen[0][1], V, rtol=1e-8)
    assert state.passes == 1
    assert state.norms == pytest.approx([np.vdot(V, V)], rel=1e-12)
    assert np.linalg.norm(V - state.W @ whole(state.H, 1)) < 0.01 * np.linalg.norm(V)


# Number of reads.


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tall", [False, True])
def test_three_reads_reach_what_two_hundred_plain_passes_do(tall, dtype, noise):
    V = low_rank(100, 1500, 8, noise=noise, dtype=dtype)
    V = V.T.copy() if tall else V
    plain = dnmf.factorize(V, 8, max_passes=200, tol=0, **PLAIN)
    for result in dnmf.iterate(V, 8, solver="sketch", max_passes=4, tol=0):
        if result.passes == 3:
            assert result.relative_error <= 1.01 * plain.relative_error
    assert result.relative_error <= 1.005 * plain.relative_error


@pytest.mark.parametrize("seed", range(3))
def test_columns_that_are_sorted_do_not_mislead_the_first_ones(seed, few):
    rng = np.random.default_rng(seed)
    H = np.repeat(np.eye(6), 100, axis=1) * rng.random((6, 600))
    V = rng.random((50, 6)) @ H + 0.05 * rng.random((50, 600))
    plain = dnmf.factorize(V, 6, max_passes=200, tol=0, seed=seed, **PLAIN)
    result = dnmf.factorize(V, 6, solver="sketch", max_passes=4, tol=0, seed=seed)
    assert result.relative_error <= 1.01 * plain.relative_error


def test_blocks_that_are_too_large_to_be_kept_are_read_once_for_the_basis_and_once_for_the_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(dnmf.solvers.sketch.basis, "PILOT_BYTES", 1)
    V = low_rank(30, 200, 3)
    for width, touched in ((200, 1), (50, 3)):
        told, path = Told(), stored(tmp_path / f"V-{width}.zarr", V, (30, width))
        dnmf.factorize(path, 4, max_passes=2, tol=0, watchers=[told])
        assert sum(told.blocks) == 2 * V.nbytes + touched * V.nbytes * width // 200
