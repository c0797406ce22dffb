"""Panels of a block, products with them at every scale, and the sums of a pass."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from strategies import awkward

from dnmf.errors import DataError
from dnmf.kernels.blocks import panels as module
from dnmf.kernels.blocks.buffers import Scratch, zeros
from dnmf.kernels.blocks.dense_panel import DensePanel
from dnmf.kernels.blocks.panels import BadEntry, panel_width, panels, square_sum, work_dtype
from dnmf.kernels.blocks.products import SUMMED_ROWS, add_outer_product, power_of_two, row_buffers, sum_rows
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.sums import Stats
from dnmf.kernels.blocks.tiles import LANES, kernel

FORMS = {
    "C": np.asarray,
    "Fortran": np.asfortranarray,
    "strided": lambda V: np.repeat(np.repeat(V, 2, 0), 2, 1)[::2, ::2],
    "backward": lambda V: np.ascontiguousarray(V[::-1, ::-1])[::-1, ::-1],
    "read-only": lambda V: np.frombuffer(V.tobytes(), V.dtype).reshape(V.shape),
    "csc": sp.csc_array,
}


def dense(panel):
    if not panel.sparse:
        return np.array(panel.values)
    return sp.csc_array((panel.values, panel.rows, panel.starts), shape=panel.shape).toarray()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64"])
def test_panels_laid_together_are_the_block_in_the_working_dtype(dtype, form, monkeypatch):
    monkeypatch.setattr(module, "PANEL_BYTES", 1)
    monkeypatch.setattr(module, "SPARSE_COLUMNS", 64)
    V = (np.random.default_rng(0).random((5, 3 * LANES + 7)) * 3).astype(dtype)
    if form == "csc" and dtype == "float16":
        pytest.skip("SciPy has no such matrices")
    work = work_dtype(V.dtype)
    found = [(columns, dense(panel)) for columns, panel in panels(FORMS[form](V), work, Scratch())]
    assert len(found) > 3
    assert [columns.start for columns, _ in found[1:]] == [columns.stop for columns, _ in found[:-1]]
    whole = np.concatenate([panel for _, panel in found], axis=1)
    assert whole.dtype == work
    np.testing.assert_array_equal(whole, V.astype(work))


def test_panels_of_floats_are_views_and_those_of_integers_one_buffer():
    V = np.ones((4, 4 * LANES), np.float32)
    assert all(np.shares_memory(panel.values, V) for _, panel in panels(V, V.dtype, Scratch()))
    scratch = Scratch()
    first, second = (next(panels(V.astype("uint8"), V.dtype, scratch))[1].values for _ in range(2))
    assert np.shares_memory(first, second)


@pytest.mark.parametrize("rows", [1, 1000, 10**6, 10**9])
def test_a_panel_is_a_multiple_of_the_lanes_and_as_small_as_it_can_be(rows):
    width = panel_width(rows, "float32")
    assert width % LANES == 0
    assert width == LANES or width * rows * 4 <= module.PANEL_BYTES


@pytest.mark.parametrize("dtype", ["complex64", "U1", "object", "datetime64[s]"])
def test_a_dtype_that_is_no_real_number_is_refused(dtype):
    with pytest.raises(DataError, match="which is not a real number; pass booleans, integers or floats"):
        work_dtype(dtype)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are doubles here")
def test_more_than_double_precision_is_refused():
    with pytest.raises(DataError, match=r"the widest supported is float64; pass V.astype\('float64'\)"):
        work_dtype(np.longdouble)


@given(awkward())
@settings(derandomize=True, deadline=None, max_examples=50)
def test_square_sums_of_awkward_blocks_are_numpys(V):
    work = work_dtype(V.dtype)
    expected = float((V.astype(np.float64) ** 2).sum())
    for form in (np.asarray, np.asfortranarray) + (() if V.dtype == np.float16 else (sp.csc_array,)):
        assert square_sum(form(V), work, Scratch()) == pytest.approx(expected, rel=1e-14)


def test_an_entry_whose_square_overflows_is_named():
    V = np.ones((2, 3))
    V[1, 2] = 1e200
    for form in FORMS.values():
        with pytest.raises(BadEntry, match=r"1e\+200, 1, 2"):
            square_sum(form(V), np.dtype("float64"), Scratch())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_products_at_extreme_scales_are_numpys(scale, dtype, form):
    rng = np.random.default_rng(0)
    V, W = (rng.random((6, 300)) * scale).astype(dtype), rng.random((6, 4)).astype(dtype)
    H = (rng.random((4, 300)) * scale).astype(dtype)
    total, eps = np.zeros((6, 4)), float(np.finfo(dtype).eps)
    for columns, panel in panels(FORMS[form](V), V.dtype, Scratch()):
        assert columns == slice(0, 300)
        crossed = panel.cross(W, Scratch())
        panel.add_outer(H, total, Scratch())
    # A sum of n products of positive numbers errs by n·eps at most, and far less as a rule.
    np.testing.assert_allclose(crossed.astype(float), W.T.astype(float) @ V.astype(float), rtol=6 * eps)
    np.testing.assert_allclose(total, V.astype(float) @ H.T.astype(float), rtol=300 * eps)


@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rank", [1, 7, 20, 70])
@pytest.mark.parametrize(("width", "density"), [(1, 0.5), (16, 0.0), (37, 0.02), (300, 0.4)])
def test_products_of_a_sparse_panel_are_scipys(width, density, rank, dtype, index):
    rng = np.random.default_rng(0)
    V = sp.random_array((23, width), density=density, format="csc", rng=rng, dtype=dtype)
    W, H = rng.random((23, rank)).astype(dtype), rng.random((rank, width)).astype(dtype)
    panel = SparsePanel(V.indptr.astype(index), V.indices.astype(index), V.data, 23)
    total, rtol = np.ones((23, rank)), 300 * float(np.finfo(dtype).eps)
    panel.add_outer(H, total, Scratch())
    wide = V.astype(float)
    np.testing.assert_allclose(panel.cross(W, Scratch()), (wide.T @ W.astype(float)).T, rtol=rtol)
    np.testing.assert_allclose(total, 1 + wide @ H.T.astype(float), rtol=rtol)


def test_products_take_negative_entries_too():
    rng = np.random.default_rng(0)
    V, H = rng.random((6, 40)).astype("f4"), -1e30 * rng.random((4, 40)).astype("f4")
    total = np.zeros((6, 4))
    add_outer_product(V * np.float32(1e30), H, total, Scratch())
    np.testing.assert_allclose(total, 1e30 * V.astype(float) @ H.T.astype(float), rtol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-30, 1e-5, 1.0, 7.0, 1e5, 1e30, 3e38])
def test_powers_of_two_are_near_and_exact(size):
    power = power_of_two(size)
    assert np.frexp(power)[0] == 0.5
    assert np.isfinite(np.float32(1 / power))
    assert size == 0 or 2**-30 < size / power < 2**30


def test_memory_is_used_again_once_no_view_is_left_and_never_before():
    shape = (2**12, 5)
    arrays = [zeros(shape) for _ in range(8)]
    for number, array in enumerate(arrays):
        array += number
    views = [array[:100] for array in arrays[:4]]
    places = {array.ctypes.data for array in arrays}
    del array, arrays
    again = [zeros(shape) for _ in range(8)]
    for array in again:
        assert not array.any()
        array += 9
    for number, view in enumerate(views):
        np.testing.assert_array_equal(view, np.full((100, 5), number))
    assert len(places & {array.ctypes.data for array in again}) == 4


def test_sums_of_a_pass_are_added_in_order():
    one, two = Stats.zero(3, 2), Stats.zero(3, 2)
    one.norms, two.norms = [1.0], [2.0, 3.0]
    one.cross += 1
    two.fit, two.gain = 4.0, 5.0
    both = one.add(two)
    assert both.norms == [1.0, 2.0, 3.0]
    assert both.fit == 4.0
    assert both.cross.tolist() == one.cross.tolist()
    assert both.gain == 5.0
    assert one.norms == [1.0]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("width", [5, 300])
def test_the_residual_is_that_of_the_product(order, width):
    rng = np.random.default_rng(0)
    V, W, H = np.asarray(rng.random((30, width)), order=order), rng.random((30, 3)), rng.random((3, width))
    found = DensePanel.unweighted(V).square_residual(W, H, Scratch())
    assert found == pytest.approx(np.linalg.norm(V - W @ H) ** 2, rel=1e-13)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_moments_of_listed_entries_are_those_of_the_matrix_without_nan(dtype, axis):
    rng = np.random.default_rng(0)
    V = (100 + rng.random((30, 50)) * (rng.random((30, 50)) < 0.3)).astype(dtype) - np.array(100, dtype)
    if dtype != "uint16":
        V[rng.random(V.shape) < 0.1] = np.nan
    V[3], V[:, 4] = 0, 0
    (_, panel), *others = panels(sp.csc_array(V), np.dtype(dtype), Scratch())
    assert not others
    wide, known = V.astype(np.float64), ~np.isnan(V)
    count, nonzero, mean, squares = panel.moments(axis)
    np.testing.assert_array_equal(count, known.sum(axis=axis))
    np.testing.assert_array_equal(nonzero, (known & (V != 0)).sum(axis=axis))
    np.testing.assert_allclose(mean, np.nanmean(wide, axis=axis), rtol=1e-13)
    np.testing.assert_allclose(squares, np.nanvar(wide, axis=axis) * count, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("width", "rank"), [(1, 3), (2, 1), (3, 1), (17, 1), (1, 1)])
def test_products_with_vectors_are_the_same_wherever_the_entries_lie(width, rank, dtype):
    rng = np.random.default_rng(0)
    whole, W = rng.random((301, 40)).astype(dtype), rng.random((301, rank)).astype(dtype)
    last, found = whole[:, -width:], set()
    for block in (last, np.ascontiguousarray(last)):
        scratch, total = Scratch(), np.zeros((301, rank))
        ((_, panel),) = panels(block, np.dtype(dtype), scratch)
        cross = panel.cross(W, scratch).tobytes()
        panel.add_outer(np.ones((rank, width), dtype), total, scratch)
        found.add((cross, total.tobytes()))
        sums = np.repeat(last.sum(axis=1, keepdims=True, dtype=np.float64), rank, axis=1)
        np.testing.assert_allclose(total, sums, rtol=30 * np.finfo(dtype).eps)
    assert len(found) == 1


@pytest.mark.parametrize("value", [0.3, 0.7])
def test_long_sparse_columns_are_added_up_without_a_bias(value):
    """Equal float32 terms are all rounded the same way: 4 million of them were 2 % too many."""
    rows = 4_000_000
    V, W = sp.csc_array(np.ones((rows, 1), np.float32)), np.full((rows, 3), value, np.float32)
    panel = SparsePanel(V.indptr, V.indices, V.data, rows)
    np.testing.assert_allclose(panel.cross(W, Scratch())[:, 0], rows * np.float64(np.float32(value)), rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, SUMMED_ROWS, SUMMED_ROWS + 1, 3 * SUMMED_ROWS, 3 * SUMMED_ROWS + 17])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_weighted_sum_of_many_rows_is_that_of_all(dtype, count):
    rng = np.random.default_rng(0)
    W, weights, rows = rng.random((50, 5)).astype(dtype), rng.random(count).astype(dtype), rng.integers(0, 50, count)
    out = np.empty(5, dtype)
    weighted(weights, W, rows, out)
    expected = weights.astype(np.float64) @ W[rows].astype(np.float64)
    np.testing.assert_allclose(out, expected, rtol=1e-5 if dtype == "float32" else 1e-12)


@kernel
def weighted(weights, W, rows, out):
    sum_rows(weights, W, rows, row_buffers(W), out)
