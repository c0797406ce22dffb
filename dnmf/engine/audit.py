"""An engine that compares every block with what it was when this process read it first.

A pass that finds another block ends with an error before its sums are used. So V is one matrix for the start, the
passes and the measurements of a survey: a disk that is gone, or a file that is written to meanwhile, is never taken
for data.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from dnmf.engine.factor import Factor
from dnmf.engine.passes import WHOLE, Engine, S, Scope, Work
from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.digests import Digests, digest_of, digests_of
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import FieldSums
from dnmf.kernels.blocks.tiles import Float
from dnmf.sources.base import Layout

# How far ‖V_j‖² of a block that is computed again in every pass, perhaps by another processor, may be from the first.
ROUNDED = 1e-6


@dataclasses.dataclass(slots=True)
class Audited(FieldSums, Generic[S]):
    """The sums of a work, and of every block that was read for the first time the digests, and ‖V_j‖² if it is kept."""

    inner: S
    found: list[tuple[int, Digests, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Audit(Generic[S]):
    """The work of another one on blocks that are compared with what they were.

    Attributes
    ----------
    inner
        What is done to them.
    layout, entries
        For the error that names a block, or an entry of it.
    turn
        The number of the pass: which of the classes of a large block are compared.
    known, digests
        Whether a block was read before (blocks,), and its digest for this turn.
    norms
        ‖V_j‖² of the blocks, where they are computed again for every pass and may be rounded otherwise; else None.
    """

    inner: Work[S]
    layout: Layout
    entries: Entries
    turn: int
    known: NDArray[np.bool_]
    digests: Digests
    norms: Float | None

    def zero(self) -> Audited[S]:
        """Return the sums of no block."""
        return Audited(self.inner.zero(), [])

    def visit(self, block: int, V: Block, H: Float | None, sums: Audited[S], scratch: Scratch) -> Float | None:
        """Compare a block, and do the work on it."""
        if not self.known[block]:
            norm = 0.0 if self.norms is None else self._norm(V, scratch)
            sums.found.append((block, digests_of(V), norm))
        elif digest_of(V, self.turn) != int(self.digests[block]):
            self._refuse(block, V, scratch)
        return self.inner.visit(block, V, H, sums.inner, scratch)

    def _norm(self, V: Block, scratch: Scratch) -> float:
        return self.entries.square_sum(V, self.layout.work_dtype, scratch)

    def _refuse(self, block: int, V: Block, scratch: Scratch) -> None:
        """Raise the error for a block that has changed, or for the first of its entries that cannot be factorised."""
        norm = self._norm(V, scratch)
        if self.norms is not None and abs(norm - self.norms[block]) <= ROUNDED * max(norm, self.norms[block]):
            return
        raise DataError(
            f"{self.layout.name(block)} of V is not what it was: V has changed, or was moved, while it was read. What "
            "was found with the block as it is now is not kept. Give V as it was and resume the run from its last "
            "checkpoint, or start a new run."
        )


class AuditEngine:
    """The engine around another one, which it lets do the work.

    Parameters
    ----------
    engine
        Who reads V.
    entries
        Which entries count.
    """

    def __init__(self, engine: Engine, entries: Entries) -> None:
        self.engine, self.entries, self.source = engine, entries, engine.source
        blocks = engine.source.layout.blocks
        self._digests: list[Digests | None] = [None] * blocks
        self._norms = np.zeros(blocks) if is_computed(engine.source) else None
        self._turn = 0

    @property
    def groups(self) -> Any:
        """The blocks of every task."""
        return self.engine.groups

    @property
    def on_block(self) -> Callable[[int], None]:
        """What is called with the bytes of every block that was visited."""
        return self.engine.on_block

    @on_block.setter
    def on_block(self, told: Callable[[int], None]) -> None:
        self.engine.on_block = told

    def one_pass(self, work: Work[S], H: Factor | None = None, output: Factor | None = None, scope: Scope = WHOLE) -> S:
        """Visit every block once, compared with what it was, and return the sums; `Engine` says more."""
        if not scope.reading:
            return self.engine.one_pass(work, H, output, scope)
        known = np.array([digests is not None for digests in self._digests])
        digests = np.array([0 if one is None else one[self._turn % len(one)] for one in self._digests], np.uint64)
        layout = self.source.layout
        audit = Audit(work, layout, self.entries, self._turn, known, digests, self._norms)
        self._turn += 1
        total: Audited[S] = self.engine.one_pass(audit, H, output, scope)
        for block, found, norm in total.found:
            self._digests[block] = found
            if self._norms is not None:
                self._norms[block] = norm
        return total.inner

    def fetch(self, block: int, columns: NDArray[np.int64] | None = None) -> Block:
        """Return a block, or copies of some of its columns."""
        return self.engine.fetch(block, columns)


def is_computed(source: Any) -> bool:
    """Return whether the blocks of a source, or of those it is made of, are computed again at every read."""
    parts = (getattr(source, name, None) for name in ("values", "weights", "source"))
    return bool(getattr(source, "computed", False)) or any(is_computed(part) for part in parts if part is not None)
