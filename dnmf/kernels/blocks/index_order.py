"""The order of the indices of a compressed sparse matrix."""

import numpy as np

from dnmf.kernels.blocks.tiles import kernel


@kernel
def rises(starts, indices):  # type: ignore[no-untyped-def]
    """Return whether the indices of every column rise, where column j has those from starts[j] to starts[j + 1].

    All neighbours are compared in one loop of vector instructions, and those of two columns subtracted.
    """
    falls = np.int64(0)
    for e in range(1, len(indices)):
        falls += np.int64(1) if indices[e] <= indices[e - 1] else np.int64(0)
    for j in range(1, len(starts) - 1):
        first = starts[j]
        if starts[j - 1] < first < len(indices):
            falls -= np.int64(1) if indices[first] <= indices[first - 1] else np.int64(0)
    return falls == 0
