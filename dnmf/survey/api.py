"""The face of a survey of ranks."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnmf.kernels.floats import own_errors
from dnmf.run.watcher import Watcher
from dnmf.survey import RankSurvey, make_survey, stored_survey


@own_errors
def select_rank(
    V: Any,
    ranks: Sequence[int],
    *,
    n_runs: int = 10,
    cv: int = 5,
    holdout: str = "auto",
    sample: int = 1000,
    store: str | Path | None = None,
    overwrite: bool = False,
    watchers: Sequence[Watcher] = (),
    cancel: threading.Event | None = None,
    client: Any = None,
    **options: Any,
) -> RankSurvey:
    """Fit many ranks, seeds and folds in a handful of reads of V, and say which rank they speak for.

    For the Frobenius loss of a matrix larger than 5 times the largest rank both ways, all models are made on one sketch
    of V, and measured and corrected on V by one pass together: three passes in all. Else, and where a `solver` other
    than `"sketch"` is named, all models make their passes side by side.

    Parameters
    ----------
    V
        Whatever `factorize` takes.
    ranks
        The ranks to try, as `range(2, 31)`.
    n_runs
        Random starts of every rank, with the seeds `seed`, `seed` + 1, ….
    cv
        Folds that tell how well a rank predicts what it has not seen; 0 for none.
    holdout
        `"bicross"` holds out blocks of half of the rows and half of the columns (Owen & Perry 2009), `"speckled"`
        single entries; `"auto"` is the first where the models are made on a sketch, else the second.
    sample
        How many columns, as V is streamed, the runs are compared on, for the consensus.
    store
        Where the survey is kept. One that was stopped goes on there when it is asked for again, to the same bits.
    overwrite, watchers, cancel, client
        As for `factorize`.
    options
        Those of `factorize` but `fixed_W`, `n_runs` and `max_seconds`; `max_passes`, `tol`, `sweeps` and `extrapolate`
        are those of models side by side. `init="random"` starts every model at random on V itself and not on a sketch,
        for consensus as Brunet et al. 2004 have it.

    Returns
    -------
    RankSurvey
        With `table()`, `suggest()`, `best(rank)`, `consensus(rank)`, and plots.

    Raises
    ------
    DnmfError
        With a sentence for everything that cannot be: before the first pass where it can be known.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> V = rng.random((60, 3)) ** 3 @ rng.random((3, 400)) ** 3
    >>> V = np.maximum(V + 0.02 * rng.standard_normal(V.shape), 0)
    >>> survey = select_rank(V, range(2, 6), n_runs=4, cv=3)
    >>> survey.suggest().rank, survey.passes
    (3, 3)
    """
    return make_survey(V, ranks, n_runs, cv, holdout, sample, store, overwrite, watchers, cancel, client, dict(options))


def load_survey(store: str | Path) -> RankSurvey:
    """Return the survey in a store; V is not needed.

    Raises
    ------
    StoreError
        If there is none, or it is not finished.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> V = np.random.default_rng(0).random((20, 50))
    >>> _ = select_rank(V, [1, 2], n_runs=2, cv=0, store=f"{folder}/survey.zarr")
    >>> load_survey(f"{folder}/survey.zarr").ranks
    (1, 2)
    """
    return stored_survey(store)
