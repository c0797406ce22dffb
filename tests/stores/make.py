"""Write small stores with the installed dnmf, for later versions to read: `python tests/stores/make.py ARCHIVE`.

The archive has the matrix too, which was given in memory, so that no store holds a path; and in `expected.npz` the
factors in which the runs end that are not disturbed.
"""

import shutil
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

import dnmf
from dnmf.errors import Interrupted

ROWS = [f"row {index}" for index in range(24)]
# Runs that are interrupted after some pass, and their options.
RUNS = {
    "sketch": (3, {"max_passes": 6}),
    "newton": (4, {"loss": "kullback-leibler", "max_passes": 8}),
    "mu": (5, {"solver": "mu", "missing": "nan", "max_passes": 8, "init": "random"}),
    "minibatch": (3, {"solver": "minibatch", "max_passes": 6}),
    "n_runs": (4, {"solver": "hals", "init": "random", "n_runs": 3, "max_passes": 7, "extrapolate": True}),
    "rows": (3, {"solver": "als", "max_passes": 6, "l1_W": 0.25, "init": "nndsvda"}),
}
# Runs that versions before 1.0.0 did not have.
LATER = (
    {
        "graph": (3, {"graph_H": dnmf.graphs.chain(60), "graph_weight": 0.5, "max_passes": 6, "init": "random"}),
        "joined": (3, {"loss": "kullback-leibler", "max_passes": 6}),
        "layers": (3, {"rank": [5, 3], "max_passes": 6, "init": "random"}),
        "simplex": (3, {"columns_H": "simplex", "max_passes": 6, "init": "spa"}),
        "volume": (3, {"volume_W": 0.2, "max_passes": 6}),
    }
    if hasattr(dnmf, "graphs")
    else {}
)
RUNS |= LATER
SURVEYS = {
    "survey": (None, {"n_runs": 2, "cv": 2}),
    "survey-kl": (4, {"n_runs": 2, "cv": 2, "loss": "kullback-leibler", "max_passes": 6, "checkpoint_every": 2}),
}


def planted():
    """Return a matrix of rank 4 with noise."""
    rng = np.random.default_rng(11)
    V = rng.gamma(1.0, 1.0, (24, 4)) @ rng.gamma(1.0, 1.0, (4, 60)) + 0.1 * rng.random((24, 60))
    return V.astype(np.float32)


def matrix(folder, name):
    """Return the matrix of a run, or two to be joined."""
    V = np.load(folder / "V.npy")
    if name == "mu":
        V[2, 3:9] = np.nan
    if name == "joined":
        return dnmf.concat([V[:, :25], V[:, 25:]], axis="columns")
    return V.T.copy() if name == "rows" else V


def options(name):
    """Return the options of a run."""
    rows = {"column_names": ROWS} if name == "rows" else {"row_names": ROWS}
    return {"rank": 3, "tol": 0, "checkpoint_every": 2, **rows, **RUNS[name][1]}


def given_again(name):
    """Return the data that a run was given in memory beside its matrix."""
    return {key: value for key, value in options(name).items() if key == "graph_H"}


def stopped_after(passes):
    """Return the arguments of a run that stops after a pass."""
    cancel = threading.Event()

    class Stop(dnmf.Watcher):
        def passed(self, record):
            if record.passes == passes:
                cancel.set()

    return {"watchers": [Stop()], "cancel": cancel}


def stopped(call, *given, **arguments):
    """Run a call that stops on the way."""
    try:
        call(*given, **arguments)
    except Interrupted:
        return
    raise SystemExit(f"{arguments['store']} was to stop, and did not.")


def main(folder):
    """Write all stores."""
    np.save(folder / "V.npy", planted())
    expected = {}
    for name, (passes, _) in RUNS.items():
        whole = dnmf.factorize(matrix(folder, name), **options(name))
        expected |= {f"{name}-W": np.asarray(whole.W), f"{name}-H": np.asarray(whole.H)}
        stopped(
            dnmf.factorize,
            matrix(folder, name),
            store=folder / f"{name}.zarr",
            **options(name),
            **stopped_after(passes),
        )
    dnmf.factorize(matrix(folder, "finished"), store=folder / "finished.zarr", **options("sketch"))
    for name, (passes, given) in SURVEYS.items():
        whole = dnmf.select_rank(matrix(folder, name), [2, 3], **given)
        expected |= {f"{name}-W": whole.best(3).W, f"{name}-held_out": whole.held_out}
        given = {**given, "store": folder / f"{name}.zarr"}
        if passes is None:
            dnmf.select_rank(matrix(folder, name), [2, 3], **given)
        else:
            stopped(dnmf.select_rank, matrix(folder, name), [2, 3], **given, **stopped_after(passes))
    np.savez(folder / "expected.npz", **expected)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
        shutil.make_archive(sys.argv[1].removesuffix(".zip"), "zip", name)
