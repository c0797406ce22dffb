"""`kill -9` at any moment, and disks that are full: the last checkpoint is whole, and the run goes on from it."""

import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from strategies import low_rank

import dnmf

# The child says where it is on stdout and waits there for a line that never comes.
DRIVER = """
import sys, threading
import dnmf, dnmf.checkpoint.store as store

matrix, target, place, number = sys.argv[1:5]
number = int(number)

def wait():
    print("here", flush=True)
    sys.stdin.readline()

class Watch(dnmf.Watcher):
    blocks = 0
    def block_read(self, count):
        self.blocks += 1
        if place == "block" and self.blocks == number:
            wait()
    def passed(self, record):
        if place == "pass" and record.passes == number:
            wait()

def before(name, call):
    real, calls = getattr(store, name), []
    def wrapped(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            wait()
        return real(*arguments, **options)
    setattr(store, name, wrapped)

if place in ("write_factors", "sync_tree", "write_once", "link_tree"):
    before(place, None)
dnmf.factorize(matrix, 3, max_passes=9, tol=0, checkpoint_every=3, store=target, watchers=[Watch()], threads=1)
"""

OPTIONS = {"max_passes": 9, "tol": 0, "checkpoint_every": 3}
PLACES = [
    ("block", 2),
    ("pass", 1),
    ("block", 38),
    ("pass", 5),
    ("write_factors", 1),
    ("write_factors", 2),
    ("write_once", 1),
    ("write_once", 2),
    ("sync_tree", 3),
    ("link_tree", 1),
    ("link_tree", 2),
]


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "V.npy"
    V = np.asfortranarray(low_rank(2000, 10000, 3, dtype="float32"))
    np.save(path, V)
    return path


@pytest.mark.parametrize(("place", "number"), PLACES)
def test_a_run_killed_anywhere_goes_on_to_the_same_bits(matrix, tmp_path, place, number):
    store = tmp_path / "run.zarr"
    command = [sys.executable, "-c", DRIVER, str(matrix), str(store), place, str(number)]
    with subprocess.Popen(command, stdin=-1, stdout=-1) as child:
        assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    result = dnmf.resume(store)
    whole = dnmf.factorize(matrix, 3, **OPTIONS)
    np.testing.assert_array_equal(np.asarray(result.W), np.asarray(whole.W))
    np.testing.assert_array_equal(np.asarray(result.H), np.asarray(whole.H))
    assert [record.loss for record in result.history] == [record.loss for record in whole.history]


FULL = """
import resource, sys
import dnmf

class Full(dnmf.Watcher):
    def passed(self, record):
        if record.passes == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

try:
    dnmf.factorize(sys.argv[1], 3, max_passes=9, tol=0, checkpoint_every=3, store=sys.argv[2], watchers=[Full()])
except dnmf.DnmfError as error:
    print(error)
"""


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(matrix, tmp_path):
    store = tmp_path / "run.zarr"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    child = subprocess.run([sys.executable, "-c", FULL, str(matrix), str(store)], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "The checkpoint after pass 6" in child.stdout
    assert "Free some room there, and try again." in child.stdout
    assert dnmf.load(store).passes == 3
    assert len(list((store / "checkpoints").iterdir())) == 1
    whole = dnmf.factorize(matrix, 3, **OPTIONS)
    np.testing.assert_array_equal(np.asarray(dnmf.resume(store).W), np.asarray(whole.W))
