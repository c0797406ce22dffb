"""What goes into the estimators, and what comes out."""

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse
import zarr

from dnmf import NMF, MiniBatchNMF
from dnmf.estimator.containers import open_table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
rng = np.random.default_rng(0)
X = rng.random((40, 4)) @ rng.random((4, 15)) + 0.1 * rng.random((40, 15))
NAMES = [f"feature {number}" for number in range(15)]


class Counted:
    """A Dask array of chunks that count how often they are computed."""

    def __init__(self, matrix, chunks):
        self.count = 0

        def chunk(*_, block_info):
            self.count += 1
            place = block_info[None]["array-location"]
            return matrix[tuple(slice(*bounds) for bounds in place)]

        chunks = da.core.normalize_chunks(chunks, matrix.shape)
        self.array = da.map_blocks(chunk, chunks=chunks, dtype=matrix.dtype, meta=np.empty((0, 0), matrix.dtype))


@pytest.fixture(params=["frobenius", "kullback-leibler"])
def model(request):
    return NMF(3, random_state=0, beta_loss=request.param, solver="auto", max_iter=30, alpha_W=1e-3)


@pytest.mark.parametrize("chunks", [(7, 15), (40, 4), (13, 6)])
def test_dask_arrays_give_lazy_ones_that_are_cut_alike(model, chunks):
    counted = Counted(X, chunks)
    model.fit(counted.array)
    counted.count = 0
    W = model.transform(counted.array)
    assert isinstance(W, da.Array)
    assert counted.count == 0
    assert W.chunks == (counted.array.chunks[0], (3,))
    W[:1].compute(scheduler="sync")
    assert counted.count == len(counted.array.chunks[1])  # the first row of chunks alone
    here = model.transform(X)
    np.testing.assert_allclose(W.compute(), here, rtol=1e-6, atol=1e-8)
    assert type(here) is np.ndarray


@pytest.mark.parametrize("kind", [NMF, MiniBatchNMF])
def test_rows_are_put_together_a_few_at_a_time(kind, monkeypatch):
    monkeypatch.setattr("dnmf.estimator.containers.ROWS_BYTES", 5 * 15 * 8)
    blocks = da.from_array(X, chunks=(40, 4))
    assert open_table(kind(), blocks, reset=True).by_rows().layout.bounds == tuple(range(0, 41, 5))
    model = kind(3, random_state=0, beta_loss="kullback-leibler", **({"solver": "cd"} if kind is NMF else {})).fit(
        blocks
    )
    assert model.score(blocks) == pytest.approx(model.score(X))
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(-2 * 40 * model.score(X)), rel=1e-2)


@pytest.mark.parametrize("kind", [NMF, MiniBatchNMF])
def test_a_fit_asks_for_the_number_of_samples(kind):
    counted, known = da.from_array(X, chunks=(9, 15)), kind(3, random_state=0).fit(X)
    unknown = counted[counted[:, 0] > 0]
    with pytest.raises(ValueError, match=r"whose number of samples is unknown; call X.compute_chunk_sizes\(\) first"):
        kind(3).fit(unknown)
    np.testing.assert_allclose(known.transform(unknown).compute(), known.transform(X), rtol=1e-9)


@pytest.mark.parametrize("chunks", [(7, 15), (40, 4)])
def test_a_fit_of_a_dask_array_reads_every_chunk_once_an_iteration(chunks):
    counted = Counted(X, chunks)
    model = NMF(3, random_state=0, init="random", max_iter=4, tol=0).fit(counted.array)
    blocks = counted.array.npartitions
    # Four iterations, the pass that measures, and the chunk that is read for its type.
    assert counted.count == 5 * blocks + 1
    W = model.transform(X)
    error = np.linalg.norm(X - W @ model.components_)
    assert model.reconstruction_err_ == pytest.approx(error, rel=1e-6)


def test_fit_transform_of_a_dask_array_is_lazy(model):
    blocks = da.from_array(X, chunks=(9, 15))
    W = model.fit_transform(blocks)
    assert isinstance(W, da.Array)
    np.testing.assert_array_equal(W.compute(), model.transform(blocks).compute())
    np.testing.assert_allclose(model.inverse_transform(W).compute(), W.compute() @ model.components_)
    assert model.score(blocks) == pytest.approx(model.score(X))


def test_float32_stays(model):
    W = model.fit_transform(da.from_array(X.astype(np.float32), chunks=(9, 15)))
    assert W.dtype == W.compute().dtype == model.components_.dtype == np.float32


@pytest.mark.parametrize("chunks", [(9, 15), (40, 4), (13, 6)])
def test_dask_arrays_of_sparse_chunks(chunks):
    holes = np.where(rng.random(X.shape) < 0.4, X, 0)
    sparse = da.from_array(holes, chunks=chunks).map_blocks(scipy.sparse.csr_matrix)
    model = NMF(3, random_state=0, max_iter=20).fit(sparse)
    np.testing.assert_allclose(model.transform(sparse).compute(), model.transform(holes), rtol=1e-6, atol=1e-9)


def test_a_bad_entry_of_a_dask_array_is_named_when_it_is_read():
    bad = X.copy()
    bad[11, 2] = -1
    blocks = da.from_array(bad, chunks=(9, 15))
    with pytest.raises(ValueError, match=r"\[11, 2\] is -1"):
        NMF(3).fit(blocks)
    with pytest.raises(ValueError, match=r"X\[11, 2\] is -1"):
        MiniBatchNMF(3).fit(blocks)
    W = NMF(3).fit(X).transform(blocks)
    with pytest.raises(ValueError, match="An entry of X, in feature 2 of the row 2 of one of its chunks, is -1"):
        W.compute()
    with pytest.raises(ValueError, match="X has 14 features, but NMF is expecting 15"):
        NMF(3).fit(X).transform(blocks[:, 1:])


@pytest.mark.parametrize("kind", ["npy", "zarr", "array"])
def test_files_are_streamed(kind, tmp_path, model):
    path = tmp_path / f"X.{kind}"
    if kind == "npy":
        np.save(path, X)
    else:
        array = zarr.create_array(path, shape=X.shape, chunks=(9, 15), dtype=X.dtype)
        array[...] = X
    given = zarr.open_array(path, mode="r") if kind == "array" else str(path)
    W = model.fit_transform(given)
    assert isinstance(W, da.Array)
    np.testing.assert_allclose(W.compute(), model.transform(X), rtol=1e-9)


def test_dask_frames_are_read_though_their_rows_are_not_counted():
    frames = pytest.importorskip("dask.dataframe")
    pandas = pytest.importorskip("pandas")
    table = frames.from_pandas(pandas.DataFrame(X, columns=NAMES), npartitions=3)
    model = NMF(3, random_state=0)
    W = model.fit_transform(table)
    assert isinstance(W, da.Array)
    assert list(model.feature_names_in_) == NAMES
    np.testing.assert_allclose(W.compute(), model.transform(table).compute())
    np.testing.assert_allclose(W.compute(), model.transform(pandas.DataFrame(X, columns=NAMES)))
    with pytest.raises(ValueError, match="The feature names should match"):
        model.transform(table[NAMES[::-1]])


@pytest.mark.parametrize("lazy", [False, True])
def test_data_arrays_keep_their_dimensions_and_coordinates(lazy):
    xarray = pytest.importorskip("xarray")
    data = da.from_array(X, chunks=(9, 15)) if lazy else X
    labels = xarray.DataArray(
        data,
        dims=("time", "band"),
        coords={"time": np.arange(40) * 2, "band": NAMES, "place": ("time", np.arange(40) % 3)},
    )
    model = NMF(3, random_state=0)
    W = model.fit_transform(labels)
    assert isinstance(W, xarray.DataArray)
    assert W.dims == ("time", "component")
    assert W.coords["component"].values.tolist() == ["nmf0", "nmf1", "nmf2"]
    assert W.coords["place"].equals(labels.coords["place"])
    assert dask.is_dask_collection(W) == lazy
    assert list(model.feature_names_in_) == NAMES
    np.testing.assert_allclose(W.values, NMF(3, random_state=0).fit(data).transform(X))
    assert model.transform(labels).equals(W)
    back = model.inverse_transform(W)
    assert back.dims == ("time", "feature")
    np.testing.assert_allclose(back.values, W.values @ model.components_)
    with pytest.raises(ValueError, match="give a 2-D one"):
        model.transform(labels[0])


@pytest.mark.parametrize("package", ["pandas", "polars"])
@pytest.mark.parametrize("kind", [NMF, MiniBatchNMF])
def test_frames_go_in_and_out(package, kind):
    frames = pytest.importorskip(package)
    table = frames.DataFrame(dict(zip(NAMES, X.T, strict=True)))
    model = kind(3, random_state=0).set_output(transform=package)
    W = model.fit_transform(table)
    assert isinstance(W, frames.DataFrame)
    prefix = kind.__name__.lower()
    assert list(W.columns) == list(model.get_feature_names_out()) == [f"{prefix}{k}" for k in range(3)]
    np.testing.assert_allclose(W.to_numpy(), kind(3, random_state=0).fit_transform(X), rtol=1e-9)
    assert list(model.feature_names_in_) == NAMES


@pytest.mark.parametrize("kind", [NMF, MiniBatchNMF])
def test_an_annotated_matrix_is_read_where_it_lies(kind, tmp_path):
    anndata = pytest.importorskip("anndata")
    annotated = anndata.AnnData(X)
    annotated.var_names = NAMES
    annotated.write_h5ad(tmp_path / "X.h5ad")
    backed = anndata.read_h5ad(tmp_path / "X.h5ad", backed="r")
    held, streamed = (kind(3, random_state=0).fit(matrix) for matrix in (annotated, backed))
    assert list(held.feature_names_in_) == list(streamed.feature_names_in_) == NAMES
    W = streamed.transform(backed)
    assert isinstance(W, da.Array)
    np.testing.assert_allclose(W.compute(), streamed.transform(annotated))
    with pytest.raises(ValueError, match="feature names should match"):
        held.transform(annotated[:, NAMES[::-1]])
    with pytest.raises(ValueError, match=r"give X.to_memory\(\)"):
        held.transform(backed[:5])
    backed.file.close()


def test_matrices_of_other_packages_go_in(tmp_path):
    h5py, sparse, polars = (pytest.importorskip(name) for name in ("h5py", "sparse", "polars"))
    model = NMF(3, random_state=0).fit(X)
    np.testing.assert_allclose(model.transform(sparse.COO(X)), model.transform(X))
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = X
        W = model.transform(file["X"])
    assert isinstance(W, da.Array)
    np.testing.assert_allclose(W.compute(), model.transform(X))
    group = zarr.create_group(tmp_path / "X.zarr")
    group.create_array("X", data=X)
    np.testing.assert_allclose(model.transform(group).compute(), model.transform(X))
    with pytest.raises(ValueError, match=r"X is a polars LazyFrame, which has no rows yet; give X.collect\(\)"):
        model.transform(polars.LazyFrame({"a": [1.0]}))


@pytest.mark.parametrize("package", ["pandas", "polars"])
@pytest.mark.parametrize("kind", ["dask", "xarray"])
def test_a_requested_frame_is_not_lazy(package, kind):
    frames, xarray = pytest.importorskip(package), pytest.importorskip("xarray")
    matrix = da.from_array(X, chunks=(9, 15)) if kind == "dask" else xarray.DataArray(X)
    model = NMF(3, random_state=0).set_output(transform=package)
    for W in (model.fit_transform(matrix), model.transform(matrix)):
        assert isinstance(W, frames.DataFrame)
        assert list(W.columns) == ["nmf0", "nmf1", "nmf2"]
        np.testing.assert_allclose(W.to_numpy(), NMF(3, random_state=0).fit(matrix).transform(X))


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_more_than_double_precision_is_cast(form):
    model = NMF(3, random_state=0).fit(form(X.astype(np.longdouble)))
    np.testing.assert_array_equal(model.components_, NMF(3, random_state=0).fit(form(X)).components_)


def test_integers_are_not_copied_to_floats():
    counts = rng.poisson(3, (30, 12)).astype(np.uint8)
    model = NMF(2, beta_loss="kullback-leibler", solver="newton", random_state=0).fit(counts)
    assert model.components_.dtype == np.float32
    assert model.transform(counts).dtype == np.float32
