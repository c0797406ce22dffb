"""cluster_configs/ssh.yaml, with an SSH server of its own on loopback."""

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from daemons import Daemons, at_times, free_port
from runs import assert_same_bits, matrix, stored, until

import dnmf

ROOT = Path(__file__).parents[2]
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(SSHD is None or not shutil.which("ssh-keygen"), reason="needs sshd, of openssh-server"),
]


def arithmetic():
    """Return the environment variables that determine the rounding of products, which a login does not inherit."""
    told = {
        name: value for name, value in os.environ.items() if name.startswith(("OPENBLAS_", "MKL_", "NPY_", "NUMBA_"))
    }
    return [f'"{name}={value}"' for name, value in told.items()]


@pytest.fixture
def server(tmp_path):
    """An SSH server that takes one key, of the user who runs this."""
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    separate = Path("/run/sshd")  # sshd wants this empty folder where it is run by root
    made = os.getuid() == 0 and not separate.exists()
    if made:
        separate.mkdir(mode=0o755)
    port = free_port()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/client.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"SetEnv DNMF_TEST_DAEMONS={tmp_path} {' '.join(arithmetic())}\n"
    )
    with Daemons(tmp_path) as daemons:
        daemons.start(SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config"))
        assert until(lambda: "Server listening" in daemons.logs(), 10), daemons.logs()
        daemons.connect_options = {
            "port": port,
            "username": getpass.getuser(),
            "client_keys": [str(tmp_path / "client")],
            "known_hosts": str(tmp_path / "known_hosts"),
        }
        yield daemons
    if made:
        separate.rmdir()


def test_a_run_over_ssh_ends_in_the_same_bits_and_leaves_no_process(server, tmp_path):
    path = stored(tmp_path / "V.zarr", matrix(24, 400), (24, 20))
    form = yaml.safe_load((ROOT / "cluster_configs/ssh.yaml").read_text())
    form["arguments"]["hosts"] = ["127.0.0.1"] * 3
    form["arguments"]["connect_options"] |= server.connect_options
    form["arguments"]["worker_options"] |= {"nthreads": 1, "memory_limit": "1GiB"}
    file, store = tmp_path / "ssh.yaml", tmp_path / "fit.zarr"
    file.write_text(yaml.safe_dump(form))
    command = [sys.executable, "-m", "dnmf", "fit", path, "--rank", "3", "--max-passes", "6", "--tol", "0"]
    ended = subprocess.run(
        [*command, "--store", store, "--cluster", file], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    assert_same_bits(dnmf.load(store), dnmf.factorize(path, 3, max_passes=6, tol=0, client="threads"))
    assert until(at_times(lambda: set(server.left()) <= {server.started[0].pid}), 20), server.left()
