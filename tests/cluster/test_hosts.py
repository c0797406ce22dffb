"""Several hosts, each a network namespace: a run over TLS, one of whose hosts is cut off; and clients without a key."""

import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from distributed import LocalCluster, Security
from runs import assert_same_bits, matrix, stored, until

import dnmf
from dnmf.engine.cluster.launch import at_address
from dnmf.errors import ClusterError

OPTIONS = {"rank": 3, "max_passes": 20, "checkpoint_every": 5, "tol": 0}
# Addresses that exist in the namespaces only.
ADDRESSES = {"scheduler": "10.213.77.1", "driver": "10.213.77.2", "worker-1": "10.213.77.3", "worker-2": "10.213.77.4"}
# A host that no longer answers is given up within seconds, not minutes.
IMPATIENT = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s",  # a busy machine takes seconds for a first connection
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",  # the least that distributed takes
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s",
}


class Authority:
    """A private certificate authority with its files in a folder."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.key, self.made = folder, ec.generate_private_key(ec.SECP256R1()), 0
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of a test")])
        self.ca_file = self._write("ca.pem", self._certify(self.name, self.key.public_key(), None))

    def certify(self, *addresses):
        """Return the files of a certificate for some addresses, and of its key."""
        self.made += 1
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, addresses[0])])
        cert = self._write(f"cert-{self.made}.pem", self._certify(name, key.public_key(), addresses))
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cert, self._write(f"key-{self.made}.pem", secret)

    def _certify(self, name, public_key, addresses):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self.name, name, public_key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=addresses is None, path_length=None), critical=True)
        if addresses:
            names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name, content):
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)


class Network:
    """Hosts, each a network namespace with one address, at a bridge that is in a namespace of its own.

    All of it goes away with the block that this is the context of.
    """

    def __init__(self, addresses, authority, folder):
        self.addresses, self.authority, self.folder = addresses, authority, folder
        self.prefix = f"dnmf-{uuid.uuid4().hex[:8]}-"
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with self._stack:
            self._add("switch")
            self._ip("-n", self.prefix + "switch", "link", "add", "bridge", "type", "bridge")
            self._ip("-n", self.prefix + "switch", "link", "set", "bridge", "up")
            for number, (host, address) in enumerate(self.addresses.items()):
                self._add(host)
                self._plug(host, address, f"port{number}")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def start(self, host, module, *arguments, **options):
        """Start a Python module that takes certificates, as both dask and dnmf do, on a host."""
        files = (self.authority.ca_file, *self.authority.certify(self.addresses[host]))
        command = ["ip", "netns", "exec", self.prefix + host, sys.executable, "-m", module, *arguments]
        command += [text for pair in zip(TLS, files, strict=True) for text in pair]
        with open(self.folder / f"{host}.log", "wb") as log:
            process = subprocess.Popen(command, stderr=log, env={**os.environ, **IMPATIENT}, **options)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def cut_off(self, host):
        """Disconnect a host from the network, without a signal to it or to the others."""
        port = f"port{list(self.addresses).index(host)}"
        self._ip("-n", self.prefix + "switch", "link", "set", port, "down")

    def log(self, host):
        """Return the output of the process on a host."""
        return (self.folder / f"{host}.log").read_text()

    def _add(self, host):
        try:
            self._ip("netns", "add", self.prefix + host)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        self._stack.callback(self._remove, self.prefix + host)

    def _remove(self, namespace):
        for pid in self._ip("netns", "pids", namespace).split():  # the workers that nannies started
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        self._ip("netns", "del", namespace)

    def _plug(self, host, address, port):
        namespace, switch = self.prefix + host, self.prefix + "switch"
        self._ip("link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port, "netns", switch)
        self._ip("-n", switch, "link", "set", port, "master", "bridge", "up")
        self._ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            self._ip("-n", namespace, "link", "set", device, "up")

    def _ip(self, *arguments):
        return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def network(tmp_path):
    if shutil.which("ip") is None:
        pytest.skip("no network namespaces here: there is no program ip")
    with Network(ADDRESSES, Authority(tmp_path / "tls"), tmp_path) as made:
        yield made


TLS = ("--tls-ca-file", "--tls-cert", "--tls-key")


def test_a_host_that_is_cut_off_in_a_run_over_tls_costs_nothing_but_time(network, tmp_path):
    path, store = stored(tmp_path / "V.zarr", matrix(24, 800), (24, 20)), tmp_path / "run.zarr"
    start_cluster(network, tmp_path)
    options = [text for name, value in OPTIONS.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    options += ["--store", str(store), "--json", "--scheduler", f"tls://{ADDRESSES['scheduler']}:8786"]
    driver = network.start("driver", "dnmf", "fit", path, *options, stdout=subprocess.PIPE, text=True)
    passes = []
    with driver.stdout as lines:
        for line in lines:
            passes.append(json.loads(line)["passes"])
            if passes[-1] == 7:
                network.cut_off("worker-2")
    assert driver.wait(120) == 0, network.log("driver")
    assert passes == list(range(2, 21))  # the first pass is that of the sketch
    assert "Remove worker" in network.log("scheduler")
    assert_same_bits(dnmf.load(store), dnmf.factorize(path, client="threads", **OPTIONS))


def start_cluster(network, folder):
    """Start a scheduler and two workers, and wait until they know each other."""
    address = ADDRESSES["scheduler"]
    options = ["--no-dashboard", "--protocol", "tls", "--host"]
    network.start("scheduler", "distributed.cli.dask_scheduler", *options, address)
    for host in ("worker-1", "worker-2"):
        own = [*options, ADDRESSES[host], "--nthreads", "1", "--local-directory", str(folder / host)]
        network.start(host, "distributed.cli.dask_worker", f"tls://{address}:8786", *own)
    assert until(lambda: network.log("scheduler").count("Register worker") == 2), network.log("scheduler")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The address of a scheduler that requires certificates, and their authority."""
    authority = Authority(tmp_path_factory.mktemp("guarded") / "tls")
    cert, key = authority.certify("127.0.0.1")
    security = Security(tls_ca_file=authority.ca_file, tls_scheduler_cert=cert, tls_scheduler_key=key)
    security.tls_client_cert, security.tls_client_key, security.require_encryption = cert, key, True
    options = {"n_workers": 0, "protocol": "tls", "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(security=security, **options) as cluster:
        yield cluster.scheduler_address, authority


def test_a_client_that_speaks_no_tls_is_told(guarded):
    address = guarded[0].replace("tls://", "tcp://")
    with pytest.raises(ClusterError, match=r"tcp://127.0.0.1:\d+ could not be reached .* as tcp://.* or tls://"):
        dnmf.factorize(matrix(), 3, client=address)


@pytest.mark.parametrize("has_authority", [True, False])
def test_a_client_without_a_certificate_is_told(guarded, has_authority):
    address, authority = guarded
    ca_file = Path(authority.ca_file) if has_authority else None
    with (
        pytest.raises(ClusterError, match=r"tls://.* speaks TLS, and this process has no certificate .*give --tls-ca"),
        at_address(address, ca_file, None, None),
    ):
        pass


@pytest.mark.parametrize("whose", ["authority", "certificate"])
def test_a_client_of_another_authority_is_told(guarded, whose, tmp_path):
    address, authority = guarded
    stranger = Authority(tmp_path / "tls")
    ca_file = stranger.ca_file if whose == "authority" else authority.ca_file
    files = map(Path, (ca_file, *stranger.certify("127.0.0.1")))
    with pytest.raises(ClusterError, match=r"tls://.* could not be reached \("), at_address(address, *files):
        pass


def test_a_client_with_a_certificate_is_let_in(guarded):
    address, authority = guarded
    files = map(Path, (authority.ca_file, *authority.certify("127.0.0.1")))
    with at_address(address, *files) as client:
        assert client.status == "running"
