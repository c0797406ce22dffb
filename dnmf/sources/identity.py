"""Recognise a matrix: by its shape, dtype, blocks, and a digest of its first block."""

import hashlib
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Source
from dnmf.sources.blocks import read_block


def fingerprint(source: Source, sampled: bool = True) -> dict[str, Any]:
    """Return the fingerprint of V in a store: shape, dtype, blocks, any axes, and a digest of the first block.

    The digest is left out unless `sampled`.
    """
    layout = source.layout
    digest = hashlib.blake2b(digest_size=16)
    if sampled:
        block = read_block(source, 0, Scratch())
        for matrix in block if isinstance(block, tuple) else (block,):
            _digest(matrix, digest)
    bounds = hashlib.blake2b(np.asarray(layout.bounds, np.int64).tobytes(), digest_size=8)
    axes = {} if layout.unfolding is None else {"axes": layout.unfolding.by_position}
    found = {
        "shape": list(layout.user_shape),
        **axes,
        "dtype": layout.dtype.str,
        "streamed": "rows" if layout.transposed else "columns",
        "blocks": f"{layout.blocks} of up to {layout.widest}, {bounds.hexdigest()}",
    }
    return {**found, "sample": digest.hexdigest()} if sampled else found


def _digest(block: Block, digest: Any) -> None:
    """Update a digest with a sparse block, or with the first columns of a dense one."""
    if scipy.sparse.issparse(block):
        for part in (block.indptr, block.indices):
            digest.update(part.astype(np.int64).tobytes())
        digest.update(block.data.tobytes())
        return
    for column in range(min(block.shape[1], 64)):
        digest.update(block[:, column].tobytes())
