"""Recognise a matrix: by its shape, dtype, blocks, and a digest of its first block."""

import hashlib
from typing import Any

import numpy as np
import scipy.sparse

from dnmf.kernels.blocks.buffers import Scratch
from dnmf.kernels.blocks.panels import Block
from dnmf.sources.base import Source
from dnmf.sources.blocks import read_block


def fingerprint(source: Source) -> dict[str, Any]:
    """Return the fingerprint of V in a store: shape, dtype, blocks, a digest of the first block, and any axes."""
    layout = source.layout
    block = read_block(source, 0, Scratch())
    digest = hashlib.blake2b(digest_size=16)
    for matrix in block if isinstance(block, tuple) else (block,):
        _digest(matrix, digest)
    bounds = hashlib.blake2b(np.asarray(layout.bounds, np.int64).tobytes(), digest_size=8)
    axes = {} if layout.unfolding is None else {"axes": layout.unfolding.by_position}
    return {
        "shape": list(layout.user_shape),
        **axes,
        "dtype": layout.dtype.str,
        "streamed": "rows" if layout.transposed else "columns",
        "blocks": f"{layout.blocks} of up to {layout.widest}, {bounds.hexdigest()}",
        "sample": digest.hexdigest(),
    }


def _digest(block: Block, digest: Any) -> None:
    """Update a digest with a sparse block, or with the first columns of a dense one."""
    if scipy.sparse.issparse(block):
        for part in (block.indptr, block.indices):
            digest.update(part.astype(np.int64).tobytes())
        digest.update(block.data.tobytes())
        return
    for column in range(min(block.shape[1], 64)):
        digest.update(block[:, column].tobytes())
