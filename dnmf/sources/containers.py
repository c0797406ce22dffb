"""What lies in a group of HDF5 or of Zarr, which are alike to look at: matrices, sparse ones, AnnData, 10x counts."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from dnmf.errors import DataError
from dnmf.sources.addresses import Address, NotInPlace
from dnmf.sources.layout import Axis
from dnmf.sources.names import NO_NAMES, Names

DEPTH, SHOWN = 4, 20
# What the rows and columns of the parts of an AnnData are named after.
FRAMES = {
    "X": ("obs", "var"),
    "layers": ("obs", "var"),
    "raw": ("obs", "raw/var"),
    "obsm": ("obs", None),
    "varm": ("var", None),
    "obsp": ("obs", "obs"),
    "varp": ("var", "var"),
}


class Found(NamedTuple):
    """A matrix in a group: its node, what it is a part of, its names, and shape and axis where it is compressed."""

    node: Any
    what: str
    names: Names
    form: tuple[tuple[int, int], Axis] | None = None


def find(root: Any, address: Address, kind: str) -> Found:
    """Find the matrix that an address means in an opened group.

    Raises
    ------
    NotInPlace
        If there are several, and the address names none.
    DataError
        If there is none.
    """
    node = root if address.part is None else root.get(address.part)
    if node is None:
        raise DataError(f"{address.place} holds no {address.part}; {_listing(root, address)}")
    path = address.part or ""
    while not is_matrix(node):
        inside = ["X"] if is_anndata(node) and "X" in node else [name for name, _ in matrices(node)]
        if len(inside) != 1:
            raise NotInPlace(
                f"{address} is {kind} group, not an array; {_listing(node, address)}",
                {"holds": ", ".join(inside[:SHOWN]) or "no matrix"},
            )
        node, path = node[inside[0]], f"{path}/{inside[0]}".strip("/")
    form = None if not hasattr(node, "keys") else _form_of(node, address)
    around, inner = _enclosing(root, path)
    if around is not None:
        return Found(node, f"AnnData {inner}", _names_in(around, inner), form)
    if _is_counts(node):
        return Found(node, "10x counts", _names_of_counts(node), form)
    return Found(node, "", _names_beside(node), form)


def is_matrix(node: Any) -> bool:
    """Say whether a node is an array of two axes, or a group that holds a compressed sparse matrix."""
    if hasattr(node, "keys"):
        return {"data", "indices", "indptr"} <= set(node.keys())
    return len(node.shape) == 2


def is_anndata(node: Any) -> bool:
    """Say whether a group is an AnnData, of today's kind or of those before 0.8."""
    return hasattr(node, "keys") and (
        text_of(node.attrs.get("encoding-type")) == "anndata" or {"X", "obs", "var"} <= set(node.keys())
    )


def matrices(group: Any, depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    """Yield the matrices of numbers below a group, by their paths."""
    if not hasattr(group, "keys") or depth == 0:
        return
    for name in sorted(group.keys()):
        node = group[name]
        if is_matrix(node):
            if hasattr(node, "keys") or node.dtype.kind in "buif":
                yield name, node
        else:
            yield from ((f"{name}/{inner}", matrix) for inner, matrix in matrices(node, depth - 1))


def text_of(value: Any) -> str | None:
    """Return an attribute as a text."""
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)


def _listing(node: Any, address: Address) -> str:
    """Say which matrices there are, and how to name one."""
    names = [name for name, _ in matrices(node)]
    if not names:
        return "it holds no array of two axes."
    part = "" if address.part is None else f"{address.part}/"
    more = "" if len(names) <= SHOWN else f" and {len(names) - SHOWN} more"
    example = address.of_part(part + names[0])
    return f"give one of its arrays: {', '.join(names[:SHOWN])}{more}; as {example}"


def _form_of(node: Any, address: Address) -> tuple[tuple[int, int], Axis]:
    """Return the shape of a compressed sparse matrix, and the axis that it is compressed by."""
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
        raise DataError(f"{address} does not say whether it is CSR or CSC; set its attribute encoding-type.")
    if kind.startswith("csr") or (by_rows and not kind.startswith("csc")):
        return (rows, columns), "rows"
    return (rows, columns), "columns"


def _is_counts(node: Any) -> bool:
    """Say whether a group holds counts as 10x Genomics stores them: CSC of features × barcodes."""
    return hasattr(node, "keys") and {"barcodes", "data", "indices", "indptr", "shape"} <= set(node.keys())


def _names_of_counts(group: Any) -> Names:
    for path in ("features/name", "features/id", "gene_names", "genes"):
        if path in group:
            return Names.of(group["barcodes"][...], group[path][...])
    return Names.of(group["barcodes"][...], None)


def _names_beside(node: Any) -> Names:
    """Return the names that `dnmf convert` keeps in a sparse matrix: frames as those of an AnnData."""
    if not hasattr(node, "keys"):
        return NO_NAMES
    return Names.of(*(_index_of(node[name]) if name in node else None for name in ("obs", "var")))


def _enclosing(root: Any, path: str) -> tuple[Any, str]:
    """Return the innermost AnnData around a path, if there is one, and the path within it."""
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
    """Return the index of a data frame as AnnData stores it: the array that it names, or a field of an old one."""
    if not hasattr(frame, "keys"):
        return frame[frame.dtype.names[0]] if frame.dtype.names else None
    name = text_of(frame.attrs.get("_index")) or "_index"
    if name not in frame:
        return None
    index = frame[name]
    if not hasattr(index, "keys"):
        return index[...]
    if "codes" in index:
        return index["categories"][...][index["codes"][...]]
    return index["values"][...]
