"""`kill -9` at any moment, and full disks: the last checkpoint is whole, and the run can be resumed from it."""

import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from runs import assert_same_bits
from strategies import low_rank

import dnmf
from dnmf.errors import StoreError

# The child prints its position and waits for a line of input, which the test never writes.
DRIVER = """
import dataclasses, os, sys, zarr
import dnmf, dnmf.engine.session, dnmf.checkpoint.store as store, dnmf.storage.durable as durable

matrix, target, place, number, where = sys.argv[1:6]
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

def before(name):
    owner = next(module for module in (os, zarr, store, durable) if hasattr(module, name))
    real, calls = getattr(owner, name), []
    def wrapped(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            wait()
        return real(*arguments, **options)
    setattr(owner, name, wrapped)

if place not in ("block", "pass"):
    before(place)
if where == "disk":
    plan = dnmf.engine.session.make_plan
    dnmf.engine.session.make_plan = lambda *given: dataclasses.replace(plan(*given), factor_in_memory=False)
dnmf.factorize(matrix, 3, max_passes=9, tol=0, checkpoint_every=3, store=target, watchers=[Watch()], threads=1)
"""

OVERWRITING = DRIVER.replace("store=target", "store=target, overwrite=True")
OPTIONS = {"max_passes": 9, "tol": 0, "checkpoint_every": 3}
PLACES = [
    ("block", 2),
    ("pass", 2),
    ("block", 38),
    ("pass", 5),
    ("write_factors", 1),
    ("write_factors", 2),
    ("sync_tree", 3),
    ("write_once", 1),
    ("write_once", 2),
    ("link", 1),  # the record is a draft
    ("unlink", 3),  # the record is there, and its draft is too
    ("unlink", 5),  # one checkpoint too many is there
    ("unlink", 7),  # the record of the oldest is gone, and its factors are half deleted
    ("link_tree", 1),
    ("link_tree", 2),
    ("link", 5),  # W is linked in part
    ("rename", 2),  # W is at the top of the store, and H is a draft
]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("matrix") / "V.npy"
    V = np.asfortranarray(low_rank(2000, 10000, 3, dtype="float32"))
    np.save(path, V)
    return path


@pytest.fixture(scope="module")
def whole(matrix):
    return dnmf.factorize(matrix, 3, **OPTIONS)


def kill(matrix, store, place, number, where="memory", driver=DRIVER):
    """Kill a run at a position that it prints."""
    command = [sys.executable, "-c", driver, str(matrix), str(store), place, str(number), where]
    with subprocess.Popen(command, stdin=-1, stdout=-1) as child:
        assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL


def assert_goes_on(store, whole):
    """Assert that a run ends with the bits of one that was not killed, and that its store holds nothing else."""
    assert_same_bits(dnmf.resume(store), whole)
    assert_same_bits(dnmf.load(store), whole)
    assert sorted(path.name for path in store.iterdir()) == [".lock", "H", "W", "checkpoints", "commits", "zarr.json"]
    assert len(list((store / "checkpoints").iterdir())) == len(list((store / "commits").iterdir())) <= 2


@pytest.mark.parametrize(("place", "number"), PLACES)
def test_a_run_killed_anywhere_goes_on_to_the_same_bits(matrix, whole, tmp_path, place, number):
    kill(matrix, tmp_path / "run.zarr", place, number)
    assert_goes_on(tmp_path / "run.zarr", whole)


@pytest.mark.parametrize(("place", "number"), [("block", 38), ("write_once", 2), ("pass", 9)])
def test_a_run_killed_with_its_factor_on_the_disk_goes_on_to_the_same_bits(matrix, whole, tmp_path, place, number):
    kill(matrix, tmp_path / "run.zarr", place, number, "disk")
    assert (tmp_path / "run.zarr" / "scratch").exists()
    assert_goes_on(tmp_path / "run.zarr", whole)


@pytest.mark.parametrize("place", ["rewrite", "replace"])
def test_a_run_killed_before_its_store_was_one_is_begun_again(place, matrix, whole, tmp_path):
    store = tmp_path / "run.zarr"
    kill(matrix, store, place, 1)
    with pytest.raises(StoreError, match="is not a store of dnmf"):
        dnmf.resume(store)
    assert_same_bits(dnmf.factorize(matrix, 3, store=store, **OPTIONS), whole)


def test_a_run_killed_while_it_takes_the_place_of_another_is_begun_again_or_goes_on(matrix, whole, tmp_path):
    store = tmp_path / "run.zarr"
    dnmf.factorize(np.eye(4), 2, store=store, max_passes=2)
    kill(matrix, store, "rewrite", 1, driver=OVERWRITING)
    with pytest.raises(StoreError, match="has no whole checkpoint yet"):
        dnmf.load(store)
    kill(matrix, store, "sync_tree", 1, driver=OVERWRITING)
    assert_goes_on(store, whole)


FULL = """
import dataclasses, resource, sys
import dnmf, dnmf.engine.session

class Full(dnmf.Watcher):
    def passed(self, record):
        if record.passes == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))

if sys.argv[4] == "disk":
    plan = dnmf.engine.session.make_plan
    dnmf.engine.session.make_plan = lambda *given: dataclasses.replace(plan(*given), factor_in_memory=False)
try:
    dnmf.factorize(sys.argv[1], 3, max_passes=9, tol=0, checkpoint_every=3, store=sys.argv[2], watchers=[Full()])
except dnmf.DnmfError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("room", "where", "sentence"),
    [
        (
            20_000,
            "memory",
            "DiskError The checkpoint after pass 6 in .* could not be written .*; what was there before",
        ),
        (100, "memory", "DiskError The checkpoint after pass 6 in .* could not be written .*; what was there before"),
        (20_000, "disk", "DiskError H could not be kept in .*scratch .*; it holds the factors that do not fit in mem"),
        (25_160, "disk", "DiskError H could not be kept in .*scratch"),  # a block has 25,164 bytes
        (100, "disk", "DiskError H could not be kept in .*scratch"),
    ],
)
def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(room, where, sentence, matrix, whole, tmp_path):
    store = tmp_path / "run.zarr"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", FULL, str(matrix), str(store), str(room), where]
    child = subprocess.run(command, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert re.match(sentence, child.stdout)
    assert "Free some room there" in child.stdout
    assert dnmf.load(store).passes == 3
    assert len(list((store / "checkpoints").iterdir())) == 1
    assert_goes_on(store, whole)


FULL_OUT = """
import resource, sys
import numpy as np
import dnmf

V = np.random.default_rng(0).random((20, 4000))
result = dnmf.factorize(V, 3, max_passes=3, store=sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for act in (lambda: dnmf.transform(result, V, out=sys.argv[2]), lambda: dnmf.factorize(V, 3, store=sys.argv[3])):
    try:
        act()
    except dnmf.DnmfError as error:
        print(type(error).__name__, error)
"""


def test_an_error_of_a_full_disk_names_the_path_that_was_given(tmp_path):
    paths = [tmp_path / name for name in ("run.zarr", "H.zarr", "other.zarr")]
    child = subprocess.run([sys.executable, "-c", FULL_OUT, *map(str, paths)], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    of_transform, of_run = child.stdout.splitlines()
    assert of_transform.startswith(f"DiskError {paths[1]} could not be written (File too large)")
    assert re.match(rf"DiskError The checkpoint after pass \d+ in {paths[2]} could not be written \(File too", of_run)
