"""X as batches of rows in a seeded random order, so that sorted rows do no harm."""

from typing import Any, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import BadEntry, Block
from dnmf.kernels.blocks.tiles import slices
from dnmf.sources import Source
from dnmf.sources.bad_entries import entry_error, hint_at_missing
from dnmf.sources.blocks import read_block
from dnmf.sources.memory import as_columns

# Bytes of blocks to mix, since the rows of one block may be similar.
MIXED_BYTES = 128 * 2**20


class Batches(Protocol):
    """Batches of rows, numbered from 0."""

    count: int

    def order(self, epoch: int) -> list[int]:
        """Return the batches in the order of an epoch."""

    def read(self, batch: int) -> Block:
        """Return the rows of a batch as the columns of V (n_features, w)."""

    def place(self, batch: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry of a batch by its indices in X."""


class RowBatches:
    """Batches of a matrix in memory, with rows drawn once for all epochs.

    >>> batches = RowBatches(np.arange(10.0).reshape(5, 2), 2, seed=0)
    >>> batches.count, sorted(int(row) for batch in range(3) for row in batches.rows(batch))
    (3, [0, 1, 2, 3, 4])
    """

    def __init__(self, matrix: Any, size: int, seed: int) -> None:
        self._matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else matrix
        drawn = np.random.default_rng(seed).permutation(matrix.shape[0])
        self._rows: list[NDArray[np.int64] | slice] = [drawn[part] for part in slices(len(drawn), size)]
        self._seed, self.count = seed, len(self._rows)

    def rows(self, batch: int) -> NDArray[np.int64]:
        """Return the rows of a batch."""
        return np.arange(self._matrix.shape[0])[self._rows[batch]]

    def order(self, epoch: int) -> list[int]:
        """Return the batches in the order of an epoch."""
        return [int(batch) for batch in np.random.default_rng([self._seed, epoch]).permutation(self.count)]

    def read(self, batch: int) -> Block:
        """Return the rows of a batch as the columns of V (n_features, w)."""
        return transposed(self._matrix[self._rows[batch]])

    def place(self, batch: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry of a batch by its indices in X."""
        return bad_entry(error, int(self.rows(batch)[error.column]), scipy.sparse.issparse(self._matrix))


class OneBatch(RowBatches):
    """A matrix in memory as the only batch."""

    def __init__(self, matrix: Any) -> None:
        self._matrix, self._rows, self._seed, self.count = matrix, [slice(None)], 0, 1


class BlockBatches:
    """Batches of a matrix that is read block by block, with rows drawn from a few blocks that are read together.

    Blocks and rows are drawn once for all epochs, the order is drawn for each epoch. An epoch reads every block once,
    and holds at most `MIXED_BYTES` of blocks, or one block.
    """

    def __init__(self, source: Source, size: int, seed: int) -> None:
        layout, rng = source.layout, np.random.default_rng(seed)
        mixed = max(1, MIXED_BYTES * layout.blocks // layout.stored_bytes)
        drawn = rng.permutation(layout.blocks)
        self._groups = [[int(block) for block in drawn[part]] for part in slices(layout.blocks, mixed)]
        self._rows: list[tuple[int, NDArray[np.int64]]] = []
        for number, group in enumerate(self._groups):
            places = rng.permutation(sum(layout.bounds[block + 1] - layout.bounds[block] for block in group))
            self._rows += [(number, places[part]) for part in slices(len(places), size)]
        self._source, self._seed, self.count = source, seed, len(self._rows)
        self._held: tuple[int, Block] = (-1, None)

    def order(self, epoch: int) -> list[int]:
        """Return the batches in the order of an epoch, those of the same blocks together."""
        rng = np.random.default_rng([self._seed, epoch])
        turns = rng.permutation(len(self._groups))
        return sorted(rng.permutation(self.count).tolist(), key=lambda batch: int(turns[self._rows[batch][0]]))

    def read(self, batch: int) -> Block:
        """Return the rows of a batch as the columns of V (n_features, w)."""
        number, places = self._rows[batch]
        if self._held[0] != number:
            self._held = (-1, None)  # frees the other blocks first
            self._held = (number, self._joined(self._groups[number]))
        return self._held[1][:, places]

    def _joined(self, group: list[int]) -> Block:
        """Return the columns of several blocks as one block."""
        if len(group) == 1:
            return read_block(self._source, group[0], Scratch())
        parts = [read_block(self._source, block, Scratch()) for block in group]
        return scipy.sparse.hstack(parts, "csc") if scipy.sparse.issparse(parts[0]) else np.concatenate(parts, axis=1)

    def place(self, batch: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry of a batch by its indices in X."""
        number, places = self._rows[batch]
        bounds, place = self._source.layout.bounds, int(places[error.column])
        for block in self._groups[number]:
            if place < bounds[block + 1] - bounds[block]:
                return bad_entry(error, bounds[block] + place, self._source.layout.sparse)
            place -= bounds[block + 1] - bounds[block]
        raise AssertionError


def bad_entry(error: BadEntry, row: int, sparse: bool) -> DataError:
    """Return the error that names a bad entry of X."""
    place = f"X[{row}, {error.row}]"
    return entry_error(place, "X", error.value, np.dtype(np.float64), hint_at_missing(sparse, by="NMF"))


def transposed(rows: Any) -> Block:
    """Return rows of X (w, n_features) as the columns of V."""
    return as_columns(rows.T) if hasattr(rows, "tocsr") else rows.T
