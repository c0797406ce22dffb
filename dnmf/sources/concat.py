"""Join several matrices to one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnmf.aliases import names_options
from dnmf.choices import Axis, Join
from dnmf.kernels.floats import own_errors
from dnmf.sources.base import Source
from dnmf.sources.collection import Collection
from dnmf.sources.opening import open_matrix


@names_options()
@own_errors
def concat(
    matrices: Sequence[Any] | str | Path,
    axis: Axis = "rows",
    join: Join = "inner",
    keys: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
) -> Source:
    """Join matrices to one, which every function of dnmf takes as V and reads block by block, each in its own format.

    Along the other axis, matrices are matched by their names, and without names by position. Their order is that of
    most of the data. dtypes are promoted as by NumPy. Along `axis`, the names of each matrix follow its key, as
    `"run1:AAACCTG"`, so that names never collide; a row without a name has its number.

    Arrays of several axes are unfolded, each as by `unfold`. The join keeps the shape of the other axis, as that of the
    frames of several stacks, if all arrays have the same.

    Parameters
    ----------
    matrices
        Addresses, or matrices of any kind that `factorize` takes, also joins; or a pattern of paths, as
        `"runs/*.h5ad"`, whose files are taken in natural order (run 2 before run 10).
    axis
        `"rows"` for more samples of the same features, `"columns"` for more features of the same samples.
    join
        `"inner"` keeps the names that are in all matrices, and warns of those that it drops. `"outer"` keeps all:
        absent entries are 0; with `missing="nan"` or `"zeros"` they are missing. Entries without a matrix have no
        weight if weights of the entries are given as a list.
    keys
        A distinct label for each matrix, without colons. By default the stem of its file, or its number.
    weights
        For each matrix, a positive number by which its part of the loss is multiplied, as for modalities of different
        size. The factors that are returned are those of V itself. Not for the Itakura–Saito loss, nor with a penalty
        on the factor along `axis`: give weights of the entries for these.

    Returns
    -------
    Source
        A matrix (m, n), to be given as V.

    Raises
    ------
    DataError
        If a matrix cannot be opened, or they cannot be matched; or if other axes of arrays make the other side, or the
        same axes in another order.

    Warns
    -----
    DataWarning
        If an inner join drops names; with their number for each matrix.

    Examples
    --------
    >>> import dnmf, numpy as np
    >>> first, second = np.ones((4, 3)), 2 * np.ones((2, 3))
    >>> dnmf.factorize(concat([first, second], keys=["a", "b"]), rank=1).names.rows.tolist()
    ['a:0', 'a:1', 'a:2', 'a:3', 'b:0', 'b:1']
    """
    return open_matrix(Collection.of(matrices, axis, join, keys, weights))
