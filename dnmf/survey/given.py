"""Entries that the caller holds out: by position or name, as a mask, or in a file."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dnmf.engine.passes import Engine
from dnmf.errors import DataError, SettingsError, unknown
from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.entries import Entries
from dnmf.kernels.blocks.panels import Block
from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.sums import Summable
from dnmf.kernels.blocks.tiles import Float
from dnmf.run.places import pairs_of
from dnmf.sources.base import Layout
from dnmf.sources.names import Names
from dnmf.survey.holdout import Listed, held_places

NAMED = ("auto", "bicross", "speckled")


def listed_of(holdout: Any, layout: Layout, names: Names) -> Listed | None:
    """Return the entries that `holdout` lists, or None if it is the name of a scheme.

    Raises
    ------
    SettingsError
        If it is an unknown name.
    DataError
        If it is a file that cannot be read, if an entry is not in V, or if there is no entry.
    """
    if isinstance(holdout, str) and holdout in NAMED:
        return None
    if isinstance(holdout, str | Path):
        holdout = _read(Path(holdout))
    shape = layout.user_shape
    if scipy.sparse.issparse(holdout) or (isinstance(holdout, np.ndarray) and holdout.dtype == np.bool_):
        if holdout.shape != shape:
            raise DataError(f"holdout has shape {holdout.shape}, and V has {shape}; give a mask of the shape of V.")
        places = np.array(holdout.nonzero(), np.int64)
    else:
        places = pairs_of(holdout, shape, names, "holdout")
    if places.shape[1] == 0:
        raise DataError("holdout has no entry; give the entries to hold out, or cv=0 to hold out none.")
    listed = Listed.of(places[::-1] if layout.transposed else places, layout.shape)
    if len(listed.keys) == layout.shape[0] * layout.shape[1]:
        raise DataError("holdout has all entries of V, and none is left to fit; hold out a part of them.")
    return listed


def _read(path: Path) -> Any:
    """Return the array in a .npy file, or the sparse matrix in a .npz file."""
    if path.suffix not in (".npy", ".npz"):
        raise unknown("holdout", str(path), NAMED, "a list of entries or a .npy or .npz file of it")
    try:
        return np.load(path, allow_pickle=False) if path.suffix == ".npy" else scipy.sparse.load_npz(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); give the entries to hold out as a "
            "mask or an array (p, 2) in a .npy file, or as a sparse matrix in a .npz file."
        ) from error


@dataclasses.dataclass(slots=True)
class ObservedSums(Summable):
    """Keys of the entries that are held out and observed, by panels."""

    keys: list[NDArray[np.int64]]


@dataclasses.dataclass(frozen=True, slots=True)
class FindObserved:
    """Find the listed entries that V has."""

    held: Listed
    entries: Entries
    bounds: tuple[int, ...]

    def zero(self) -> ObservedSums:
        """Return no entries."""
        return ObservedSums([])

    def visit(self, block: int, V: Block, H: Float | None, sums: ObservedSums, scratch: Scratch) -> None:
        """Check a block, and add its entries."""
        self.entries.square_sum(V, np.dtype(np.float64), scratch)
        for columns, panel in self.entries.panels(V, np.dtype(np.float64), scratch):
            first = self.bounds[block] + columns.start
            places = np.array([panel.rows, panel.columns]) if isinstance(panel, SparsePanel) else None
            found = held_places(self.held, first, panel.values, places, self.held.rows)
            if panel.weights.size:
                found = found[:, panel.weights[tuple(found) if places is None else found[2]] > 0]
            sums.keys.append((first + found[1]) * self.held.rows + found[0])


def check_observed(engine: Engine, held: Listed, entries: Entries, layout: Layout) -> None:
    """Read V once, and raise DataError if it has no value, or weight 0, for an entry that is held out."""
    work = FindObserved(held, dataclasses.replace(entries, dense=True), layout.bounds)
    found = engine.one_pass(work).keys
    missing = np.setdiff1d(held.keys, np.concatenate([np.zeros(0, np.int64), *found]))
    if len(missing):
        column, row = divmod(int(missing[0]), held.rows)
        at = (column, row) if layout.transposed else (row, column)
        raise DataError(
            f"{len(missing)} of the {len(held.keys)} entries of holdout are missing in V, as V[{at[0]}, {at[1]}]; hold "
            "out entries that V has: their values are compared with the predictions."
        )


def check_folds(cv: int) -> None:
    """Raise SettingsError if no fold is asked for, and entries to hold out are given."""
    if cv == 0:
        raise SettingsError("cv=0 holds out no entries, and holdout lists some; leave one of them out.")
