"""Open a matrix of any kind as a source."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import scipy.sparse
import zarr

from dnmf.errors import DataError, DnmfError, exhausted
from dnmf.settings import Missing
from dnmf.sources.addresses import KNOWN, MARK, Address
from dnmf.sources.base import Axis, Layout, Source, relabelled
from dnmf.sources.blocks import is_sparse_array
from dnmf.sources.dask_array import check_sizes, open_dask
from dnmf.sources.file_kinds import opener_of, opener_of_name
from dnmf.sources.formats.column_major import is_transposed
from dnmf.sources.formats.tables import open_arrow
from dnmf.sources.formats.tenx_folder import hint_below
from dnmf.sources.formats.xarray_array import open_dataarray
from dnmf.sources.formats.zarr_group import location_of, open_array, open_group, open_known_group, open_node
from dnmf.sources.formats.zip_store import ENDING, METADATA, address_in_zip, is_zip, store_at
from dnmf.sources.frames import open_dask_frame, open_pandas, open_polars
from dnmf.sources.joining import open_several, with_weights
from dnmf.sources.memory import SparseSource, array_of, from_sparse, open_numpy, recut, unmasked
from dnmf.sources.names import NO_NAMES, Names
from dnmf.sources.prepared import Prepared
from dnmf.sources.read_errors import reading_part
from dnmf.sources.readable import check_readable, in_store, no_zarr, refuse_texts, unknown_kind
from dnmf.sources.reopened import ReopenableSource
from dnmf.sources.unfolding import Axes, Unfolded, Unfolding, unfolding_of
from dnmf.storage.urls import is_url

# The kinds of results in a group.
OF_RUN, OF_RANKS, OF_WEIGHTS = "the store of a run", "a survey of ranks", "a survey of graph weights"


def open_matrix(
    V: Any,
    streamed: Axis | None = None,
    weights: Any = None,
    bounds: Sequence[int] | None = None,
    names: Names = NO_NAMES,
    missing: Missing = "none",
    axes: Axes | Unfolding | None = None,
) -> Source:
    """Open a matrix to be read block by block, alone or with the weights of its entries.

    Parameters
    ----------
    V
        A NumPy array, a SciPy sparse matrix or array (CSR or CSC), a Dask array with blocks of either or of
        `sparse.COO`, a DataFrame of pandas, polars or Dask, a pyarrow Table, an xarray DataArray, an AnnData or a part
        of one, an array or group of h5py or zarr, or the address of a matrix: the path or URL of a Zarr array or group,
        or the path of a `.npy`, `.npz`, `.mat`, `.h5ad`, `.h5`, `.loom`, `.nc`, `.parquet`, `.csv`, `.txt`, `.mtx`,
        `.svm`, `.tif` or `.hdr` file, of a folder of 10x counts, or of raw numbers. `::` and a part name one of several
        in it, as in `data.h5ad::layers/counts`, `file.h5::group/dataset`, `raw.bin::float32,2000x1000`. A source, or a
        matrix prepared by `dnmf.preprocessing`, is returned unchanged. A list or a pattern of paths is a join.
    streamed
        The axis to cut into blocks, `"rows"` or `"columns"`; by default the matrix decides.
    weights
        An array, a sparse matrix or a frame in memory, or any other kind of V with the same blocks. If both have names,
        weights in memory are brought into the order of V.
    bounds
        The bounds of the blocks of a matrix in memory in an earlier run, maybe of another version.
    missing
        With `"nan"`, masked entries of an array become NaN, which is missing; otherwise they are refused.
    names
        Names given for V, to compare with those of the weights.
    axes
        The axes of an array that make the rows and columns, unless V names them itself; or the `Unfolding` of another
        array, in whose way one of as many axes is unfolded.

    Returns
    -------
    Source
        Its `layout` has the shape and the blocks, and `read` returns a block.

    Raises
    ------
    DataError
        If V is of another kind, not a matrix, empty, or not of real numbers.

    Examples
    --------
    >>> open_matrix(np.ones((3, 5))).layout.shape
    (3, 5)
    """
    refuse_texts(V)
    if weights is not None:
        values = open_matrix(V, streamed, bounds=bounds, missing=missing, axes=axes)
        return with_weights(values, weights, names, open_matrix)
    source = _open(V, streamed, missing, axes)
    return source if source is V else recut(source, bounds)


def _open(V: Any, streamed: Axis | None, missing: Missing, axes: Axes | Unfolding | None) -> Source:
    """Open a matrix of any kind, without weights; a source is returned unchanged."""
    join = open_several(V, open_matrix, streamed, missing, axes)
    if join is not None:
        return join
    if isinstance(V, Unfolded):
        return _open(V.array, streamed, missing, V.axes)
    if isinstance(V, Prepared):
        if streamed not in (None, V.axis):
            raise DataError(
                f"V was prepared to be read along its {V.axis}, and is to be read along its {streamed}; give a matrix "
                f"that is cut along its {streamed} to be prepared."
            )
        return V
    if isinstance(getattr(V, "layout", None), Layout):
        given: Source = V
        return given
    if isinstance(V, (str, Path)):
        if not str(V).strip():
            raise DataError(f"V is an empty text; give {KNOWN}.")
        return open_place(Address.of(V).with_axes(axes), streamed)
    if isinstance(V, (zarr.Array, zarr.Group)) and (found := address_in_zip(V)) is not None:
        return open_place(Address.of(found).with_axes(axes), streamed)
    if isinstance(V, zarr.Array):
        location = location_of(V)
        address = None if location is None else Address.of(location).with_axes(axes)
        return open_array(V, address, streamed, axes)
    if isinstance(V, zarr.Group):
        return open_known_group(V, streamed, axes)
    if isinstance(V, da.Array):
        check_sizes(V)
        return open_dask(V, streamed, missing, unfolding_of(V.shape, axes))
    if isinstance(V, np.ma.MaskedArray):
        V = unmasked(V, missing)
    if isinstance(V, (np.ndarray, list, tuple)):
        array = array_of(V)
        return open_numpy(array, streamed, unfolding_of(array.shape, axes))
    source = SparseSource(V, streamed) if scipy.sparse.issparse(V) else _open_foreign(V, streamed, axes)
    if source is None:
        kind = f"{type(V).__module__}.{type(V).__qualname__}"
        raise DataError(
            f"V is a {kind}; give a NumPy array, a SciPy CSR or CSC matrix, a Dask array, a "
            "DataFrame of pandas, polars or Dask, a pyarrow Table, an xarray DataArray, an AnnData, a "
            f"zarr.Array, or {KNOWN}."
        )
    check_axes_used(source, axes)
    return source


def _open_foreign(V: Any, streamed: Axis | None, axes: Axes | Unfolding | None) -> Source | None:
    """Open an object of an optional package, without importing it; None if it is unknown."""
    package, kind = type(V).__module__.partition(".")[0], type(V).__name__
    if package == "pandas" and kind == "DataFrame":
        return open_pandas(V, streamed)
    if package == "polars" and kind in ("DataFrame", "LazyFrame"):
        return open_polars(V, streamed)
    if package == "pyarrow" and kind == "Table":
        return open_arrow(V, streamed)
    if package == "dask" and kind == "DataFrame":
        return open_dask_frame(V, streamed)
    if package == "xarray" and hasattr(V, "dims") and hasattr(V, "variable"):
        return open_dataarray(V, streamed, axes)
    if package == "xarray":
        raise DataError("V is an xarray Dataset; give one of its variables, as data['counts'].")
    if is_sparse_array(V):
        return from_sparse(V, streamed)
    if package == "h5py" and kind in ("Dataset", "Group", "File"):
        return _open_h5py(V, streamed, axes)
    if package == "anndata" and kind == "AnnData":
        return _open_anndata(V, streamed)
    if package == "anndata" and kind == "Raw":
        return _annotated(V, open_matrix(V.X, streamed), "AnnData raw/X")
    if package == "anndata" and hasattr(V, "group"):  # the sparse X of one that is backed
        return open_matrix(V.group, streamed)
    return None


def _open_h5py(V: Any, streamed: Axis | None, axes: Axes | Unfolding | None) -> Source:
    """Open a dataset or a group of an HDF5 file that h5py has opened, by the path of the file."""
    if not V:
        raise DataError("V lies in an HDF5 file that has been closed; open it again, or give its path.")
    part = V.name.strip("/")
    if is_transposed(V.file, part, V):
        raise DataError(
            f"V is the dataset {part} of {V.file.filename}, which holds the transpose of its matrix, as in files of "
            f"MATLAB and loom; give '{V.file.filename}{MARK}{part}' for the matrix, or V[...] for the transpose."
        )
    return open_matrix(f"{V.file.filename}{MARK}{part}" if part else V.file.filename, streamed, axes=axes)


def _open_anndata(V: Any, streamed: Axis | None) -> Source:
    """Open X of an AnnData; one that is backed by a file is read from there.

    Raises
    ------
    DataError
        If it is a view of a backed one: the file holds more.
    """
    if V.isbacked and V.is_view:
        raise DataError(
            f"V is a part of the AnnData in {V.filename}, and only the whole file can be read block by block; give "
            "V.to_memory(), or V.copy(path), which writes the part into a file of its own."
        )
    if V.X is None and not V.isbacked:
        raise DataError(f"V is an AnnData without X; give one of its layers, as V.layers[name]{_layers(V)}.")
    return _annotated(V, open_matrix(V.filename if V.isbacked else V.X, streamed), "AnnData X")


def _annotated(V: Any, source: Source, what: str) -> Source:
    """Return the matrix of an AnnData, or of its raw data, with the names that it has now."""
    layout = source.layout
    names = Names.of(V.obs_names, V.var_names).checked(layout.user_shape)
    return relabelled(source, names=names, kind=f"{what}, {layout.kind}" if layout.location is None else layout.kind)


def _layers(V: Any) -> str:
    """List the names of the layers of an AnnData."""
    return f", of {', '.join(map(repr, V.layers))}" if len(V.layers) else ""


def open_place(address: Address, streamed: Axis | None) -> Source:
    """Open the matrix at an address."""
    path = Path(address.place)
    if is_url(address.place):
        if opener_of_name(path.name) is not None or path.name.lower().endswith(ENDING):
            raise in_store(str(address), path.name)
        source = _open_zarr(address, streamed)
        check_axes_used(source, address.axes)
        return source
    check_readable(path, str(address))
    opener = opener_of(path, address.part)
    with reading_part(str(address), str(address)):
        if opener is None and path.is_file() and not is_zip(path):
            raise unknown_kind(path, str(address))
        source = (opener or _open_zarr)(address, streamed)
    check_axes_used(source, address.axes)
    return source


def check_axes_used(source: Source, axes: Axes | Unfolding | None) -> None:
    """Raise DataError if axes were given for a matrix of another kind than an array with these axes."""
    layout, found = source.layout, source.layout.unfolding
    if isinstance(axes, Axes) and (found is None or Unfolding.of(found.shape, axes, found.names) != found):
        raise DataError(
            f"{layout.location or 'V'} is a matrix ({layout.kind}), and {axes} is for dense arrays; leave it out."
        )


def results_in(attributes: Mapping[str, Any]) -> str | None:
    """Return what the results in a group with these attributes are, in words; None without results.

    >>> results_in({"dnmf_survey": {"graph_weights": [0, 1]}})
    'a survey of graph weights'
    """
    if "dnmf" in attributes:
        return OF_RUN
    if "dnmf_survey" not in attributes:
        return None
    header = attributes["dnmf_survey"]
    return OF_WEIGHTS if isinstance(header, Mapping) and "graph_weights" in header else OF_RANKS


def check_not_results(group: zarr.Group, place: str) -> None:
    """Raise DataError if a group is the store of a run or of a survey."""
    found = results_in(group.attrs)
    if found is not None:
        raise DataError(f"{place} is {found}, not a matrix; `dnmf info {place}` names its matrix.")


def _open_zarr(address: Address, streamed: Axis | None) -> Source:
    """Open a Zarr array, or a matrix in a group."""
    remote = is_url(address.place)
    for name in () if remote else METADATA:
        file = Path(address.place, name)
        if file.exists() and not file.is_file():  # Zarr would wait for the first byte of a pipe
            raise DataError(f"{file} is not a regular file; give {KNOWN}.")
    try:
        node = open_node(store_at(address.place))
    except DnmfError:
        raise
    except Exception as error:
        if exhausted(error):
            raise
        hint = "" if remote else hint_below(Path(address.place))
        raise DataError(f"{no_zarr(address.place, error)}{hint}") from (None if remote else error)
    if isinstance(node, zarr.Group):
        if address.part is None:
            check_not_results(node, address.place)
        return open_group(node, address, streamed)
    if address.part is not None:
        raise DataError(f"{address.place} is a Zarr array, which has no parts; give it without {MARK}{address.part}.")
    return open_array(node, address, streamed)


ReopenableSource.opener = open_matrix
