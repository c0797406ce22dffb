"""Initialisations: the same for any chunks, close to scikit-learn's, and with their reads counted as passes."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition._nmf import _initialize_nmf
from strategies import SOURCES, low_rank

import dnmf
from dnmf.engine import ThreadEngine
from dnmf.engine.factor import ArrayFactor, MemoryFactor, RandomFactor
from dnmf.kernels.registry import make_rule
from dnmf.settings import Settings
from dnmf.solvers.initialise import check_given, initial_state
from dnmf.solvers.iteration import PassContext
from dnmf.solvers.shared_scale import first_mean
from dnmf.sources import open_matrix

SPECTRAL = ["nndsvd", "nndsvda", "nndsvdar"]


def gapped(rows=30, columns=200, rank=4, seed=0, dtype="float64"):
    """A matrix with a gap after its `rank` singular values, which differ clearly."""
    rng = np.random.default_rng(seed)
    V = (rng.random((rows, rank)) ** 3 * 2.0 ** -np.arange(rank)) @ (rng.random((rank, columns)) ** 3)
    return (V + 1e-6 * rng.random(V.shape)).astype(dtype)


def begin(V, rank=4, init="random", seed=0, given=None, threads=2):
    """Return the first W and H as they are streamed, the state, and the blocks that were read."""
    source, read = open_matrix(V), []
    layout = source.layout
    engine = ThreadEngine(source, min(layout.blocks, 3), threads, read.append)
    settings = Settings(rank=rank, init=init, seed=seed)
    context = PassContext(engine, make_rule(settings), lambda rows: MemoryFactor(layout.blocks))
    state = initial_state(context, settings, given, init)
    return state.W, np.concatenate([state.H.read(block) for block in range(layout.blocks)], axis=1), state, read


def cut(V, width, folder, form="dask, columns"):
    return SOURCES[form](V, folder).rechunk((-1, width))


@pytest.mark.parametrize("width", [1, 37, 200])
@pytest.mark.parametrize("init", ["random", *SPECTRAL])
def test_no_cut_into_blocks_changes_the_start(init, width, tmp_path):
    V = gapped()
    W, H, _, _ = begin(V, init=init)
    Wc, Hc, _, _ = begin(cut(V, width, tmp_path), init=init)
    if init == "random":
        np.testing.assert_array_equal(W, Wc)
        np.testing.assert_array_equal(H, Hc)
    # Entries that are negative by rounding are set to 0 and filled: equal up to rounding of the largest entry.
    np.testing.assert_allclose(Wc, W, rtol=1e-8, atol=1e-8 * W.max())
    np.testing.assert_allclose(Hc, H, rtol=1e-8, atol=1e-8 * H.max())


@pytest.mark.parametrize("init", ["random", *SPECTRAL])
@pytest.mark.parametrize("form", [np.asfortranarray, sp.csc_array])
def test_sparse_and_dense_start_alike(form, init):
    V = gapped()
    W, H, _, _ = begin(V, init=init)
    Wf, Hf, _, _ = begin(form(V), init=init)
    np.testing.assert_allclose(Wf, W, rtol=1e-8, atol=1e-8 * W.max())
    np.testing.assert_allclose(Hf, H, rtol=1e-8, atol=1e-8 * H.max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", ["nndsvd", "nndsvda"])
def test_singular_vectors_are_scikit_learns_up_to_the_scale_of_columns(init, dtype):
    V = gapped(dtype=dtype)
    W, H, _, _ = begin(V, init=init)
    Wx, Hx = _initialize_nmf(V.astype(np.float64), 4, init=init, random_state=0)
    assert W.dtype == H.dtype == dtype
    # The gap is 1e5 wide in float64; in float32 the products are rounded, and the smallest of the vectors suffer most.
    tolerance = 1e-6 if dtype == "float64" else 1e-3
    for k in range(4):
        np.testing.assert_allclose(W[:, k] / W[:, k].max(), Wx[:, k] / Wx[:, k].max(), atol=tolerance)
        np.testing.assert_allclose(H[k] / H[k].max(), Hx[k] / Hx[k].max(), atol=tolerance)
        np.testing.assert_allclose(np.outer(W[:, k], H[k]), np.outer(Wx[:, k], Hx[k]), atol=tolerance * V.max())


def test_the_filled_start_has_no_zeros_and_the_plain_one_has():
    V = gapped()
    W, H, _, _ = begin(V, init="nndsvd")
    assert (W == 0).any()
    assert (H == 0).any()
    for init in ("nndsvda", "nndsvdar"):
        Wf, Hf, _, _ = begin(V, init=init)
        assert (Wf > 0).all()
        assert (Hf > 0).all()
        np.testing.assert_array_equal(Wf[W > 0], W[W > 0])
        np.testing.assert_array_equal(Hf[H > 0], H[H > 0])


def test_a_matrix_of_lower_rank_than_asked_starts_without_nan():
    V = np.outer(np.arange(6.0), np.arange(40.0))
    for init in SPECTRAL:
        W, H, _, _ = begin(V, rank=5, init=init)
        assert np.isfinite(W).all()
        assert np.isfinite(H).all()
        np.testing.assert_allclose(np.outer(W[:, 0], H[0])[1:, 1:], V[1:, 1:], rtol=1e-6)


@pytest.mark.parametrize("init", SPECTRAL)
def test_a_matrix_of_zeros_starts_at_zero(init):
    W, H, _, _ = begin(np.zeros((5, 20)), rank=3, init=init)
    assert not (W @ H).any()


@pytest.mark.parametrize("init", ["random", *SPECTRAL])
def test_the_reads_of_the_start_are_counted(init, tmp_path):
    _, _, state, read = begin(cut(gapped(), 50, tmp_path), init=init)
    passes = 0 if init == "random" else 1
    assert state.passes == passes
    assert len(read) == 4 * passes
    result = dnmf.factorize(gapped(), 4, init=init, max_passes=passes + 2, tol=0)
    assert [record.passes for record in result.history] == [passes + 1, passes + 2]
    assert result.history[0].bytes_read == (passes + 1) * gapped().nbytes


def test_seeds_differ_and_repeat():
    V = gapped()
    for init in ("random", "nndsvdar"):
        runs = [begin(V, init=init, seed=seed)[:2] for seed in (0, 0, 1, 2**64 - 1)]
        for k in (0, 1):
            np.testing.assert_array_equal(runs[0][k], runs[1][k])
            assert (runs[0][k] != runs[2][k]).any()
            assert np.isfinite(runs[3][k]).all()


def test_random_entries_are_half_normal_and_all_different():
    H = RandomFactor(50, (0, 2000), np.dtype("float64"), 3).read(0)
    assert len(np.unique(H)) == H.size
    # 10⁵ draws: the mean of |N(0, 1)| is √(2/π), its standard error 0.002; four of them are allowed.
    assert H.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=4 * 0.002)
    assert (H**2).mean() == pytest.approx(1, abs=4 * 0.0045)
    # Neighbours in either direction are not correlated: 0 within four times 1/√10⁵.
    for one, other in ((H[:, 1:], H[:, :-1]), (H[1:], H[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(10**5)


@pytest.mark.parametrize("kind", ["numpy", "csr", "dask, rows"])
def test_given_factors_are_the_start_and_stay_as_they_are(kind, tmp_path):
    V = low_rank(30, 200, 3)
    rng = np.random.default_rng(0)
    given = rng.random((30, 3)), rng.random((3, 200))
    kept = given[0].copy(), given[1].copy()
    for solver in ("hals", "mu", "als"):
        dnmf.factorize(SOURCES[kind](V, tmp_path), 3, solver=solver, init=given, max_passes=3)
    for one, other in zip(given, kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_given_factors_may_be_lists_integers_dask_arrays_and_read_only():
    V = low_rank(6, 20, 2)
    W, H = np.ones((6, 2)), np.arange(40).reshape(2, 20) + 1.0
    expected = dnmf.factorize(V, 2, init=(W, H), max_passes=2)
    frozen = H.copy()
    frozen.flags.writeable = False
    dask_H = SOURCES["dask, columns"](H, None)
    for left, right in ((W.tolist(), H.astype(int)), (np.asfortranarray(W), frozen), (W, dask_H)):
        result = dnmf.factorize(V, 2, init=(left, right), max_passes=2)
        np.testing.assert_array_equal(result.W, expected.W)
        np.testing.assert_array_equal(np.asarray(result.H), np.asarray(expected.H))


def test_a_given_factor_is_read_as_a_copy():
    H = np.ones((2, 6))
    block = ArrayFactor(H, (0, 4, 6)).read(1)
    block += 1
    assert (H == 1).all()


def test_given_factors_are_checked_by_place():
    W, H = np.ones((3, 2)), np.ones((2, 5))
    H[1, 4] = -0.5
    with pytest.raises(dnmf.DnmfError, match=r"H\[1, 4\] in init is -0.5; give finite numbers of at least 0"):
        check_given((W, H), (3, 5), 2)
    assert check_given([W, np.abs(H)], (3, 5), 2)[0] is W


PENALISED = {
    "l1": lambda c, power: {"l1_W": 0.05 * c ** (power - 0.5), "l1_H": 0.05 * c ** (power - 0.5)},
    "l2": lambda c, power: {"l2_W": 0.05 * c ** (power - 1), "l2_H": 0.05 * c ** (power - 1)},
    "target": lambda c, power: {"target_W": c**0.5 * AIMS, "target_weight": c ** (power - 1)},
}
AIMS = np.random.default_rng(5).random((24, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-20, 1e14])
@pytest.mark.parametrize("kind", PENALISED)
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("frobenius", {}),
        ("frobenius", {"solver": "sketch"}),
        ("frobenius", {"init": "random", "n_runs": 2}),
        ("frobenius", {"init": "spa"}),
        ("kullback-leibler", {}),
        ("kullback-leibler", {"solver": "mu", "init": "random"}),
    ],
)
def test_penalised_runs_do_not_depend_on_the_scale_of_V(loss, options, kind, scale, dtype):
    # With V·c, factors √c·W and √c·H, and penalties scaled accordingly, the objective is c² or c times the one of V.
    V = np.random.default_rng(3).gamma(1, 1, (24, 3)) @ np.random.default_rng(4).gamma(1, 1, (3, 40))
    power = 2.0 if loss == "frobenius" else 1.0
    losses = []
    for c in (1.0, scale):
        given = PENALISED[kind](c, power)
        result = dnmf.factorize((c * V).astype(dtype), 3, loss=loss, max_passes=30, tol=0, **given, **options)
        W, H = np.asarray(result.W, float) / c**0.5, np.asarray(result.H, float) / c**0.5
        assert (W @ H).sum() == pytest.approx(V.sum(), rel=0.2)  # not zero
        losses.append(result.loss / c**power)
    assert losses[1] == pytest.approx(losses[0], rel=2e-3 if dtype == "float32" else 1e-6)


def mean_of(V, monkeypatch, columns, weights=None, threads=1):
    """Return the mean of V for penalties from at most `columns` of the first block, what was fetched, and the reads."""
    source, read = open_matrix(V, weights=weights), []
    engine, shapes = ThreadEngine(source, source.layout.blocks, threads, read.append), []
    monkeypatch.setattr("dnmf.solvers.shared_scale.PANEL_BYTES", columns * source.layout.stored_bytes // V.shape[1])

    def fetch(*given, fetch=engine.fetch):
        shapes.append((found := fetch(*given)).shape)
        return found

    engine.fetch = fetch
    rule = make_rule(Settings(rank=3, l1_H=1.0), weighted=weights is not None)
    return first_mean(PassContext(engine, rule, lambda rows: MemoryFactor(source.layout.blocks))), shapes, len(read)


@pytest.mark.parametrize("form", ["dask, columns", "dask of csr"])
def test_a_few_columns_give_the_mean_for_penalties(form, tmp_path, monkeypatch):
    dense = np.random.default_rng(0).gamma(2, 1, (24, 1000))
    mean, shapes, reads = mean_of(cut(dense, 400, tmp_path, form), monkeypatch, 10)
    assert mean == pytest.approx(dense[:, :400].mean(), rel=0.2)
    assert (shapes, reads) == ([(24, 10)], 1)


@pytest.mark.parametrize("form", ["dask, columns", "dask of csr"])
@pytest.mark.parametrize("place", [7, 777])
def test_a_single_column_with_data_is_found_in_one_pass(place, form, tmp_path, monkeypatch):
    dense = np.zeros((24, 1000))
    dense[:, place] = 3.0 + np.random.default_rng(0).random(24)
    found = []
    for width in (400, 130):
        V = cut(dense, width, tmp_path, form)
        found += [mean_of(V, monkeypatch, 10, threads=threads) for threads in (1, 2)]
        (_, [(_, columns)], reads) = found[-1]
        assert columns <= 10
        assert reads == 1 + len(V.chunks[1])
    assert found[0][0] == pytest.approx(dense.mean(), rel=1e-12)
    assert {mean for mean, *_ in found} == {found[0][0]}


def test_a_first_block_of_zeros_is_not_read_again_if_it_is_small(tmp_path, monkeypatch):
    dense = np.random.default_rng(0).random((24, 1000))
    dense[:, :100] = 0
    mean, shapes, reads = mean_of(cut(dense, 100, tmp_path), monkeypatch, 100)
    assert mean == pytest.approx(dense.mean(), rel=1e-12)
    assert (shapes, reads) == ([(24, 100)], 10)


def test_the_mean_for_penalties_is_weighted(monkeypatch):
    rng = np.random.default_rng(0)
    dense, weights = rng.random((24, 50)), rng.integers(0, 3, (24, 50)).astype(float)
    mean, *_ = mean_of(dense, monkeypatch, 1000, weights)
    assert mean == pytest.approx(np.average(dense, weights=weights))
