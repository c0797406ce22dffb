"""Emit the machine code of vectors: loads and stores, a row in parts, and the sum of all lanes."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.np.arrayobj import make_array

LANES = 8
# Vectors of a row that are worked on at once, and the bytes of each.
VECTORS, VECTOR_BYTES = 8, 32
# A product may be contracted with the sum that it is added to, as in `tiles.kernel`.
FAST = ("contract", "nsz")
INDEX = ir.IntType(64)


class RowArray:
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
        loaded = self._builder.load(self._at(place, lanes))
        loaded.align = self._align
        return loaded

    def store(self, value: Any, place: Any, lanes: int) -> None:
        """Write a vector to a place."""
        self._builder.store(value, self._at(place, lanes)).align = self._align

    def _at(self, place: Any, lanes: int) -> Any:
        return self._builder.bitcast(self._builder.gep(self.data, [place]), vector(self, lanes).as_pointer())


def row_arrays(context: Any, builder: Any, signature: Any, values: Any) -> list[RowArray]:
    """Return the arguments of a compiled function, which are all arrays."""
    return [RowArray(context, builder, kind, value) for kind, value in zip(signature.args, values, strict=True)]


def halves() -> list[int]:
    """Return LANES, its half, … 1."""
    return [LANES >> power for power in range(LANES.bit_length())]


def each_chunk(builder: Any, size: Any, work: Callable[[Any, int], None]) -> None:
    """Emit the work for a whole row: a loop over `LANES` components at a time, then the rest in halves."""
    full = builder.and_(size, ir.Constant(INDEX, -LANES))
    zero, step = ir.Constant(INDEX, 0), ir.Constant(INDEX, LANES)
    with cgutils.for_range_slice(builder, zero, full, step, intp=INDEX) as (first, _):
        work(first, LANES)
    for lanes in halves()[1:]:
        is_left = builder.icmp_unsigned("!=", builder.and_(size, ir.Constant(INDEX, lanes)), zero)
        with builder.if_then(is_left):
            work(builder.and_(size, ir.Constant(INDEX, -2 * lanes)), lanes)


def each_part(builder: Any, size: Any, lanes: int, work: Callable[[list[Any], int], None]) -> None:
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
        work([builder.add(first, count(lanes * before)) for before in range(VECTORS)], lanes)

    def rest(lanes: int, vectors: int, least: int, most: int) -> None:
        fits = builder.icmp_unsigned("<=", builder.sub(left, count(least)), count(most - least))
        with builder.if_then(fits):
            places = [builder.add(end, count(lanes * before)) for before in range(vectors - 1)]
            work([*places, builder.sub(size, count(lanes))], lanes)

    for vectors in range(1, VECTORS + 1):
        least = lanes * (vectors - 1) + 1 if vectors > 1 else lanes
        rest(lanes, vectors, least, min(lanes * vectors, whole - 1))
    while lanes > 1:
        lanes //= 2
        rest(lanes, 2, lanes, 2 * lanes - 1)


def vector(array: RowArray, lanes: int) -> Any:
    """Return the type of a vector of the numbers of an array."""
    return ir.VectorType(array.dtype, lanes)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector with the value in all lanes."""
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def sum_of(builder: Any, vectors: list[Any]) -> Any:
    """Return the sum of all lanes of vectors, each half as long as the one before."""
    total = vectors[0]
    for half in vectors[1:]:
        lanes = half.type.count
        kind = ir.VectorType(ir.IntType(32), lanes)
        low = builder.shuffle_vector(total, total, ir.Constant(kind, list(range(lanes))))
        high = builder.shuffle_vector(total, total, ir.Constant(kind, list(range(lanes, 2 * lanes))))
        total = builder.fadd(builder.fadd(low, high, flags=FAST), half, flags=FAST)
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


def widened(builder: Any, value: Any, kind: Any) -> Any:
    """Return a number or a vector in the precision of `kind`."""
    if value.type == kind:
        return value
    return builder.fpext(value, kind)
