"""The result in a store, also of an unfinished run, and while a run writes to it."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from dnmf.checkpoint import Gone, Store, StoredFactor, read_array, read_names
from dnmf.checkpoint.state import read_losses, read_mixings
from dnmf.engine.factor import Factor, MappedFactor, Rows
from dnmf.errors import SettingsError, StoreError
from dnmf.kernels.preparation.steps import Step
from dnmf.run.layers import with_layers
from dnmf.run.normalised import within_sums
from dnmf.run.result import Result
from dnmf.run.save import MATRIX
from dnmf.run.units import in_units
from dnmf.settings import Settings
from dnmf.solvers.history import Record
from dnmf.solvers.several_runs import all_runs
from dnmf.sources.unfolding import Unfolding

# Number of checkpoints that a reader tries, if the run deletes one after another before it is read.
ATTEMPTS = 10
Found = TypeVar("Found")


def header_steps(header: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the steps that prepared the matrix of a run or a survey, from its header."""
    return tuple(map(Step.from_json, header.get("prepared") or ()))


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
    of_survey = " Of a survey, give survey.consensus(rank) or survey.best(rank)." if hasattr(given, "consensus") else ""
    raise SettingsError(
        f"{what} is a {kind}; give a Result, the path or URL of the store of a run, or a fitted dnmf.NMF.{of_survey}"
    )


def fitted_result(given: Any) -> Result:
    """Return a result from anything that `fitted_of` takes, loaded from its store if a path is given."""
    found = fitted_of(given)
    return found if isinstance(found, Result) else stored_result(found)


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


def header_unfolding(header: Mapping[str, Any]) -> Unfolding | None:
    """Return the array that was unfolded into the matrix of a run or a survey, from its header, or None."""
    found = header.get("unfolded")
    return None if found is None else Unfolding.from_json(found, header["fingerprint"]["shape"])


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
    if commit is None and "saved" in kept.header:
        raise StoreError(f"{kept} has no whole result; save it again, with overwrite=True (--overwrite).")
    if commit is None:
        raise StoreError(f"{kept} has no whole checkpoint yet; resume the run to make one.")
    W, H = kept.arrays(commit)
    transposed = bool(kept.header["transposed"])
    short: Any = read_array(H).T if transposed else read_array(W)
    settings = Settings.from_options(kept.header["settings"])
    long: Factor = StoredFactor(W if transposed else H, kept.header["bounds"], transposed)
    mixings = read_mixings(commit.state.get("mixings", ()))
    if settings.layers and not mixings:
        settings = settings.of_layer(0)  # the others follow when it is finished
    runs: Any = read_losses(commit.state.get("runs", ()))
    if commit.state.get("parts") and not mixings:
        losses = [float("inf") if part.get("loss") is None else part["loss"] for part in commit.state["parts"]]
        first = settings.rank * losses.index(min(losses))
        runs = all_runs(runs, losses) if commit.history else ()
        rows = Rows(first, first + settings.rank)
        short, long = short[:, rows.start : rows.stop], MappedFactor(long, rows)
    steps = header_steps(kept.header)
    short, long = in_units(short, long, steps, transposed, kept.header["bounds"])
    verdict = commit.verdict or {
        "sentence": f"Not finished: this is the checkpoint after pass {commit.passes}; resume the run to continue it.",
        "converged": False,
    }
    result = Result(
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
        runs=runs,
        anchors=tuple(commit.state.get("anchors", ())),
        steps=steps,
        unfolding=header_unfolding(kept.header),
        matrix={name: kept.header[name] for name in MATRIX if name in kept.header},
    )
    figures = [(part["loss"], part["relative_error"]) for part in commit.state.get("parts", ())]
    return with_layers(within_sums(result), figures, mixings)
