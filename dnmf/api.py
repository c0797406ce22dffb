"""The functions people call from Python."""

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack, cast

from dnmf.aliases import names_options
from dnmf.exports.factors import export as export
from dnmf.kernels.floats import own_errors
from dnmf.regression import spectra as spectra
from dnmf.report import write_report as write_report
from dnmf.run.display import showing
from dnmf.run.likelihood import likelihood as likelihood
from dnmf.run.open import new_run, old_run
from dnmf.run.options import Options, shows_options
from dnmf.run.planning import plan as plan
from dnmf.run.predict import predict as predict
from dnmf.run.predict import recommend as recommend
from dnmf.run.result import Operations, Result
from dnmf.run.stored import store_of, stored_result
from dnmf.run.transform import transform as transform
from dnmf.run.watcher import Watch
from dnmf.settings import DATA_OPTIONS, FIELDS


@names_options()
@own_errors
@shows_options
def factorize(
    V: Any,
    rank: int | Sequence[int] | None = None,
    *,
    store: str | Path | None = None,
    overwrite: bool = False,
    watchers: Watch = (),
    progress: bool | None = None,
    cancel: threading.Event | None = None,
    client: Any = None,
    **options: Unpack[Options],
) -> Result:
    """Factorise a non-negative matrix V (m, n) ≈ W (m, r) · H (r, n), with one read of V per pass.

    Parameters
    ----------
    V
        The matrix (m, n): a NumPy array, a SciPy CSR or CSC matrix, a Dask array of these or of `sparse.COO`, a
        DataFrame of pandas, polars or Dask, a pyarrow Table, an xarray DataArray, an AnnData, a `zarr.Array`, or an
        address. An address is the path or URL of a Zarr array or group, or the path of a folder of 10x counts, or of a
        `.npy`, `.npz`, `.mat`, `.h5ad`, `.h5`, `.loom`, `.nc`, `.parquet`, `.csv`, `.tsv`, `.txt`, `.mtx`, `.svm`,
        `.tif` or `.hdr` file; `::` and a name select a part of it, as in `data.h5ad::layers/counts`. V may be
        cut along its rows, its columns, or both, and it may be prepared with `dnmf.preprocessing`. A list of matrices,
        or a pattern of paths as `"runs/*.h5ad"`, is joined along the rows, as by `dnmf.concat`. Of an array of more
        than two axes, the first one makes the rows and the others the columns, unless `dnmf.unfold` or the address
        choose, as in `stack.zarr::(t)x(y,x)`.
    rank
        Number of components r. Or the ranks of several layers, as [100, 49, 25], whose V ≈ W₁ … W_l H_l are fitted
        together; W and H are then those of the last one, and `Result.layers` has all.
    store
        Path or URL of a new folder for checkpoints and the final factors. A run with a store can be resumed with the
        same bits after it was killed.
    overwrite
        Replace an existing store and start a new run.
    watchers
        Functions to call with the `Record` of every pass, as `print`, or objects to notify of more; see `Watcher`.
    progress
        True shows progress: a bar on a terminal or in a notebook, lines elsewhere. None shows a bar on a terminal
        while the run lasts, False nothing. The logger `dnmf` has the same at level INFO.
    cancel
        Event that stops the run when it is set: the run saves a checkpoint and raises `Interrupted`.
    client
        Where to run the passes: a `distributed.Client` or cluster, the address of a scheduler, or `"threads"` for the
        threads of this process. By default the current client, or else the threads.
    loss
        `"frobenius"` for ½‖V − WH‖², `"kullback-leibler"`, `"itakura-saito"`, or the number β of a β-divergence.
    solver
        `"mu"`: multiplicative updates (Lee & Seung 2001; Févotte & Idier 2011 for every β). `"hals"` (Cichocki et al.
        2007), also named `"cd"`. `"als"`: alternating non-negative least squares, solved exactly (Kim & Park 2011).
        `"cd"` for `"kullback-leibler"`: coordinate-wise Newton steps (Hsieh & Dhillon 2011), safeguarded. `"newton"`,
        for `"kullback-leibler"`: `"cd"` with second-order steps of the rows of W. `"sketch"`: passes of `"hals"`
        alternate with the factorisation of a sketch of V, which needs no read; its result is used if the next pass
        finds it better. `"pg"`: accelerated projected gradients (Guan et al. 2012), by which every solver updates a
        factor with constraints. `"minibatch"`, for the Frobenius loss: W is updated after every batch of blocks (Neal &
        Hinton 1998, Mairal et al. 2010). `"auto"`: for the Frobenius loss, `"sketch"` if V is larger than 5·rank in
        both directions and a read costs more than a sketch, as always on a disk, else `"hals"`, extrapolated;
        `"newton"` for `"kullback-leibler"`; `"mu"`, extrapolated, for other losses.
    init
        `"random"`, `"sketch"` (factors of a sketch of V made in the first pass), `"nndsvd"`, `"nndsvda"`, `"nndsvdar"`
        (Boutsidis & Gallopoulos 2008; one more pass), or a pair (W, H) to start from. `"spa"`: columns of V that are
        not mixtures of others, as W, found by successive projections (Gillis & Vavasis 2014) in one more pass, and
        `"spa_rows"`: rows, as H; their numbers are `Result.anchors`. `"auto"`: `"sketch"` if V is larger than 5·rank in
        both directions, every entry counts, and it saves time, else `"random"`. In memory, the sketch of `"auto"` has
        fewer starts than on a disk, and so other bits; with `solver="auto"` too, a small V is factorised itself.
    extrapolate
        Extrapolate W before each pass, on the line through the last two W (Ang & Gillis 2019); a step that increases
        the loss is undone, at the cost of its pass. By default only with `solver="auto"` and `"sketch"`.
    missing
        `"nan"`: NaN and masked entries of a dense V are missing. `"zeros"`: entries that a sparse V does not store are
        missing. Missing entries count neither in the loss nor in `transform`.
    weights
        Weights (m, n) of the entries, at least 0: an array or a sparse matrix in memory, or any kind of matrix that V
        may be, cut like V. The loss of each entry is multiplied by its weight.
    fixed_W
        Known columns (m, f) of W. They become the first components and do not change.
    fixed_H
        Known rows (g, n) of H, likewise.
    graph_W, graph_H
        Weights (m, m) of a graph between the rows of V, or (n, n) between its columns: a sparse matrix or an array, the
        address of one, or for an AnnData `"obsp/…"` or `"varp/…"`. Neighbours get similar rows of W, or columns of H;
        see `dnmf.graphs`. Weights are at least 0; the diagonal is ignored, and the larger of the weights of both
        directions counts.
    graph_weight
        Weight λ of both graphs, or a pair of those of `graph_W` and `graph_H`, relative to the data and to the mean
        degree: with 1, neighbours pull about as hard as the data.
    target_W, target_H, target_weight
        Matrices (m, r) and (r, n) that a factor is pulled towards, by ½ τ ‖W − T‖² with the weight τ; NaN where there
        is no target.
    layer_weights, layered
        Weights of the losses of several layers, or `"greedy"` to fit each to the H of the one before, by any loss; and
        the factor that is a product of layers, `"W"` or `"H"`. Penalties may have a number for each layer.
    row_names, column_names
        Names of rows and columns, in place of those that V has: texts, or the path of a file with one name per line or
        a list in JSON. They are available as `Result.names` and saved in the store.
    l1_W, l2_W, l1_H, l2_H
        Penalties: a number, or one for every component (r,). Or a matrix with one for every entry, (m, r) for W and
        (r, n) for H, every row (m, 1) or every column (1, n).
    columns_W, rows_W, columns_H, rows_H
        `"simplex"`: the entries of every column (or row) of W (or H) sum to 1, as the abundances of the materials in a
        pixel do. The columns of H and the rows of W, by projected gradients, for the Frobenius loss. The columns of W
        or the rows of H, by the scale of the components, for every loss, where nothing else depends on that scale.
    upper_W, upper_H
        Largest value of an entry of W or H, for the Frobenius loss.
    volume_W, volume_H
        Weight of a penalty on the volume that the columns of W, or the rows of H, span, relative to the loss at the
        start, for the Frobenius loss: the most compact factor that fits (Fu et al. 2016; Leplat, Ang & Gillis 2019).
        Its columns, or rows, sum to 1, unless a constraint of the other factor sets their scale. By default such a run
        starts with `init="spa"` or `"spa_rows"`. 0.2 to 0.5 is usual.
    forget, shuffle, sweeps, seed, n_runs, tol
        See `Settings`.
    max_passes, max_seconds, checkpoint_every, keep_checkpoints, memory_limit, threads
        See `Settings`.

    Returns
    -------
    Result
        W (m, r), H (r, n), the `history` of the passes, `verdict` and `converged`.

    Raises
    ------
    DnmfError
        If the matrix, an option or the store is not valid; before the first pass where possible.

    Examples
    --------
    >>> import numpy as np
    >>> V = np.array([[1.0, 0, 2, 1], [0, 3, 0, 1], [2, 0, 4, 2]])
    >>> result = factorize(V, rank=2, tol=1e-6)
    >>> float(abs(V - result.W @ result.H).max()) < 1e-4
    True
    """
    with (
        showing(watchers, progress) as seen,
        new_run(V, {"rank": rank, **options}, store, overwrite, seen, cancel, client) as run,
    ):
        for _ in run:
            pass
        return run.result()


@names_options()
@own_errors
@shows_options
def iterate(
    V: Any,
    rank: int | Sequence[int] | None = None,
    *,
    store: str | Path | None = None,
    overwrite: bool = False,
    watchers: Watch = (),
    progress: bool | None = None,
    client: Any = None,
    **options: Unpack[Options],
) -> Iterator[Result]:
    """Yield the result after every pass, for monitoring or for stopping the run by leaving the loop.

    The parameters are those of `factorize`, and are checked when the first result is requested. The last result is the
    one that `factorize` returns. The first one comes with the first record in `Result.history`: a pass of the
    initialisation, as of `init="nndsvd"`, yields none. If the long factor of a result is held on disk, it is valid
    until the end of the next pass.

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
    # When the caller leaves the loop, the iterator must save its state before the store is closed.
    with (
        showing(watchers, progress) as seen,
        new_run(V, {"rank": rank, **options}, store, overwrite, seen, None, client) as run,
        contextlib.closing(iter(run)) as states,
    ):
        for _ in states:
            yield run.result()


@names_options([*FIELDS, *DATA_OPTIONS])
@own_errors
def resume(
    store: Result | str | Path,
    V: Any = None,
    *,
    watchers: Watch = (),
    progress: bool | None = None,
    cancel: threading.Event | None = None,
    client: Any = None,
    **options: Unpack[Options],
) -> Result:
    """Resume a run from its newest checkpoint.

    Parameters
    ----------
    store
        Path or URL of the store of the run, or its result.
    V
        The matrix, if it has moved or was in memory; it must be the same matrix.
    watchers, progress, cancel, client
        As in `factorize`; the cluster may be a different one.
    options
        `weights`, graphs, targets and penalty matrices, if they have moved or were in memory; `row_names` and
        `column_names`, in place of the stored ones; and new values of `tol`, `max_passes`, `max_seconds`,
        `checkpoint_every`, `keep_checkpoints`, `memory_limit` and `threads`.

    Returns
    -------
    Result
        As from `factorize`.

    Raises
    ------
    StoreError
        If there is no store, it is in use, or it belongs to another matrix or to other settings.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> V, folder = np.random.default_rng(0).random((6, 8)), tempfile.mkdtemp()
    >>> _ = factorize(V, rank=2, solver="hals", max_passes=5, store=f"{folder}/run.zarr")
    >>> resume(f"{folder}/run.zarr", V, max_passes=8).passes
    8
    """
    path = store_of(store)
    with showing(watchers, progress) as seen, old_run(path, V, dict(options), seen, cancel, client) as run:
        for _ in run:
            pass
        return run.result()


def load(store: str | Path) -> Result:
    """Load the final factors from a store, or those of its newest checkpoint; V is not needed.

    Raises
    ------
    StoreError
        If there is no store, or it has no valid checkpoint.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> _ = factorize(np.eye(4), rank=2, max_passes=5, store=f"{folder}/run.zarr")
    >>> load(f"{folder}/run.zarr").H.shape
    (2, 4)
    """
    return stored_result(store_of(store))


Result._operations = cast(Operations, sys.modules[__name__])
