"""Nodes of HDF5 and Zarr groups; those that cannot be opened are skipped in searches."""

from collections.abc import Iterator
from typing import Any

import zarr
from zarr.core.sync import sync

from dnmf.sources.formats.hdf5_filters import check_filters

# The attribute of MATLAB for the class of a variable, the classes that are numbers, and groups that hold no variables.
CLASS = "MATLAB_class"
NUMBERS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {"double", "single", "logical"}
NO_VARIABLES = ("#refs#", "#subsystem#")


def is_group(node: Any) -> bool:
    """Return whether a node is a group."""
    return hasattr(node, "keys")


def names_in(group: Any) -> list[str]:
    """Return the sorted names in a group, even if zarr cannot open one of the nodes."""
    try:
        return sorted(group.keys())
    except Exception:
        if not isinstance(group, zarr.Group):
            raise
        return sorted(sync(_listed(group)))


async def _listed(group: zarr.Group) -> list[str]:
    listed = group.store_path.store.list_dir(group.path)
    return [name async for name in listed if not name.startswith((".z", "zarr.json"))]


def child(group: Any, path: str) -> Any:
    """Return a node below a group, or None if it does not exist or cannot be opened."""
    try:
        return group[path]
    except Exception:
        return None


def axes_of(node: Any) -> int | None:
    """Return the number of axes of an array; None for an empty one, and for other nodes, as a named datatype."""
    shape = getattr(node, "shape", None)
    return None if shape is None or is_group(node) else len(shape)


def is_matrix(node: Any) -> bool:
    """Return whether a node is an array of two axes or more, or a group that holds a compressed sparse matrix."""
    if is_group(node):
        return {"data", "indices", "indptr"} <= set(names_in(node)) or is_matlab_sparse(node)
    return (axes_of(node) or 0) > 1


def is_matlab_sparse(node: Any) -> bool:
    """Return whether a node is a sparse variable of MATLAB."""
    return is_group(node) and "MATLAB_sparse" in node.attrs and "jc" in node


def has_numbers(node: Any) -> bool:
    """Return whether an array holds numbers; those of MATLAB may be the codes of characters."""
    return node.dtype.kind in "buif" and text_of(node.attrs.get(CLASS)) in (None, *NUMBERS)


def text_of(value: Any) -> str | None:
    """Convert an attribute to a text."""
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)


def matrices(group: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the matrices of numbers below a group, by their paths; links that lead back up are not followed."""
    if not is_group(group):
        return
    for name in names_in(group):
        node = child(group, name)
        if node is None or name in NO_VARIABLES:
            continue
        if is_matrix(node):
            if is_group(node) or (has_numbers(node) and 0 not in node.shape):
                yield name, node
        elif is_group(node) and all(node != other for other in (*above, group)):
            yield from ((f"{name}/{inner}", matrix) for inner, matrix in matrices(node, (*above, group)))


def values_of(node: Any) -> Any:
    """Return the content of an array."""
    check_filters(node)
    return node[...]


def broken_link(root: Any, path: str) -> str | None:
    """Describe the target of a broken link of HDF5 along a path, or return None."""
    steps = path.split("/")
    for count in range(1, len(steps) + 1):
        inner = "/".join(steps[:count])
        if child(root, inner) is None and not isinstance(root, zarr.Group):
            link = root.get(inner, getlink=True)
            target = getattr(link, "path", None)
            file = getattr(link, "filename", None)
            return None if target is None else f"{target} of {file}" if file else str(target)
    return None
