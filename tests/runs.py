"""Small runs to interrupt, to resume and to compare bit by bit."""

import dataclasses
import json
import threading
import time

import numpy as np
import zarr

import dnmf
import dnmf.engine.session
from dnmf.checkpoint.commit import seal_of
from dnmf.run.watcher import Watcher

# A run that makes a pass of the rule and nothing else, from the first read on.
PLAIN = {"solver": "hals", "init": "random"}


def matrix(rows=24, columns=60, dtype=np.float32, seed=3):
    """Return a matrix of rank 4 with noise, with a row and a column of zeros."""
    rng = np.random.default_rng(seed)
    V = rng.gamma(1.0, 1.0, (rows, 4)) @ rng.gamma(1.0, 1.0, (4, columns)) + 0.1 * rng.random((rows, columns))
    V[5], V[:, 7] = 0, 0
    return (V * (100 / V.max())).astype(dtype) if np.dtype(dtype).kind in "ui" else V.astype(dtype)


def stored(path, V, chunks, **options):
    """Write a matrix as a Zarr array of plain chunks; return its path."""
    array = zarr.create_array(path, shape=V.shape, chunks=chunks, dtype=V.dtype, compressors=None, **options)
    array[...] = V
    return str(path)


def interrupt_at(passes, how="cancel"):
    """Return the arguments of a run that is interrupted when it has made so many passes, in one of two ways."""
    cancel = threading.Event() if how == "cancel" else None

    class Interrupter(Watcher):
        def passed(self, record):
            if record.passes == passes:
                if cancel is None:
                    raise KeyboardInterrupt
                cancel.set()

    return {"watchers": [Interrupter()], "cancel": cancel}


class Told(Watcher):
    """Keeps all that a watcher is told, in order, but for the blocks, which are counted."""

    def __init__(self):
        self.calls = []
        self.blocks = []
        self.plan = None

    def started(self, plan, passes, max_passes):
        self.plan = plan
        self.calls.append(("started", passes, max_passes))

    def block_read(self, count):
        self.blocks.append(count)

    def passed(self, record):
        self.calls.append(("passed", record.passes))

    def saved(self, passes, store):
        self.calls.append(("saved", passes))

    def stopped(self, verdict):
        self.calls.append(("stopped", verdict.converged))


def spill(monkeypatch):
    """Let every plan keep the long factor on the disk."""
    plan = dnmf.engine.session.make_plan
    monkeypatch.setattr(
        dnmf.engine.session, "make_plan", lambda *given: dataclasses.replace(plan(*given), factor_in_memory=False)
    )


def factors(result):
    """Return W and H as NumPy arrays."""
    return np.asarray(result.W), np.asarray(result.H)


def timeless(history):
    """Return the records of a history without their seconds."""
    return [{name: value for name, value in record.to_dict().items() if name != "seconds"} for record in history]


def assert_same_bits(result, expected):
    """Assert that two results are one: factors, history and verdict."""
    for name, one, other in zip("WH", factors(result), factors(expected), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other), f"{name} differs by up to {np.abs(one - other).max()}"
    assert timeless(result.history) == timeless(expected.history)
    assert (result.verdict, result.converged) == (expected.verdict, expected.converged)


def until(condition, seconds=60):
    """Ask again and again until a condition holds; say whether it did within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        threading.Event().wait(0.02)
        if time.monotonic() > end:
            return False
    return True


def change_header(store, **changes):
    """Change the header, and seal it again as anybody can; `...` leaves a field, or the seal, out."""
    content = json.loads((store / "zarr.json").read_bytes())
    header = content["attributes"]["dnmf"] | changes
    seal = header.pop("seal")
    header = {name: value for name, value in header.items() if value is not ...}
    content["attributes"]["dnmf"] = header if seal is ... else header | {"seal": seal_of(header)}
    (store / "zarr.json").write_text(json.dumps(content))
