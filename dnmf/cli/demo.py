"""Demonstration: components of photographs, from a matrix several times larger than the memory limit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

import dnmf
from dnmf.cli.streams import notify
from dnmf.cli.terminal import print_result, stoppable, watching
from dnmf.engine.plan import amount
from dnmf.errors import needed
from dnmf.inspection.figures import plot_images
from dnmf.storage.durable import explained
from dnmf.storage.paths import absolute

PATCH = 16
RANK = 32
MEMORY_LIMIT = "500MB"


def run(folder: Path, step: int, max_passes: int) -> None:
    """Write the patches of two photographs, factorise them and draw their components, all in a folder."""
    with explained(f"The folder {folder}"):
        absolute(folder).mkdir(parents=True, exist_ok=True)
    matrix, store, picture = folder / "patches.zarr", folder / "run.zarr", folder / "parts.png"
    notify("Cutting two photographs into 16 × 16 colour patches …")
    rows, columns = write_patches(matrix, step)
    stored, as_floats = amount(rows * columns), amount(4 * rows * columns)
    notify(f"{matrix} holds {rows} × {columns} numbers: {stored} as stored, {as_floats} as float32.")
    notify(f"Factorising at rank {RANK} within {MEMORY_LIMIT} of memory, as by")
    options = f"--rank {RANK} --memory-limit {MEMORY_LIMIT} --max-passes {max_passes} --store {store}"
    notify(f"  dnmf fit {matrix} {options}")
    with stoppable(store, replaces=True) as cancel, watching(False, cancel) as watchers:
        result = dnmf.factorize(
            str(matrix),
            RANK,
            store=store,
            overwrite=store.exists(),
            max_passes=max_passes,
            memory_limit=MEMORY_LIMIT,
            watchers=watchers,
            progress=False,
            cancel=cancel,
        )
        print_result(result)
    parts = [part.reshape(PATCH, PATCH, 3) for part in result.W.T]
    plot_images(parts, title=f"{RANK} parts of two photographs").savefig(picture, dpi=120)
    notify(f"The components are drawn in {picture}.")


def write_patches(path: Path, step: int = 1) -> tuple[int, int]:
    """Write every overlapping 16 × 16 colour patch of scikit-learn's two photographs as a column of a Zarr array.

    Parameters
    ----------
    path
        Path of the new array, in uint8, with chunks of several rows of patches.
    step
        Take every n-th patch in both directions.

    Returns
    -------
    tuple
        The shape (768, n); 515,000 columns at step 1.
    """
    strips = list(_strips(step))
    columns = sum(strip.shape[1] for strip in strips)
    rows = PATCH * PATCH * 3
    width = max(strip.shape[1] for strip in strips)
    array = zarr.create_array(
        path, shape=(rows, columns), chunks=(rows, width), dtype="uint8", compressors=None, filters=None, overwrite=True
    )
    start = 0
    for strip in strips:
        array[:, start : start + strip.shape[1]] = strip
        start += strip.shape[1]
    return rows, columns


def _strips(step: int, together: int = 16) -> Iterator[NDArray[np.uint8]]:
    """Yield patches (768, width) of both photographs, `together` rows of patches at a time."""
    for photograph in _photographs():
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (PATCH, PATCH, 3))[::step, ::step, 0]
        for start in range(0, len(windows), together):
            part = windows[start : start + together]
            yield part.reshape(-1, PATCH * PATCH * 3).T


def _photographs() -> list[NDArray[np.uint8]]:
    from sklearn.datasets import load_sample_images  # slow to import; needs Pillow

    needed("PIL", "The demo")
    return list(load_sample_images().images)
