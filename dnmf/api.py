"""The functions people call from Python."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

from dnmf.engine.plan import Plan
from dnmf.kernels.floats import own_errors
from dnmf.run.open import new_run, old_run, plan_of
from dnmf.run.options import Options, shows_options
from dnmf.run.result import Result
from dnmf.run.stored import stored_result
from dnmf.run.transform import transform as transform
from dnmf.run.watcher import Watcher
from dnmf.settings import BESIDE, Settings
from dnmf.sources import open_matrix


@own_errors
@shows_options
def factorize(
    V: Any,
    rank: int,
    *,
    store: str | Path | None = None,
    overwrite: bool = False,
    watchers: Sequence[Watcher] = (),
    cancel: threading.Event | None = None,
    client: Any = None,
    **options: Unpack[Options],
) -> Result:
    """Factorise a non-negative matrix V (m, n) ≈ W (m, r) · H (r, n), reading V once a pass.

    Parameters
    ----------
    V
        A NumPy array, a SciPy CSR or CSC matrix, a Dask array with blocks of either or of `sparse.COO`, a DataFrame of
        pandas, polars or Dask, an xarray DataArray, an AnnData, a `zarr.Array`, or the address of a matrix: the path or
        URL of a Zarr array or group, or the path of a `.npy`, `.npz`, `.h5ad`, `.h5`, `.nc`, `.parquet`, `.csv` or
        `.mtx` file, with `::` and a part where there are several, as `data.h5ad::layers/counts`. Cut along its rows or
        along its columns. Any of these may be prepared by `dnmf.preprocessing`.
    rank
        Number of components r.
    store
        Where checkpoints of the factors are kept, and the finished factors: the path of a folder that does not exist.
        A run with a store can be resumed after it was killed, to the same bits.
    overwrite
        Start anew in a store that exists.
    watchers
        Objects that are told of every pass; see `Watcher`.
    cancel
        An event that ends the run when it is set, with a checkpoint and `Interrupted`.
    client
        Where the passes run: a `distributed.Client` or cluster, the address of a scheduler, or `"threads"` for those
        of this process. None is the current client, or else the threads.
    loss
        `"frobenius"` for ½‖V − WH‖², `"kullback-leibler"`, `"itakura-saito"`, or the β of a β-divergence as a number.
    solver
        `"mu"` (multiplicative updates: Lee & Seung 2001; Févotte & Idier 2011 for every β), `"hals"` (Cichocki et al.
        2007), also called `"cd"`, or `"als"` (alternating non-negative least squares, solved exactly; Kim & Park 2011).
        For `"kullback-leibler"`, `"cd"` is Newton's method by coordinates (Hsieh & Dhillon 2011), safeguarded.
        `"sketch"` alternates passes of `"hals"` with the factorisation of a sketch of V, which costs no read, and takes
        what that finds where the next pass finds it better. `"newton"`, for `"kullback-leibler"`, adds
        second-order steps of W's rows to `"cd"`. `"minibatch"` updates W after every batch of blocks (Neal & Hinton
        1998, Mairal et al. 2010). `"auto"` is `"sketch"` for the Frobenius loss of a matrix that is larger than 5·rank
        both ways, else `"hals"`, extrapolated; `"newton"` for `"kullback-leibler"`, and `"mu"`, extrapolated, for the
        other losses.
    init
        `"random"`, `"sketch"` (factors of a sketch of V that the first pass makes), `"nndsvd"`, `"nndsvda"`,
        `"nndsvdar"` (Boutsidis & Gallopoulos 2008; one pass more), or the factors (W, H) to start from. `"auto"` is
        `"sketch"` where the matrix is larger than 5·rank both ways and every entry counts, else `"random"`.
    extrapolate
        Whether every pass begins beyond W, on the line from the W before (Ang & Gillis 2019); a step that does not pay
        is taken back. None: with `solver="auto"` and `"sketch"` only.
    missing
        `"nan"` takes NaN and masked entries of a dense V as missing, `"zeros"` what a sparse V does not store. Missing
        entries count for nothing: not in the loss, not in the factors, not in `transform`.
    weights
        Weights of the entries, at least 0, of V's shape: an array or a sparse matrix in memory, or whatever V may be,
        cut like V. The loss of an entry is multiplied by its weight.
    fixed_W
        Known columns (m, f) of W. They are the first components of the result and stay as they are.
    row_names, column_names
        What the rows and columns of V are called, where V does not know it or is to be overruled: texts, or the path
        of a file with a name on every line or a list in JSON. They are in `Result.names` and in the store.
    l1_W, l2_W, l1_H, l2_H, forget, shuffle, sweeps, seed, n_runs, tol
        See `Settings`.
    max_passes, max_seconds, checkpoint_every, keep, memory_limit, threads
        See `Settings`.

    Returns
    -------
    Result
        With `W`, `H`, `history`, `verdict` and `converged`.

    Raises
    ------
    DnmfError
        With a sentence for everything that cannot be: before the first pass where it can be known.

    Examples
    --------
    >>> import numpy as np
    >>> V = np.array([[1.0, 0, 2, 1], [0, 3, 0, 1], [2, 0, 4, 2]])
    >>> result = factorize(V, rank=2, tol=1e-6)
    >>> float(abs(V - result.W @ result.H).max().compute()) < 1e-4
    True
    """
    with new_run(V, {"rank": rank, **options}, store, overwrite, watchers, cancel, client) as run:
        for _ in run:
            pass
        return run.result()


@own_errors
@shows_options
def iterate(
    V: Any,
    rank: int,
    *,
    store: str | Path | None = None,
    overwrite: bool = False,
    watchers: Sequence[Watcher] = (),
    client: Any = None,
    **options: Unpack[Options],
) -> Iterator[Result]:
    """Yield the result as it stands after every pass, to be watched, plotted, or stopped by leaving the loop.

    It takes what `factorize` takes, and ends where that would end. The long factor of a result that was spilled to
    disk lasts until the next pass is over.

    Examples
    --------
    >>> import numpy as np
    >>> V = np.arange(12.0).reshape(3, 4)
    >>> for result in iterate(V, rank=1, tol=1e-9):
    ...     if result.passes == 3:
    ...         break
    >>> result.W.shape, result.H.shape
    ((3, 1), (1, 4))
    """
    begun = new_run(V, {"rank": rank, **options}, store, overwrite, watchers, None, client)
    # Where the loop is left, the states are closed, and so saved, before the store is.
    with begun as run, contextlib.closing(iter(run)) as states:
        for _ in states:
            yield run.result()


@own_errors
def resume(
    store: str | Path,
    V: Any = None,
    *,
    watchers: Sequence[Watcher] = (),
    cancel: threading.Event | None = None,
    client: Any = None,
    **options: Unpack[Options],
) -> Result:
    """Go on with a run where its newest checkpoint left it.

    Parameters
    ----------
    store
        The store of the run.
    V
        The matrix, where the store cannot know where it lies or it has moved; it is checked to be the same.
    watchers, cancel, client
        As for `factorize`; the cluster may be another one than before.
    options
        `weights`, where the store cannot know where they lie; `row_names` and `column_names`, which take the place of
        those that it keeps; `tol`, `max_passes`, `max_seconds`, `checkpoint_every`,
        `keep`, `memory_limit` and `threads` may change.

    Raises
    ------
    StoreError
        If the store is none, is in use, or belongs to another matrix or other settings; both values are told.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> V, folder = np.random.default_rng(0).random((6, 8)), tempfile.mkdtemp()
    >>> _ = factorize(V, rank=2, max_passes=5, store=f"{folder}/run.zarr")
    >>> resume(f"{folder}/run.zarr", V, max_passes=8).passes
    8
    """
    with old_run(store, V, dict(options), watchers, cancel, client) as run:
        for _ in run:
            pass
        return run.result()


def load(store: str | Path) -> Result:
    """Return the finished factors of a store, or those of its newest checkpoint; V is not needed.

    Raises
    ------
    StoreError
        If there is no store, or no whole checkpoint in it.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> _ = factorize(np.eye(4), rank=2, max_passes=5, store=f"{folder}/run.zarr")
    >>> load(f"{folder}/run.zarr").H.shape
    (2, 4)
    """
    return stored_result(store)


def plan(V: Any, rank: int, **options: Unpack[Options]) -> Plan:
    """Return what a run with these options would hold and read: blocks, panels, threads, peak memory, bytes a pass.

    Raises
    ------
    BudgetError
        If the memory limit is too small for one block.

    Examples
    --------
    >>> import numpy as np
    >>> plan(np.ones((100, 5000), np.float32), rank=5).blocks
    1
    """
    weights, init = options.get("weights"), options.get("init", "auto")
    plain = {name: value for name, value in options.items() if name not in ("init", *BESIDE)}
    settings = Settings.from_options({"rank": rank, **plain, "init": init if isinstance(init, str) else "auto"})
    return plan_of(open_matrix(V, weights=weights, missing=settings.missing).layout, settings, weights is not None)
