"""Products with the short rows of a factor, written as vector instructions.

A compiler vectorises a loop of unknown length in large steps, and would take most of r components one by one. Here a
few vectors are taken at a time, and the rest of a row in smaller ones. Rows are in C order; row
numbers are integers of any size. `tests/kernels/test_vectors.py` compares each function with NumPy.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from dnmf.kernels.blocks.vectors import (
    FAST,
    INDEX,
    RowArray,
    each_chunk,
    each_part,
    halves,
    row_arrays,
    splat,
    sum_of,
    vector,
    widened,
)

# Sums in registers.
SUMS = 12


@intrinsic
def row_products(context, W, rows, h, out):  # type: ignore[no-untyped-def]
    """Set out[e] to ⟨W[rows[e]], h⟩ for every entry e of a column, in the precision of h."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        w, number, x, y = row_arrays(target, builder, signature, values)
        sums = {lanes: cgutils.alloca_once(builder, vector(x, lanes)) for lanes in halves()}
        with cgutils.for_range(builder, number.size, intp=INDEX) as loop:
            start = builder.mul(number.item(loop.index), x.size)
            for lanes, total in sums.items():
                builder.store(ir.Constant(vector(x, lanes), None), total)

            def add(first: Any, lanes: int) -> None:
                row = widened(builder, w.load(builder.add(start, first), lanes), vector(x, lanes))
                product = builder.fmul(row, x.load(first, lanes), flags=FAST)
                builder.store(builder.fadd(product, builder.load(sums[lanes]), flags=FAST), sums[lanes])

            each_chunk(builder, x.size, add)
            total = sum_of(builder, [builder.load(sums[lanes]) for lanes in halves()])
            builder.store(total, builder.gep(y.data, [loop.index]))
        return target.get_dummy_value()

    return ordered(W, rows, h, out), emit


@intrinsic
def weighted_rows(context, q, W, rows, out):  # type: ignore[no-untyped-def]
    """Set `out` to Σ q[e] W[rows[e]] (r,)."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        share, w, number, y = row_arrays(target, builder, signature, values)

        def entry(e: Any) -> tuple[list[Any], Any]:
            return [share.item(e)], builder.mul(number.item(e), y.size)

        _add_weighted(builder, number.size, entry, w, y, y.size, [ir.Constant(INDEX, 0)])
        return target.get_dummy_value()

    return ordered(q, W, rows, out), emit


@intrinsic
def two_rows_of_squares(context, scaled, W, count, k, out):  # type: ignore[no-untyped-def]
    """Set `out` (2, r), up to column k + 1, to Σ scaled[e, k:k+2]ᵀ W[e] over the first rows e.

    These are two rows of the lower triangle of a Gram matrix, and an entry to the right of the diagonal.
    """

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        arrays = types.void(*(signature.args[place] for place in (0, 1, 4)))
        share, w, y = row_arrays(target, builder, arrays, (values[0], values[1], values[4]))

        def entry(e: Any) -> tuple[list[Any], Any]:
            start = builder.mul(e, w.size)
            place = builder.add(start, values[3])
            return [share.item(place), share.item(builder.add(place, ir.Constant(INDEX, 1)))], start

        columns = builder.add(values[3], ir.Constant(INDEX, 2))
        _add_weighted(builder, values[2], entry, w, y, columns, [ir.Constant(INDEX, 0), y.size])
        return target.get_dummy_value()

    ordered(scaled, W, out)
    return types.void(scaled, W, types.int64, types.int64, out), emit


@intrinsic
def add_to_rows(context, q, h, rows, total):  # type: ignore[no-untyped-def]
    """Add q[e] h to total[rows[e]] for every entry e, in the precision of the total."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        share, x, number, sums = row_arrays(target, builder, signature, values)

        def add(places: list[Any], lanes: int) -> None:
            """Load each vector before the last one is stored, which it may overlap."""
            kind = vector(sums, lanes)
            wide = [widened(builder, x.load(place, lanes), kind) for place in places]
            with cgutils.for_range(builder, number.size, intp=INDEX) as loop:
                start = builder.mul(number.item(loop.index), x.size)
                scale = splat(builder, widened(builder, share.item(loop.index), sums.dtype), lanes)
                own = [builder.add(start, place) for place in places]
                old = sums.load(own[0], lanes)
                for index, (place, part) in enumerate(zip(own, wide, strict=True)):
                    new = builder.fadd(builder.fmul(scale, part, flags=FAST), old, flags=FAST)
                    old = sums.load(own[index + 1], lanes) if index + 1 < len(own) else old
                    sums.store(new, place, lanes)

        each_part(builder, x.size, sums.lanes, add)
        return target.get_dummy_value()

    return ordered(q, h, rows, total), emit


@intrinsic
def add_multiple(context, q, x, y):  # type: ignore[no-untyped-def]
    """Add q x to y (r,), for numbers of one precision."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        arrays = types.void(*signature.args[1:])
        row, total = row_arrays(target, builder, arrays, values[1:])

        def add(places: list[Any], lanes: int) -> None:
            """Load all vectors before one is stored, since the last may overlap the one before."""
            scale, old = splat(builder, values[0], lanes), [total.load(place, lanes) for place in places]
            for place, before in zip(places, old, strict=True):
                product = builder.fmul(scale, row.load(place, lanes), flags=FAST)
                total.store(builder.fadd(product, before, flags=FAST), place, lanes)

        each_part(builder, total.size, total.lanes, add)
        return target.get_dummy_value()

    ordered(x, y)
    return types.void(q, x, y), emit


@intrinsic
def bits_of(context, number):  # type: ignore[no-untyped-def]
    """Return the bits of a float32 number as an int32."""
    return types.int32(types.float32), lambda target, builder, signature, values: builder.bitcast(
        values[0], ir.IntType(32)
    )


@intrinsic
def float_of(context, word):  # type: ignore[no-untyped-def]
    """Return the float32 number with the bits of an int32."""
    return types.float32(types.int32), lambda target, builder, signature, values: builder.bitcast(
        values[0], ir.FloatType()
    )


def ordered(*arrays: Any) -> Any:
    """Return the signature of a compiled function of arrays in C order without a result."""
    if any(array.layout != "C" for array in arrays):
        raise TypingError(f"arrays must lie in C order, and got {arrays}")
    return types.void(*arrays)


def _add_weighted(
    builder: Any,
    count: Any,
    entry: Callable[[Any], tuple[list[Any], Any]],
    w: RowArray,
    y: RowArray,
    columns: Any,
    targets: list[Any],
) -> None:
    """Emit weighted sums of rows of W, up to some columns, and where in y each begins.

    The weights of an entry, one for each sum, and the first number of its row are given by a function.
    """

    def add_up(places: list[Any], lanes: int) -> None:
        """Add up even and odd entries apart if registers suffice: a sum need not wait for the one before."""
        zero = ir.Constant(vector(w, lanes), None)
        number = len(targets) * len(places)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(number)] for _ in range(2)]
        sums[1] = sums[1] if 2 * number <= SUMS else sums[0]
        for total in sums[0] + sums[1]:
            builder.store(zero, total)

        def add(e: Any, totals: list[Any]) -> None:
            shares, start = entry(e)
            scales, left = [splat(builder, share, lanes) for share in shares], iter(totals)
            for place in places:
                row = w.load(builder.add(start, place), lanes)
                for scale, total in zip(scales, left, strict=False):
                    product = builder.fmul(scale, row, flags=FAST)
                    builder.store(builder.fadd(product, builder.load(total), flags=FAST), total)

        even = builder.and_(count, ir.Constant(INDEX, -2))
        with cgutils.for_range_slice(builder, ir.Constant(INDEX, 0), even, ir.Constant(INDEX, 2), INDEX) as (e, _):
            add(e, sums[0])
            add(builder.add(e, ir.Constant(INDEX, 1)), sums[1])
        with builder.if_then(builder.icmp_unsigned("!=", even, count)):
            add(even, sums[0])
        own = [builder.add(target, place) for place in places for target in targets]
        for place, one, other in zip(own, *sums, strict=True):
            total = builder.load(one)
            if other is not one:
                total = builder.fadd(total, builder.load(other), flags=FAST)
            y.store(total, place, lanes)

    each_part(builder, columns, w.lanes, add_up)
