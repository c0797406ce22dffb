"""The likelihood of counts in probabilities that are proportional to the entries of WH."""

import numpy as np

from dnmf.kernels.blocks.sparse_panel import SparsePanel
from dnmf.kernels.blocks.tiles import Float, reordered


def cross_entropy(panel: SparsePanel, W: Float, H: Float) -> tuple[float, Float, Float]:
    """Return Σ v log y with y = (WH)_ij over the entries of a panel, and the sums of its rows (m,) and columns (p,).

    An entry v > 0 where WH is 0 makes it −∞.
    """
    rows, columns = (np.zeros(size) for size in panel.shape)
    total = _cross_entropy(panel.starts, panel.rows, panel.values, W, np.ascontiguousarray(H.T), rows, columns)
    return float(total), rows, columns


@reordered
def _cross_entropy(starts, places, values, W, H, rows, columns):  # type: ignore[no-untyped-def]
    total = 0.0
    for column in range(len(starts) - 1):
        h = H[column]
        for entry in range(starts[column], starts[column + 1]):
            row, v = places[entry], np.float64(values[entry])
            if v > 0.0:
                y = 0.0
                for k in range(len(h)):
                    y += np.float64(W[row, k]) * np.float64(h[k])
                total += v * np.log(y) if y > 0.0 else -np.inf
                rows[row] += v
                columns[column] += v
    return total
