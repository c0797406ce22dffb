"""The door: whatever holds a matrix goes in, and a source comes out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import scipy.sparse
import zarr

from dnmf.errors import DataError, DnmfError
from dnmf.kernels.steps import Step
from dnmf.sources.dask_array import DaskSource
from dnmf.sources.layout import Axis, Source
from dnmf.sources.memory import ArraySource, SparseSource
from dnmf.sources.npy_file import NpySource
from dnmf.sources.objects import Bucket, zarr_store
from dnmf.sources.prepared import Prepared
from dnmf.sources.urls import check_url, is_url, told
from dnmf.sources.weighted import MemoryWeights, WeightedSource
from dnmf.sources.zarr_array import ZarrSource


def open_matrix(V: Any, streamed: Axis | None = None, weights: Any = None) -> Source:
    """Open a matrix to be read block by block, alone or with the weights of its entries.

    Parameters
    ----------
    V
        A NumPy array, a SciPy sparse matrix or array (CSR or CSC), a Dask array, a `zarr.Array`, the path or URL of
        a Zarr array, the path of a `.npy` file, or any of these as `dnmf.preprocessing` prepares it.
    streamed
        The axis to cut into blocks, `"rows"` or `"columns"`, where that is not for the matrix to say.
    weights
        An array or a sparse matrix in memory, or anything else that V may be and that is cut like V.

    Raises
    ------
    DataError
        If it is none of these, not a matrix, empty, or of a dtype that is no real number.

    Examples
    --------
    >>> open_matrix(np.ones((3, 5))).layout.shape
    (3, 5)
    """
    if weights is not None:
        values = open_matrix(V, streamed)
        in_memory = isinstance(weights, (np.ndarray, list, tuple)) or scipy.sparse.issparse(weights)
        axis: Axis = "rows" if values.layout.transposed else "columns"
        return WeightedSource(
            values, MemoryWeights(weights, values.layout) if in_memory else open_matrix(weights, axis)
        )
    if isinstance(V, Prepared):
        if streamed not in (None, V.axis):
            raise DataError(
                f"V was prepared to be read along its {V.axis}, and is to be read along its {streamed}; give a matrix "
                f"that is cut along its {streamed} to be prepared."
            )
        return V
    if isinstance(V, (str, Path)):
        return _open_path(str(V), streamed)
    if isinstance(V, zarr.Array):
        return ZarrSource(V, _location(V), streamed)
    if isinstance(V, da.Array):
        return DaskSource(V, streamed)
    if scipy.sparse.issparse(V):
        return SparseSource(V, streamed)
    if isinstance(V, np.ma.MaskedArray):
        raise DataError("V is a masked array, and every entry of V counts; give V.filled(0), or V.data.")
    if isinstance(V, (np.ndarray, list, tuple)):
        return ArraySource(V, streamed)
    raise DataError(
        f"V is a {type(V).__module__}.{type(V).__qualname__}; give a NumPy array, a SciPy CSR or CSC matrix, a Dask "
        "array, a zarr.Array, or the path of a Zarr array or .npy file."
    )


def open_prepared(V: Any, steps: Sequence[Step], streamed: Axis | None = None, weights: Any = None) -> Source:
    """Open a matrix and prepare it by the steps of a run; one that was prepared by the same is taken as it is.

    Raises
    ------
    DataError
        If V was prepared otherwise, or if the steps were fitted to a matrix of another shape.
    """
    if isinstance(V, Prepared):
        if steps and V.steps != tuple(steps):
            raise DataError(
                "V was prepared otherwise than the matrix that was factorised; give it as it is, and it is prepared as "
                "that one was."
            )
    elif steps:
        V = Prepared(open_matrix(V, streamed), steps)
    return open_matrix(V, streamed, weights)


def _open_path(given: str, streamed: Axis | None) -> Source:
    remote = is_url(given)
    path = Path(given).expanduser()
    if not remote and not path.exists():
        raise DataError(f"{given} does not exist; give the path of a Zarr array or of a .npy file.")
    if not remote and path.is_file():
        if path.suffix != ".npy":
            raise DataError(f"{given} is a file of unknown kind; give a Zarr array (a folder) or a .npy file.")
        return NpySource(path, streamed)
    location = check_url(given) if remote else str(path.absolute())
    try:
        node = zarr.open(zarr_store(location) if remote else location, mode="r")
    except DnmfError:
        raise
    except Exception as error:
        raise DataError(
            f"{given} is no Zarr array ({type(error).__name__}: {told(error)}); "
            "give the path or URL of a Zarr array, or the path of a .npy file."
        ) from (None if remote else error)
    if not isinstance(node, zarr.Array):
        names = ", ".join(sorted(name for name, _ in node.arrays())[:5])
        hint = f"give one of its arrays: {names}" if names else "it holds no array"
        raise DataError(f"{given} is a Zarr group, not an array; {hint}.")
    return ZarrSource(node, location, streamed)


def _location(array: zarr.Array[Any]) -> str | None:
    """Return where an opened array can be opened again, if that can be known."""
    if isinstance(array.store, Bucket):
        return str(array.store_path)
    url = str(array.store_path)
    return url.removeprefix("file://") if url.startswith("file://") else None
