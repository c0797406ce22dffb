"""Rewrite a matrix out of core, from whatever format it is in, as one that is read fast.

A dense matrix becomes a Zarr array, a sparse one a Zarr group with the parts of a CSR or CSC matrix, as AnnData stores
them. Both keep the names of rows and columns.

    dense                                   panels of whole chunks, each read and written once
    sparse, compressed by the same axis     block by block
    sparse, compressed by the other one,    sorted on the disk: entries are counted along the axis, distributed into
    or a list of entries                    buckets that fit into memory, and each bucket is sorted and written
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnmf.checkpoint import appearing, check_target
from dnmf.checks import parse_bytes
from dnmf.convert.compressors import COMPRESSORS, check_compressor
from dnmf.convert.dense import write_dense
from dnmf.convert.origin import open_origin
from dnmf.convert.sparse import write_entries, write_sparse
from dnmf.engine.plan import RUNTIME_BYTES
from dnmf.errors import SettingsError, unknown
from dnmf.kernels.floats import own_errors
from dnmf.run.open import inputs_of
from dnmf.sources.base import Axis, Source

__all__ = ["COMPRESSORS", "convert"]

AXES = ("rows", "columns")


@own_errors
def convert(
    origin: Any,
    target: str | Path,
    *,
    chunks: tuple[int, int] | None = None,
    by: Axis | None = None,
    compressor: str = "auto",
    memory_limit: int | str = "1GB",
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a matrix anew in Zarr, cut along one axis so that it is read fast.

    Parameters
    ----------
    origin
        Whatever V may be, as the address of an `.h5ad` file; also lists of entries of any length (`.csv`, `.parquet`,
        `.mtx`) and compressed `.npz` files, which cannot be factorised as they lie.
    target
        Path of the new array or group, or URL in an object store. It appears when it is whole, and not before.
    chunks
        Rows and columns of a chunk of a dense matrix; by default, full panels across the shorter axis of about 16 MB.
    by
        The axis to cut along, `"rows"` (CSR) or `"columns"` (CSC). By default that of a compressed sparse origin, else
        the longer one.
    compressor
        `"none"`, `"zstd"`, `"lz4"`, or `"auto"`: zstd where it makes a sample at least 3 times smaller, else none.
    memory_limit
        Bytes that may be held; the more, the fewer times a badly cut matrix is read.
    overwrite
        Replace an array or sparse matrix at the target that dnmf wrote. Nothing else is deleted, and never the origin.
    on_progress
        Called with bytes done and bytes in all.

    Raises
    ------
    DataError, SettingsError, StoreError
        If there is no matrix, an option is unknown, or the target exists.

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
    check_compressor(compressor)
    if by not in (None, *AXES):
        raise unknown("by", by, AXES)
    limit = parse_bytes("memory_limit", memory_limit)
    room = max(limit - RUNTIME_BYTES, limit // 4) // 4  # a region is there as it is stored, decoded, and on its way out
    check_target(target, overwrite, [origin])
    with open_origin(origin, target) as (source, folder):
        if chunks is not None and not (isinstance(source, Source) and not source.layout.sparse):
            raise SettingsError(
                f"chunks={chunks!r} is for dense matrices, and this one is sparse; say by='rows' or by='columns'."
            )
        inputs = inputs_of(source) if isinstance(source, Source) else []
        with appearing(target, overwrite, [origin, *inputs]) as draft:
            if not isinstance(source, Source):
                write_entries(source, draft, folder, by, compressor, room, on_progress)
            elif source.layout.sparse:
                write_sparse(source, draft, folder, by, compressor, room, on_progress)
            else:
                write_dense(source, draft, chunks, by, compressor, room, on_progress)
