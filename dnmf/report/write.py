"""Write a run or a survey as one HTML file for a browser."""

import os
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from dnmf.aliases import names_options
from dnmf.checkpoint import Gone
from dnmf.checkpoint.targets import appearing_here, check_apart, inputs_in
from dnmf.errors import DataError, MissingExtraError, ReadError, SettingsError, StoreError, no_effect
from dnmf.inspection.numbers import shortened
from dnmf.inspection.summary import feature_axis
from dnmf.kernels.floats import own_errors
from dnmf.report.facts import gather_facts
from dnmf.report.run import run_page
from dnmf.report.survey import survey_page
from dnmf.run.display import showing
from dnmf.run.residuals import Residuals, measure_residuals
from dnmf.run.result import Result
from dnmf.run.stored import fitted_of, fitted_result, whole_checkpoint
from dnmf.run.watcher import Watch
from dnmf.sources.base import Axis
from dnmf.storage.durable import explained
from dnmf.storage.open_location import full_path
from dnmf.storage.urls import is_url
from dnmf.survey import RankSurvey, is_survey, stored_survey

# The beginning of a page, by which a file that may be overwritten is recognised.
FIRST = b'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
SUFFIXES = (".html", ".htm", "")
# The most features of each component.
MOST_FEATURES = 50


@names_options()
@own_errors
def write_report(
    fitted: Result | RankSurvey | str | Path,
    path: str | Path,
    V: Any = None,
    *,
    weights: Any = None,
    residuals: bool = True,
    shape: tuple[int, ...] | None = None,
    axis: Axis | None = None,
    n: int = 8,
    title: str | None = None,
    overwrite: bool = False,
    memory_limit: int | str | None = None,
    threads: int | None = None,
    watchers: Watch = (),
    progress: bool | None = None,
    client: Any = None,
) -> Path:
    """Write a page about a run or a survey: one HTML file that needs no network and stays below 2 MB.

    The factors are read part by part. Residuals by row and by column take one read of V; if V cannot be found, the page
    explains how to give it.

    Parameters
    ----------
    fitted
        A result, a survey, or the path of the store of either.
    path
        Path of the page, on this machine.
    V, weights
        The matrix and its weights, if the store does not record their locations.
    residuals
        Whether to read V and show its residuals.
    shape
        Shape of the images if components are images: rows and columns, and 3 after them for colours. By default that
        of the array, if several of its axes make the rows or the columns of V.
    axis
        Axis of the features, as for `Result.components`; with a shape, the axis of that length.
    n
        Number of features of each component.
    title
        Title of the page, by default the name of the store.
    overwrite
        Whether to replace an existing page.
    memory_limit, threads, watchers, progress, client
        Options for the read of V, as for `factorize`.

    Returns
    -------
    Path
        Path of the page.

    Raises
    ------
    SettingsError
        If an option is not allowed, or if no axis has the length of an image.
    StoreError
        If the path already exists, or if there is no store at a path given as `fitted`.

    Examples
    --------
    >>> import dnmf, numpy as np, tempfile
    >>> V = np.outer([1, 2, 1], [1, 3, 0, 4])
    >>> page = write_report(dnmf.factorize(V, rank=1), tempfile.mkdtemp() + "/report.html", V)
    >>> page.read_text()[:15]
    '<!doctype html>'
    """
    if not isinstance(n, Integral) or isinstance(n, bool) or not 1 <= n <= MOST_FEATURES:
        raise SettingsError(f"n={n!r} is not allowed; give a whole number from 1 to {MOST_FEATURES}.")
    target = free_path(path, overwrite)
    fitted = fitted if isinstance(fitted, RankSurvey) else fitted_of(fitted)
    store = fitted if isinstance(fitted, str | Path) else fitted.store
    check_apart(target, [V, weights, *inputs_in(store)])

    def content() -> str:
        known = load_fitted(fitted)
        name = title or shortened(Path(str(known.store)).name if known.store else "A factorisation", 200)
        if isinstance(known, RankSurvey):
            check_of_run(V=V, weights=weights, shape=shape, axis=axis)
            return survey_page(known, name)
        feature_axis(known, axis, shape)
        found: Residuals | str = "They were left out, since they take a read of V; omit --no-residuals to show them."
        if residuals:
            with showing(watchers, progress) as seen:
                found = try_residuals(known, V, weights, memory_limit, threads, seen, client)
        return run_page(gather_facts(known, axis, shape, n, found), name)

    written = whole_checkpoint(content) if isinstance(fitted, str | Path) else content()
    with explained(str(target)), appearing_here(target, partial(free_path, path, overwrite)) as draft:
        draft.write_text(written, encoding="utf-8")
    return target


def load_fitted(fitted: Result | RankSurvey | str | Path) -> Result | RankSurvey:
    """Return a result or a survey, loaded from its store if a path is given."""
    if isinstance(fitted, RankSurvey):
        return fitted
    return stored_survey(fitted) if isinstance(fitted, str | Path) and is_survey(fitted) else fitted_result(fitted)


def check_of_run(**options: Any) -> None:
    """Raise SettingsError for the first option of the page of a run that is given for that of a survey."""
    for name, value in options.items():
        if value is not None:
            raise no_effect(name, value, "the report of a run", "a survey")


def free_path(path: str | Path, overwrite: bool) -> Path:
    """Return the full path of a page, or raise SettingsError or StoreError if it may not be written."""
    if is_url(path):
        raise SettingsError(f"path={str(path)!r} is a URL, and pages are written on this machine; give a path.")
    target = full_path(path)
    if not os.path.lexists(target):
        if target.suffix.lower() not in SUFFIXES:
            raise SettingsError(
                f"path={str(path)!r} ends in {target.suffix}, and a report is an HTML page; give a path that ends in "
                ".html, and print the page from a browser for a PDF."
            )
        return target
    if not overwrite:
        raise StoreError(f"{target} already exists; choose another path or pass overwrite=True (--overwrite).")
    if not is_page(target):
        raise StoreError(f"{target} is not a report and is not overwritten; delete it or choose another path.")
    return target


def is_page(path: Path) -> bool:
    """Return whether a file is a page written by dnmf."""
    if not path.is_file() or path.is_symlink():
        return False
    with open(path, "rb") as file:
        return file.read(len(FIRST)) == FIRST


def try_residuals(result: Result, V: Any, weights: Any, *options: Any) -> Residuals | str:
    """Return the residuals of V, or a sentence that explains why a matrix that was not given cannot be read."""
    try:
        return measure_residuals(result, V, weights, *options)
    except Gone:
        raise
    except (DataError, MissingExtraError, ReadError, StoreError) as error:
        if V is not None:
            raise
        return (
            f"They take a read of V, which could not be read. {shortened(error, 600)} To show them, pass the matrix to "
            "dnmf report by --matrix, or to write_report by V."
        )
