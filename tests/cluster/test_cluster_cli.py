"""The command line on a cluster: at an address, in a file, started for the run, or described in YAML."""

import json
import os
import re
import signal
import subprocess
import sys

import dask
import pytest
import yaml
from click.testing import CliRunner
from runs import assert_same_bits, matrix, stored, until

import dnmf
from dnmf.cli.app import main

FIT = ["--rank", "3", "--max-passes", "6", "--tol", "0"]


@pytest.fixture
def path(tmp_path):
    return stored(tmp_path / "V.zarr", matrix(24, 200), (24, 20))


def run(*command):
    return CliRunner().invoke(main, [str(word) for word in command])


def refused(*command):
    """Run a command that must end with exit code 2, and return its error message."""
    ended = run(*command)
    assert ended.exit_code == 2, ended.output
    return " ".join(ended.stderr.split())


def test_fit_and_resume_on_clusters_that_are_started_for_them(path, tmp_path):
    store = tmp_path / "run.zarr"
    started = ["--workers", 2, "--threads-per-worker", 1, "--worker-memory", "1GB"]
    ended = run("fit", path, *FIT, "--store", store, *started)
    assert ended.exit_code == 0, ended.output
    assert "2 workers." in ended.stderr
    assert "on each of 2 workers, of 800 MB allowed" in ended.stderr
    assert_same_bits(dnmf.load(store), dnmf.factorize(path, 3, max_passes=6, tol=0, client="threads"))
    described = tmp_path / "one.yaml"
    arguments = {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": ":0"}
    described.write_text(yaml.safe_dump({"cluster": "distributed.LocalCluster", "workers": 1, "arguments": arguments}))
    ended = run("resume", store, "--max-passes", 9, "--cluster", described, "--json")
    assert ended.exit_code == 0, ended.output
    assert [json.loads(line)["passes"] for line in ended.stdout.splitlines()] == [7, 8, 9]
    assert_same_bits(dnmf.load(store), dnmf.factorize(path, 3, max_passes=9, tol=0, client="threads"))


def test_ctrl_c_in_a_terminal_stops_a_run_and_leaves_its_workers_to_it(path, tmp_path):
    """A terminal sends the signal to all processes of the group, of which the workers are."""
    command = [sys.executable, "-m", "dnmf", "fit", path, "--rank", 3, "--max-passes", 100000, "--tol", 0, "--json"]
    command += ["--store", tmp_path / "run.zarr", "--workers", 2, "--threads-per-worker", 1]
    with subprocess.Popen(list(map(str, command)), stdout=-1, stderr=-1, text=True, start_new_session=True) as child:
        for _ in range(3):
            child.stdout.readline()
        os.killpg(child.pid, signal.SIGINT)
        _, messages = child.communicate()
    assert child.returncode == 130
    assert "Saving the results so far, then stopping. Press Ctrl-C again" in messages
    assert "Stopped. The factors so far are saved; resume with: dnmf resume" in messages
    assert "Restarting worker" not in messages, messages
    assert "waiting for workers" not in messages, messages
    assert dnmf.load(tmp_path / "run.zarr").passes >= 3


def test_a_scheduler_is_found_by_its_file_and_by_its_address(path, tmp_path, apart):
    file, store = tmp_path / "scheduler.json", tmp_path / "run.zarr"
    apart("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    assert until(file.exists)
    apart("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard")
    ended = run("fit", path, *FIT, "--store", store, "--scheduler-file", file)
    assert ended.exit_code == 0, ended.output
    assert "1 worker." in ended.stderr
    address = json.loads(file.read_text())["address"]
    assert run("resume", store, "--max-passes", 8, "--scheduler", address).exit_code == 0
    ended = run("transform", store, path, "--out", tmp_path / "H.zarr", "--scheduler", address)
    assert ended.exit_code == 0, ended.output
    assert_same_bits(dnmf.load(store), dnmf.factorize(path, 3, max_passes=8, tol=0, client="threads"))


def test_what_does_not_go_together_is_refused(path, tmp_path):
    both = refused("fit", path, *FIT, "--workers", 2, "--scheduler", "tcp://127.0.0.1:9")
    assert "--scheduler, --scheduler-file, --cluster and --workers each choose a cluster" in both
    assert "give --scheduler tls://" in refused("fit", path, *FIT, "--tls-key", tmp_path / "key.pem")
    (tmp_path / "ca.pem").touch()
    plain = refused("fit", path, *FIT, "--scheduler", "tcp://127.0.0.1:9", "--tls-ca-file", tmp_path / "ca.pem")
    assert "The address tcp://127.0.0.1:9 is not encrypted; give tls://" in plain
    missing = refused("fit", path, *FIT, "--scheduler", "tls://127.0.0.1:9", "--tls-ca-file", tmp_path / "none.pem")
    assert "none.pem is not a file; pass the TLS files" in missing
    assert "is not a file; give the one that `dask scheduler" in refused("fit", path, *FIT, "--scheduler-file", "none")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        nobody = refused("fit", path, *FIT, "--scheduler", "tcp://127.0.0.1:9")
    assert "tcp://127.0.0.1:9 could not be reached" in nobody


FORMS = {
    "no YAML": ("{", "is not valid YAML .* start from a file that `dnmf cluster-config` prints"),
    "no mapping": ("- a", "a cluster is described by a mapping with the key cluster"),
    "an unknown key": (
        "cluster: distributed.LocalCluster\nworker: 3",
        "key='worker' is not known.*Did you mean 'workers'",
    ),
    "a wrong kind": (
        "cluster: distributed.LocalCluster\nworkers: many",
        "workers='many' is not allowed; give a number",
    ),
    "no class": ("cluster: distributed.LocalClutser", "cannot be imported .* give a class such as distributed.LocalC"),
    "no module": ("cluster: nowhere.Cluster", "cannot be imported .*nowhere.* give a class such as"),
    "an argument that it does not take": (
        "cluster: distributed.SpecCluster\narguments: {n_wrokers: 1}",
        "distributed.SpecCluster does not take these arguments .*n_wrokers",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), FORMS.values(), ids=FORMS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_describes_no_cluster_is_refused(text, sentence, path, tmp_path):
    (tmp_path / "cluster.yaml").write_text(text)
    told = refused("fit", path, *FIT, "--cluster", tmp_path / "cluster.yaml")
    assert "cluster.yaml" in told

    assert re.search(sentence, told), told
