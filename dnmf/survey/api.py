"""Functions for the choice of a rank."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnmf.aliases import names_options
from dnmf.kernels.floats import own_errors
from dnmf.run.display import showing
from dnmf.run.watcher import Watch
from dnmf.settings import DATA_OPTIONS, FIELDS
from dnmf.survey import RankSurvey, make_survey, stored_survey


@names_options([*FIELDS, *DATA_OPTIONS])
@own_errors
def select_rank(
    V: Any,
    ranks: Sequence[int],
    *,
    n_runs: int = 10,
    cv: int = 5,
    holdout: Any = "auto",
    sample: int = 1000,
    store: str | Path | None = None,
    overwrite: bool = False,
    watchers: Watch = (),
    progress: bool | None = None,
    cancel: threading.Event | None = None,
    client: Any = None,
    **options: Any,
) -> RankSurvey:
    """Fit many ranks, seeds and folds in a few reads of V, and suggest a rank.

    For the Frobenius loss of a matrix larger than 5 times the largest rank in both directions, all models are fitted on
    one sketch of V, and measured and corrected on V in one common pass: three passes in total. Otherwise, or if
    `solver` is given and is not `"sketch"`, all models share the reads of ordinary passes.

    Parameters
    ----------
    V
        Matrix (m, n) of any kind that `factorize` takes.
    ranks
        Ranks to try, such as `range(2, 31)`.
    n_runs
        Random starts per rank, with the seeds `seed`, `seed` + 1, ….
    cv
        Folds to hold out, for the error of a rank on entries that it was not fitted to; 0 for none.
    holdout
        `"bicross"` holds out blocks of half of the rows and half of the columns (Owen & Perry 2009), `"speckled"`
        single entries; `"auto"` is `"bicross"` for models on a sketch, else `"speckled"`. Or entries of your own, which
        are one fold whatever `cv` is: pairs of rows and columns as in `predict`; a boolean array or a sparse matrix of
        the shape of V that marks them; or the path of a `.npy` or `.npz` file of either. They are compared with V,
        which must have their values: where entries may be missing, one more read makes sure.
    sample
        Number of columns, as V is streamed, on which the runs are compared for the consensus.
    store
        Path or URL of the survey. A survey that was stopped resumes there when the call is repeated, with the same
        bits.
    overwrite, watchers, progress, cancel, client
        As in `factorize`.
    options
        Options of `factorize`, such as `row_names`, other than `fixed_W`, `fixed_H`, targets, `n_runs` and
        `max_seconds`. Models in ordinary passes, as all are with a graph, end by `max_passes` and `tol`, and take
        `sweeps` and `extrapolate`. `init="random"` starts every model at random on V itself and not on a sketch, for
        the consensus of Brunet et al. 2004.

    Returns
    -------
    RankSurvey
        With `table()`, `suggest()`, `best(rank)`, `consensus(rank)`, and plots.

    Raises
    ------
    DnmfError
        If the matrix, an option or the store is not valid; before the first pass where possible.

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
    with showing(watchers, progress) as seen:
        return make_survey(V, ranks, n_runs, cv, holdout, sample, store, overwrite, seen, cancel, client, dict(options))


def load_survey(store: str | Path) -> RankSurvey:
    """Load a finished survey from a store; V is not needed.

    Raises
    ------
    StoreError
        If there is no survey, or it is not finished.

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
