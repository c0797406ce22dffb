"""Clusters of the command line: at an address, in a scheduler file, or started for the run."""

import importlib
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import yaml

from dnmf.engine.cluster.reach import address_in, reached
from dnmf.errors import EXTRAS, ClusterError, DnmfError, SettingsError, missing_extra, unknown

KEYS = ("cluster", "arguments", "workers", "adapt")
START = "start from a file that `dnmf cluster-config` prints"
# The clusters that were started here, with their number of workers; not those that adapt it.
STARTED: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()


@contextmanager
def at_address(
    address: str, ca_file: Path | None, cert: Path | None, key: Path | None, cancel: threading.Event | None = None
) -> Iterator[Any]:
    """Yield a client of the scheduler at an address, over TLS with these files or as set in Dask's configuration."""
    from distributed import Client, Security

    files = {"tls_ca_file": ca_file, "tls_client_cert": cert, "tls_client_key": key}
    missing = [str(file) for file in files.values() if file is not None and not file.is_file()]
    if missing:
        raise SettingsError(f"{missing[0]} is not a file; pass the TLS files, in PEM format.")
    given = {name: str(file) for name, file in files.items() if file is not None}
    if given and not address.startswith("tls://"):
        raise SettingsError(f"The address {address} is not encrypted; give tls://… with certificates, or none.")
    security = Security(**given, require_encryption=True) if given else Security()
    options = {"security": security} if given else {}

    def make() -> Any:
        return Client(address, set_as_default=False, **options)

    with reached(address, address, security, make, cancel) as client:
        yield client


@contextmanager
def in_scheduler_file(path: Path, cancel: threading.Event | None = None) -> Iterator[Any]:
    """Yield a client of the scheduler whose address is in a file, as `dask scheduler --scheduler-file` writes it."""
    from distributed import Client, Security

    if not path.is_file():
        raise SettingsError(f"{path} is not a file; give the one that `dask scheduler --scheduler-file` writes.")
    address, file = address_in(path), str(path)

    def make() -> Any:
        return Client(scheduler_file=file, set_as_default=False)

    with reached(file, address, Security(), make, cancel) as client:
        yield client


@contextmanager
def local(workers: int | None, threads_per_worker: int | None, memory: str | None) -> Iterator[Any]:
    """Yield a cluster of processes on this machine, and close it at the end."""
    arguments = {"n_workers": workers, "threads_per_worker": threads_per_worker, "memory_limit": memory}
    given = {name: value for name, value in arguments.items() if value is not None}
    with made({"cluster": "distributed.LocalCluster", "arguments": {"dashboard_address": ":0", **given}}) as cluster:
        yield cluster


@contextmanager
def from_file(path: Path) -> Iterator[Any]:
    """Yield the cluster that a YAML file describes, and close it at the end.

    The file has the keys `cluster`, the dotted name of a class; `arguments`, its keyword arguments; and either
    `workers`, the number of workers, or `adapt`, the keyword arguments of the cluster's `adapt`.
    """
    try:
        form = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); {START}.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} is not valid YAML ({error}); {START}.") from error
    try:
        with made(form) as cluster:
            yield cluster
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


@contextmanager
def made(form: Any) -> Iterator[Any]:
    """Yield the cluster that a mapping describes; see `from_file`."""
    make, arguments = _maker(form)
    with _started(form["cluster"]):
        cluster = make(**arguments)
    with cluster:
        with _started(form["cluster"]):
            if "workers" in form:
                cluster.scale(form["workers"])
            if "adapt" in form:
                for name in form["adapt"]:
                    if name not in _taken_by(cluster.adapt):
                        raise unknown("adapt", name, _taken_by(cluster.adapt))
                cluster.adapt(**form["adapt"])
            else:
                STARTED[cluster] = form.get("workers", len(getattr(cluster, "worker_spec", ())))
        yield cluster


def start_again(cluster: Any) -> int:
    """Restart the lost workers of a cluster that was started here, and return its number of workers; 0 for others.

    Dask gives up a worker that is not back within `distributed.deploy.lost-worker-timeout`.
    """
    workers = 0 if cluster is None else STARTED.get(cluster, 0)
    if workers:
        cluster.scale(workers)
    return workers


@contextmanager
def _started(name: str) -> Iterator[None]:
    """Turn the exceptions of a cluster class into errors of dnmf."""
    try:
        yield
    except DnmfError:
        raise
    except TypeError as error:
        raise SettingsError(f"{name} does not take these arguments ({error}); see its documentation.") from error
    except Exception as error:
        lacking = _lacking(error)
        if lacking is not None:
            raise missing_extra(lacking, name) from error
        raise ClusterError(
            f"{name} could not be started ({type(error).__name__}: {error}); see that its system can be used from here."
        ) from error


def _maker(form: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class of a cluster and its arguments, checked as far as possible without an instance."""
    if not isinstance(form, Mapping) or not isinstance(form.get("cluster"), str):
        raise SettingsError("a cluster is described by a mapping with the key cluster, the dotted name of its class.")
    for name in form:
        if name not in KEYS:
            raise unknown("key", name, KEYS)
    for name, kind in (("arguments", Mapping), ("workers", int), ("adapt", Mapping)):
        if name in form and (not isinstance(form[name], kind) or form[name] is True):
            raise SettingsError(
                f"{name}={form[name]!r} is not allowed; give {'a number' if kind is int else 'a mapping'}."
            )
    module, _, name = form["cluster"].rpartition(".")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        lacking = _lacking(error, module.partition(".")[0])
        if lacking is not None:
            raise missing_extra(lacking, form["cluster"]) from error
        raise SettingsError(
            f"cluster={form['cluster']!r} cannot be imported ({error}); give a class such as "
            "distributed.LocalCluster or dask_jobqueue.SLURMCluster."
        ) from error
    return make, _sheltered(make, dict(form.get("arguments") or {}))


def _sheltered(make: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Add to the arguments of a cluster on this machine that its workers ignore Ctrl-C, by which a run is saved."""
    from distributed import LocalCluster

    if not (isinstance(make, type) and issubclass(make, LocalCluster)):
        return arguments
    preload = arguments.get("preload") or dask.config.get("distributed.worker.preload")
    return arguments | {
        "preload": [*([preload] if isinstance(preload, str) else preload), "dnmf.engine.cluster.signals"]
    }


def _taken_by(adapt: Callable[..., Any]) -> list[str]:
    """Return the keyword arguments of a cluster's `adapt`; Dask's own would silently ignore all others."""
    from distributed.deploy import Adaptive

    named = dict(inspect.signature(adapt).parameters)
    if any(named[name].kind is inspect.Parameter.VAR_KEYWORD for name in named):
        named |= inspect.signature(Adaptive).parameters
    return sorted(set(named) - {"Adaptive", "cluster", "args", "kwargs"})


def _lacking(error: BaseException | None, top: str | None = None) -> str | None:
    """Return the missing package that caused an error: one with an extra, or the one that was being imported."""
    while error is not None:
        if isinstance(error, ImportError):
            name = error.name or ""
            if name in EXTRAS:
                return name
            if top in EXTRAS and not name.startswith(f"{top}."):  # a dependency of the package is missing
                return top
        error = error.__cause__ or error.__context__
    return None
