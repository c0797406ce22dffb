"""Every mistake ends in its own sentence, and before any block is read where it can be known before."""

import inspect

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from runs import assert_same_bits
from strategies import SOURCES, low_rank

import dnmf
from dnmf.errors import BudgetError, DataError, DataWarning, ReadError, SettingsError
from dnmf.sources.memory import ArraySource

V = low_rank(8, 20, 2)


def spoiled(value, at=(5, 17)):
    bad = V.copy()
    bad[at] = value
    return bad


@pytest.mark.parametrize(
    "form", [np.asarray, np.asfortranarray, sp.csr_matrix, sp.csc_array, lambda M: da.from_array(M, chunks=(4, 5))]
)
@pytest.mark.parametrize(("value", "what"), [(-2.5, "negative"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_bad_entries_are_named_by_their_place(form, value, what):
    with pytest.raises(DataError, match=rf"V\[5, 17\] is {value:g}, which is {what}; V must hold finite numbers"):
        dnmf.factorize(form(spoiled(value)), 2)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((0, 5)), r"is empty: its shape is \(0, 5\)"),
        (np.ones(5), r"has 1 dimension\(s\), shape \(5,\); it must be a matrix"),
        (np.ones((2, 0, 4)), r"is empty: its shape is \(2, 0, 4\)"),
        (np.ones((4, 4), complex), "has dtype complex128, which is not a real number; pass booleans, integers or"),
        (np.array([["a", "b"]]), "has dtype <U1, which is not a real number"),
        (np.ones((4, 4), object), "has dtype object, which is not a real number"),
        (sp.coo_matrix(V), "is sparse in coo form; give CSR or CSC"),
        ({"a": 1}, "V is a builtins.dict; give a NumPy array"),
        (
            "nowhere.zarr",
            "nowhere.zarr does not exist; give the path or URL of a Zarr array or group, or the path of a .npy",
        ),
        (da.from_array(V)[:, da.from_array(V)[0] > 0.5], "chunk sizes are not known; call V.compute_chunk_sizes"),
    ],
)
def test_what_is_no_matrix_is_refused(matrix, message):
    with pytest.raises(DataError, match=message):
        dnmf.factorize(matrix, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank=0 is not allowed; give a whole number of at least 1"),
        ({"rank": 2.5}, "rank=2.5 is not allowed"),
        ({"rank": True}, "rank=True is not allowed"),
        ({"rank": 9, "init": "nndsvd"}, r"rank=9 is more than min\(m, n\)=8, .* use init='random' or a lower rank"),
        ({"solvr": "hals"}, "the option 'solvr' is not known. Did you mean 'solver'?"),
        ({"solver": "hasl"}, "solver='hasl' is not known; allowed are .* Did you mean 'hals'?"),
        ({"random_state": 0}, "the option 'random_state' is not known. Did you mean 'seed'?"),
        ({"n_jobs": 2}, "the option 'n_jobs' is not known. Did you mean 'threads'?"),
        ({"rank": None, "n_components": 2}, "the option 'n_components' is not known. Did you mean 'rank'?"),
        ({"rank": None}, "rank is missing; give the number of components, as in rank=20"),
        ({"loss": "frobenus"}, "Did you mean 'frobenius'?"),
        ({"init": "nndsvdb"}, "Did you mean 'nndsvda?r?'?"),
        ({"init": 3}, "init=3 is not known; give a name, or the two factors as a tuple"),
        (
            {"loss": "kullback-leibler", "solver": "hals"},
            "solver='hals' needs loss='frobenius', and got loss='kullback-leibler'; for this loss, give",
        ),
        ({"tol": -1}, "tol=-1 is not allowed; give a finite number of at least 0"),
        ({"l1_H": np.nan}, "l1_H=nan is not allowed"),
        ({"max_seconds": "soon"}, "max_seconds='soon' is not allowed"),
        (
            {"memory_limit": "many"},
            "memory_limit='many' is not an amount of memory; give bytes, or a text such as '1GB'",
        ),
        ({"threads": 0}, "threads=0 is not allowed"),
    ],
)
def test_options_are_checked_before_any_block_is_read(options, message, monkeypatch):
    monkeypatch.setattr(ArraySource, "read", None)
    with pytest.raises(SettingsError, match=message):
        dnmf.factorize(V, **({"rank": 2} | options))


@pytest.mark.parametrize(
    ("W", "H", "message"),
    [
        (np.ones((7, 2)), np.ones((2, 20)), r"W in init has shape \(7, 2\); at rank 2, V \(8, 20\) needs \(8, 2\)"),
        (np.ones((8, 2)), np.ones((3, 20)), r"H in init has shape \(3, 20\); at rank 2, V \(8, 20\) needs \(2, 20\)"),
        (-np.ones((8, 2)), np.ones((2, 20)), r"W\[0, 0\] in init is -1; give finite numbers of at least 0"),
        (np.ones((8, 2)), np.full((2, 20), np.nan), r"H\[0, 0\] in init is nan"),
        (np.ones((8, 2), complex), np.ones((2, 20)), "W in init has dtype complex128; give real numbers"),
    ],
)
def test_given_factors_are_checked_before_any_block_is_read(W, H, message, monkeypatch):
    monkeypatch.setattr(ArraySource, "read", None)
    with pytest.raises(DataError, match=message):
        dnmf.factorize(V, 2, init=(W, H))


def test_a_rank_above_both_sides_is_allowed_from_a_random_start():
    assert dnmf.factorize(V, 30, max_passes=3).W.shape == (8, 30)


def test_a_budget_too_small_for_one_block_is_refused_with_both_amounts(monkeypatch):
    monkeypatch.setattr(ArraySource, "read", None)
    with pytest.raises(BudgetError, match=r"memory_limit is 1 MB, and rank 2 on this matrix needs 191 MB"):
        dnmf.factorize(V, 2, memory_limit="1MB")


def test_a_file_of_another_kind_and_a_group_are_refused(tmp_path):
    (tmp_path / "V.log").write_text("1 2")
    with pytest.raises(DataError, match="is a file of unknown kind; give the path or URL of a Zarr array"):
        dnmf.factorize(tmp_path / "V.log", 2)
    (tmp_path / "V.npy").write_text("1 2")
    with pytest.raises(DataError, match=r"is not a \.npy file"):
        dnmf.factorize(tmp_path / "V.npy", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is not a Zarr array"):
        dnmf.factorize(tmp_path / "empty", 2)
    for name in ("counts", "more"):
        zarr.open_group(tmp_path / "group.zarr").create_array(name, shape=(2, 2), dtype="f4")
    with pytest.raises(DataError, match="is a Zarr group, not an array; give one of its arrays: counts, more"):
        dnmf.factorize(tmp_path / "group.zarr", 2)


def test_a_truncated_file_is_named(tmp_path):
    path = SOURCES["npy"](V, tmp_path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ReadError, match=r"V-C.npy is truncated: it has \d+ bytes and its header promises \d+"):
        dnmf.factorize(path, 2)


@pytest.mark.parametrize("kind", ["zarr", "zarr, rows", "zarr, compressed", "zarr, grid"])
def test_a_truncated_chunk_is_named(kind, tmp_path):
    big = low_rank(30, 200, 2)
    root = SOURCES[kind](big, tmp_path)
    chunks = sorted(path for path in (tmp_path / root / "c").rglob("*") if path.is_file())
    chunks[-1].write_bytes(chunks[-1].read_bytes()[:20])
    with pytest.raises(
        ReadError, match=r"truncated|block \d+ \((rows|columns) \d+ to \d+\) of .* could not be read"
    ) as caught:
        dnmf.factorize(root, 2)
    assert root in str(caught.value)


def test_help_shows_the_options():
    shown = inspect.signature(dnmf.factorize).parameters
    assert shown["tol"].default == 1e-6
    assert shown["max_passes"].default == 100
    assert "options" not in shown


# Found as the data are read.


@pytest.mark.parametrize("kind", ["zarr", "zarr, rows", "zarr, compressed", "zarr, grid", "npy", "npy Fortran"])
@pytest.mark.parametrize("init", ["random", "nndsvda"])
def test_bad_entries_of_files_are_named_by_their_place(kind, init, tmp_path):
    big = low_rank(30, 200, 2)
    big[17, 123] = -0.5
    with pytest.raises(DataError, match=r"V\[17, 123\] is -0.5, which is negative"):
        dnmf.factorize(SOURCES[kind](big, tmp_path), 2, init=init)


@pytest.mark.parametrize(
    ("value", "dtype", "what"),
    [
        (-1, np.int8, "is -1, which is negative"),
        (-(2**40), np.int64, "is -1.09951e.12, which is negative"),
        (np.inf, np.float16, "is inf, which is not finite"),
        (-np.inf, np.float32, "is -inf, which is not finite"),
    ],
)
def test_bad_entries_of_every_dtype_are_named(value, dtype, what):
    bad = np.ones((8, 20), dtype)
    bad[5, 17] = value
    with pytest.raises(DataError, match=rf"V\[5, 17\] {what}"):
        dnmf.factorize(bad, 2)


def test_of_several_bad_entries_in_a_block_the_first_column_is_named():
    bad = V.copy()
    bad[2, 9], bad[6, 4], bad[3, 4] = np.nan, -1, -2
    with pytest.raises(DataError, match=r"V\[3, 4\] is -2"):
        dnmf.factorize(bad, 2)


def test_of_several_bad_blocks_the_first_is_named():
    """On any number of threads, every time: a person who mends entry after entry is not sent to and fro."""
    bad = np.ones((50, 2000))
    bad[7, 31::20] = -1
    for _ in range(5):
        with pytest.raises(DataError, match=r"V\[7, 31\] is -1"):
            dnmf.factorize(da.from_array(bad, chunks=(50, 20)), 2, threads=4)


def test_a_negative_zero_and_a_column_of_zeros_are_no_mistake():
    fine = V.copy()
    fine[:, 3], fine[2, 5] = 0, -0.0
    assert np.isfinite(np.asarray(dnmf.factorize(fine, 2, max_passes=3).H)).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("matrix", "options"),
    [
        (np.full((5, 8), 1e300), {}),
        (np.full((5, 8), 1e38, np.float32), {}),
        (V, {"loss": "kullback-leibler", "init": (np.zeros((8, 2)), np.ones((2, 20)))}),
    ],
    ids=["squares above float64", "sums above float32", "WH is 0 where V is not"],
)
def test_numbers_that_leave_the_range_of_floats_end_the_run_and_are_not_saved(matrix, options, tmp_path):
    with pytest.raises(DataError, match=r"[Dd]ivide .* by a constant"):
        dnmf.factorize(matrix, 2, max_passes=3, store=tmp_path / "run.zarr", **options)
    assert not list((tmp_path / "run.zarr" / "commits").glob("*[1-9].json"))


def test_a_block_that_cannot_be_read_any_more_ends_the_run_and_loses_nothing(tmp_path):
    big = low_rank(30, 200, 2)
    root = SOURCES["zarr"](big, tmp_path)
    chunk = sorted(path for path in (tmp_path / root / "c").rglob("*") if path.is_file())[-1]
    content = chunk.read_bytes()

    class Truncate(dnmf.Watcher):
        def passed(self, record):
            if record.passes == 5:
                chunk.write_bytes(content[:100])

    options = {"max_passes": 8, "tol": 0, "checkpoint_every": 2}
    with pytest.raises(ReadError, match=r"truncated: it ends at byte 100, and .* were expected"):
        dnmf.factorize(root, 2, store=tmp_path / "run.zarr", watchers=[Truncate()], **options)
    assert dnmf.load(tmp_path / "run.zarr").passes == 5
    chunk.write_bytes(content)
    assert_same_bits(dnmf.resume(tmp_path / "run.zarr"), dnmf.factorize(root, 2, **options))


def test_a_dask_array_whose_chunk_fails_is_told_with_the_block_and_the_reason():
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"] == (0, 2):
            raise RuntimeError("no such sample")
        return block

    array = da.from_array(V, chunks=(8, 5)).map_blocks(fail, dtype=V.dtype, meta=np.empty((0, 0)))
    with pytest.raises(
        ReadError, match=r"block 2 \(columns 10 to 14\) of the Dask array .*RuntimeError: no such sample"
    ):
        dnmf.factorize(array, 2)


def test_what_is_wrong_is_found_before_the_store_is_made(tmp_path):
    for options in ({"rank": 0}, {"solver": "hasl"}, {"memory_limit": "1MB"}, {"init": (1, 2, 3)}):
        with pytest.raises(dnmf.DnmfError):
            dnmf.factorize(V, **{"rank": 2, "store": tmp_path / "run.zarr", **options})
    assert list(tmp_path.iterdir()) == []


def test_masked_blocks_are_refused():
    masked = da.from_array(V, chunks=(-1, 5)).map_blocks(np.ma.masked_less, 0.1)
    with pytest.raises(DataError, match="V has masked blocks, and every entry of V counts"):
        dnmf.factorize(masked, 2)


def test_a_list_of_rows_of_different_lengths_is_refused():
    corpus = [[(0, 1), (3, 2)], [(1, 1)]]
    with pytest.raises(DataError, match=r"V is a list whose elements do not make a matrix .*; give an array, or"):
        dnmf.factorize(corpus, 1)


def test_a_frame_of_entries_is_refused_where_absent_ones_are_missing():
    frame = pd.DataFrame({"user": [0, 1], "film": [2, 0], "stars": [5.0, 3.0]})
    with pytest.raises(SettingsError, match=r"V is dense.* a row for each entry as its file, as ratings\.csv"):
        dnmf.factorize(frame, 1, missing="zeros")


def test_penalties_that_leave_no_component_are_told():
    V = np.random.default_rng(0).random((30, 40))
    with pytest.warns(DataWarning, match="All components are 0: lower the penalties"):
        result = dnmf.factorize(V, 3, l1_W=1e6, l1_H=1e6)
    assert not np.asarray(result.W).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": 5}, "5 is not a path; give the path or the URL of a folder"),
        ({"weights": 2.0}, "weights=2.0 is one number; give an array of the shape of V"),
        (
            {"init": np.ones((3, 3))},
            r"init=array\(.* is not known; give a name, or the two factors as a tuple \(W, H\)",
        ),
    ],
)
def test_an_argument_of_another_kind_is_told(options, message):
    with pytest.raises((SettingsError, DataError), match=message):
        dnmf.factorize(np.ones((5, 6)), 2, **options)


def test_the_advice_on_nan_fits_the_kind_of_matrix():
    V = sp.random(20, 30, 0.3, "csc", random_state=0)
    V.data[3] = np.nan
    with pytest.raises(DataError, match="Drop NaN, which is then taken as missing with missing='zeros'"):
        dnmf.factorize(V, 2)


def test_numbers_of_numpy_are_numbers():
    result = dnmf.factorize(np.outer([1, 2, 1], [1, 3, 0, 4]), rank=1)
    assert result.top(np.int64(2)) == result.top(2)
    for wrong in (0, True, 1.5, "2"):
        with pytest.raises(SettingsError, match="give a whole number of at least 1"):
            result.top(wrong)
