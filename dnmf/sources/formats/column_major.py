"""Matrices that HDF5 files hold transposed: variables of MATLAB 7.3, and those of loom, which are genes × cells.

MATLAB stores numbers column by column, so that HDF5 has its axes in reverse order. A sparse variable is a group:

    data, ir, jc        values, their rows, and the start of each column, as in CSC
    MATLAB_sparse       attribute with the number of rows
"""

from collections.abc import Sequence
from typing import Any

import zarr

from dnmf.sources.formats.nodes import CLASS, child, is_group, is_matlab_sparse, names_in, text_of, values_of
from dnmf.sources.names import Names

# The attributes of a loom file with the names of cells and genes, by precedence: its specification, and AnnData.
CELLS = ("CellID", "obs_names", "cell_names", "barcode", "Barcode")
MATRICES = ("matrix", "layers")
GENES = ("Gene", "var_names", "gene_names", "Accession")


def is_loom(root: Any) -> bool:
    """Return whether a group is a loom file."""
    return (
        is_group(root)
        and not isinstance(root, zarr.Group)
        and {"matrix", "row_attrs", "col_attrs"} <= set(names_in(root))
    )


def is_transposed(root: Any, path: str, node: Any) -> bool:
    """Return whether a node at a path below the root holds the transpose of its matrix."""
    if is_group(node):
        return False
    return text_of(node.attrs.get(CLASS)) is not None or (is_loom(root) and path.partition("/")[0] in MATRICES)


def names_of_loom(root: Any) -> Names:
    """Return the names of cells and genes in a loom file."""
    return Names.of(_first_of(root["col_attrs"], CELLS), _first_of(root["row_attrs"], GENES))


def _first_of(group: Any, candidates: tuple[str, ...]) -> Any:
    found = (child(group, name) for name in candidates)
    arrays = (node for node in found if node is not None and getattr(node, "shape", None) and len(node.shape) == 1)
    array = next(arrays, None)
    return None if array is None else values_of(array)


def form_of_matlab(node: Any) -> tuple[int, int]:
    """Return the shape of a sparse variable of MATLAB."""
    return int(node.attrs["MATLAB_sparse"]), int(node["jc"].shape[0]) - 1


def likely(found: dict[str, Any]) -> list[str]:
    """Return the paths of the matrices that may be meant without a name: not the scalars and vectors of MATLAB."""

    def is_short(node: Any) -> bool:
        variable = is_matlab_sparse(node) or text_of(node.attrs.get(CLASS)) is not None
        return variable and is_vector(form_of_matlab(node) if is_group(node) else node.shape)

    return [path for path, node in found.items() if not is_short(node)] or list(found)


def is_vector(shape: Sequence[int]) -> bool:
    """Return whether an array of MATLAB, which has two axes at least, is a scalar or a vector.

    >>> is_vector((1, 9)), is_vector((1, 9, 5))
    (True, False)
    """
    return sum(size != 1 for size in shape) < 2
