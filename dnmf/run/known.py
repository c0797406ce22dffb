"""The known entries of some rows or columns of a matrix, found in one read."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.engine.plan import Load
from dnmf.engine.session import open_session
from dnmf.errors import DataError
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.run.display import showing
from dnmf.run.result import Result
from dnmf.run.watcher import Watch
from dnmf.sources import open_matrix
from dnmf.sources.base import Axis
from dnmf.sources.names import order_of, warn_of_order

WHOSE = "exclude"


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """The known entries of k places.

    Attributes
    ----------
    starts, items
        Items, sorted, of each of u different places: those of number i are items[starts[i] … starts[i + 1]].
    index
        Number (k,) of each place.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int64]
    index: NDArray[np.intp]

    def hide(self, own: NDArray[np.int64], first: int, scores: Float) -> None:
        """Set the scores (p, w) of known items to −∞, for some of the places and the items from `first` on."""
        for row, place in enumerate(self.index[own].tolist()):
            items = self.items[self.starts[place] : self.starts[place + 1]]
            start, stop = np.searchsorted(items, (first, first + scores.shape[1]))
            scores[row, items[start:stop] - first] = -np.inf


@dataclasses.dataclass(slots=True)
class KnownSums(Summable):
    """Pairs (2, p) of a wanted place and a known item, by blocks."""

    pairs: list[NDArray[np.int64]]


@dataclasses.dataclass(frozen=True, slots=True)
class FindKnown:
    """Find the known entries of wanted places.

    Attributes
    ----------
    numbers
        The number of each place (m,) or (n,) among the wanted ones, −1 if it is not wanted.
    streamed
        Whether the wanted places are along the streamed axis.
    observed
        Whether the entries of a dense block other than NaN are known; else those other than 0.
    bounds
        Those of the blocks.
    """

    numbers: NDArray[np.int64]
    streamed: bool
    observed: bool
    bounds: tuple[int, ...]

    def zero(self) -> KnownSums:
        """Return no pairs."""
        return KnownSums([])

    def visit(self, block: int, V: Block, H: Float | None, sums: KnownSums, scratch: Scratch) -> None:
        """Add the known entries of a block."""
        first, last = self.bounds[block : block + 2]
        numbers = self.numbers[first:last] if self.streamed else self.numbers
        kept = np.flatnonzero(numbers >= 0)
        if not len(kept):
            return
        if self.streamed:
            rows, columns = self._of(V[:, kept])
            sums.pairs.append(np.array([numbers[kept[columns]], rows]))
        elif scipy.sparse.issparse(V):
            rows, columns = self._of(V)
            inside = numbers[rows] >= 0
            sums.pairs.append(np.array([numbers[rows[inside]], columns[inside] + first]))
        else:
            rows, columns = self._of(V[kept])
            sums.pairs.append(np.array([numbers[kept[rows]], columns + first]))

    def _of(self, V: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows and columns (p,) of the known entries of a part of a block."""
        if scipy.sparse.issparse(V):
            return V.indices.astype(np.int64), np.repeat(np.arange(V.shape[1]), np.diff(V.indptr))
        rows, columns = np.nonzero(~np.isnan(V) if self.observed else V)
        return rows, columns


def known_entries(
    result: Result,
    exclude: Any,
    wanted: NDArray[np.int64],
    axis: Axis,
    memory_limit: int | str | None,
    threads: int | None,
    watchers: Watch,
    progress: bool | None,
    client: Any,
) -> Known:
    """Return the known entries of wanted places along an axis of V; `recommend` describes the parameters."""
    source = open_matrix(exclude, missing=result.settings.missing)
    layout = source.layout
    if layout.user_shape != result.shape:
        raise DataError(
            f"{WHOSE} has shape {layout.user_shape}, and V had {result.shape}; give V, or the known part of it in the "
            "same shape."
        )
    orders = [
        order_of(getattr(result.names, one), getattr(layout.names, one), one, WHOSE, "Give the same names.")
        for one in ("rows", "columns")
    ]
    warn_of_order(orders, WHOSE)
    own, of_items = orders if axis == "rows" else orders[::-1]
    unique, index = np.unique(wanted, return_inverse=True)
    numbers = np.full(result.shape[0 if axis == "rows" else 1], -1, np.int64)
    numbers[unique if own is None else own[unique]] = np.arange(len(unique))
    work = FindKnown(
        numbers,
        streamed=layout.transposed == (axis == "rows"),
        observed=result.settings.missing == "nan",
        bounds=layout.bounds,
    )
    settings = result.settings.replace({"memory_limit": memory_limit, "threads": threads})
    with showing(watchers, progress) as seen, open_session(client, source, seen.workers) as session:
        plan = session.plan(settings, Load(sums=0, worked=0, held=0, kept=2, copies=1))
        seen.started(plan, 0, 1)
        pairs = session.engine(plan, seen.block_read).one_pass(work).pairs
    places, items = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)
    if of_items is not None:
        items = np.argsort(of_items)[items]
    order = np.lexsort((items, places))
    starts = np.searchsorted(places, np.arange(len(unique) + 1), sorter=order)
    return Known(starts, items[order], index)
