"""Matrices in groups of HDF5 or Zarr, whose interfaces are alike: arrays, AnnData, 10x counts, loom, MATLAB."""

from typing import Any, NamedTuple

import numpy as np

from dnmf.errors import DataError
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.base import Axis
from dnmf.sources.formats.column_major import form_of_matlab, is_loom, is_transposed, likely, names_of_loom
from dnmf.sources.formats.nodes import (
    CLASS,
    axes_of,
    broken_link,
    child,
    has_numbers,
    is_group,
    is_matlab_sparse,
    is_matrix,
    matrices,
    names_in,
    text_of,
    values_of,
)
from dnmf.sources.names import NO_NAMES, Names

SHOWN = 20
# The frames that name the rows and columns of each part of an AnnData.
FRAMES = {
    "X": ("obs", "var"),
    "layers": ("obs", "var"),
    "raw": ("obs", "raw/var"),
    "raw.X": ("obs", "raw.var"),
    "obsm": ("obs", None),
    "varm": ("var", None),
    "obsp": ("obs", "obs"),
    "varp": ("var", "var"),
}


# The names of the arrays of a compressed sparse matrix.
PARTS = ("data", "indices", "indptr")
MATLAB_PARTS = ("data", "ir", "jc")


class Found(NamedTuple):
    """A matrix in a group: its node, its container and its names.

    Attributes
    ----------
    form, parts
        The shape and the axis of a compressed sparse matrix, and the names of its arrays; None for an array.
    transposed
        Whether an array holds the transpose of the matrix.
    """

    node: Any
    what: str
    names: Names
    form: tuple[tuple[int, int], Axis] | None = None
    parts: tuple[str, str, str] = PARTS
    transposed: bool = False


def find(root: Any, address: Address, kind: str) -> Found:
    """Find the matrix of an address in an opened group.

    Raises
    ------
    NotInPlace
        If there are several, and the address does not name one.
    DataError
        If there is none.
    """
    path, node = _node_at(root, address)
    while not is_matrix(node):
        if not is_group(node):
            raise _too_few_axes(node, address)
        inside = _inside(node)
        if len(inside) != 1:
            sentence = f"{address} is {kind} group, not an array; {_listing(node, address)}"
            raise NotInPlace(sentence, {"holds": ", ".join(inside[:SHOWN])}) if inside else DataError(sentence)
        node, path = node[inside[0]], f"{path}/{inside[0]}".strip("/")
    if is_matlab_sparse(node):
        return Found(node, "MATLAB variable", NO_NAMES, (form_of_matlab(node), "columns"), MATLAB_PARTS)
    if not is_group(node) and is_transposed(root, path, node):
        if not has_numbers(node):
            word = "holds complex numbers" if node.dtype.names else f"is of class {text_of(node.attrs[CLASS])}"
            raise DataError(f"{address} {word}; give a variable of real numbers.")
        what, names = ("loom matrix", names_of_loom(root)) if is_loom(root) else ("MATLAB variable", NO_NAMES)
        return Found(node, what, names, transposed=True)
    form = None if not is_group(node) else _form_of(node, address)
    around, inner = _enclosing(root, path)
    if around is not None:
        return Found(node, f"AnnData {inner}", _names_in(around, inner), form)
    if _is_counts(node):
        return Found(node, "10x counts", _names_of_counts(node), form)
    return Found(node, "", _names_beside(node), form)


def _inside(node: Any) -> list[str]:
    """Return the paths of the matrices below a group that may be meant by its address."""
    if is_anndata(node) and is_matrix(child(node, "X")):
        return ["X"]
    return ["matrix"] if is_loom(node) else likely(dict(matrices(node)))


def _node_at(root: Any, address: Address) -> tuple[str, Any]:
    """Return the path and the node of an address; AnnData before 0.7 has raw.X for raw/X."""
    part = address.part
    if part is None:
        return "", root
    node = root.get(part)
    if node is None and part == "raw/X":
        part, node = "raw.X", root.get("raw.X")
    if node is None:
        link = broken_link(root, address.part or "")
        if link is not None:
            raise DataError(
                f"{address} is a link to {link}, which cannot be opened; put that back, or give the file that it is in."
            )
        raise DataError(f"{address.place} holds no {address.part}; {_listing(root, Address(address.place))}")
    return part, node


def _too_few_axes(node: Any, address: Address) -> DataError:
    """Return the error for an array that is not a matrix."""
    axes = axes_of(node)
    if axes is None:
        return DataError(f"{address} does not hold numbers; give an array of two axes or more.")
    return DataError(f"{address} has {axes} dimension(s), shape {node.shape}; give an array of two axes or more.")


def is_anndata(node: Any) -> bool:
    """Return whether a group is an AnnData of any version."""
    return is_group(node) and (
        text_of(node.attrs.get("encoding-type")) == "anndata" or {"X", "obs", "var"} <= set(names_in(node))
    )


def _listing(node: Any, address: Address) -> str:
    """List the matrices, with an example of an address."""
    names = [name for name, _ in matrices(node)]
    if not names:
        return "it holds no array of two axes or more."
    part = "" if address.part is None else f"{address.part}/"
    more = "" if len(names) <= SHOWN else f" and {len(names) - SHOWN} more"
    example = address.of_part(part + names[0])
    return f"give one of its arrays: {', '.join(names[:SHOWN])}{more}; as {example}"


def _form_of(node: Any, address: Address) -> tuple[tuple[int, int], Axis]:
    """Return the shape of a compressed sparse matrix, and the axis of its compression."""
    kind = text_of(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format"))) or ""
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    if shape is None and "shape" in node:
        shape = node["shape"][...]
    if shape is None or len(shape) != 2:
        raise DataError(
            f"{address} has data, indices and indptr, but no shape; give a CSR or CSC matrix with its shape."
        )
    rows, columns = (int(size) for size in shape)
    if _is_counts(node):
        return (columns, rows), "rows"
    by_rows = int(node["indptr"].shape[0]) == rows + 1
    if not kind.startswith(("csr", "csc")) and rows == columns:
        raise DataError(f"{address} does not state whether it is CSR or CSC; set its attribute encoding-type.")
    if kind.startswith("csr") or (by_rows and not kind.startswith("csc")):
        return (rows, columns), "rows"
    return (rows, columns), "columns"


def _is_counts(node: Any) -> bool:
    """Return whether a group holds counts of 10x Genomics: CSC of features × barcodes."""
    return is_group(node) and {"barcodes", "data", "indices", "indptr", "shape"} <= set(names_in(node))


def _names_of_counts(group: Any) -> Names:
    barcodes = values_of(group["barcodes"])
    for path in ("features/name", "features/id", "gene_names", "genes"):
        if path in group:
            return Names.of(barcodes, values_of(group[path]))
    return Names.of(barcodes, None)


def _names_beside(node: Any) -> Names:
    """Return the names that `dnmf convert` stores with a sparse matrix, in frames like those of an AnnData."""
    if not is_group(node):
        return NO_NAMES
    return Names.of(*(_index_of(node[name]) if name in node else None for name in ("obs", "var")))


def _enclosing(root: Any, path: str) -> tuple[Any, str]:
    """Return the innermost AnnData around a path, or None, and the path within it."""
    steps = path.split("/")
    for count in range(len(steps) - 1, -1, -1):
        group = root["/".join(steps[:count])] if count else root
        if is_anndata(group):
            return group, "/".join(steps[count:])
    return None, path


def _names_in(around: Any, inner: str) -> Names:
    """Return the names of a part of an AnnData."""
    frames = FRAMES.get(inner.partition("/")[0], (None, None))
    found = [_index_of(around[frame]) if frame is not None and frame in around else None for frame in frames]
    return Names.of(*found)


def _index_of(frame: Any) -> Any:
    """Return the index of a data frame of an AnnData: the array that it names, or the first field of an old one."""
    if not is_group(frame):
        fields = frame.dtype.names
        return values_of(frame)[fields[0]] if fields else None
    name = text_of(frame.attrs.get("_index")) or "_index"
    if name not in frame:
        return None
    index = frame[name]
    if not is_group(index):
        return values_of(index)
    if "codes" in index:
        # a missing label has the code -1
        labels = np.append(values_of(index["categories"]).astype(object), np.nan)
        return labels[values_of(index["codes"])]
    return values_of(index["values"])
