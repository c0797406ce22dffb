"""A matrix with the weights of its entries: two sources that are read together, block by block."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Weighted
from dnmf.kernels.preparation.steps import Step
from dnmf.sources.base import InMemory, Layout, Source, check_shape
from dnmf.sources.blocks import CheckedPart, as_matrix, part_for, read_block
from dnmf.sources.memory import as_columns, columns_of
from dnmf.sources.prepared import Prepared
from dnmf.sources.unfolding import Unfolding, unfolding_of


class ReadTogether:
    """V and its weights, read block by block."""

    values: Any
    weights: Any

    def read(self, block: int, scratch: Scratch) -> Weighted:
        """Return a block with its weights, which use buffers of their own."""
        values = read_block(self.values, block, scratch)
        return Weighted(values, read_block(self.weights, block, scratch.beside(), "weights"))

    def expect(self, block: int) -> None:
        """Pass a hint that a block will be read soon to both."""
        self.values.expect(block)
        self.weights.expect(block)


class WeightedSource(ReadTogether):
    """V and its weights, which must have the same blocks."""

    def __init__(self, values: Source, weights: "Source | MemoryWeights") -> None:
        self.values, self.weights = values, weights
        mine, theirs = values.layout, weights.layout
        if mine.user_shape != theirs.user_shape:
            raise DataError(
                f"weights has shape {theirs.user_shape}, and V has {mine.user_shape}; give a weight for every entry."
            )
        if mine.bounds != theirs.bounds or mine.transposed != theirs.transposed:
            raise DataError(
                f"weights is cut into {theirs.blocks} blocks of up to {theirs.widest}, and V into {mine.blocks} of up "
                f"to {mine.widest}; rechunk the weights like V, or give them as an array in memory."
            )
        self.layout: Layout = dataclasses.replace(
            mine,
            read_bytes=mine.read_bytes + theirs.read_bytes,
            held_bytes=mine.held_bytes + theirs.held_bytes,
            weights_bytes=theirs.read_bytes,
            stored_bytes=mine.stored_bytes + theirs.stored_bytes,
            kind=f"{mine.kind}, with weights",
        )

    def part(self, blocks: range) -> "WeightedPart":
        """Return the form of these blocks that is sent to another process."""
        return WeightedPart(part_for(self.values, blocks), part_for(self.weights, blocks))


def check_same_array(weights: Unfolding | None, V: Unfolding | None) -> None:
    """Raise DataError if the rows or columns of weights are made by axes of another array than those of V."""
    if weights is not None and V is not None and (weights.differs(V, "rows") or weights.differs(V, "columns")):
        raise DataError(f"weights is {weights}, and V is {V}; give weights with the axes of V in the same order.")


def is_weighted(source: Source) -> bool:
    """Return whether a matrix comes with weights."""
    return isinstance(source, WeightedSource)


def location_of_weights(source: Source) -> str | None:
    """Return the location of the weights of a matrix, or None if they are in memory."""
    return source.weights.layout.location if isinstance(source, WeightedSource) else None


def parts_of(source: Source) -> dict[str, Any]:
    """Return V before its preparation, and its weights if it has any, by their names; the matrices of a join singly."""
    values = source.values if isinstance(source, WeightedSource) else source
    raw = values.source if isinstance(values, Prepared) else values
    found = {"V": raw, "weights": source.weights} if isinstance(source, WeightedSource) else {"V": raw}
    return {name: part for what, given in found.items() for name, part in _joined_parts(what, given)}


def _joined_parts(name: str, source: Any) -> Iterator[tuple[str, Any]]:
    """Yield a matrix with its name, or those of a join."""
    sources = getattr(source, "sources", None)
    if sources is None:
        yield name, source
        return
    for place, one in enumerate(sources):
        yield from _joined_parts(f"matrix {place} of {name}", one)


def steps_of(source: Source) -> tuple[Step, ...]:
    """Return the steps that prepare V."""
    values = source.values if isinstance(source, WeightedSource) else source
    return values.steps if isinstance(values, Prepared) else ()


@dataclasses.dataclass(frozen=True)
class WeightedPart(ReadTogether):
    """Blocks of V and of the weights, in the form sent to another process."""

    values: CheckedPart
    weights: CheckedPart

    @property
    def small(self) -> bool:
        """Whether neither holds entries."""
        return self.values.small and self.weights.small

    @property
    def needs(self) -> Sequence[Any]:
        """Futures of both."""
        return (*self.values.needs, *self.weights.needs)

    def given(self, values: Sequence[Any]) -> "WeightedPart":
        """Return the part with the values of its `needs`."""
        count = len(self.values.needs)
        return WeightedPart(self.values.given(values[:count]), self.weights.given(values[count:]))


class MemoryWeights(InMemory):
    """Weights in memory, cut like V: an array of any real dtype, or a sparse matrix."""

    def __init__(self, given: Any, like: Layout) -> None:
        if np.ma.is_masked(given):
            raise DataError("weights is a masked array, and every entry of V needs a weight; give weights.filled(0).")
        array = given if scipy.sparse.issparse(given) else np.asarray(given)
        if array.dtype.kind not in "buif":
            raise DataError(f"weights has dtype {array.dtype}; give real numbers of at least 0.")
        unfolding = None if array.ndim < 3 else unfolding_of(array.shape, like.unfolding, None, "weights")
        check_same_array(unfolding, like.unfolding)
        if unfolding is not None:
            array = array.transpose(unfolding.order).reshape(unfolding.matrix_shape)
        array = as_matrix(array, "weights")
        shape = check_shape(array.shape, "weights")
        matrix = array.T if like.transposed else array
        self.matrix: Any = as_columns(matrix, "weights") if scipy.sparse.issparse(matrix) else matrix
        self.layout = dataclasses.replace(
            like,
            shape=shape[::-1] if like.transposed else shape,
            dtype=array.dtype,
            read_bytes=0,
            stored_bytes=0,
            sparse=scipy.sparse.issparse(array),
            kind="weights in memory",
            location=None,
        )

    def read(self, block: int, scratch: Scratch) -> Any:
        """Return a view."""
        return columns_of(self.matrix, self.layout.columns(block))
