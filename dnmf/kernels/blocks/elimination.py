"""Cholesky factors of the Gram matrices of SIDE columns side by side, written as vector instructions.

The lower triangle of a factor L lies row by row, and every entry of it is a row of SIDE numbers. Below it may lie the
right-hand side c as one more row: its elimination solves L y = c. The factors leave out the components of each column
that are not in its set: their inverse pivots are 0. `tests/kernels/test_elimination.py` compares them with NumPy.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dnmf.kernels.blocks.simd import ordered
from dnmf.kernels.blocks.tiles import kernel
from dnmf.kernels.blocks.vectors import FAST, INDEX, row_arrays, vector

# Columns side by side.
SIDE = 16


@intrinsic
def eliminate(context, rows, inverse, row, first, b):  # type: ignore[no-untyped-def]
    """Set entry b of the row from `row` on to (l_b − Σ_i<b l_i f_i) / f_b, given row b of L, from `first` on."""
    return _signature(rows, inverse), _eliminating(1)


@intrinsic
def eliminate_two(context, rows, inverse, row, first, b):  # type: ignore[no-untyped-def]
    """Do so for the entries b and b + 1, whose rows of L follow each other."""
    return _signature(rows, inverse), _eliminating(2)


def _signature(rows: Any, inverse: Any) -> Any:
    ordered(rows, inverse)
    return types.void(rows, inverse, types.int64, types.int64, types.int64)


def _eliminating(number: int) -> Callable[..., Any]:
    """Return what emits the elimination of one or two entries of a row."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        entries, inverse = row_arrays(target, builder, types.void(*signature.args[:2]), values[:2])
        row, first, b = values[2:]
        lanes, kind = entries.lanes, vector(entries, entries.lanes)
        columns = range(0, SIDE, lanes)
        below = builder.add(first, builder.add(b, ir.Constant(INDEX, 1)))
        factors = [first, below][:number]

        def place(of: Any, column: int, further: int = 0) -> Any:
            start = builder.mul(builder.add(of, ir.Constant(INDEX, further)), ir.Constant(INDEX, SIDE))
            return builder.add(start, ir.Constant(INDEX, column))

        def lowered(value: Any, one: Any, other: Any) -> Any:
            product = builder.fneg(builder.fmul(one, other, flags=FAST), flags=FAST)
            return builder.fadd(value, product, flags=FAST)

        own = builder.add(row, b)
        sums = {(n, j): cgutils.alloca_once(builder, kind) for n in range(number) for j in columns}
        for (n, j), total in sums.items():
            builder.store(entries.load(place(own, j, n), lanes), total)
        with cgutils.for_range(builder, b, intp=INDEX) as loop:
            at = builder.add(row, loop.index)
            for j in columns:
                left = entries.load(place(at, j), lanes)
                for n, factor in enumerate(factors):
                    right = entries.load(place(builder.add(factor, loop.index), j), lanes)
                    builder.store(lowered(builder.load(sums[n, j]), left, right), sums[n, j])
        for j in columns:
            new = builder.fmul(builder.load(sums[0, j]), inverse.load(place(b, j), lanes), flags=FAST)
            entries.store(new, place(own, j), lanes)
            if number == 2:
                left = lowered(builder.load(sums[1, j]), new, entries.load(place(builder.add(below, b), j), lanes))
                new = builder.fmul(left, inverse.load(place(b, j, 1), lanes), flags=FAST)
                entries.store(new, place(own, j, 1), lanes)
        return target.get_dummy_value()

    return emit


@kernel
def factorise(gram, passive, least, rows, inverse, singular):  # type: ignore[no-untyped-def]
    """Set `rows` to L and y, and `inverse` (r, SIDE) to the inverse pivots of the passive components, or 0.

    Parameters
    ----------
    gram
        G (r, r), with a diagonal of ones.
    passive
        1 for the components of every column in its set, or 0, (r, SIDE).
    least
        The square of a pivot is 0 below this.
    rows
        L and y (r (r + 3) / 2, SIDE); the right-hand side lies in the place of y.
    singular
        Set to True for the columns with a pivot of 0, (SIDE,).
    """
    rank, row = len(gram), 0
    for a in range(rank):
        for b in range(a + 1):
            value, out = gram[a, b], rows[row + b]
            for j in range(SIDE):
                out[j] = value
        row += a + 1
    row = 0
    for a in range(rank + 1):
        first = 0
        for pair in range(a // 2):
            eliminate_two(rows, inverse, row, first, 2 * pair)
            first += 4 * pair + 3
        if a % 2:
            eliminate(rows, inverse, row, first, a - 1)
        if a < rank:
            scale, own = inverse[a], passive[a]
            for j in range(SIDE):
                scale[j] = 1.0
            eliminate(rows, inverse, row, row, a)
            square = rows[row + a]
            for j in range(SIDE):
                above, kept = square[j] > least, own[j] > 0.0
                singular[j] |= kept and not above
                scale[j] = 1.0 / np.sqrt(square[j] if above else 1.0) if kept else 0.0
        row += a + 1


@kernel
def back_substitute(rows, inverse, x):  # type: ignore[no-untyped-def]
    """Set x (r, SIDE) to the solution of Lᵀx = y, with 0 for components that are not passive."""
    rank = len(x)
    row = rank * (rank + 1) // 2
    for a in range(rank):
        for j in range(SIDE):
            x[a, j] = rows[row + a, j]
    for a in range(rank - 1, -1, -1):
        row -= a + 1
        own = x[a]
        for j in range(SIDE):
            own[j] *= inverse[a, j]
        for i in range(a):
            factor, out = rows[row + i], x[i]
            for j in range(SIDE):
                out[j] -= factor[j] * own[j]


@kernel
def set_slopes(gram, x, c, slope):  # type: ignore[no-untyped-def]
    """Set `slope` (r, SIDE) to G x − c."""
    rank = len(c)
    for k in range(rank):
        out = slope[k]
        for j in range(SIDE):
            out[j] = -c[k, j]
        i = 0
        while i + 4 <= rank:
            g0, g1, g2, g3 = gram[k, i], gram[k, i + 1], gram[k, i + 2], gram[k, i + 3]
            for j in range(SIDE):
                out[j] += g0 * x[i, j] + g1 * x[i + 1, j] + g2 * x[i + 2, j] + g3 * x[i + 3, j]
            i += 4
        while i < rank:
            for j in range(SIDE):
                out[j] += gram[k, i] * x[i, j]
            i += 1
