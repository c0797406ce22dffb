"""Products with short rows, at every length of a row."""

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from dnmf.kernels.blocks.products import SQUARES, add_squares, square_buffers
from dnmf.kernels.blocks.simd import add_multiple, add_to_rows, row_products, weighted_rows
from dnmf.kernels.divergence.elementwise import LANES, log_sum, logarithm_32


@numba.njit
def multiply(W, rows, h, out):
    row_products(W, rows, h, out)


@numba.njit
def weigh(q, W, rows, out):
    weighted_rows(q, W, rows, out)


@numba.njit
def add(q, h, rows, total):
    add_to_rows(q, h, rows, total)


@numba.njit
def add_to_row(q, x, y):
    add_multiple(q, x, y)


@numba.njit
def logarithms_of(x, out):
    for j in range(len(x)):
        out[j] = logarithm_32(x[j])


@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rank", [*range(1, 18), 24, 31, 33, 64, 65, 71, 130])
def test_products_with_rows_are_those_of_matrices(rank, dtype, index):
    rng = np.random.default_rng(rank)
    W, h, q = rng.random((9, rank)).astype(dtype), rng.random(rank).astype(dtype), rng.random(5).astype(dtype)
    rows = np.array([7, 0, 8, 2, 7], index)
    rtol = 1e-5 if dtype == "float32" else 1e-13
    out = np.full(6, -1, dtype)
    multiply(W, rows, h, out)
    np.testing.assert_allclose(out, [*(W[rows] @ h), -1], rtol=rtol)
    wide = np.full(6, -1.0)
    multiply(W, rows, h.astype(float), wide)
    np.testing.assert_allclose(wide, [*(W[rows].astype(float) @ h.astype(float)), -1], rtol=1e-13)
    for count in (5, 2, 0):
        sums = np.full(rank, -1, dtype)
        weigh(q[:count], W, rows[:count], sums)
        np.testing.assert_allclose(sums, q[:count] @ W[rows[:count]], rtol=rtol)
    total = np.ones((9, rank))
    expected = total.copy()
    np.add.at(expected, rows, q.astype(float)[:, None] * h.astype(float))
    add(q, h, rows, total)
    np.testing.assert_allclose(total, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rank", [*range(1, 18), 24, 31, 33, 64, 65, 71, 130])
def test_multiples_of_a_row_are_those_of_numpy(rank, dtype):
    rng = np.random.default_rng(rank)
    x, y = rng.random((2, rank)).astype(dtype)
    total = np.append(y, np.full(1, -1, dtype))
    scale = np.dtype(dtype).type(0.3)
    add_to_row(scale, x, total[:-1])
    np.testing.assert_allclose(total, [*(y + scale * x), -1], rtol=1e-6 if dtype == "float32" else 1e-15)


@pytest.mark.parametrize("sums", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [0, 1, 9, SQUARES, 2 * SQUARES + 3])
@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5, 8, 20, 45])
def test_weighted_squares_of_rows_are_those_of_matrices(rank, count, dtype, sums):
    rng = np.random.default_rng(rank)
    W, weights = rng.standard_normal((9, rank)).astype(dtype), rng.standard_normal(count).astype(dtype)
    rows = rng.integers(9, size=count).astype(np.int32)
    packed = np.ones(rank * (rank + 1) // 2, sums)
    add_squares(weights, W, rows, packed, square_buffers(rank, packed))
    wide = W[rows].astype(float)
    expected = 1 + (wide.T * weights.astype(float)) @ wide
    tolerance = 1e-12 if sums == "float64" else 1e-4
    np.testing.assert_allclose(packed, expected[np.tril_indices(rank)], rtol=tolerance, atol=tolerance)


def test_weights_that_are_no_float32_count():
    W = np.array([[1e-30, 0.0, 1e-25]], np.float32)
    packed = np.zeros(6, np.float32)
    add_squares(np.array([1e60]), W, np.zeros(1, np.int32), packed, square_buffers(3, packed))
    np.testing.assert_allclose(packed, [1, 0, 0, 1e5, 0, 1e10], rtol=1e-6)


def test_rows_must_lie_in_c_order():
    with pytest.raises(TypingError, match="must lie in C order"):
        multiply(np.asfortranarray(np.ones((4, 3))), np.zeros(2, np.int32), np.ones(3), np.empty(2))


def test_float32_logarithms_are_right_at_every_scale():
    x = (10.0 ** np.random.default_rng(0).uniform(-37, 38, 1000)).astype(np.float32)
    x[:5] = [1, np.nextafter(np.float32(1), 0), 2, np.sqrt(0.5), np.finfo(np.float32).max]
    out = np.empty_like(x)
    logarithms_of(x, out)
    np.testing.assert_allclose(out, np.log(x.astype(float)), rtol=3e-7, atol=1e-9)


@pytest.mark.parametrize("count", [0, 1, LANES - 1, LANES, 3 * LANES + 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_of_logarithms_is_that_of_the_first_entries(dtype, count):
    rng = np.random.default_rng(0)
    x, pull = rng.gamma(1, 1, 5 * LANES).astype(dtype) + 1e-3, rng.random(5 * LANES).astype(dtype)
    x = x.astype(dtype)
    expected = (pull.astype(float) * (np.log(x.astype(float)) - 1))[:count].sum()
    assert log_sum(x, pull, count) == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-12)
