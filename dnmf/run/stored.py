"""The result in a store, also of an unfinished run, and while a run writes to it."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from dnmf.checkpoint import Gone, Store, StoredFactor, read_array, read_names
from dnmf.engine.factor import Factor, MappedFactor, Rows
from dnmf.errors import SettingsError, StoreError
from dnmf.kernels.preparation.steps import Step
from dnmf.run.result import Result
from dnmf.run.units import in_units
from dnmf.settings import Settings
from dnmf.solvers.history import Record
from dnmf.sources.unfolding import Unfolding

# Number of checkpoints that a reader tries, if the run deletes one after another before it is read.
ATTEMPTS = 10
Found = TypeVar("Found")


def fitted_of(given: Any, what: str = "fitted") -> Any:
    """Return a result, or the path or URL of a store, from anything that has one, such as a fitted estimator.

    Raises
    ------
    SettingsError
        If it is none of these.
    """
    found = getattr(given, "result_", given)
    if isinstance(found, (Result, str, os.PathLike)):
        return found
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    raise SettingsError(
        f"{what} is a {kind}; give a Result, the path or URL of the store of a run, or a fitted dnmf.NMF."
    )


def store_of(given: Any) -> Any:
    """Return the path or URL of a store, that of a result if one is given.

    Raises
    ------
    SettingsError
        If a result has no store, or something else is given.
    """
    found = fitted_of(given, "store")
    if isinstance(found, Result) and found.store is None:
        raise SettingsError(
            "This run has no store to resume from; start a new run from its factors with "
            "factorize(V, rank, init=result), or give the run a store=."
        )
    return found.store if isinstance(found, Result) else found


def stored_steps(store: Store) -> tuple[Step, ...]:
    """Return the steps that prepared the matrix of a stored run."""
    return tuple(map(Step.from_json, store.header.get("prepared") or ()))


def stored_unfolding(store: Store) -> Unfolding | None:
    """Return the array that was unfolded into the matrix of a stored run, or None."""
    found = store.header.get("unfolded")
    return None if found is None else Unfolding.from_json(found, store.header["fingerprint"]["shape"])


def whole_checkpoint(act: Callable[[], Found]) -> Found:
    """Call a function that reads the newest checkpoint, and call it again if the run deletes that meanwhile.

    Raises
    ------
    Gone
        If several checkpoints were deleted before they were read.
    """
    for _ in range(ATTEMPTS):
        with suppress(Gone):
            return act()
    return act()


def stored_result(store: str | Path) -> Result:
    """Return the result of the newest checkpoint in a store."""
    kept = Store.open(store)
    return whole_checkpoint(lambda: _stored_result(kept))


def _stored_result(kept: Store) -> Result:
    commit = kept.newest()
    if commit is None:
        raise StoreError(f"{kept} has no whole checkpoint yet; resume the run to make one.")
    W, H = kept.arrays(commit)
    transposed = bool(kept.header["transposed"])
    short: Any = read_array(H).T if transposed else read_array(W)
    settings = Settings.from_options(kept.header["settings"])
    long: Factor = StoredFactor(W if transposed else H, kept.header["bounds"], transposed)
    if commit.state.get("parts"):
        losses = [float("inf") if part.get("loss") is None else part["loss"] for part in commit.state["parts"]]
        first = settings.rank * losses.index(min(losses))
        rows = Rows(first, first + settings.rank)
        short, long = short[:, rows.start : rows.stop], MappedFactor(long, rows)
    steps = stored_steps(kept)
    short, long = in_units(short, long, steps, transposed, kept.header["bounds"])
    verdict = commit.verdict or {
        "sentence": f"Not finished: this is the checkpoint after pass {commit.passes}; resume the run to continue it.",
        "converged": False,
    }
    return Result(
        history=tuple(Record(**record) for record in commit.history),
        settings=settings,
        verdict=str(verdict["sentence"]),
        converged=bool(verdict["converged"]),
        short=short,
        long=long,
        bounds=kept.header["bounds"],
        rows_streamed=transposed,
        names=read_names(kept.place, (W.shape[0], H.shape[1])),
        store=str(kept),
        runs=tuple(commit.state.get("runs", ())),
        steps=steps,
        unfolding=stored_unfolding(kept),
    )
