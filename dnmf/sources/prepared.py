"""A matrix that is prepared as it is read, block by block."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.preparation.moments import DENSE_BYTES, SPARSE_BYTES
from dnmf.kernels.preparation.steps import WEIGHT, Step, prepare
from dnmf.sources.base import Axis, Layout, Source
from dnmf.sources.blocks import CheckedPart, part_for, read_block
from dnmf.sources.bounds import BLOCK_BYTES


class Prepared:
    """A matrix and the steps that prepare it, as made by `dnmf.preprocessing`.

    A block is prepared each time it is read, in the working dtype of V; no result is kept.

    Attributes
    ----------
    source
        The matrix before the steps.
    steps
        In the order in which they are applied.
    """

    computed: ClassVar[bool] = True

    def __init__(self, source: Source, steps: Sequence[Step]) -> None:
        layout = source.layout
        check_steps(steps, layout.user_shape, layout.transposed)
        self.source, self.steps = source, tuple(steps)
        if layout.sparse:
            taken = max(BLOCK_BYTES, layout.read_bytes) + SPARSE_BYTES
        else:
            taken = layout.shape[0] * layout.widest * layout.work_dtype.itemsize + DENSE_BYTES
        self.layout: Layout = dataclasses.replace(
            layout,
            dtype=layout.work_dtype,
            read_bytes=layout.read_bytes + taken,
            prepared_bytes=layout.prepared_bytes + taken,
            kind=f"{layout.kind}, prepared by {', '.join(step.name for step in self.steps)}",
        )

    def __repr__(self) -> str:
        rows, columns = self.layout.user_shape
        return f"<Prepared: {rows} × {columns}, {self.layout.dtype}, {self.layout.kind}>"

    @property
    def axis(self) -> Axis:
        """The streamed axis, for which the steps were fitted."""
        return "rows" if self.layout.transposed else "columns"

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block and prepare it."""
        return prepared_block(self.source, block, self.steps, self.layout.dtype, scratch)

    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""
        self.source.expect(block)

    def part(self, blocks: range) -> "PreparedPart":
        """Return the form of these blocks that is sent to another process."""
        return PreparedPart(part_for(self.source, blocks), self.steps, self.layout.dtype)


@dataclasses.dataclass(frozen=True)
class PreparedPart:
    """Blocks of a matrix and the steps that prepare them, in the form sent to another process."""

    raw: CheckedPart
    steps: Sequence[Step]
    dtype: np.dtype[Any]

    @property
    def small(self) -> bool:
        """Whether it holds no entries of V."""
        return self.raw.small

    @property
    def needs(self) -> Sequence[Any]:
        """Futures on the cluster whose values the blocks are computed from."""
        return self.raw.needs

    def given(self, values: Sequence[Any]) -> "PreparedPart":
        """Return the part with the values of its `needs`."""
        return dataclasses.replace(self, raw=self.raw.given(values))

    def read(self, block: int, scratch: Scratch) -> Block:
        """Read a block and prepare it."""
        return prepared_block(self.raw, block, self.steps, self.dtype, scratch)

    def expect(self, block: int) -> None:
        """Take a hint that a block will be read soon."""
        self.raw.expect(block)


def prepared_block(
    source: Source | CheckedPart, block: int, steps: Sequence[Step], dtype: np.dtype[Any], scratch: Scratch
) -> Block:
    """Read a block and prepare it."""
    layout = source.layout
    streamed = "rows" if layout.transposed else "columns"
    return prepare(read_block(source, block, scratch), steps, dtype, scratch, layout.columns(block), streamed)


def check_steps(steps: Sequence[Step], shape: tuple[int, int], transposed: bool) -> None:
    """Raise DataError if steps do not fit a matrix of a shape, streamed by rows if `transposed`.

    >>> check_steps([Step("idf", "rows", factors=np.ones(3))], (4, 9), transposed=False)
    Traceback (most recent call last):
        ...
    dnmf.errors.DataError: V has 4 rows, and its preparation was fitted to 3; give data with 3 rows.
    """
    held, size = ("columns", shape[1]) if transposed else ("rows", shape[0])
    for step in steps:
        if step.along is None:
            continue
        if step.name == WEIGHT:
            length = shape[0 if step.along == "rows" else 1]
            if step.factors is None or len(step.factors) != length:
                raise DataError(
                    f"V has {length} {step.along}, and the weights of joined matrices are those of "
                    f"{0 if step.factors is None else len(step.factors)}; give data with as many {step.along}."
                )
            continue
        if (step.factors is None) == (step.along == held):
            raise DataError(
                f"The preparation {step.name!r} was fitted to a matrix that is cut along the other axis; give one that "
                f"is cut along its {held}, or prepare this one again."
            )
        if step.factors is not None and len(step.factors) != size:
            raise DataError(
                f"V has {size} {held}, and its preparation was fitted to {len(step.factors)}; give data with "
                f"{len(step.factors)} {held}."
            )
