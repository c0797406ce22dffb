"""The matrices for the peers, as files next to their start, and the function that judges factors."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import zarr
from losses import topic_counts
from passes import Judge
from sklearn.feature_extraction.text import TfidfTransformer


def write_problem(folder: Path, V: Any, rank: int, rows: int | None = None) -> None:
    """Write V and the start for the adapters; a dense V also as Zarr in blocks of `rows` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    if sp.issparse(V):
        sp.save_npz(folder / "V.npz", sp.csr_matrix(V), compressed=False)
    else:
        np.save(folder / "V.npy", V)
        zarr.create_array(
            folder / "V.zarr", data=V, chunks=(rows or height(V.shape[1]), V.shape[1]), compressors=None, overwrite=True
        )
    write_start(folder, V, rank)


def write_start(folder: Path, V: Any, rank: int, seed: int = 0) -> None:
    """Write the common start: |N| at the scale of V, estimated from its first rows if it is dense."""
    rng = np.random.default_rng(seed)
    mean = V.mean() if sp.issparse(V) else V[:20000].mean()
    scale = np.float32(math.sqrt(float(mean) / rank))
    np.save(folder / "W.npy", np.abs(rng.standard_normal((V.shape[0], rank), dtype=np.float32)) * scale)
    np.save(folder / "H.npy", np.abs(rng.standard_normal((rank, V.shape[1]), dtype=np.float32)) * scale)


def height(columns: int, size: int = 2**24) -> int:
    """Return the number of rows of float32 in a block of 16 MB."""
    return max(1, size // (4 * columns))


def write_larger(folder: Path, rows: int, columns: int, rank: int) -> np.ndarray:
    """Write a dense problem block by block, and return its V as a mapped file."""
    folder.mkdir(parents=True)
    rng, block = np.random.default_rng(0), height(columns)
    parts = (rng.random((20, columns)) * (rng.random((20, columns)) < 0.3)).astype(np.float32)
    V = np.lib.format.open_memmap(folder / "V.npy", "w+", np.float32, (rows, columns))
    store = zarr.create_array(
        folder / "V.zarr", shape=V.shape, chunks=(block, columns), dtype=V.dtype, compressors=None
    )
    for start in range(0, rows, block):
        count = min(block, rows - start)
        panel = rng.random((count, 20), dtype=np.float32) ** 4 @ parts
        V[start : start + count] = panel + 0.1 * rng.random((count, columns), dtype=np.float32)
        store[start : start + count] = V[start : start + count]
    V.flush()
    write_start(folder, V, rank)
    return np.load(folder / "V.npy", mmap_mode="r")


def tfidf(size: float) -> sp.csr_array:
    """Return the tf-idf of documents, half the size of the 20 newsgroups or a share of that."""
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(topic_counts(0.5 * size))
    return sp.csr_array(weighted.astype(np.float32))


def counts(rows: int, columns: int) -> np.ndarray:
    """Draw counts with means of low rank, many of them 0."""
    rng = np.random.default_rng(0)
    means = rng.gamma(0.3, size=(rows, 10)) @ rng.gamma(0.3, size=(10, columns))
    return rng.poisson(means).astype(np.float32)


def best_left(V: Any, H: np.ndarray, sweeps: int = 60) -> np.ndarray:
    """Return the W that fits V best with H held, for a peer that returns H alone: coordinate descent by columns."""
    cross, gram = np.asarray(V @ H.T, dtype=np.float64), H.astype(np.float64) @ H.T
    gram += 1e-12 * np.eye(len(gram))
    W = np.zeros_like(cross)
    for _ in range(sweeps):
        for k in range(len(gram)):
            W[:, k] = np.maximum(0, W[:, k] + (cross[:, k] - W @ gram[:, k]) / gram[k, k])
    return W


def judge_of(V: Any, loss: str) -> Callable[..., float | None]:
    """Return the function that measures factors W and H."""
    judge = Judge(V, loss)

    def measure(W: np.ndarray | None = None, H: np.ndarray | None = None) -> float | None:
        if H is None:
            return None
        return judge(best_left(V, H) if W is None else W, H)

    return measure
