"""Products with the short rows of a factor, written as vector instructions.

A compiler vectorises a loop of unknown length in large steps, and would take most of r components one by one. Here
`LANES` components are taken at a time, and the rest of a row in a half, a quarter, … of that. Rows are in C order; row
numbers are integers of any size. `tests/kernels/test_vectors.py` compares each function with NumPy.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LANES = 8
# Vectors of a row that are worked on at once, sums in registers, and the bytes of each.
VECTORS, SUMS, VECTOR_BYTES = 8, 12, 32
# A product may be contracted with the sum that it is added to, as in `tiles.kernel`.
FAST = ("contract", "nsz")
INDEX = ir.IntType(64)


@intrinsic
def row_products(context, W, rows, h, out):  # type: ignore[no-untyped-def]
    """Set out[e] to ⟨W[rows[e]], h⟩ for every entry e of a column, in the precision of h."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        w, number, x, y = _arrays(target, builder, signature, values)
        sums = {lanes: cgutils.alloca_once(builder, _vector(x, lanes)) for lanes in _halves()}
        with cgutils.for_range(builder, number.size, intp=INDEX) as loop:
            start = builder.mul(number.item(loop.index), x.size)
            for lanes, total in sums.items():
                builder.store(ir.Constant(_vector(x, lanes), None), total)

            def add(first: Any, lanes: int) -> None:
                row = _widened(builder, w.load(builder.add(start, first), lanes), _vector(x, lanes))
                product = builder.fmul(row, x.load(first, lanes), flags=FAST)
                builder.store(builder.fadd(product, builder.load(sums[lanes]), flags=FAST), sums[lanes])

            _each_chunk(builder, x.size, add)
            total = _sum(builder, [builder.load(sums[lanes]) for lanes in _halves()])
            builder.store(total, builder.gep(y.data, [loop.index]))
        return target.get_dummy_value()

    return _signature(W, rows, h, out), emit


@intrinsic
def weighted_rows(context, q, W, rows, out):  # type: ignore[no-untyped-def]
    """Set `out` to Σ q[e] W[rows[e]] (r,)."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        share, w, number, y = _arrays(target, builder, signature, values)

        def entry(e: Any) -> tuple[list[Any], Any]:
            return [share.item(e)], builder.mul(number.item(e), y.size)

        _add_weighted(builder, number.size, entry, w, y, y.size, [ir.Constant(INDEX, 0)])
        return target.get_dummy_value()

    return _signature(q, W, rows, out), emit


@intrinsic
def two_rows_of_squares(context, scaled, W, count, k, out):  # type: ignore[no-untyped-def]
    """Set `out` (2, r), up to column k + 1, to Σ scaled[e, k:k+2]ᵀ W[e] over the first rows e.

    These are two rows of the lower triangle of a Gram matrix, and an entry to the right of the diagonal.
    """

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        arrays = types.void(*(signature.args[place] for place in (0, 1, 4)))
        share, w, y = _arrays(target, builder, arrays, (values[0], values[1], values[4]))

        def entry(e: Any) -> tuple[list[Any], Any]:
            start = builder.mul(e, w.size)
            place = builder.add(start, values[3])
            return [share.item(place), share.item(builder.add(place, ir.Constant(INDEX, 1)))], start

        columns = builder.add(values[3], ir.Constant(INDEX, 2))
        _add_weighted(builder, values[2], entry, w, y, columns, [ir.Constant(INDEX, 0), y.size])
        return target.get_dummy_value()

    _signature(scaled, W, out)
    return types.void(scaled, W, types.int64, types.int64, out), emit


@intrinsic
def add_to_rows(context, q, h, rows, total):  # type: ignore[no-untyped-def]
    """Add q[e] h to total[rows[e]] for every entry e, in the precision of the total."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        share, x, number, sums = _arrays(target, builder, signature, values)

        def add(places: list[Any], lanes: int) -> None:
            """Load each vector before the last one is stored, which it may overlap."""
            kind = _vector(sums, lanes)
            wide = [_widened(builder, x.load(place, lanes), kind) for place in places]
            with cgutils.for_range(builder, number.size, intp=INDEX) as loop:
                start = builder.mul(number.item(loop.index), x.size)
                scale = _splat(builder, _widened(builder, share.item(loop.index), sums.dtype), lanes)
                own = [builder.add(start, place) for place in places]
                old = sums.load(own[0], lanes)
                for index, (place, part) in enumerate(zip(own, wide, strict=True)):
                    new = builder.fadd(builder.fmul(scale, part, flags=FAST), old, flags=FAST)
                    old = sums.load(own[index + 1], lanes) if index + 1 < len(own) else old
                    sums.store(new, place, lanes)

        _each_part(builder, x.size, sums.lanes, add)
        return target.get_dummy_value()

    return _signature(q, h, rows, total), emit


@intrinsic
def add_multiple(context, q, x, y):  # type: ignore[no-untyped-def]
    """Add q x to y (r,), for numbers of one precision."""

    def emit(target, builder, signature, values):  # type: ignore[no-untyped-def]
        arrays = types.void(*signature.args[1:])
        row, total = _arrays(target, builder, arrays, values[1:])

        def add(places: list[Any], lanes: int) -> None:
            """Load all vectors before one is stored, since the last may overlap the one before."""
            scale, old = _splat(builder, values[0], lanes), [total.load(place, lanes) for place in places]
            for place, vector in zip(places, old, strict=True):
                product = builder.fmul(scale, row.load(place, lanes), flags=FAST)
                total.store(builder.fadd(product, vector, flags=FAST), place, lanes)

        _each_part(builder, total.size, total.lanes, add)
        return target.get_dummy_value()

    _signature(x, y)
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


class _Array:
    """An array of the compiled function, as one sequence of numbers."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        struct = make_array(kind)(context, builder, value)
        self._builder, self.data = builder, struct.data
        self.dtype = context.get_value_type(kind.dtype)
        self._align = kind.dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self._align
        self.size = builder.extract_value(struct.shape, kind.ndim - 1)

    def item(self, place: Any) -> Any:
        """Return one number, an integer in the width of an index."""
        value = self._builder.load(self._builder.gep(self.data, [place]))
        narrow = isinstance(value.type, ir.IntType) and value.type != INDEX
        return self._builder.sext(value, INDEX) if narrow else value

    def load(self, place: Any, lanes: int) -> Any:
        """Return the vector at a place."""
        vector = self._builder.load(self._at(place, lanes))
        vector.align = self._align
        return vector

    def store(self, vector: Any, place: Any, lanes: int) -> None:
        """Write a vector to a place."""
        self._builder.store(vector, self._at(place, lanes)).align = self._align

    def _at(self, place: Any, lanes: int) -> Any:
        return self._builder.bitcast(self._builder.gep(self.data, [place]), _vector(self, lanes).as_pointer())


def _arrays(context: Any, builder: Any, signature: Any, values: Any) -> list[_Array]:
    return [_Array(context, builder, kind, value) for kind, value in zip(signature.args, values, strict=True)]


def _signature(*arrays: Any) -> Any:
    """Return the signature of a function of arrays in C order without a result."""
    if any(array.layout != "C" for array in arrays):
        raise TypingError(f"arrays must lie in C order, and got {arrays}")
    return types.void(*arrays)


def _halves() -> list[int]:
    """Return LANES, its half, … 1."""
    return [LANES >> power for power in range(LANES.bit_length())]


def _add_weighted(
    builder: Any,
    count: Any,
    entry: Callable[[Any], tuple[list[Any], Any]],
    w: _Array,
    y: _Array,
    columns: Any,
    targets: list[Any],
) -> None:
    """Emit weighted sums of rows of W, up to some columns, and where in y each begins.

    The weights of an entry, one for each sum, and the first number of its row are given by a function.
    """

    def add_up(places: list[Any], lanes: int) -> None:
        """Add up even and odd entries apart if registers suffice: a sum need not wait for the one before."""
        zero = ir.Constant(_vector(w, lanes), None)
        number = len(targets) * len(places)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(number)] for _ in range(2)]
        sums[1] = sums[1] if 2 * number <= SUMS else sums[0]
        for total in sums[0] + sums[1]:
            builder.store(zero, total)

        def add(e: Any, totals: list[Any]) -> None:
            shares, start = entry(e)
            scales, left = [_splat(builder, share, lanes) for share in shares], iter(totals)
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

    _each_part(builder, columns, w.lanes, add_up)


def _each_chunk(builder: Any, size: Any, work: Callable[[Any, int], None]) -> None:
    """Emit the work for a whole row: a loop over `LANES` components at a time, then the rest in halves."""
    full = builder.and_(size, ir.Constant(INDEX, -LANES))
    zero, step = ir.Constant(INDEX, 0), ir.Constant(INDEX, LANES)
    with cgutils.for_range_slice(builder, zero, full, step, intp=INDEX) as (first, _):
        work(first, LANES)
    for lanes in _halves()[1:]:
        is_left = builder.icmp_unsigned("!=", builder.and_(size, ir.Constant(INDEX, lanes)), zero)
        with builder.if_then(is_left):
            work(builder.and_(size, ir.Constant(INDEX, -2 * lanes)), lanes)


def _each_part(builder: Any, size: Any, lanes: int, work: Callable[[list[Any], int], None]) -> None:
    """Emit the work for a whole row in parts of `VECTORS` vectors, given the places of the vectors of a part.

    The last part has as many vectors as it needs, and the last of them ends with the row, so that it may overlap the
    one before. If less than one vector is left, it is two vectors of fewer lanes.
    """

    def count(number: int) -> Any:
        return ir.Constant(INDEX, number)

    whole = VECTORS * lanes
    left = builder.urem(size, count(whole))
    end = builder.sub(size, left)
    with cgutils.for_range_slice(builder, count(0), end, count(whole), intp=INDEX) as (first, _):
        work([builder.add(first, count(lanes * vector)) for vector in range(VECTORS)], lanes)

    def rest(lanes: int, vectors: int, least: int, most: int) -> None:
        fits = builder.icmp_unsigned("<=", builder.sub(left, count(least)), count(most - least))
        with builder.if_then(fits):
            places = [builder.add(end, count(lanes * vector)) for vector in range(vectors - 1)]
            work([*places, builder.sub(size, count(lanes))], lanes)

    for vectors in range(1, VECTORS + 1):
        least = lanes * (vectors - 1) + 1 if vectors > 1 else lanes
        rest(lanes, vectors, least, min(lanes * vectors, whole - 1))
    while lanes > 1:
        lanes //= 2
        rest(lanes, 2, lanes, 2 * lanes - 1)


def _vector(array: _Array, lanes: int) -> Any:
    return ir.VectorType(array.dtype, lanes)


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector with the value in all lanes."""
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _sum(builder: Any, vectors: list[Any]) -> Any:
    """Return the sum of all lanes of vectors, each half as long as the one before."""
    total = vectors[0]
    for half in vectors[1:]:
        lanes = half.type.count
        kind = ir.VectorType(ir.IntType(32), lanes)
        low = builder.shuffle_vector(total, total, ir.Constant(kind, list(range(lanes))))
        high = builder.shuffle_vector(total, total, ir.Constant(kind, list(range(lanes, 2 * lanes))))
        total = builder.fadd(builder.fadd(low, high, flags=FAST), half, flags=FAST)
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


def _widened(builder: Any, value: Any, kind: Any) -> Any:
    """Return a number or a vector in the precision of `kind`."""
    if value.type == kind:
        return value
    return builder.fpext(value, kind)
