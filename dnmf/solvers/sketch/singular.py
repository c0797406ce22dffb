"""Nonnegative factors from singular vectors: NNDSVD (Boutsidis & Gallopoulos 2008)."""

from typing import Any

import numpy as np

from dnmf.kernels.blocks.tiles import Float

# Entries of a singular vector below this share of the largest are set to 0, as they may be rounding errors.
NEGLIGIBLE = 1e-6


def leading_vectors(L: Float, gram: Float, rank: int, dtype: "np.dtype[Any]") -> tuple[Float, Float]:
    """Return left singular vectors U (m, r) of a surrogate V̂ = L S, and X (r, q) with UᵀV̂ = X S, given SSᵀ (q, q).

    Vectors beyond the numerical rank of V̂ in the dtype are 0.
    """
    U, T = np.linalg.qr(L)
    gram = T @ gram @ T.T
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    leading = np.argsort(values)[::-1][:rank]
    vectors = vectors[:, leading] * (values[leading] > values[leading[0]] * np.finfo(dtype).eps)
    return U @ vectors, vectors.T @ T


def squares_of_parts(X: Float) -> Float:
    """Return the sums of the squares of the positive and of the negative entries of every row (2, r).

    >>> squares_of_parts(np.array([[3.0, -1.0, -2.0]])).tolist()
    [[9.0], [5.0]]
    """
    return np.array([np.square(np.maximum(X, 0)).sum(axis=1), np.square(np.minimum(X, 0)).sum(axis=1)])


def split_vectors(left: Float, squares: Float) -> tuple[Float, Float, Float, Float]:
    """Return W (m, r), and for every row of UᵀV its sign, its gain and the balance (r,) of the factors.

    `squares` has those of the parts of UᵀV (2, r).

    Of the pairs (u⁺, v⁺) and (u⁻, v⁻) of each singular triplet, the one with the larger product of norms is kept. The
    columns of W have length 1; a row of H is the part of UᵀV with that sign, times the gain. Multiplying the columns of
    W by the balance, and dividing the rows of H by it, shares the scale between them as in the paper.
    """
    W = np.zeros_like(left)
    rank = left.shape[1]
    signs, gains, balance = np.ones(rank), np.zeros(rank), np.ones(rank)
    right = np.sqrt(squares)
    for k in range(rank):
        vector = np.where(np.abs(left[:, k]) > NEGLIGIBLE * np.abs(left[:, k]).max(), left[:, k], 0)
        parts = [np.maximum(vector, 0), np.maximum(-vector, 0)]
        lengths = [float(np.linalg.norm(part)) for part in parts]
        side = int(lengths[1] * right[1, k] > lengths[0] * right[0, k])
        signs[k] = 1 - 2 * side
        if lengths[side] * right[side, k] > 0:
            W[:, k] = parts[side] / lengths[side]
            gains[k] = lengths[side]
            balance[k] = np.sqrt(lengths[side] * right[side, k])
    return W, signs, gains, balance


def singular_start(left: Float, S: Float, drawn: Float) -> Float:
    """Return W (m, r) from the leading singular vectors of L S, where there are fewer with columns of another W."""
    wide = S.astype(np.float64)
    U, X = leading_vectors(left.astype(np.float64), wide @ wide.T, drawn.shape[1], S.dtype)
    W, _, gains, _ = split_vectors(U, squares_of_parts(X @ wide))
    return np.where(gains > 0, W, drawn)
