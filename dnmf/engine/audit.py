"""An engine that compares every block with the one that this process read first.

A pass that reads a changed block ends with an error before its sums are used. So the initialisation, the passes and the
measurements of a survey all see the same matrix, even if a disk fails or a file is written to meanwhile.
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
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.sources.base import Layout

# Relative change allowed in ‖V_j‖² of a block that is computed again for every pass, perhaps on another processor.
ROUNDED = 1e-6


@dataclasses.dataclass(slots=True)
class Audited(Summable, Generic[S]):
    """The sums of the inner work; for every block read for the first time its number, digests, and ‖V_j‖² or 0."""

    inner: S
    found: list[tuple[int, Digests, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Audit(Generic[S]):
    """Another work, on blocks that are compared with those read first.

    Attributes
    ----------
    inner
        The work on the blocks.
    layout, entries
        For the error that names a block or an entry.
    turn
        Number of the pass: it selects the part of a large block that is compared.
    known, digests
        Whether each block was read before (blocks,), and its digest for this turn.
    norms
        ‖V_j‖² of the blocks if they are computed for every pass, and so may be rounded differently; else None.
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
        """Compare a block with the one read first, and do the inner work on it."""
        if not self.known[block]:
            norm = 0.0 if self.norms is None else self._norm(V, scratch)
            sums.found.append((block, digests_of(V), norm))
        elif digest_of(V, self.turn) != int(self.digests[block]):
            self._refuse(block, V, scratch)
        return self.inner.visit(block, V, H, sums.inner, scratch)

    def _norm(self, V: Block, scratch: Scratch) -> float:
        return self.entries.square_sum(V, self.layout.work_dtype, scratch)

    def _refuse(self, block: int, V: Block, scratch: Scratch) -> None:
        """Raise DataError for a block that has changed, or for the first of its entries that is not allowed."""
        norm = self._norm(V, scratch)
        if self.norms is not None and abs(norm - self.norms[block]) <= ROUNDED * max(norm, self.norms[block]):
            return
        raise DataError(
            f"{self.layout.name(block)} of V has changed: V was written to, or moved, while it was read. The sums of "
            "this pass are discarded. Give V as it was and resume the run from its last checkpoint, or start a new run."
        )


class AuditEngine:
    """Wraps another engine.

    Parameters
    ----------
    engine
        Reads V and does the work.
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
        """Called with the bytes of every block that was visited."""
        return self.engine.on_block

    @on_block.setter
    def on_block(self, callback: Callable[[int], None]) -> None:
        self.engine.on_block = callback

    def one_pass(self, work: Work[S], H: Factor | None = None, output: Factor | None = None, scope: Scope = WHOLE) -> S:
        """Visit every block once, comparing it with the one read first, and return the sums; see `Engine`."""
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

    def place(self, factor: Factor) -> Factor:
        """Return a factor that many passes read, where the tasks of each get it fast."""
        return self.engine.place(factor)

    def here(self) -> Engine:
        """Return the engine of this process with the same groups, for passes over factors alone."""
        return self.engine.here()

    def fetch(self, block: int, columns: NDArray[np.int64] | None = None) -> Block:
        """Return a block, or copies of some of its columns."""
        return self.engine.fetch(block, columns)


def is_computed(source: Any) -> bool:
    """Return whether the blocks of a source, or of one inside it, are computed again for every read."""
    parts = [getattr(source, name, None) for name in ("values", "weights", "source")]
    return bool(getattr(source, "computed", False)) or any(is_computed(part) for part in parts if part is not None)
