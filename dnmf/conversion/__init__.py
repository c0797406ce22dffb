"""Conversion of a matrix to Zarr, for fast reading, within a memory limit.

A dense matrix becomes a Zarr array, a sparse one a Zarr group with the arrays of a CSR or CSC matrix, as in AnnData.
Both keep the names of rows and columns.

    dense                                   panels of whole chunks, each read and written once
    sparse, compressed along the same axis  block by block
    sparse, compressed along the other one, sorted on disk: entries are counted along the axis, distributed into buckets
    or a list of entries                    that fit into memory, and each bucket is sorted and written
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnmf.aliases import names_options
from dnmf.checkpoint import appearing, check_target
from dnmf.checks import choice, parse_bytes
from dnmf.choices import Axis, Compressor
from dnmf.conversion.dense import write_dense
from dnmf.conversion.job import Job
from dnmf.conversion.origin import open_origin
from dnmf.conversion.sparse import write_entries, write_sparse
from dnmf.engine.plan import RUNTIME_BYTES
from dnmf.errors import SettingsError
from dnmf.kernels.floats import own_errors
from dnmf.run.display import share_done
from dnmf.run.open import inputs_of
from dnmf.sources.base import Source

__all__ = ["convert"]


@names_options()
@own_errors
def convert(
    origin: Any,
    target: str | Path,
    *,
    chunks: tuple[int, int] | None = None,
    by: Axis | None = None,
    compressor: Compressor = "auto",
    memory_limit: int | str = "1GB",
    overwrite: bool = False,
    progress: bool | Callable[[int, int], None] | None = None,
) -> None:
    """Rewrite a matrix as Zarr, cut along one axis for fast reading.

    Parameters
    ----------
    origin
        Matrix (m, n) of any kind that `dnmf.factorize` takes; the shape of an array of several axes is kept. Also
        tables and lists of entries of any length (`.csv`, `.parquet`, `.mtx`) and compressed `.npz` files, which have
        to be converted first.
    target
        Path or URL of the new array or group. It appears once it is complete.
    chunks
        Rows and columns of a chunk of a dense matrix; by default, panels of about 16 MB across the shorter axis.
    by
        Axis to cut along: `"rows"` (CSR) or `"columns"` (CSC). By default that of a compressed sparse origin, else the
        longer one.
    compressor
        `"none"`, `"zstd"`, `"lz4"`, or `"auto"`: zstd if it makes a sample at least 3 times smaller, else none.
    memory_limit
        Memory limit in bytes or as a text such as `"1GB"`; with a higher limit, a matrix with unsuitable chunks is read
        fewer times.
    overwrite
        Replace an array or sparse matrix written by dnmf at the target. Nothing else is deleted, and never the origin.
    progress
        True shows a bar, None on a terminal alone, False nothing. Or a function to call with the bytes done and the
        bytes in total.

    Raises
    ------
    DataError
        If the origin is not a matrix.
    SettingsError
        If an option is not valid.
    StoreError
        If the target exists, or cannot be written.

    Examples
    --------
    >>> import numpy as np, scipy.sparse, tempfile, zarr
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/V.npy", np.ones((4, 10), np.float32))
    >>> convert(f"{folder}/V.npy", f"{folder}/V.zarr", chunks=(4, 5))
    >>> zarr.open_array(f"{folder}/V.zarr").chunks
    (4, 5)
    >>> scipy.sparse.save_npz(f"{folder}/S.npz", scipy.sparse.eye_array(4, 10, format="csr"))
    >>> convert(f"{folder}/S.npz", f"{folder}/S.zarr", by="columns")
    >>> zarr.open_group(f"{folder}/S.zarr").attrs["encoding-type"]
    'csc_matrix'
    """
    choice("compressor", compressor, Compressor)
    if by is not None:
        choice("by", by, Axis)
    limit = parse_bytes("memory_limit", memory_limit)
    # A region is held as it is stored, decoded, and encoded again.
    memory = max(limit - RUNTIME_BYTES, limit // 4) // 4
    check_target(target, overwrite, [origin])
    with open_origin(origin, target) as (source, folder), share_done(progress, "convert") as report:
        if chunks is not None and not (isinstance(source, Source) and not source.layout.sparse):
            raise SettingsError(
                f"chunks={chunks!r} is for dense matrices, and this one is sparse; give by='rows' or by='columns'."
            )
        inputs = inputs_of(source) if isinstance(source, Source) else []
        with appearing(target, overwrite, [origin, *inputs]) as draft:
            job = Job(draft, folder, by, compressor, memory, report)
            if not isinstance(source, Source):
                write_entries(source, job)
            elif source.layout.sparse:
                write_sparse(source, job)
            else:
                write_dense(source, chunks, job)
