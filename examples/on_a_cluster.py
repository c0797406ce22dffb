"""The same factors, to the last bit, from two processes of a Dask cluster and from the threads of this one.

    python examples/on_a_cluster.py [--out FOLDER] [--size PATCHES]

The cluster is a `LocalCluster`; `client=` accepts any client, any cluster, or the address of a scheduler. V holds 12
× 12 patches of a photograph that comes with scikit-learn. The timeline shows the tasks of each worker, which reads
blocks of V itself; between two passes only W and a few sums are sent. Below are the parts that compose petals and
leaves.
"""

import tempfile
import time

import numpy as np
import zarr
from distributed import Client, LocalCluster, get_task_stream
from gallery import BLUE, ORANGE, arguments, draw, save, show_image, tidy
from sklearn.datasets import load_sample_image

import dnmf

PATCH, RANK, BLOCKS = 12, 24, 16
OPTIONS = {"solver": "hals", "init": "random", "max_passes": 5, "tol": 0}


class Clock(dnmf.Watcher):
    """Record the end of every pass."""

    def __init__(self):
        self.ends = []

    def passed(self, record):
        self.ends.append(time.time())


def write_patches(path, count):
    """Write `count` colour patches of a photograph as the columns of a chunked Zarr array (432, count)."""
    windows = np.lib.stride_tricks.sliding_window_view(load_sample_image("flower.jpg"), (PATCH, PATCH, 3))[:, :, 0]
    corners = np.random.default_rng(0).choice(windows.shape[0] * windows.shape[1], count, replace=False)
    patches = windows[np.unravel_index(corners, windows.shape[:2])].reshape(count, -1).T
    shape, chunks = patches.shape, (len(patches), -(-count // BLOCKS))
    zarr.create_array(path, shape=shape, chunks=chunks, dtype="uint8", compressors=None)[:] = patches


def main():
    """Factorise on the cluster and on threads, compare the bits, and draw the tasks of each worker."""
    options = arguments(__doc__, size=48_000, unit="patches")
    workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(**workers) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        path = f"{folder}/patches.zarr"  # a path that all workers see
        write_patches(path, options.size)
        clock = Clock()
        with get_task_stream(client) as stream:
            there = dnmf.factorize(path, RANK, client=client, watchers=[clock], **OPTIONS)
        here = dnmf.factorize(path, RANK, client="threads", **OPTIONS)
        same = np.array_equal(there.W, here.W) and np.array_equal(np.asarray(there.H), np.asarray(here.H))
    print(f"on the cluster: {there}")
    print(f"the same bits as on threads: {same}")
    assert same

    steps = [(task["worker"], step["start"], step["stop"]) for task in stream.data for step in task["startstops"]]
    tasks = [(worker, start, stop) for worker, start, stop in steps if stop - start > 0.001]
    names, begin = sorted({worker for worker, _, _ in tasks}), min(start for _, start, _ in tasks)
    figure = draw(9, 5, f"{options.size:,} patches of a photograph, factorised by two workers to the same bits")
    gantt, below = figure.subfigures(2, 1, height_ratios=[1, 1.9])
    axes = gantt.subplots()
    for place, (name, colour) in enumerate(zip(names, (BLUE, ORANGE), strict=True)):
        spans = [(start - begin, stop - start) for worker, start, stop in tasks if worker == name]
        axes.broken_barh(spans, (place - 0.35, 0.7), facecolor=colour, edgecolor="white", linewidth=0.4)
    axes.set_yticks(range(len(names)), labels=[f"worker {place + 1}" for place in range(len(names))])
    for end in clock.ends:
        axes.axvline(end - begin, color="0.5", linewidth=0.8)
    axes.set_xlim(clock.ends[0] - begin, clock.ends[-1] - begin)  # the first pass also loads the compiled code
    tidy(axes, "tasks of each worker from the second pass on (grey: end of a pass)", "seconds")
    for panel, part in zip(below.subplots(3, RANK // 3).ravel(), (there.W / there.W.max(axis=0)).T, strict=True):
        show_image(panel, part.reshape(PATCH, PATCH, 3))
    below.suptitle("the parts", fontsize=10)
    save(figure, options.out / "on_a_cluster.png", colours=256)


if __name__ == "__main__":
    main()
