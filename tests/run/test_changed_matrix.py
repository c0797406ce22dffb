"""V that changes while it is read: every pass detects it and discards its sums, and the run can be resumed."""

import os
import shutil
from pathlib import Path

import boto3
import dask
import dask.array as da
import h5py
import numpy as np
import objects
import pytest
import scipy.sparse as sp
import zarr
from runs import assert_same_bits, matrix

import dnmf
from dnmf.errors import DataError, ReadError, StoreError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.digests import CLASSES, classes_of, digest_of, digests_of
from dnmf.kernels.blocks.entries import Weighted
from dnmf.run.watcher import Watcher
from dnmf.sources import open_matrix

ROWS, COLUMNS, WIDTH = 40, 64, 16
BLOCKS = COLUMNS // WIDTH
PLACE = (5, 2 * WIDTH + 3)
SOLVERS = {
    "hals": {"solver": "hals", "init": "random"},
    "sketch": {"solver": "sketch", "init": "sketch"},
    "nndsvd": {"solver": "cd", "init": "nndsvda"},
    "newton": {"loss": "kullback-leibler"},
    "mu": {"loss": "itakura-saito", "init": "random"},
    "minibatch": {"solver": "minibatch", "init": "random"},
    "several": {"n_runs": 2, "init": "sketch"},
    "several newton": {"n_runs": 2, "loss": "kullback-leibler"},
}


def positive(dtype=np.float32):
    """Return a matrix without zeros, for every loss."""
    return (matrix(ROWS, COLUMNS, np.float64) + 0.5).astype(dtype)


class Event(Watcher):
    """Calls a function once a number of blocks were read."""

    def __init__(self, after, act):
        self.left, self.act = after, act

    def block_read(self, count):
        self.left -= 1
        if self.left == 0:
            self.act()


def written(path, V, compressors=None):
    """Write a matrix as a Zarr array of one chunk to a block; return its path."""
    array = zarr.create_array(path, shape=V.shape, chunks=(len(V), WIDTH), dtype=V.dtype, compressors=compressors)
    array[...] = V
    return str(path)


def put(path, value):
    """Return a function that writes an entry of a Zarr array."""

    def act():
        zarr.open_array(path, mode="r+")[PLACE] = value

    return act


def flipped(value):
    """Return a float32 with its last bit flipped."""
    return (np.float32(value).view(np.uint32) ^ np.uint32(1)).view(np.float32)


CHANGES = {
    "an entry": (lambda path, V: put(path, V[PLACE] + 1), DataError, r"block 2 \(columns 32 to 47\) of V has changed"),
    "a bit": (lambda path, V: put(path, flipped(V[PLACE])), DataError, r"block 2 .* of V has changed"),
    "negative": (lambda path, V: put(path, -V[PLACE]), DataError, r"V\[5, 35\] is -.*, which is negative"),
    "nan": (lambda path, V: put(path, np.nan), DataError, r"V\[5, 35\] is nan, which is not finite"),
    "inf": (lambda path, V: put(path, np.inf), DataError, r"V\[5, 35\] is inf, which is not finite"),
    "a chunk": (lambda path, V: (Path(path) / "c/0/2").unlink, ReadError, r"block 2 .* could not be read"),
    "everything": (lambda path, V: lambda: shutil.rmtree(path), ReadError, r"could not be read"),
}


# Every change in two solvers, and some in all of them.
CASES = [(solver, change) for solver in ("hals", "newton") for change in CHANGES]
CASES += [(solver, change) for solver in SOLVERS for change in ("a chunk", "nan") if (solver, change) not in CASES]


@pytest.mark.parametrize(("solver", "change"), CASES)
def test_a_change_is_an_error_in_every_solver_and_the_checkpoints_before_it_are_left(solver, change, tmp_path):
    V, where = positive(), tmp_path / "run.zarr"
    path = written(tmp_path / "V.zarr", V)
    make, kind, words = CHANGES[change]
    options = {"rank": 3, "tol": 0, "threads": 1, "checkpoint_every": 1, "keep_checkpoints": 2, **SOLVERS[solver]}
    whole = dnmf.factorize(path, max_passes=6, **options)
    with pytest.raises(kind, match=words):
        dnmf.factorize(path, max_passes=6, store=where, watchers=[Event(3 * BLOCKS, make(path, V))], **options)
    assert sorted(file.name for file in (where / "commits").iterdir()) == ["000002.json", "000003.json"]
    with pytest.raises((DataError, ReadError, StoreError)):
        dnmf.resume(where)
    shutil.rmtree(path, ignore_errors=True)
    written(path, V)
    assert_same_bits(dnmf.resume(where), whole)


@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS + 2, 3 * BLOCKS - 1])
@pytest.mark.parametrize("solver", SOLVERS)
def test_it_does_not_matter_when_v_changes_once_it_was_read(solver, blocks, tmp_path):
    path = written(tmp_path / "V.zarr", positive())
    options = {"rank": 3, "max_passes": 6, "tol": 0, "threads": 1, **SOLVERS[solver]}
    with pytest.raises(DataError, match=r"block 2 .* of V has changed"):
        dnmf.factorize(path, watchers=[Event(blocks, put(path, np.float32(7)))], **options)


def in_npy(folder, V):
    np.save(folder / "V.npy", V)
    return str(folder / "V.npy"), lambda value: np.load(folder / "V.npy", mmap_mode="r+").__setitem__(PLACE, value)


def in_zarr(folder, V, **options):
    path = written(folder / "V.zarr", V, **options)
    return path, lambda value: put(path, value)()


def in_hdf5(folder, V):
    with h5py.File(folder / "V.h5", "w") as file:
        offset = file.create_dataset("V", data=V).id.get_offset()

    def change(value):
        with open(folder / "V.h5", "r+b") as file:
            file.seek(offset + (PLACE[0] * COLUMNS + PLACE[1]) * V.itemsize)
            file.write(V.dtype.type(value).tobytes())

    return str(folder / "V.h5"), change


def in_memory(folder, V, order="C"):
    mine = np.array(V, order=order)
    return mine, lambda value: mine.__setitem__(PLACE, value)


def in_csr(folder, V):
    mine = sp.csr_array(V)
    return mine, lambda value: mine.data.__setitem__(PLACE[0] * COLUMNS + PLACE[1], value)


def in_h5ad(folder, V):
    sparse = sp.csr_matrix(V)
    with h5py.File(folder / "V.h5ad", "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": V.shape})
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(sparse, name)
        offset = group["data"].id.get_offset()

    def change(value):
        with open(folder / "V.h5ad", "r+b") as file:
            file.seek(offset + (PLACE[0] * COLUMNS + PLACE[1]) * V.itemsize)
            file.write(V.dtype.type(value).tobytes())

    return str(folder / "V.h5ad"), change


def in_dask(folder, V):
    np.save(folder / "V.npy", V)

    def part(start):
        return np.load(folder / "V.npy")[:, start : start + WIDTH]

    parts = [da.from_delayed(dask.delayed(part)(start), (ROWS, WIDTH), V.dtype) for start in range(0, COLUMNS, WIDTH)]
    return da.concatenate(parts, axis=1), in_npy(folder, V)[1]


SOURCES = {
    "npy": in_npy,
    "zarr": in_zarr,
    "compressed zarr": lambda folder, V: in_zarr(folder, V, compressors="auto"),
    "hdf5": in_hdf5,
    "h5ad": in_h5ad,
    "memory": in_memory,
    "memory, F": lambda folder, V: in_memory(folder, V, "F"),
    "csr": in_csr,
    "dask": in_dask,
}


@pytest.mark.parametrize(
    ("loss", "value", "words"),
    [
        ("frobenius", 7, "has changed"),
        ("kullback-leibler", 7, "has changed"),
        ("frobenius", -2, "is -2"),
        ("kullback-leibler", np.nan, "is nan"),
    ],
)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_change_is_seen_in_every_source(kind, loss, value, words, tmp_path):
    V, change = SOURCES[kind](tmp_path, positive())
    blocks = Event(0, None)
    dnmf.factorize(V, 3, loss=loss, max_passes=2, tol=0, init="random", watchers=[blocks])
    event = Event(-blocks.left, lambda: change(value))
    with pytest.raises(DataError, match=words):
        dnmf.factorize(V, 3, loss=loss, max_passes=6, tol=0, init="random", watchers=[event])


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_a_change_of_the_weights_is_seen(solver, tmp_path):
    weights = np.ones((ROWS, COLUMNS), np.float32)
    event = Event(3, lambda: weights.__setitem__(PLACE, 2))
    with pytest.raises(DataError, match="has changed"):
        dnmf.factorize(positive(), 3, weights=weights, solver=solver, max_passes=9, tol=0, watchers=[event])


def test_a_change_is_seen_by_a_run_on_a_matrix_that_is_prepared(tmp_path):
    path = written(tmp_path / "V.zarr", positive())
    prepared = dnmf.preprocessing.log_normalize(path, samples="rows")
    with pytest.raises(DataError, match="has changed"):
        dnmf.factorize(prepared, 3, max_passes=9, tol=0, watchers=[Event(2 * BLOCKS, put(path, 7))])


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS + 1, 2 * BLOCKS])
def test_a_change_is_seen_by_a_survey(loss, blocks, tmp_path):
    path = written(tmp_path / "V.zarr", positive())
    options = {"loss": loss, "n_runs": 2, "cv": 2, "max_passes": 4, "threads": 1, "checkpoint_every": 1}
    options["store"] = tmp_path / "s.zarr"
    with pytest.raises(DataError, match="has changed"):
        dnmf.select_rank(path, [2, 3], watchers=[Event(blocks, put(path, 7))], **options)
    if loss == "frobenius" or blocks == 2 * BLOCKS:  # else nothing was kept yet
        with pytest.raises(DataError, match="has changed"):
            dnmf.select_rank(path, [2, 3], **options)


def test_chunks_that_were_never_written_are_zeros_in_every_pass(tmp_path):
    V = positive()
    V[:, WIDTH : 2 * WIDTH] = 0
    for compressors in (None, "auto"):
        path = written(tmp_path / f"{compressors}.zarr", V, compressors)
        assert not (Path(path) / "c/0/1").exists()
        options = {"max_passes": 4, "tol": 0, "init": "random"}
        found = dnmf.factorize(path, 3, **options)
        residual = np.linalg.norm(V - np.asarray(found.W) @ np.asarray(found.H)) / np.linalg.norm(V)
        assert found.relative_error == pytest.approx(residual, rel=1e-4)


@pytest.mark.parametrize("compressors", [None, "auto"])
@pytest.mark.parametrize("zeros", [False, True], ids=["full", "zeros"])
def test_a_folder_that_is_gone_before_the_first_read_is_no_matrix_of_zeros(compressors, zeros, tmp_path):
    V = positive()
    if zeros:
        V[:, WIDTH:] = 0
    path = written(tmp_path / "V.zarr", V, compressors)
    source = open_matrix(path)
    os.rename(path, tmp_path / "elsewhere")
    with pytest.raises(ReadError, match="the metadata of the array are gone too"):
        source.read(1, Scratch())
    os.rename(tmp_path / "elsewhere", path)
    assert np.array_equal(source.read(1, Scratch()), V[:, WIDTH : 2 * WIDTH])


@pytest.fixture
def bucket():
    with objects.s3() as address:
        yield address


@pytest.mark.parametrize("times", [1, 99])
@pytest.mark.parametrize("compressors", [None, "auto"])
def test_an_object_store_that_forgets_a_chunk_is_asked_again(bucket, compressors, times, tmp_path):
    V = positive()
    url = f"s3://{objects.BUCKET}/V.zarr"
    written(tmp_path / "V.zarr", V, compressors)
    for file in (tmp_path / "V.zarr").rglob("*"):
        if file.is_file():
            key = f"V.zarr/{file.relative_to(tmp_path / 'V.zarr')}"
            boto3.client("s3").upload_file(str(file), objects.BUCKET, key)
    options = {"max_passes": 4, "tol": 0, "init": "random"}
    expected = dnmf.factorize(url, 3, **options)
    told = []

    def fault(number, method, path):
        if path.endswith("V.zarr/c/0/2") and len(told) < times:
            told.append(path)
            return "missing"
        return None

    with objects.Proxy(bucket, fault) as proxy, objects.reached_at(proxy.address):
        if times == 1:
            assert_same_bits(dnmf.factorize(url, 3, **options), expected)
        else:
            with pytest.raises(ReadError, match=r"the chunk c/0/2 is listed, and cannot be found"):
                dnmf.factorize(url, 3, **options)
    assert len(told) == min(times, 2)


def in_order(V, order):
    return np.array(V, order=order)


@pytest.mark.parametrize("solver", ["hals", "newton"])
@pytest.mark.parametrize(("before", "after"), ["CF", "FC"])
def test_a_run_is_resumed_with_the_same_numbers_in_another_memory_order(solver, before, after, tmp_path):
    V = np.random.default_rng(0).random((37, 501))
    options = {"rank": 3, "tol": 0, **SOLVERS[solver]}
    dnmf.factorize(in_order(V, before), max_passes=2, store=tmp_path / "run.zarr", **options)
    resumed = dnmf.resume(tmp_path / "run.zarr", in_order(V, after), max_passes=5)
    assert resumed.passes == 5
    V[7, 300] += 1e-6
    with pytest.raises(DataError, match="has changed: the sum of its squares"):
        dnmf.resume(tmp_path / "run.zarr", in_order(V, after), max_passes=7)


BLOCK = np.random.default_rng(2).random((301, 407), np.float32)
HELD = sp.random(300, 700, 0.3, "csc", dtype=np.float32, random_state=0)
KINDS = {
    "dense": BLOCK,
    "view": np.random.default_rng(3).random((301, 900), np.float32)[:, 30:700],
    "uint8": (255 * BLOCK).repeat(4, axis=1).astype(np.uint8),
    "float16": BLOCK.repeat(2, axis=1).astype(np.float16),
    "bool": BLOCK.repeat(4, axis=1) > 0.5,
    "small": BLOCK[:9, :9],
    "csc": HELD,
    "weighted": Weighted(BLOCK, BLOCK + 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_in_turn_has_the_digest_that_it_has_among_all(kind):
    V = KINDS[kind]
    all_of_it = digests_of(V)
    assert (len(all_of_it) == 1) == (kind == "small")
    assert len(all_of_it) == classes_of(V) <= CLASSES
    assert [digest_of(V, turn) for turn in range(2 * len(all_of_it))] == 2 * all_of_it.tolist()


@pytest.mark.parametrize("kind", ["dense", "view", "uint8", "small"])
def test_digests_depend_on_no_memory_order_and_on_every_entry(kind):
    V = KINDS[kind]
    before = digests_of(V)
    assert np.array_equal(before, digests_of(np.asfortranarray(V)))
    assert np.array_equal(before, digests_of(np.ascontiguousarray(V)))
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, V.shape[0], 50), rng.integers(0, V.shape[1], 50), strict=True):
        other = V.copy()
        other[row, column] += 1
        assert (digests_of(other) != before).sum() == 1


def test_any_part_of_a_large_block_that_is_gone_is_seen_in_any_turn():
    V = np.random.default_rng(4).random((1200, 1600), np.float32) + 1
    assert classes_of(V) == CLASSES
    parts = (slice(0, 256), slice(500, 900)), (slice(600, 1200), slice(0, 320)), (slice(None), slice(112))
    for rows, columns in parts:
        other = V.copy()
        other[rows, columns] = 0
        assert (digests_of(other) != digests_of(V)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_signs_that_change_in_pairs_are_seen(dtype):
    V = np.arange(1, 13, dtype=dtype).reshape(3, 4)
    for count in range(1, 13):
        other = V.copy()
        other.flat[:count] *= -1
        assert (digests_of(other) != digests_of(V)).all()
