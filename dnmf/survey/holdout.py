"""Entries held out of a matrix to test the predictions of a rank, chosen by a hash and stored nowhere.

Two schemes. *Bi-cross-validation* (Owen & Perry 2009) holds out a block of half of the rows I and half of the columns
J: factors are fitted to the rest of both, and predict it from the entries that share its rows and its columns.

```
            −J                      J
−I   V̂ = W H fitted here      H_J = argmin ‖V − W H‖
 I   W_I = argmin ‖V − W H‖    predicted: W_I H_J
```

*Speckles* (Wold 1978) hold out single entries, which are missing in a fit, and so do *listed* entries, which the caller
chooses. Rows, columns and other entries are chosen by a hash of their places, so that the choice does not depend on
blocks, threads or workers.
"""

import dataclasses
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries, Weighted
from dnmf.kernels.blocks.hashing import drop_hashed, drop_hashed_entries, hash_halves, mix
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.products import entries_of_product
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float, kernel
from dnmf.kernels.divergence.beta import divergence_of

# The largest part of the entries that one fold of speckles holds out.
SHARE = 0.1
# Of at most FEW rows or columns, a half has one in UNEVEN at least; of more, a hash never puts fewer into it.
FEW, UNEVEN = 1000, 4
# Predictions are raised to this part of the root mean square of V, since the divergence of 0 may be infinite; but to no
# more than the other part of the entry that is predicted, unless that is 0: columns may have any scale.
FLOOR, LOW = 1e-9, 1e-3


@dataclasses.dataclass(frozen=True, slots=True)
class Halves:
    """The rows and columns that a fold of bi-cross-validation holds out, of V with this number of columns."""

    seed: int
    fold: int
    width: int

    def rows(self, count: int) -> NDArray[np.bool_]:
        """Return whether each row (m,) is held out."""
        return self._half(2 * self.fold, 0, count, count)

    def columns(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return whether each column from `start` to `stop` is held out."""
        return self._half(2 * self.fold + 1, start, stop, self.width)

    def _half(self, stream: int, start: int, stop: int, count: int) -> NDArray[np.bool_]:
        """Return whether each of the numbers from `start` to `stop` is held out, of `count`.

        A hash may put almost all of a few numbers into one half; then the half with the least hashes is held out.
        """
        seed = np.uint64((self.seed * 0x9E3779B97F4A7C15 + stream) % 2**64)
        if count <= FEW:
            hashes = mix(mix(seed) ^ np.arange(count, dtype=np.uint64))
            if not count <= UNEVEN * int((hashes >> np.uint64(63)).sum()) <= (UNEVEN - 1) * count:
                held = np.zeros(count, np.bool_)
                held[np.argsort(hashes)[: count // 2]] = True
                return held[start:stop]
        out = np.empty(stop - start, np.bool_)
        hash_halves(seed, np.uint64(start), out)
        return out


@dataclasses.dataclass(frozen=True, slots=True)
class Speckles:
    """The entries that one of several folds holds out; no two folds share an entry."""

    seed: int
    fold: int
    folds: int

    @property
    def bounds(self) -> tuple[np.uint64, np.uint64]:
        """The range of 63-bit hashes whose entries are held out."""
        width = int(min(SHARE, 1 / self.folds) * 2**63)
        return np.uint64(self.fold * width), np.uint64((self.fold + 1) * width)

    def drop(self, first: int, out: NDArray[Any]) -> None:
        """Set the entries held out of (m, w) numbers, from column `first` on, to 0."""
        drop_hashed(np.uint64(self.seed % 2**64), np.uint64(first), *self.bounds, out)

    def drop_entries(self, first: int, rows: int, places: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Set the numbers (p,) at places (2, p) that are held out to 0; the columns count from `first`."""
        drop_hashed_entries(np.uint64(self.seed % 2**64), np.uint64(first), np.uint64(rows), *self.bounds, places, out)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """Entries that are given, to be held out together.

    Attributes
    ----------
    rows
        Number of rows of V as streamed.
    keys
        Column · rows + row of every entry, sorted, each once.
    """

    rows: int
    keys: NDArray[np.int64]

    @classmethod
    def of(cls, places: NDArray[np.int64], shape: tuple[int, int]) -> "Listed":
        """Return the entries at rows and columns (2, p) of a V of a shape, both as streamed."""
        return cls(shape[0], np.unique(places[1] * shape[0] + places[0]))

    @property
    def digest(self) -> str:
        """Digest of the entries."""
        return hashlib.blake2b(self.keys.astype("<i8").tobytes(), digest_size=16).hexdigest()

    def drop(self, first: int, out: NDArray[Any]) -> None:
        """Set the entries held out of (m, w) numbers, from column `first` on, to 0."""
        start, stop = np.searchsorted(self.keys, (first * self.rows, (first + out.shape[1]) * self.rows))
        columns, rows = np.divmod(self.keys[start:stop] - first * self.rows, self.rows)
        out[rows, columns] = 0

    def drop_entries(self, first: int, rows: int, places: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Set the numbers (p,) at places (2, p) that are held out to 0; the columns count from `first`."""
        wanted = (first + places[1]) * self.rows + places[0]
        found = self.keys[np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)] == wanted
        out[found] = 0


Fold = Speckles | Listed


def hide(fold: Fold, block: Block, first: int) -> Weighted:
    """Return a block, whose first column is column `first` of V, with weights of 0 for entries held out."""
    values, weights = block if isinstance(block, Weighted) else (block, None)
    return Weighted(values, FoldWeights(fold, values.shape, first, weights))


def blanked(fold: Fold, V: Block, first: int) -> Block:
    """Return a copy of a block from column `first` on, with zeros for the entries that a fold holds out."""
    out = (V.values if isinstance(V, Weighted) else V).copy()
    if isinstance(out, np.ndarray):
        fold.drop(first, out)
    else:
        places = np.array([out.indices, np.repeat(np.arange(out.shape[1]), np.diff(out.indptr))], np.int64)
        fold.drop_entries(first, out.shape[0], places, out.data)
    return out


class FoldWeights:
    """Weights (m, w) of a block without the entries of a fold, computed panel by panel on access."""

    def __init__(self, fold: Fold, shape: tuple[int, int], first: int, weights: Any = None) -> None:
        self.fold, self.shape, self.first, self.weights = fold, shape, first, weights

    def __getitem__(self, key: tuple[Any, Any]) -> NDArray[Any]:
        rows, columns = key
        if not isinstance(columns, slice):
            out = self._given(key, np.shape(columns))
            self.fold.drop_entries(self.first, self.shape[0], np.array([rows, columns], np.int64), out)
            return out
        start, stop, _ = columns.indices(self.shape[1])
        out = self._given(key, (self.shape[0], stop - start))
        self.fold.drop(self.first + start, out)
        return out

    def _given(self, key: tuple[Any, Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if self.weights is None:
            return np.ones(shape, np.uint8)
        given = self.weights[key]
        return np.array(given.toarray() if hasattr(given, "toarray") else given, np.float64)


@dataclasses.dataclass(frozen=True, slots=True)
class Hidden:
    """The view of a block for each part of a bundle: without the entries that its fold holds out, or all of it."""

    folds: tuple[Fold | None, ...]
    bounds: tuple[int, ...]

    def __call__(self, part: int, block: int, V: Block) -> Block:
        """Return the view of a block for a part."""
        fold = self.folds[part]
        return V if fold is None else hide(fold, V, self.bounds[block])


@dataclasses.dataclass(slots=True)
class PredictedSums(Summable):
    """Sums over the held-out entries of each part: divergence, its scale, number, squared and absolute errors."""

    sums: Float


@dataclasses.dataclass(frozen=True, slots=True)
class Predict:
    """Measure the divergence of WH from the held-out entries of every fold.

    Attributes
    ----------
    Ws
        W (m, r) of every part; their H are stacked in the same order.
    folds
        The entries that each part did not see.
    beta
        β of the divergence.
    least
        Lower bound of the predictions.
    """

    Ws: tuple[Float, ...]
    folds: tuple[Fold, ...]
    beta: float
    least: float
    entries: Entries
    bounds: tuple[int, ...]

    def zero(self) -> PredictedSums:
        """Return the sums of no block."""
        return PredictedSums(np.zeros((len(self.folds), 5)))

    def visit(self, block: int, V: Block, H: Float | None, sums: PredictedSums, scratch: Scratch) -> None:
        """Add the held-out entries of a block."""
        assert H is not None
        for columns, panel in self.entries.panels(V, H.dtype, scratch):
            values, weights = panel.values, panel.weights if panel.weights.size else np.ones_like(panel.values)
            places = np.array([panel.rows, panel.columns]) if isinstance(panel, SparsePanel) else None
            start = 0
            for part, (W, fold) in enumerate(zip(self.Ws, self.folds, strict=True)):
                first = self.bounds[block] + columns.start
                found = held_places(fold, first, values, places, len(W))
                of = tuple(found) if places is None else found[2]
                found = found[:, weights[of] > 0]
                v = values[tuple(found) if places is None else found[2]]
                y = entries_of_product(W, H[start : start + W.shape[1], columns], found[:2])
                start += W.shape[1]
                v = v.astype(np.float64)
                errors = np.abs(v - y)
                missed = divergence(v, y, self.beta, self.least)
                sums.sums[part] += missed, scale_of(v, self.beta), len(v), np.square(errors).sum(), errors.sum()


def held_places(
    fold: Fold, first: int, values: NDArray[Any], places: NDArray[np.int64] | None, rows: int
) -> NDArray[np.int64]:
    """Return row and column (2, N) of the held-out entries of a panel, and of a sparse one also their index (3, N)."""
    if places is None:
        kept: NDArray[Any] = np.ones(values.shape, np.uint8)
        fold.drop(first, kept)
        return np.array(np.nonzero(kept == 0), np.int64)
    kept = np.ones(places.shape[1], np.uint8)
    fold.drop_entries(first, rows, places, kept)
    entries = np.flatnonzero(kept == 0)
    return np.vstack([places[:, entries], entries])


def divergence(v: NDArray[Any], y: NDArray[Any], beta: float, least: float) -> float:
    """Return Σ d_β(v, y), times 2 for β = 2; for other β, y is raised to `least`, or to LOW · v > 0 if that is less."""
    if beta == 2:
        return float(np.square(v - y).sum())
    terms = np.empty(len(v))
    _divergences(v, np.maximum(y, np.where(v > 0, np.minimum(LOW * v, least), least)), beta, terms)
    return float(terms.sum())


@kernel
def _divergences(v, y, beta, terms):  # type: ignore[no-untyped-def]
    for entry in range(len(v)):
        terms[entry] = divergence_of(v[entry], y[entry], beta)


def scale_of(v: NDArray[Any], beta: float) -> float:
    """Return the scale of a divergence: Σ v² for β = 2, else the number of entries."""
    return float(np.square(v, dtype=np.float64).sum()) if beta == 2 else float(len(v))
