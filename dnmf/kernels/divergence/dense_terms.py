"""Sums over the entries of dense columns of V for Kullback–Leibler, written as vector instructions.

A vector has one entry of each of some columns that lie side by side, so that no sum goes across a vector. A compiler
would make single instructions of a loop over so few columns. `GROUP` rows are taken together, whose terms stay in
registers; W and V have rows of zeros up to whole groups. All arrays are in C order.
`tests/kernels/test_dense_columns.py` compares each function with NumPy.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dnmf.kernels.blocks.simd import ordered
from dnmf.kernels.blocks.vectors import FAST, INDEX, RowArray, row_arrays, splat, vector

# Bytes of a vector, and rows that are taken together.
SIDE_BYTES, GROUP = 64, 4


@intrinsic
def set_terms(context, W, products, v, h, at, first, last, pulls, bends):  # type: ignore[no-untyped-def]
    """Set columns of `pulls` (r, p) to Σ w v/y and of `bends` (t, p) to Σ q v/y² over some rows, with y = wh.

    The rows are those from `first` to `last`, w of W (m, r) and q of `products` (m, t); the columns are those of v
    (m, p) and h (r, p) from `at` on, of which a vector has one entry each.
    """

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        chosen = [0, 1, 2, 3, 7, 8]
        arrays = types.void(*(signature.args[place] for place in chosen))
        w, q, x, model, pull, bend = row_arrays(target, builder, arrays, [values[place] for place in chosen])
        column, start, stop = values[4:7]
        lanes = SIDE_BYTES * 8 // signature.args[2].dtype.bitwidth
        zero = ir.Constant(vector(x, lanes), None)
        for size, total in ((w.size, pull), (q.size, bend)):
            with cgutils.for_range(builder, size, intp=INDEX) as loop:
                total.store(zero, _place(builder, total, loop.index, column), lanes)
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(INDEX, GROUP), INDEX) as (row, _):
            pulled, bent = [], []
            for e, y in enumerate(_model(builder, w, model, row, column, lanes)):
                entries = x.load(_place(builder, x, _shift(builder, row, e), column), lanes)
                inverse = _inverse(builder, y, x)
                pulled.append(builder.fmul(entries, inverse, flags=FAST))
                bent.append(builder.fmul(pulled[-1], inverse, flags=FAST))
            _add_terms(builder, w, row, pulled, pull, column, lanes)
            _add_terms(builder, q, row, bent, bend, column, lanes)
        return target.get_dummy_value()

    ordered(W, products, v, h, pulls, bends)
    return types.void(W, products, v, h, types.int64, types.int64, types.int64, pulls, bends), emit


@intrinsic
def set_falls(context, W, v, h, steps, at, first, last, falls):  # type: ignore[no-untyped-def]
    """Set columns of `falls` (1, p) to a lower bound of Σ v log(y'/y) over some rows; −∞ where y' is 0, and not y or v.

    With y = wh, y' = y + w · step and u = 1 − y/y', it is Σ v (u + u²/2 + u³/3). Rows and columns: see `set_terms`.
    """

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        chosen = [0, 1, 2, 3, 7]
        arrays = types.void(*(signature.args[place] for place in chosen))
        w, x, model, step, fall = row_arrays(target, builder, arrays, [values[place] for place in chosen])
        column, start, stop = values[4:7]
        lanes = SIDE_BYTES * 8 // signature.args[1].dtype.bitwidth
        kind = vector(x, lanes)
        zero, one, half, third, least = (
            ir.Constant(kind, [value] * lanes) for value in (0.0, 1.0, 0.5, 1.0 / 3.0, -np.inf)
        )
        total = cgutils.alloca_once(builder, kind)
        builder.store(zero, total)
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(INDEX, GROUP), INDEX) as (row, _):
            pairs = zip(*(_model(builder, w, one_of, row, column, lanes) for one_of in (model, step)), strict=True)
            for e, (y, moved) in enumerate(pairs):
                entries = x.load(_place(builder, x, _shift(builder, row, e), column), lanes)
                there = builder.fadd(y, moved, flags=FAST)
                tiny = _tiny(x, lanes)
                enough = builder.fcmp_ordered(">", there, tiny)
                share = builder.fdiv(moved, builder.select(enough, there, tiny), flags=FAST)
                series = builder.fadd(half, builder.fmul(share, third, flags=FAST), flags=FAST)
                series = builder.fadd(one, builder.fmul(share, series, flags=FAST), flags=FAST)
                term = builder.fmul(builder.fmul(entries, share, flags=FAST), series, flags=FAST)
                known = builder.fcmp_ordered(">", entries, zero)
                lost = builder.select(builder.fcmp_ordered(">", y, zero), least, zero)
                term = builder.select(known, builder.select(enough, term, lost), zero)
                builder.store(builder.fadd(builder.load(total), term, flags=FAST), total)
        fall.store(builder.load(total), column, lanes)
        return target.get_dummy_value()

    ordered(W, v, h, steps, falls)
    return types.void(W, v, h, steps, types.int64, types.int64, types.int64, falls), emit


def _place(builder: Any, array: RowArray, row: Any, column: Any) -> Any:
    """Return the place of an entry of an array of two axes."""
    return builder.add(builder.mul(row, array.size), column)


def _shift(builder: Any, row: Any, count: int) -> Any:
    return builder.add(row, ir.Constant(INDEX, count))


def _tiny(array: RowArray, lanes: int) -> Any:
    """Return the smallest normal number in all lanes."""
    tiny = float(np.finfo(np.float32 if isinstance(array.dtype, ir.FloatType) else np.float64).tiny)
    return ir.Constant(vector(array, lanes), [tiny] * lanes)


def _inverse(builder: Any, y: Any, array: RowArray) -> Any:
    """Return 1/y, or 0 where y is 0."""
    lanes = y.type.count
    tiny, zero, one = _tiny(array, lanes), ir.Constant(y.type, None), ir.Constant(y.type, [1.0] * lanes)
    bottom = builder.select(builder.fcmp_ordered(">", y, tiny), y, tiny)
    return builder.select(builder.fcmp_ordered(">", y, zero), builder.fdiv(one, bottom, flags=FAST), zero)


def _model(builder: Any, w: RowArray, h: RowArray, row: Any, column: Any, lanes: int) -> list[Any]:
    """Return the vectors wh of a group of rows."""
    rooms = [cgutils.alloca_once(builder, vector(h, lanes)) for _ in range(GROUP)]
    for room in rooms:
        builder.store(ir.Constant(vector(h, lanes), None), room)
    with cgutils.for_range(builder, w.size, intp=INDEX) as loop:
        part = h.load(_place(builder, h, loop.index, column), lanes)
        for e, room in enumerate(rooms):
            scale = splat(builder, w.item(_place(builder, w, _shift(builder, row, e), loop.index)), lanes)
            product = builder.fmul(scale, part, flags=FAST)
            builder.store(builder.fadd(builder.load(room), product, flags=FAST), room)
    return [builder.load(room) for room in rooms]


def _add_terms(
    builder: Any, factors: RowArray, row: Any, terms: list[Any], total: RowArray, column: Any, lanes: int
) -> None:
    """Add Σ factors[e, k] · terms[e] over a group of rows to every row k of the total."""
    with cgutils.for_range(builder, factors.size, intp=INDEX) as loop:
        place = _place(builder, total, loop.index, column)
        added = total.load(place, lanes)
        for e, term in enumerate(terms):
            scale = splat(builder, factors.item(_place(builder, factors, _shift(builder, row, e), loop.index)), lanes)
            added = builder.fadd(added, builder.fmul(scale, term, flags=FAST), flags=FAST)
        total.store(added, place, lanes)
