"""A matrix several times larger than the memory limit of the run, with the memory that it used.

    python examples/larger_than_memory.py [--out FOLDER] [--size MEGABYTES]

Spectra of 1000 points are written to a Zarr array block by block, and are never in memory all at once. `memory_limit`
is the memory that the process may hold, including the interpreter. The memory stays below the limit, far below the
size of the matrix, and does not grow from pass to pass; with `--size 4000` it is the same.
"""

import tempfile

import numpy as np
import psutil
import zarr
from gallery import BLACK, BLUE, ORANGE, arguments, draw, save, tidy

import dnmf

POINTS, WIDE, RANK, LIMIT = 1000, 4000, 8, 320  # a block has 16 MB, the limit is in MB


class Scale(dnmf.Watcher):
    """Measure the memory of the process whenever a block has been read."""

    def __init__(self):
        self.read, self.held = [0], [memory()]

    def block_read(self, count):
        self.read.append(self.read[-1] + count / 1e6)
        self.held.append(memory())


def memory():
    """Return the memory of the process in MB, without shared memory such as mapped files in the page cache."""
    info = psutil.Process().memory_info()
    return (info.rss - getattr(info, "shared", 0)) / 1e6


options = arguments(__doc__, size=960, unit="megabytes of the matrix")
rng = np.random.default_rng(0)
centres = np.linspace(100, 900, RANK)
parts = np.exp(-0.5 * ((np.arange(POINTS)[:, None] - centres) / 60) ** 2).astype("float32")
noise = 0.1 * rng.random((POINTS, WIDE), dtype="float32")
with tempfile.TemporaryDirectory() as folder:
    blocks = max(1, round(options.size * 1e6 / (4 * POINTS * WIDE)))
    shape, chunks = (POINTS, blocks * WIDE), (POINTS, WIDE)
    V = zarr.create_array(f"{folder}/V.zarr", shape=shape, chunks=chunks, dtype="float32", compressors=None)
    for block in range(blocks):
        V[:, block * WIDE : (block + 1) * WIDE] = parts @ rng.exponential(size=(RANK, WIDE)).astype("float32") + noise
    print(dnmf.plan(V, RANK, memory_limit=f"{LIMIT}MB"))
    scale = Scale()
    result = dnmf.factorize(V, RANK, memory_limit=f"{LIMIT}MB", max_passes=3, tol=1e-6, watchers=[scale])
    print(result)

size, peak = 4 * POINTS * blocks * WIDE / 1e6, max(scale.held)
correlations = np.corrcoef(result.W.T, parts.T)[:RANK, RANK:].max(axis=0)
print(f"V has {size:,.0f} MB; the limit was {LIMIT} MB, and the process held {peak:,.0f} MB at most")
print(f"the parts are found, with correlations of at least {correlations.min():.4f}")

figure = draw(9, 3.4, f"A matrix of {size:,.0f} MB factorised in {LIMIT} MB of memory")
held, found = figure.subplots(1, 2, width_ratios=[2, 1])
held.plot(scale.read, scale.held, color=BLUE, label=f"held by the process, {peak:,.0f} MB at most")
held.axhline(LIMIT, color=ORANGE, linestyle="--", label=f"memory_limit, {LIMIT} MB")
held.axhline(size, color=BLACK, label=f"size of the matrix, {size:,.0f} MB")
for number in range(1, round(scale.read[-1] / size) + 1):
    held.axvline(number * size, color="0.8", linewidth=0.8)
held.set_ylim(0, 1.15 * max(size, LIMIT))
held.legend(fontsize=8, frameon=False, loc="center right")
tidy(held, "memory (grey: end of a pass)", "MB of the matrix read so far", "MB")
found.plot(result.W / result.W.max(axis=0), color=BLUE, linewidth=1)
tidy(found, f"the {RANK} parts that were found", "point", "largest = 1")
save(figure, options.out / "larger_than_memory.png")
