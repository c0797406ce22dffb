"""The basis on which V is projected."""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.engine import Engine
from dnmf.kernels.blocks.hashing import spread
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.products import power_of_two
from dnmf.kernels.blocks.tiles import Float, slices
from dnmf.kernels.rule import GRAM_ROWS, gram_of
from dnmf.kernels.scale import check_scale, limits
from dnmf.sources.base import Layout

# One in this many columns of the first basis is Gaussian.
GAUSSIAN_SHARE = 4
# Columns of V from which the first basis is computed, their runs, their bytes, and rounds of products with them.
PILOT_COLUMNS, PILOT_RUNS, PILOT_BYTES, PILOT_ROUNDS = 4000, 4, 32 * 2**20, 3
# Largest entries of which no product in float32 overflows or vanishes; and entries that are validated at once.
SAFE, CHECKED = (1e-6, 1e6), 2**18
# Rows of a matrix for each of its columns from which on it is tall, if a direction has at most as many columns.
TALL = (4, 8)
# A direction is dropped as dependent if the eigenvalue of its Gram matrix is below this share of the largest one: about
# 1e-7 of the length of a column.
DEPENDENT = 1e-14


def first_basis(
    engine: Engine, width: int, generator: np.random.Generator, rounds: int = PILOT_ROUNDS, share: int = 0
) -> tuple[Float, dict[int, Block]]:
    """Return a basis (m, width) from some columns of V, and the blocks that were read for it."""
    M, _, known, _ = pilot(engine, width, generator, share)
    return basis_of(M, width, generator, rounds), known


def basis_of(M: Any, width: int, generator: np.random.Generator, rounds: int = PILOT_ROUNDS) -> Float:
    """Return a basis (m, width) of some columns M (m, n); a part of it is Gaussian, for directions not in M.

    Each of the `rounds` takes two products with M, and brings the other part closer to the leading singular vectors.
    """
    leading = width - width // GAUSSIAN_SHARE
    Y = M @ generator.standard_normal((M.shape[1], min(width, M.shape[1]))).astype(M.dtype)
    for _ in range(rounds):
        Y = M @ (M.T @ np.linalg.qr(Y)[0])
    return completed(np.linalg.svd(Y.astype(np.float64), full_matrices=False)[0][:, :leading], width, generator)


def completed(U: Float, width: int, generator: np.random.Generator) -> Float:
    """Return a basis (m, width) of the columns of U and Gaussian ones."""
    noise = generator.standard_normal((len(U), width - U.shape[1]))
    return orthonormal(np.hstack([U, noise / np.sqrt(len(U))]))


def is_tall(M: Any, width: int) -> bool:
    """Return whether a basis of this width costs less from the products of the columns of M (m, n).

    >>> is_tall(np.ones((1000, 40)), 9), is_tall(np.ones((1000, 40)), 3), is_tall(np.ones((100, 40)), 9)
    (True, False, False)
    """
    return not scipy.sparse.issparse(M) and TALL[0] * M.shape[1] <= len(M) and M.shape[1] <= TALL[1] * width


def tall_basis(M: Float, width: int, generator: np.random.Generator) -> Float:
    """Return the same as `basis_of` for a dense M (m, n), from the eigenvectors of MᵀM."""
    values, vectors = np.linalg.eigh(gram_of(M))
    kept = np.flatnonzero(values > DEPENDENT * values[-1])[-(width - width // GAUSSIAN_SHARE) :]
    return completed(M @ (vectors[:, kept] / np.sqrt(values[kept])), width, generator)


class Pilot(NamedTuple):
    """Some columns of V (m, p) over a `scale`, their numbers (p,), and the blocks that were read for them."""

    columns: Any
    places: NDArray[np.int64]
    known: dict[int, Block]
    scale: float


def pilot(engine: Engine, width: int, generator: np.random.Generator, share: int = 0) -> Pilot:
    """Return some columns of V, and the blocks that were read for them.

    They are `share` columns, spread over V, for each of the `width` columns of a basis; or if this is 0, as many as fit
    in `PILOT_BYTES`, in runs. The numbers depend on the shape of V alone. Blocks that would take too much memory are
    not returned; the pass reads them again.
    """
    layout = engine.source.layout
    rows, columns = layout.shape
    most = PILOT_COLUMNS
    if not layout.sparse:
        most = min(most, max(2 * width, PILOT_BYTES // (rows * layout.work_dtype.itemsize)))
    if share:
        wanted = spread(columns, min(most, share * width))
    else:
        length = -(-min(most, columns) // PILOT_RUNS)
        last, firsts = columns - length, range(0, columns, length)
        starts = generator.integers(0, last + 1, PILOT_RUNS) if columns > most else firsts
        wanted = np.unique(np.concatenate([np.arange(first, min(first + length, columns)) for first in starts]))
    edges = np.searchsorted(wanted, layout.bounds)
    known: dict[int, Block] = {}
    parts: list[Any] = []
    dense: Float | None = None
    for block in np.flatnonzero(np.diff(edges)).tolist():
        there = slice(edges[block], edges[block + 1])
        here = wanted[there] - layout.bounds[block]
        if (len(known) + 1) * layout.read_bytes <= PILOT_BYTES:
            known[block] = engine.fetch(block)
            part = known[block][:, here]
        else:
            part = engine.fetch(block, here)
        if layout.sparse:
            parts.append(part.astype(layout.work_dtype))
            continue
        if dense is None:
            order: Any = "F" if part.strides[0] < part.strides[1] else "C"
            dense = np.empty((rows, len(wanted)), layout.work_dtype, order)
        dense[:, there] = part
    M: Any = scipy.sparse.hstack(parts, "csc") if dense is None else dense
    return Pilot(M, wanted, known, scale_down(M.data if dense is None else dense, math.prod(M.shape)))


def pilot_bytes(layout: Layout) -> int:
    """Return the bytes of the columns of a pilot, or of their blocks."""
    whole = layout.stored_bytes if layout.sparse else math.prod(layout.shape) * layout.work_dtype.itemsize
    return min(PILOT_BYTES, max(layout.read_bytes * layout.blocks, whole))


def scale_down(values: Float, size: int) -> float:
    """Divide the stored entries of a matrix with `size` entries by a power of two, so that their squares are finite.

    Return this power.
    """
    least, largest = float(values.min(initial=0)), float(values.max(initial=0))
    if least >= 0 and (largest == 0 or SAFE[0] <= largest <= SAFE[1]):
        return 1.0
    parts = [values[part] for part in slices(len(values), max(1, CHECKED * len(values) // max(values.size, 1)))]
    most, largest, squares = limits(values.dtype, 2.0)[1], 0.0, 0.0
    for part in parts:
        part[~((part >= 0) & (part <= most))] = 0  # the pass will raise the error for them
        largest = max(largest, float(part.max(initial=0)))
    if largest > 0:
        squares = sum(float(np.square(part / largest, dtype=np.float64).sum()) for part in parts)
        check_scale(largest * math.sqrt(squares / size), values.dtype, 2.0)
    scale = power_of_two(largest)
    values *= 1 / scale
    return scale


def orthonormal(X: Float) -> Float:
    """Return an orthonormal basis (m, k) of the columns of X (m, q), as by Gram–Schmidt, without dependent directions.

    The columns are scaled to length 1, so that no direction is lost beside much longer columns. Two rounds take the
    basis from the eigenvectors of the Gram matrix: the first drops directions that rounding errors may have made, the
    second removes the rounding errors of the first, and directions that were nothing else. With XᵀX = E Λ Eᵀ, the QR
    factorisation of Λ^(1/2) Eᵀ rotates the basis such that its first columns span the first columns of X.
    """
    largest = np.maximum(X.max(axis=0, initial=0), -X.min(axis=0, initial=0))
    nonzero = largest > 0
    Q: Float = np.compress(nonzero, X, axis=1)
    Q /= largest[nonzero]
    Q /= np.sqrt(np.einsum("ik,ik->k", Q, Q))
    for least in (DEPENDENT, 0.25):
        values, vectors = np.linalg.eigh(gram_of(Q))
        kept = values > least * values.max(initial=0)
        if not kept.any():
            return Q[:, kept]
        roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
        Q = product_in_place(Q, vectors / roots @ np.linalg.qr(vectors.T * roots[:, None])[0])
    return Q


def product_in_place(X: Float, T: Float) -> Float:
    """Return X T (m, k) for X (m, q) in C order, which is overwritten, and T (q, k), k ≤ q."""
    rows, width = len(X), T.shape[1]
    out = X.reshape(-1)[: rows * width].reshape(rows, width)
    for part in slices(rows, GRAM_ROWS):
        out[part] = X[part] @ T  # ends before the rows that follow in X
    return out


def pseudo_inverse(gram: Float, dtype: np.dtype[Any]) -> Float:
    """Return the pseudo-inverse of a Gram matrix (q, q), scaled to a unit diagonal to be independent of scales."""
    scale = np.sqrt(np.diag(gram))
    scale = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    scales = np.outer(scale, scale)
    least = 10 * float(np.finfo(dtype).eps)
    return np.asarray(np.linalg.pinv(gram * scales, rcond=least, hermitian=True) * scales)


def lifted(Q: Float, product: Float, gram: Float, dtype: np.dtype[Any]) -> Float:
    """Return (I − QQᵀ) VRᵀ (RRᵀ)⁺ (m, q), the regression of V on R outside a basis Q, given VRᵀ (m, q) and RRᵀ."""
    return (product - Q @ (Q.T @ product)) @ pseudo_inverse(gram, dtype)


def left_over(norm: float, left: Float, gram: Float) -> float:
    """Return ‖V‖² − ‖L S‖² ≥ 0, the part of V outside a surrogate, for L (m, q) and SSᵀ (q, q)."""
    return max(norm - float(np.vdot(left.T @ left, gram)), 0.0)
