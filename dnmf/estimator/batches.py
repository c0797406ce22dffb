"""X as batches of rows in a seeded order, so that rows that are sorted are no trap."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dnmf.errors import DataError
from dnmf.kernels.panels import BadEntry, Block, slices
from dnmf.kernels.scratch import Scratch
from dnmf.sources import Source
from dnmf.sources.memory import as_columns


class Batches(Protocol):
    """Batches of rows, numbered from 0."""

    count: int

    def order(self, epoch: int) -> list[int]:
        """Return the batches in the order in which an epoch visits them."""

    def read(self, batch: int) -> Block:
        """Return the rows of a batch as the columns of V (n_features, w)."""

    def place(self, batch: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry of a batch by its place in X."""


class OneBatch:
    """A matrix in memory as the only batch."""

    count = 1

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix

    def order(self, epoch: int) -> list[int]:
        """Return the only batch."""
        return [0]

    def read(self, batch: int) -> Block:
        """Return the rows as the columns of V (n_features, w)."""
        return turned(self._matrix)

    def place(self, batch: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry."""
        return bad_entry(error, error.column)


class RowBatches:
    """Batches of a matrix in memory: rows that are drawn once for all epochs.

    >>> batches = RowBatches(np.arange(10.0).reshape(5, 2), 2, seed=0)
    >>> batches.count, sorted(int(row) for batch in range(3) for row in batches.rows(batch))
    (3, [0, 1, 2, 3, 4])
    """

    def __init__(self, matrix: Any, size: int, seed: int) -> None:
        self._matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else matrix
        drawn = np.random.default_rng(seed).permutation(matrix.shape[0])
        self._rows = [drawn[part] for part in slices(len(drawn), size)]
        self._seed, self.count = seed, len(self._rows)

    def rows(self, batch: int) -> NDArray[np.int64]:
        """Return the rows of a batch."""
        return self._rows[batch]

    def order(self, epoch: int) -> list[int]:
        """Return the batches in the order in which an epoch visits them."""
        return [int(batch) for batch in np.random.default_rng([self._seed, epoch]).permutation(self.count)]

    def read(self, batch: int) -> Block:
        """Return the rows of a batch as the columns of V (n_features, w)."""
        return turned(self._matrix[self._rows[batch]])

    def place(self, batch: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry of a batch by its place in X."""
        return bad_entry(error, int(self._rows[batch][error.column]))


class BlockBatches:
    """Batches of a matrix that is read block by block: the blocks, or parts of those that have more rows than a batch.

    The batches of one block follow on each other, so that it is read once an epoch.
    """

    def __init__(self, source: Source, size: int, seed: int) -> None:
        widths = np.diff(source.layout.bounds).tolist()
        self._parts = [(block, part) for block, width in enumerate(widths) for part in slices(width, size)]
        self._source, self._seed, self.count = source, seed, len(self._parts)
        self._read: tuple[int, Block] = (-1, None)

    def order(self, epoch: int) -> list[int]:
        """Return the batches in the order in which an epoch visits them."""
        places = np.random.default_rng([self._seed, epoch]).permutation(self._source.layout.blocks)
        return sorted(range(self.count), key=lambda batch: int(places[self._parts[batch][0]]))

    def read(self, batch: int) -> Block:
        """Return the rows of a batch as the columns of V (n_features, w)."""
        block, part = self._parts[batch]
        if self._read[0] != block:
            self._read = (-1, None)  # so that two blocks are never held at once
            self._read = (block, self._source.read(block, Scratch()))
        return self._read[1][:, part]

    def place(self, batch: int, error: BadEntry) -> DataError:
        """Return the error that names a bad entry of a batch by its place in X."""
        block, part = self._parts[batch]
        return bad_entry(error, self._source.layout.bounds[block] + part.start + error.column)


def bad_entry(error: BadEntry, row: int) -> DataError:
    """Return the error that names a bad entry of X."""
    return DataError(
        f"X[{row}, {error.row}] is {error.value:g}; X must hold finite numbers of at least 0, and above 0 for a loss "
        "whose β is 0 or less. Clip, fill or drop such entries first."
    )


def turned(rows: Any) -> Block:
    """Return rows of X (w, n_features) as the columns of V."""
    return as_columns(rows.T) if hasattr(rows, "tocsr") else rows.T
