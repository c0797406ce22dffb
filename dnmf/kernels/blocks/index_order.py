"""The order of the indices of a compressed sparse matrix."""

import numpy as np

from dnmf.kernels.blocks.tiles import kernel


@kernel
def in_order(starts, indices, size):  # type: ignore[no-untyped-def]
    """Return whether the indices of every column rise and are in 0 … size − 1.

    Column j has those from starts[j] to starts[j + 1]. All neighbours are compared in one loop of vector instructions,
    and those of two columns subtracted; of indices that rise, only the first and the last can be out of range.
    """
    faults = np.int64(0)
    for e in range(1, len(indices)):
        faults += np.int64(1) if indices[e] <= indices[e - 1] else np.int64(0)
    for j in range(len(starts) - 1):
        first, stop = starts[j], starts[j + 1]
        if first < stop:
            if first > 0 and indices[first] <= indices[first - 1]:
                faults -= np.int64(1)
            if indices[first] < 0 or indices[stop - 1] >= size:
                return False
    return faults == 0
