"""Every format gives back the matrix that it was made from, with its names, from several threads and processes."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from formats import CELLS, GENES, GIVEN, STORED, is_named, is_sparse
from strategies import low_rank

from dnmf.kernels.scratch import Scratch
from dnmf.sources import open_matrix

KINDS = STORED | GIVEN


def dense(block):
    return block.toarray() if sp.issparse(block) else np.array(block)


def read_back(source):
    scratch = Scratch()
    whole = np.concatenate([dense(source.read(block, scratch)) for block in range(source.layout.blocks)], axis=1)
    return whole.T if source.layout.transposed else whole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_blocks_laid_together_are_the_matrix(kind, dtype, tmp_path):
    V = (low_rank(30, 200, 3) * 50).astype(dtype)
    source = open_matrix(KINDS[kind](V, tmp_path))
    np.testing.assert_array_equal(read_back(source), V)
    layout = source.layout
    assert layout.user_shape == V.shape
    assert layout.sparse is is_sparse(kind)
    assert (layout.location is not None) is (kind in STORED)
