"""Several matrices with names, in memory and in files of different formats, to be joined."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
from formats import quiet

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.sources import open_matrix
from dnmf.sources.blocks import read_block

GENES = [f"g{j}" for j in range(24)]


def frame(rows, columns, seed, density=0.5):
    """Return counts of cells c0, c1, … by the given genes, about half of which are 0."""
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(rows)] if isinstance(rows, int) else rows
    counts = rng.poisson(4, (len(names), len(columns))) * (rng.random((len(names), len(columns))) < density)
    return pd.DataFrame(counts.astype(np.float32), index=names, columns=columns)


def batches():
    """Return three batches: one with all genes, one that lacks three, reversed, and one with two more."""
    return [frame(30, GENES, 0), frame(41, GENES[:2:-1], 1), frame(17, [*GENES[1:], "x", "y"], 2)]


def annotated(table, form=sp.csr_matrix):
    """Return an AnnData of a frame."""
    import anndata

    with quiet():
        obs, var = pd.DataFrame(index=table.index), pd.DataFrame(index=table.columns)
        return anndata.AnnData(form(table.to_numpy()), obs=obs, var=var)


def written(tables, folder, form=sp.csr_matrix, name="run{}.h5ad"):
    """Write frames as AnnData; return the paths."""
    paths = [str(folder / name.format(number + 1)) for number in range(len(tables))]
    for table, path in zip(tables, paths, strict=True):
        with quiet():
            annotated(table, form).write_h5ad(path)
    return paths


def contents(V):
    """Return all entries of a matrix, read block by block."""
    source = open_matrix(V)
    blocks = [read_block(source, block, Scratch()) for block in range(source.layout.blocks)]
    parts = [part.toarray() if sp.issparse(part) else part.copy() for part in blocks]
    found = np.concatenate(parts, axis=1)
    return found.T if source.layout.transposed else found
