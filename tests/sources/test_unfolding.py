"""Arrays of three and more axes as matrices, against NumPy, and with their shapes up to the images of components."""

import dataclasses
import itertools
import json
import math

import dask.array as da
import h5py
import numpy as np
import pytest
import scipy.io
import xarray
import zarr
from formats import quiet, read_back
from runs import PLAIN, assert_same_bits, stored

import dnmf
from dnmf.checkpoint.commit import seal_of
from dnmf.cli.app import main
from dnmf.conversion import convert
from dnmf.errors import DataError, SettingsError, StoreError
from dnmf.sources import open_matrix, slabs
from dnmf.sources.formats.hdf5_array import Hdf5Array
from dnmf.sources.formats.presence import Presence
from dnmf.sources.unfolding import Unfolding

DIMS = ("t", "y", "x")
ARRAY = np.random.default_rng(0).random((7, 12, 10)).astype("float32")
# The rows and the columns by position: all orders of the axes for NumPy, and some that differ in kind for files.
ALL = [(order[:cut], order[cut:]) for order in itertools.permutations(range(3)) for cut in (1, 2)]
SOME = [((0,), (1, 2)), ((1, 2), (0,)), ((2, 0), (1,)), ((1,), (2, 0))]


def unfolded(array, rows, columns):
    """Return an unfolding by NumPy alone."""
    return array.transpose(rows + columns).reshape(math.prod(array.shape[axis] for axis in rows), -1)


def zarr_of(array, path, **options):
    zarr.create_array(path, shape=array.shape, dtype=array.dtype, **options)[...] = array
    return str(path)


def hdf5_of(array, path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("group/images", data=array, **options)
    return f"{path}::group/images"


def npy_of(array, path):
    np.save(path, array)
    return str(path)


def netcdf_of(array, path, engine="h5netcdf", **encoding):
    data = xarray.Dataset({"images": (DIMS, array)}, {"t": np.arange(len(array)) * 2, "place": (("y", "x"), array[0])})
    data["t_bounds"] = (("t", "edge"), np.zeros((len(array), 2)))
    data["t"].attrs["bounds"] = "t_bounds"
    with quiet():
        data.to_netcdf(path, engine=engine, encoding={"images": encoding})
    return str(path)


def raw_of(array, path):
    array.tofile(path)
    return f"{path}::{array.dtype},{'x'.join(map(str, array.shape))}"


def npz_of(array, path, save=np.savez):
    save(f"{path}.npz", images=array)
    return f"{path}.npz"


def matlab_of(array, path, **options):
    scipy.io.savemat(f"{path}.mat", {"images": array, "size": 3.0}, **options)
    return f"{path}.mat"


def matlab_hdf5_of(array, path, **options):
    """Write an array as MATLAB does, with its axes in reverse order."""
    with h5py.File(f"{path}.mat", "w") as file:
        images = file.create_dataset("images", data=array.T, **options)
        images.attrs["MATLAB_class"] = np.bytes_("single")
    return f"{path}.mat"


def tiff_of(array, path, **options):
    import tifffile

    tifffile.imwrite(f"{path}.tif", array, photometric="minisblack", **options)
    np.testing.assert_array_equal(tifffile.imread(f"{path}.tif"), array)
    return f"{path}.tif"


def tiff_pages_of(array, path):
    """Write a stack whose pages have something between them."""
    import tifffile

    with tifffile.TiffWriter(f"{path}.tif", byteorder=">") as file:
        for page in array:
            file.write(page, contiguous=False, metadata=None, photometric="minisblack")
    np.testing.assert_array_equal(tifffile.imread(f"{path}.tif"), array)
    return f"{path}.tif"


FORMS = {
    "npz": npz_of,
    "npz, packed": lambda a, path: npz_of(a, path, np.savez_compressed),
    "matlab": matlab_of,
    "matlab, packed": lambda a, path: matlab_of(a, path, do_compression=True),
    "matlab 7.3": matlab_hdf5_of,
    "matlab 7.3, chunks": lambda a, path: matlab_hdf5_of(a, path, chunks=(4, 5, 2), compression="gzip"),
    "tiff": tiff_of,
    "tiff, packed": lambda a, path: tiff_of(a, path, compression="zlib", predictor=True, rowsperstrip=5),
    "tiff, pages": tiff_pages_of,
    "numpy": lambda a, path: a,
    "numpy, fortran": lambda a, path: np.asfortranarray(a),
    "dask": lambda a, path: da.from_array(a, chunks=(2, 5, 4)),
    "xarray": lambda a, path: xarray.DataArray(a, dims=DIMS),
    "xarray of dask": lambda a, path: xarray.DataArray(a, dims=DIMS).chunk({"t": 3, "x": 4}),
    "zarr, plain": lambda a, path: zarr_of(a, path, chunks=(2, 5, 4), compressors=None),
    "zarr, packed": lambda a, path: zarr_of(a, path, chunks=(2, 5, 4), dimension_names=DIMS),
    "zarr, sharded": lambda a, path: zarr_of(a, path, chunks=(2, 3, 5), shards=(4, 6, 10)),
    "zarr, format 2": lambda a, path: zarr_of(a, path, chunks=(2, 5, 4), zarr_format=2, order="F"),
    "zarr object": lambda a, path: zarr.open_array(zarr_of(a, path, chunks=(2, 5, 4))),
    "hdf5, contiguous": lambda a, path: hdf5_of(a, path.with_suffix(".h5")),
    "hdf5, chunked": lambda a, path: hdf5_of(a, path.with_suffix(".h5"), chunks=(2, 5, 4), compression="gzip"),
    "hdf5, lzf": lambda a, path: hdf5_of(a, path.with_suffix(".h5"), chunks=(2, 5, 4), compression="lzf"),
    "netcdf": lambda a, path: netcdf_of(a, path.with_suffix(".nc")),
    "netcdf, packed": lambda a, path: netcdf_of(a, path.with_suffix(".nc"), dtype="f8", _FillValue=-1.0),
    "netcdf, classic": lambda a, path: netcdf_of(a, path.with_suffix(".nc"), engine="scipy"),
    "npy": lambda a, path: npy_of(a, path.with_suffix(".npy")),
    "npy, fortran": lambda a, path: npy_of(np.asfortranarray(a), path.with_suffix(".npy")),
    "raw": lambda a, path: raw_of(a, path.with_suffix(".bin")),
}


@pytest.fixture
def small(monkeypatch):
    """Cut arrays into many blocks, some of them within a chunk."""
    monkeypatch.setattr(slabs, "BLOCK_BYTES", 400)
    monkeypatch.setattr(slabs, "SLAB_BYTES", 1000)


@pytest.mark.parametrize("form", FORMS)
def test_every_unfolding_is_that_of_numpy(form, small, tmp_path):
    given = FORMS[form](ARRAY, tmp_path / "images")
    np.testing.assert_array_equal(read_back(open_matrix(given)), ARRAY.reshape(7, -1))
    for (rows, columns), streamed in itertools.product(
        ALL if form in ("numpy", "npy", "zarr, plain") else SOME, ("rows", "columns")
    ):
        source = open_matrix(dnmf.unfold(given, rows, columns), streamed)
        expected = unfolded(ARRAY, rows, columns)
        assert source.layout.user_shape == expected.shape
        assert source.layout.transposed == (streamed == "rows")
        np.testing.assert_array_equal(read_back(source), expected, err_msg=f"{rows} {columns} {streamed}")
        if source.layout.location is not None and rows == (1, 2):
            again = open_matrix(source.layout.location, streamed)
            assert again.layout.bounds == source.layout.bounds
            assert again.layout.unfolding == source.layout.unfolding
        assert source.layout.unfolding.row_shape == tuple(ARRAY.shape[axis] for axis in rows)


FOUR = np.arange(3 * 4 * 5 * 6, dtype="int16").reshape(3, 4, 5, 6)


@pytest.mark.parametrize("form", ["zarr", "hdf5, contiguous", "npy, fortran", "dask"])
def test_four_axes_are_unfolded_too(form, small, tmp_path):
    made = {
        "zarr": lambda a, path: zarr_of(a, path, chunks=(2, 3, 2, 5), compressors=None),
        "dask": lambda a, path: da.from_array(a, chunks=(2, 3, 2, 5)),
    }
    given = (FORMS | made)[form](FOUR, tmp_path / "images")
    for rows, columns in (((0,), (1, 2, 3)), ((3, 1), (0, 2)), ((2, 1, 3), (0,))):
        for streamed in ("rows", "columns"):
            source = open_matrix(dnmf.unfold(given, rows, columns), streamed)
            np.testing.assert_array_equal(read_back(source), unfolded(FOUR, rows, columns))


@pytest.mark.parametrize(
    ("part", "rows", "columns"),
    [("(y, x) x (t)", (1, 2), (0,)), ("(2)x(0,1)", (2,), (0, 1)), ("(x,0)x(y)", (2, 0), (1,))],
)
def test_an_address_names_axes_after_a_part(part, rows, columns, tmp_path):
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset("a/b", data=ARRAY)
        for axis, name in zip(images.dims, DIMS, strict=True):
            axis.label = name
    source = open_matrix(f"{path}::a/b::{part}")
    np.testing.assert_array_equal(read_back(source), unfolded(ARRAY, rows, columns))
    by_name = "x".join(f"({','.join(DIMS[axis] for axis in side)})" for side in (rows, columns))
    assert source.layout.location == f"{path}::a/b::{by_name}"


def test_a_matrix_can_be_turned_with_its_names(tmp_path):
    matrix = xarray.DataArray(ARRAY[0], dims=("y", "x"), coords={"x": [f"x{k}" for k in range(10)]})
    source = open_matrix(dnmf.unfold(matrix, rows="x", columns="y"))
    np.testing.assert_array_equal(read_back(source), ARRAY[0].T)
    assert source.layout.names.rows.tolist() == [f"x{k}" for k in range(10)]
    path = npy_of(ARRAY[0], tmp_path / "V.npy")
    np.testing.assert_array_equal(read_back(open_matrix(f"{path}::(1)x(0)")), ARRAY[0].T)


def test_a_coordinate_names_the_rows_that_one_axis_makes(tmp_path):
    path = netcdf_of(ARRAY, tmp_path / "images.nc")
    assert open_matrix(f"{path}::(t)x(y,x)").layout.names.rows.tolist() == [str(2 * k) for k in range(7)]
    names = open_matrix(f"{path}::(y,t)x(x)").layout.names
    assert names.rows is None
    assert names.columns is None


def count_chunks(monkeypatch, source, chunks):
    """Read all blocks, and return how often each chunk of a Zarr array was in a region that was read."""
    found = np.zeros([-(-size // chunk) for size, chunk in zip(ARRAY.shape, chunks, strict=True)], int)
    before = Presence.__getitem__

    def counted(self, region):
        found[tuple(slice(one.start // c, -(-one.stop // c)) for one, c in zip(region, chunks, strict=True))] += 1
        return before(self, region)

    monkeypatch.setattr(Presence, "__getitem__", counted)
    read_back(source)
    return found


@pytest.mark.parametrize("streamed", ["rows", "columns"])
@pytest.mark.parametrize(("rows", "columns"), [((0,), (1, 2)), ((2, 0), (1,)), ((1, 2), (0,))])
@pytest.mark.parametrize("limit", [10**6, 1000, 100])
def test_each_chunk_is_read_as_often_as_the_layout_says(limit, rows, columns, streamed, monkeypatch, tmp_path):
    monkeypatch.setattr(slabs, "BLOCK_BYTES", 50)
    monkeypatch.setattr(slabs, "SLAB_BYTES", limit)
    given = zarr_of(ARRAY, tmp_path / "images", chunks=(2, 5, 4))
    source = open_matrix(dnmf.unfold(given, rows, columns), streamed)
    found = count_chunks(monkeypatch, source, (2, 5, 4))
    assert found.max() == source.layout.reads
    assert source.layout.blocks > 1
    if limit == 10**6:
        assert (found == 1).all()


def test_chunks_of_hdf5_are_unpacked_once_in_a_pass(monkeypatch, tmp_path):
    monkeypatch.setattr(slabs, "BLOCK_BYTES", 50)
    given = hdf5_of(ARRAY, tmp_path / "a.h5", chunks=(2, 5, 4), compression="gzip")
    unpacked, before = [], Hdf5Array._decoded

    def counted(self, raw, mask, place):
        unpacked.append(place)
        return before(self, raw, mask, place)

    monkeypatch.setattr(Hdf5Array, "_decoded", counted)
    for streamed in ("rows", "columns"):
        unpacked.clear()
        read_back(open_matrix(f"{given}::(1,2)x(0)", streamed))
        assert sorted(unpacked) == list(itertools.product(range(4), range(3), range(3)))


def test_a_stack_of_plain_frames_is_cut_along_its_longer_axis(tmp_path):
    stack = np.zeros((20, 64, 64), "float32")
    plain = zarr_of(stack, tmp_path / "plain", chunks=(5, 64, 64), compressors=None)
    assert not open_matrix(plain).layout.transposed
    packed = zarr_of(stack, tmp_path / "packed", chunks=(5, 64, 64))
    assert open_matrix(packed).layout.transposed
    assert not open_matrix(npy_of(stack, tmp_path / "a.npy")).layout.transposed


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ("(t)x(y)", r"\(t\)x\(y\) leaves out x \(2\) of .*images; name every axis"),
        ("(t,y)x(y,x)", r"names y \(1\) of .*images twice; name every axis once"),
        ("(t)x(z,x)", r"images has no axis 'z'; its axes are t \(0\), y \(1\), x \(2\)"),
        ("(0)x(1,3)", "images has no axis '3'; its axes are"),
        ("(t,y,x)x()", "leaves no axis for the columns"),
    ],
)
def test_wrong_axes_are_refused(axes, sentence, tmp_path):
    path = zarr_of(ARRAY, tmp_path / "images", chunks=(2, 5, 4), dimension_names=DIMS)
    with pytest.raises(DataError, match=sentence):
        dnmf.factorize(f"{path}::{axes}", 2)


def test_what_has_no_axes_to_choose_is_refused(tmp_path):
    import pandas as pd
    import scipy.sparse as sp

    (tmp_path / "V.csv").write_text("row,column,value\n0,1,2.0\n1,0,1.0\n")
    sp.save_npz(tmp_path / "V.npz", sp.eye_array(4, format="csr"), compressed=False)
    for given in (f"{tmp_path / 'V.csv'}::(0)x(1)", f"{tmp_path / 'V.npz'}::(1)x(0)"):
        with pytest.raises(DataError, match="is for dense arrays; leave it out"):
            open_matrix(given)
        with pytest.raises(DataError, match="is for dense arrays; leave it out"):
            convert(given, tmp_path / "out.zarr")
    for given in (pd.DataFrame(ARRAY[0]), sp.csr_array(ARRAY[0])):
        with pytest.raises(DataError, match="is for dense arrays; leave it out"):
            dnmf.unfold(given, 1, 0)
    with pytest.raises(DataError, match=r"V has 1 dimension\(s\), shape \(9,\)"):
        dnmf.unfold(np.ones(9), 0)
    with pytest.raises(DataError, match=r"names its axes, and .* are given for it"):
        dnmf.unfold(f"{npy_of(ARRAY, tmp_path / 'a.npy')}::(0)x(1,2)", 1)
    with pytest.raises(DataError, match=r"V was unfolded by \(0\)x\(1,2\)"):
        dnmf.unfold(dnmf.unfold(ARRAY), 1)
    with pytest.raises(DataError, match=r"call V\.compute_chunk_sizes"):
        dnmf.unfold(da.ones((4, 3, 2))[da.ones(4) > 0], 1)


@pytest.mark.parametrize("form", ["npz, packed", "matlab, packed", "tiff, packed"])
def test_a_compressed_array_is_converted_with_its_axes(form, monkeypatch, tmp_path):
    monkeypatch.setattr("dnmf.sources.formats.entry_list.HELD_ENTRIES", 100)
    place = FORMS[form](ARRAY, tmp_path / "images")
    if form != "tiff, packed":  # its pages are decoded one by one
        with pytest.raises(DataError, match=r"is a compressed \w+ of 840 .*: dnmf convert '\S+::\(1,2\)x\(0\)' images"):
            open_matrix(f"{place}::(1,2)x(0)")
    convert(f"{place}::(1,2)x(0)", tmp_path / "out.zarr")
    source = open_matrix(tmp_path / "out.zarr")
    np.testing.assert_array_equal(read_back(source), unfolded(ARRAY, (1, 2), (0,)))
    assert source.layout.unfolding.row_shape == (12, 10)


STACK = np.einsum("tk,kyx->tyx", *(np.random.default_rng(1).random(size) for size in ((40, 3), (3, 8, 9)))).astype("f4")


def test_the_shapes_and_axes_last_in_a_store(tmp_path):
    stack = STACK.astype("f8")
    path = zarr_of(stack, tmp_path / "stack", chunks=(10, 8, 9), dimension_names=DIMS)
    run = tmp_path / "run.zarr"
    options = {"max_passes": 3, "tol": 0, **PLAIN}
    result = dnmf.factorize(f"{path}::(y,x)x(t)", 3, store=run, **options)
    flat = dnmf.factorize(stored(tmp_path / "flat", unfolded(stack, (1, 2), (0,)), (72, 10)), 3, **options)
    np.testing.assert_allclose(result.W, flat.W, rtol=1e-9, atol=1e-12)
    for found in (result, dnmf.load(run), dnmf.resume(run, max_passes=4), dnmf.resume(run, path, max_passes=5)):
        assert (found.row_shape, found.column_shape) == ((8, 9), (40,))
        assert found.unfolding.axes == (("y", "x"), ("t",))
    with pytest.raises(StoreError, match=r"rows and columns \(1,2\)x\(0\) of 40 × 8 × 9, and the given one"):
        dnmf.resume(run, f"{path}::(x,y)x(t)", max_passes=6)
    assert "(y,x)x(t) of 40 × 8 × 9" in dnmf.write_report(run, tmp_path / "page.html").read_text()
    header = json.loads((run / "zarr.json").read_text())
    for wrong in ({"shape": [40, 8, 8]}, {"rows": [1]}, {"names": ["t", "t", "x"]}, {"more": 1}):
        damaged = json.loads(json.dumps(header))
        content = damaged["attributes"]["dnmf"]
        content["unfolded"] |= wrong
        content["seal"] = seal_of({name: value for name, value in content.items() if name != "seal"})
        (run / "zarr.json").write_text(json.dumps(damaged))
        with pytest.raises(StoreError, match="the array that was unfolded is wrong"):
            dnmf.load(run)


@pytest.mark.parametrize("form", ["array", "address"])
def test_new_frames_are_projected_by_the_axes_of_the_fit(form, tmp_path):
    result = dnmf.factorize(dnmf.unfold(STACK, (1, 2), 0), 3, max_passes=20)
    frames = STACK[3:8]
    given = frames if form == "array" else npy_of(frames, tmp_path / "frames.npy")
    expected = dnmf.transform(result, unfolded(frames, (1, 2), (0,)))
    found = dnmf.transform(result, given)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        dnmf.transform(result, dnmf.unfold(frames.transpose(1, 2, 0), (0, 1), 2)), expected, rtol=1e-5
    )
    with pytest.raises(DataError, match=r"The rows of V are made by \(1,2\)x\(0\) of 5 × 9 × 8, and those of the fit"):
        dnmf.transform(result, frames.transpose(0, 2, 1))


def test_threads_and_memory_do_not_change_the_bits(small, tmp_path):
    path = zarr_of(STACK, tmp_path / "stack", chunks=(10, 5, 4))
    one, three = (dnmf.factorize(path, 3, max_passes=4, threads=threads, tol=0) for threads in (1, 3))
    assert len(one.bounds) > 5
    assert_same_bits(one, three)


def test_weights_have_the_axes_of_the_array(tmp_path):
    weights = np.random.default_rng(2).integers(0, 3, STACK.shape).astype("f4")
    options = {"max_passes": 3, "tol": 0, **PLAIN}
    V = dnmf.unfold(STACK, (1, 2), 0)
    one = dnmf.factorize(V, 2, weights=weights, **options)
    turned = (unfolded(array, (1, 2), (0,)) for array in (STACK, weights))
    other = dnmf.factorize(next(turned), 2, weights=next(turned), **options)
    np.testing.assert_allclose(one.W, other.W, rtol=1e-4)
    paths = [zarr_of(array, tmp_path / name, chunks=(10, 8, 9)) for array, name in ((STACK, "V"), (weights, "w"))]
    place = f"{paths[0]}::(1,2)x(0)"
    stored_weights = dnmf.factorize(place, 2, weights=paths[1], **options)
    np.testing.assert_allclose(stored_weights.W, dnmf.factorize(place, 2, weights=weights, **options).W, rtol=1e-4)
    with pytest.raises(DataError, match=r"weights is \(1,2\)x\(0\) of 40 × 9 × 8, and V is"):
        dnmf.factorize(V, 2, weights=weights.transpose(0, 2, 1), **options)


def drawn(result, **options):
    """Return the images that a result draws."""
    return [np.asarray(axes.images[0].get_array()) for axes in result.plot_components(**options).axes if axes.images]


def test_components_are_images_of_the_shape_of_the_array():
    result = dnmf.factorize(STACK, 3, max_passes=3)
    H = np.asarray(result.H).reshape(3, *result.column_shape)
    np.testing.assert_allclose(drawn(result), H / H.max(axis=(1, 2), keepdims=True), rtol=1e-5)
    assert drawn(result, shape=(9, 8))[0].shape == (9, 8)
    assert drawn(result, axis="rows") == []
    with pytest.raises(SettingsError, match="axis='sideways'"):
        result.plot_components(axis="sideways")
    volume = dataclasses.replace(result, unfolding=Unfolding((40, 2, 4, 9), (0,), (1, 2, 3)))
    H = np.asarray(result.H).reshape(3, 2, 4, 9).mean(axis=1)
    np.testing.assert_allclose(drawn(volume), H / H.max(axis=(1, 2), keepdims=True), rtol=1e-5)
    colours = dataclasses.replace(result, unfolding=Unfolding((40, 8, 3, 3), (0,), (1, 2, 3)))
    assert drawn(colours)[0].shape == (8, 3, 3)
    channels = dataclasses.replace(result, unfolding=Unfolding((40, 1, 72), (0,), (1, 2)))
    assert drawn(channels) == []


def test_a_converted_array_keeps_its_shape(tmp_path):
    path = zarr_of(STACK, tmp_path / "stack", chunks=(10, 5, 4), dimension_names=DIMS)
    for axes, rows, columns in (("(t)x(y,x)", (0,), (1, 2)), ("(x,y)x(t)", (2, 1), (0,))):
        convert(f"{path}::{axes}", tmp_path / "V.zarr", by="columns", chunks=(100, 7), overwrite=True)
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "V.zarr")[...], unfolded(STACK, rows, columns))
        layout = open_matrix(tmp_path / "V.zarr").layout
        assert layout.unfolding == Unfolding(STACK.shape, rows, columns, DIMS)
        assert layout.blocks > 1
    result = dnmf.factorize(tmp_path / "V.zarr", 3, max_passes=5)
    assert result.row_shape == (9, 8)
    assert drawn(result)[0].shape == (9, 8)


def test_estimators_and_surveys_take_an_unfolded_array(tmp_path):
    V = dnmf.unfold(npy_of(STACK, tmp_path / "stack.npy"), 0)
    model = dnmf.NMF(3, solver="auto", max_iter=5, tol=0.1).fit(V)
    assert model.components_.shape == (3, 72)
    assert np.asarray(model.transform(V)).shape == (40, 3)
    assert dnmf.select_rank(V, [3], n_runs=1, cv=0, store=tmp_path / "survey.zarr").ranks == (3,)
    assert dnmf.load(tmp_path / "survey.zarr" / "best" / "rank-003.zarr").column_shape == (8, 9)
    prepared = dnmf.preprocessing.prepare(V, ["clip"])
    assert dnmf.factorize(prepared, 2, max_passes=2).column_shape == (8, 9)


def test_the_command_line_takes_axes(tmp_path, capsys):
    path = zarr_of(STACK, tmp_path / "stack", chunks=(10, 8, 9), dimension_names=DIMS)
    main(["info", f"{path}::(y,x)x(t)", "--rank", "3"], standalone_mode=False)
    assert "72 × 40, float32, Zarr array in chunks of 10 × 8 × 9" in capsys.readouterr().out
    run = str(tmp_path / "run.zarr")
    main(["fit", path, "--rank", "2", "--store", run], standalone_mode=False)
    main(["info", run], standalone_mode=False)
    assert "(t)x(y,x) of 40 × 8 × 9" in capsys.readouterr().out
